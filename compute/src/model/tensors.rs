//! The tensor table: Hugging Face's GPT-2 names over one flat f32 buffer.

use super::GptShape;
use std::ops::Range;

/// One named tensor: row-major, at `offset` of the flat parameter buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The name in Hugging Face's GPT-2, without the prefix `transformer.`.
    pub name: String,
    /// Its dimensions; a matrix of a block is stored \[in, out\], as Hugging Face's `Conv1D` does.
    pub shape: Vec<usize>,
    /// The index of its first value in the flat buffer.
    pub offset: usize,
}

impl Tensor {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no values; never true for a checked shape.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its place in the flat buffer.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }

    /// Whether it is a matrix (weights and embeddings), which weight decay shrinks; gains and biases are not.
    #[must_use]
    pub fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }
}

/// The ranges of one transformer block; a `_gain`, `_bias` pair is contiguous.
#[derive(Clone, Debug)]
pub(crate) struct BlockLayout {
    pub norm1_gain: Range<usize>,
    pub norm1_bias: Range<usize>,
    /// (C, 3C)
    pub qkv: Range<usize>,
    pub qkv_bias: Range<usize>,
    /// (C, C)
    pub projection: Range<usize>,
    pub projection_bias: Range<usize>,
    pub norm2_gain: Range<usize>,
    pub norm2_bias: Range<usize>,
    /// (C, 4C)
    pub expand: Range<usize>,
    pub expand_bias: Range<usize>,
    /// (4C, C)
    pub contract: Range<usize>,
    pub contract_bias: Range<usize>,
}

/// The ranges of every tensor of a model.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// (V, C)
    pub tokens: Range<usize>,
    /// (T, C)
    pub positions: Range<usize>,
    pub blocks: Vec<BlockLayout>,
    pub norm_gain: Range<usize>,
    pub norm_bias: Range<usize>,
    pub len: usize,
}

/// Appends tensors one after another.
struct Builder {
    tensors: Vec<Tensor>,
    len: usize,
}

impl Builder {
    fn push(&mut self, name: String, shape: &[usize]) -> Range<usize> {
        let tensor = Tensor { name, shape: shape.to_vec(), offset: self.len };
        let range = tensor.range();
        self.len = range.end;
        self.tensors.push(tensor);
        range
    }

    fn block(&mut self, index: usize, c: usize) -> BlockLayout {
        let mut push = |name: &str, shape: &[usize]| self.push(format!("h.{index}.{name}"), shape);
        BlockLayout {
            norm1_gain: push("ln_1.weight", &[c]),
            norm1_bias: push("ln_1.bias", &[c]),
            qkv: push("attn.c_attn.weight", &[c, 3 * c]),
            qkv_bias: push("attn.c_attn.bias", &[3 * c]),
            projection: push("attn.c_proj.weight", &[c, c]),
            projection_bias: push("attn.c_proj.bias", &[c]),
            norm2_gain: push("ln_2.weight", &[c]),
            norm2_bias: push("ln_2.bias", &[c]),
            expand: push("mlp.c_fc.weight", &[c, 4 * c]),
            expand_bias: push("mlp.c_fc.bias", &[4 * c]),
            contract: push("mlp.c_proj.weight", &[4 * c, c]),
            contract_bias: push("mlp.c_proj.bias", &[c]),
        }
    }
}

impl GptShape {
    /// The tensor table in buffer order; the head is tied to `wte.weight` and has no entry of its own.
    #[must_use]
    pub fn tensors(&self) -> Vec<Tensor> {
        self.table().0
    }

    /// The table and the same ranges by field.
    pub(crate) fn table(&self) -> (Vec<Tensor>, Layout) {
        let c = self.width;
        let mut builder = Builder { tensors: Vec::new(), len: 0 };
        let tokens = builder.push("wte.weight".into(), &[self.vocabulary, c]);
        let positions = builder.push("wpe.weight".into(), &[self.context, c]);
        let blocks = (0..self.layers).map(|index| builder.block(index, c)).collect();
        let norm_gain = builder.push("ln_f.weight".into(), &[c]);
        let norm_bias = builder.push("ln_f.bias".into(), &[c]);
        let layout = Layout { tokens, positions, blocks, norm_gain, norm_bias, len: builder.len };
        (builder.tensors, layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_cover_the_buffer_without_gaps() {
        let shape = GptShape::named("gpt:tiny", 256).unwrap();
        let mut end = 0;
        for tensor in shape.tensors() {
            assert_eq!(tensor.offset, end, "{}", tensor.name);
            end = tensor.range().end;
        }
        assert_eq!(end, shape.parameter_count());
        assert_eq!(shape.tensors().len(), 4 + 12 * shape.layers);
    }
}
