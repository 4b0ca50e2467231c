//! The tensor table: names over one flat f32 buffer, and where a GPT's tensors lie in it.

use super::GptShape;
use std::ops::Range;

/// One named tensor: row-major, at `offset` of the flat parameter buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The name in Hugging Face's GPT-2, without the prefix `transformer.`; of other models, in PyTorch's `Sequential`.
    pub name: String,
    /// Its dimensions; a matrix of a GPT's block is stored \[in, out\], as Hugging Face's `Conv1D` does, all others
    /// \[out, in\].
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

    /// Whether it is a matrix (weights, kernels and embeddings), which weight decay shrinks; gains and biases are not.
    #[must_use]
    pub fn is_matrix(&self) -> bool {
        self.shape.len() >= 2
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
}

/// Appends tensors one after another.
#[derive(Default)]
pub(super) struct Builder {
    tensors: Vec<Tensor>,
    len: usize,
}

impl Builder {
    pub(super) fn push(&mut self, name: String, shape: &[usize]) -> Range<usize> {
        let tensor = Tensor { name, shape: shape.to_vec(), offset: self.len };
        let range = tensor.range();
        self.len = range.end;
        self.tensors.push(tensor);
        range
    }

    pub(super) fn finish(self) -> Vec<Tensor> {
        self.tensors
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
        let mut builder = Builder::default();
        let tokens = builder.push("wte.weight".into(), &[self.vocabulary, c]);
        let positions = builder.push("wpe.weight".into(), &[self.context, c]);
        let blocks = (0..self.layers).map(|index| builder.block(index, c)).collect();
        let norm_gain = builder.push("ln_f.weight".into(), &[c]);
        let norm_bias = builder.push("ln_f.bias".into(), &[c]);
        let layout = Layout { tokens, positions, blocks, norm_gain, norm_bias };
        (builder.tensors, layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CnnShape, LogisticShape, MlpShape, Shape};

    #[test]
    fn tensors_cover_the_buffer_without_gaps() {
        let shapes: [(Shape, usize); 5] = [
            (GptShape::named("gpt:tiny", 256).unwrap().into(), 4 + 12 * 4),
            (MlpShape { inputs: 64, hidden: 32, layers: 1, classes: 10 }.into(), 4),
            (MlpShape { inputs: 5, hidden: 7, layers: 3, classes: 2 }.into(), 8),
            (CnnShape { side: 28, channels: 1, filters: 8, classes: 10 }.into(), 6),
            (LogisticShape { inputs: 14, regularization: 0.0 }.into(), 1),
        ];
        for (shape, count) in shapes {
            let mut end = 0;
            for tensor in shape.tensors() {
                assert_eq!(tensor.offset, end, "{}", tensor.name);
                end = tensor.range().end;
            }
            assert_eq!((end, shape.tensors().len()), (shape.parameter_count(), count), "{shape:?}");
            assert_eq!(shape.check(), Ok(()));
        }
    }

    /// As `state_dict()` of the same `Sequential` lists them.
    #[test]
    fn small_models_have_the_names_of_pytorch() {
        let list = |shape: Shape| {
            let tensors = shape.tensors().into_iter();
            tensors.map(|tensor| format!("{} {:?}", tensor.name, tensor.shape)).collect::<Vec<_>>()
        };
        let mlp = MlpShape { inputs: 64, hidden: 32, layers: 1, classes: 10 };
        assert_eq!(
            list(mlp.into()),
            ["0.weight [32, 64]", "0.bias [32]", "2.weight [10, 32]", "2.bias [10]"]
        );
        let cnn = CnnShape { side: 28, channels: 1, filters: 8, classes: 10 };
        let expected = [
            "0.weight [8, 1, 3, 3]",
            "0.bias [8]",
            "3.weight [16, 8, 3, 3]",
            "3.bias [16]",
            "7.weight [10, 784]",
            "7.bias [10]",
        ];
        assert_eq!(list(cnn.into()), expected);
        assert_eq!(list(LogisticShape { inputs: 14, regularization: 0.0 }.into()), ["weight [1, 14]"]);
    }

    #[test]
    fn impossible_small_models_are_named() {
        let mlp = MlpShape { inputs: 64, hidden: 32, layers: 1, classes: 10 };
        let cnn = CnnShape { side: 8, channels: 1, filters: 8, classes: 10 };
        let message = |shape: Shape| shape.check().unwrap_err().to_string();
        assert!(message(MlpShape { layers: 0, ..mlp }.into()).contains("layers"));
        assert!(message(MlpShape { classes: 1, ..mlp }.into()).contains("classes is 1, the minimum is 2"));
        assert!(message(MlpShape { hidden: usize::MAX, ..mlp }.into()).contains("hidden"));
        let wide = MlpShape { inputs: 1 << 20, hidden: 1 << 16, ..mlp };
        assert!(message(wide.into()).contains("parameters"));
        assert!(message(CnnShape { side: 3, ..cnn }.into()).contains("side is 3, the minimum is 4"));
        for regularization in [-1.0, f32::NAN, f32::INFINITY] {
            let shape = LogisticShape { inputs: 3, regularization };
            assert!(message(shape.into()).contains("regularization"));
        }
    }
}
