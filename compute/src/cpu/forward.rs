//! The forward pass over some sequences, up to the norm before the head; the loss without gradients; one row of logits.

use super::Values;
use super::activations::{Activations, Keep, Rows, head_block};
use super::attention::{Heads, attention};
use super::cross_entropy::loss_only;
use super::gelu::bias_gelu;
use super::matmul::{Matrix, Write, multiply};
use super::norm::{norm, residual_norm};
use super::reduce::add_bias;
use crate::model::{GptShape, Layout};
use std::ops::Range;

/// A model's parameters with the places of its tensors.
#[derive(Clone, Copy)]
pub(crate) struct Model<'a> {
    pub shape: &'a GptShape,
    pub layout: &'a Layout,
    pub values: Values<'a>,
}

impl<'a> Model<'a> {
    pub(crate) fn get(&self, range: &Range<usize>) -> &'a [f32] {
        &self.values.parameters[range.clone()]
    }

    /// A weight matrix (in, out).
    pub(crate) fn matrix(&self, range: &Range<usize>, rows: usize) -> Matrix<'a> {
        let columns = range.len() / rows;
        Matrix::new(self.get(range), rows, columns, columns)
    }

    /// The transpose of a weight matrix of `rows` rows: (out, in) as a matrix of its own.
    pub(crate) fn turned(&self, range: &Range<usize>, rows: usize) -> Matrix<'a> {
        Matrix::new(&self.values.turned[range.clone()], range.len() / rows, rows, rows)
    }

    /// Gain and bias of the norm of a stage.
    pub(crate) fn norm_of_stage(&self, stage: usize) -> (&'a [f32], &'a [f32]) {
        let (gain, bias) = norm_ranges(self.layout, stage);
        (self.get(&gain), self.get(&bias))
    }
}

/// Where gain and bias of a stage's norm lie; they are neighbours.
pub(crate) fn norm_ranges(layout: &Layout, stage: usize) -> (Range<usize>, Range<usize>) {
    match layout.blocks.get(stage / 2) {
        None => (layout.norm_gain.clone(), layout.norm_bias.clone()),
        Some(block) if stage.is_multiple_of(2) => (block.norm1_gain.clone(), block.norm1_bias.clone()),
        Some(block) => (block.norm2_gain.clone(), block.norm2_bias.clone()),
    }
}

/// Part `index` of a buffer cut into parts of `size`.
pub(crate) fn part(index: usize, size: usize) -> Range<usize> {
    index * size..(index + 1) * size
}

/// `tokens` (R): runs the blocks and leaves the last norm in stage 2L of `a`, and what is to be kept of the others.
pub(crate) fn forward(model: Model<'_>, tokens: &[u32], rows: Rows, keep: Keep, a: &mut Activations) {
    a.keep = keep;
    let c = model.shape.width;
    embed(model, tokens, rows, a);
    let (gain, bias) = model.norm_of_stage(0);
    let r = rows.count();
    norm(&a.residual[..r * c], gain, bias, &mut a.normed[..r * c], &mut a.mean[..r], &mut a.inverse[..r]);
    for layer in 0..model.shape.layers {
        attention_branch(model, layer, rows, a);
        feed_forward_branch(model, layer, rows, a);
    }
}

/// Stage 0 of the residual stream: token plus position embedding.
fn embed(model: Model<'_>, tokens: &[u32], rows: Rows, a: &mut Activations) {
    let c = model.shape.width;
    let table = model.get(&model.layout.tokens);
    let positions = model.get(&model.layout.positions);
    for (row, (&token, out)) in tokens.iter().zip(a.residual.chunks_exact_mut(c)).enumerate() {
        let token = &table[part(token as usize, c)];
        let position = &positions[part(row % rows.length, c)];
        for i in 0..c {
            out[i] = token[i] + position[i];
        }
    }
}

fn attention_branch(model: Model<'_>, layer: usize, rows: Rows, a: &mut Activations) {
    let (c, heads, r) = (model.shape.width, model.shape.heads, rows.count());
    let block = &model.layout.blocks[layer];
    let stage = 2 * layer;
    let place = a.keep.layer(layer);
    let qkv = &mut a.qkv[place * a.rows * 3 * c..][..r * 3 * c];
    let normed = Matrix::new(&a.normed[a.keep.stage(stage) * a.rows * c..], r, c, c);
    multiply(qkv, 3 * c, Write::Replace, 1.0, normed, model.matrix(&block.qkv, c));
    add_bias(qkv, model.get(&block.qkv_bias));

    let attended = &mut a.attended[place * a.rows * c..][..r * c];
    let kept = part(place, heads * a.rows);
    let heads = Heads {
        qkv,
        largest: &mut a.largest[kept.clone()],
        inverse_sum: &mut a.inverse_sum[kept],
        scratch: &mut a.scratch,
        heads,
        width: c,
    };
    attention(heads, rows, attended);

    let attended = Matrix::new(attended, r, c, c);
    multiply(&mut a.narrow, c, Write::Replace, 1.0, attended, model.matrix(&block.projection, c));
    add_branch(model, stage + 1, &block.projection_bias, r, a);
}

fn feed_forward_branch(model: Model<'_>, layer: usize, rows: Rows, a: &mut Activations) {
    let (c, r) = (model.shape.width, rows.count());
    let block = &model.layout.blocks[layer];
    let stage = 2 * layer + 1;
    let expanded = &mut a.expanded[a.keep.layer(layer) * a.rows * 4 * c..][..r * 4 * c];
    let normed = Matrix::new(&a.normed[a.keep.stage(stage) * a.rows * c..], r, c, c);
    multiply(expanded, 4 * c, Write::Replace, 1.0, normed, model.matrix(&block.expand, c));
    bias_gelu(expanded, model.get(&block.expand_bias), &mut a.active[..r * 4 * c]);

    let active = Matrix::new(&a.active, r, 4 * c, 4 * c);
    multiply(&mut a.narrow, c, Write::Replace, 1.0, active, model.matrix(&block.contract, 4 * c));
    add_branch(model, stage + 1, &block.contract_bias, r, a);
}

/// Adds the branch in `narrow` to the residual stream before `stage` and normalises the result.
fn add_branch(model: Model<'_>, stage: usize, bias: &Range<usize>, r: usize, a: &mut Activations) {
    let c = model.shape.width;
    let (gain, norm_bias) = model.norm_of_stage(stage);
    let (from, into) = (a.keep.stage(stage - 1), a.keep.stage(stage));
    let (before, after) = a.residual.split_at_mut(from.max(into) * a.rows * c);
    let (before, after) = if from < into {
        (&before[from * a.rows * c..][..r * c], &mut after[..r * c])
    } else {
        (&after[..r * c], &mut before[into * a.rows * c..][..r * c])
    };
    residual_norm(
        before,
        &a.narrow[..r * c],
        model.get(bias),
        after,
        gain,
        norm_bias,
        &mut a.normed[into * a.rows * c..][..r * c],
        &mut a.mean[into * a.rows..][..r],
        &mut a.inverse[into * a.rows..][..r],
    );
}

/// The sum of nats of `targets` (R) after [`forward`].
pub(crate) fn loss(model: Model<'_>, targets: &[u32], a: &mut Activations) -> f64 {
    let (c, v) = (model.shape.width, model.shape.vocabulary);
    let head = model.turned(&model.layout.tokens, v);
    let normed = &a.normed[a.keep.stage(2 * model.shape.layers) * a.rows * c..];
    let mut total = 0.0;
    for (targets, normed) in targets.chunks(head_block(v)).zip(normed.chunks(head_block(v) * c)) {
        let logits = &mut a.logits[..targets.len() * v];
        multiply(logits, v, Write::Replace, 1.0, Matrix::new(normed, targets.len(), c, c), head);
        total += loss_only(logits, v, targets);
    }
    total
}

/// The logits (V) of the last row after [`forward`].
pub(crate) fn last_logits(model: Model<'_>, rows: Rows, a: &Activations) -> Vec<f32> {
    let (c, v) = (model.shape.width, model.shape.vocabulary);
    let head = model.matrix(&model.layout.tokens, v).transposed();
    let last = (a.keep.stage(2 * model.shape.layers) * a.rows + rows.count() - 1) * c;
    let mut logits = vec![0.0; v];
    multiply(&mut logits, v, Write::Replace, 1.0, Matrix::new(&a.normed[last..], 1, c, c), head);
    logits
}
