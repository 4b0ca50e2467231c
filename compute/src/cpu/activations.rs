//! What one worker keeps between forward and backward of its sequences, allocated once.

use super::Buffer;
use super::attention::Scratch;
use crate::model::GptShape;

/// The rows of one pass: `sequences` of `length` positions each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Number of sequences.
    pub sequences: usize,
    /// Positions of each; at most the model's context.
    pub length: usize,
}

impl Rows {
    /// R, the number of rows.
    pub(crate) fn count(self) -> usize {
        self.sequences * self.length
    }
}

/// What a forward pass leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// All that a backward pass needs.
    Everything,
    /// What the next stage and the head need: two stages and one block are used over and over, and the other buffers
    /// are never touched.
    Latest,
}

impl Keep {
    /// Where a stage of the residual stream lies.
    pub(crate) fn stage(self, stage: usize) -> usize {
        if self == Keep::Everything { stage } else { stage % 2 }
    }

    /// Where a block's values lie.
    pub(crate) fn layer(self, layer: usize) -> usize {
        if self == Keep::Everything { layer } else { 0 }
    }
}

/// Buffers of one worker. A *stage* is a point of the residual stream with its norm: 2l before attention of block l,
/// 2l + 1 before its feed-forward part, 2L before the head.
pub(crate) struct Activations {
    /// Rows that the buffers hold.
    pub rows: usize,
    /// What the last forward pass left in them.
    pub keep: Keep,
    /// (2L + 1, R, C): the residual stream at each stage.
    pub residual: Buffer,
    /// (2L + 1, R, C): its norm.
    pub normed: Buffer,
    /// (2L + 1, R)
    pub mean: Buffer,
    /// (2L + 1, R): 1 / standard deviation.
    pub inverse: Buffer,
    /// (L, R, 3C)
    pub qkv: Buffer,
    /// (L, R, C): the heads' outputs.
    pub attended: Buffer,
    /// (L, H, R): the largest score of each softmax row.
    pub largest: Buffer,
    /// (L, H, R): 1 / its sum.
    pub inverse_sum: Buffer,
    /// (L, R, 4C): the feed-forward part before GELU, bias included.
    pub expanded: Buffer,
    /// (R, 4C): after GELU; recomputed by the backward pass.
    pub active: Buffer,
    /// (R, 4C): gradients of `expanded`, then of `qkv`.
    pub wide_gradient: Buffer,
    /// (R, C): a branch's output, or a gradient on its way back.
    pub narrow: Buffer,
    /// (R, C): the gradient of the residual stream.
    pub running: Buffer,
    /// (4C, R): a transposed operand of a weight's gradient.
    pub turned: Buffer,
    /// Attention's own.
    pub scratch: Scratch,
    /// (head block, V)
    pub logits: Buffer,
    /// (V, head block): the logits' gradient, transposed.
    pub turned_logits: Buffer,
}

/// Rows of the head handled at once: the logits of a block stay near the cache for a small vocabulary and in bounds
/// for a large one.
pub(crate) fn head_block(vocabulary: usize) -> usize {
    ((1 << 18) / vocabulary).max(256)
}

impl Activations {
    /// Buffers for `rows` rows of a model.
    pub(crate) fn new(shape: &GptShape, rows: usize) -> Activations {
        let (l, c) = (shape.layers, shape.width);
        let stages = 2 * l + 1;
        let head = head_block(shape.vocabulary).min(rows) * shape.vocabulary;
        Activations {
            rows,
            keep: Keep::Everything,
            residual: Buffer::zeros(stages * rows * c),
            normed: Buffer::zeros(stages * rows * c),
            mean: Buffer::zeros(stages * rows),
            inverse: Buffer::zeros(stages * rows),
            qkv: Buffer::zeros(l * rows * 3 * c),
            attended: Buffer::zeros(l * rows * c),
            largest: Buffer::zeros(l * shape.heads * rows),
            inverse_sum: Buffer::zeros(l * shape.heads * rows),
            expanded: Buffer::zeros(l * rows * 4 * c),
            active: Buffer::zeros(rows * 4 * c),
            wide_gradient: Buffer::zeros(rows * 4 * c),
            narrow: Buffer::zeros(rows * c),
            running: Buffer::zeros(rows * c),
            turned: Buffer::zeros(rows * 4 * c),
            scratch: Scratch::new(shape),
            logits: Buffer::zeros(head),
            turned_logits: Buffer::zeros(head),
        }
    }
}
