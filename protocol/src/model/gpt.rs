//! A decoder-only transformer in GPT-2's form.
//!
//! Names and order are Hugging Face's GPT-2 (without the prefix `transformer.`), so that exports
//! and imports need no table.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::{Init, ModelError, Placement, Tensor, within};

/// The numbers of a GPT-2 style model. The output head is tied to `wte`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GptShape {
    /// Transformer blocks (L).
    pub layers: u16,
    /// Attention heads of a block.
    pub heads: u16,
    /// Width of the residual stream (C).
    pub width: u32,
    /// Positions (T).
    pub context: u32,
    /// Tokens (V); 256 for bytes.
    pub vocabulary: u32,
}

impl GptShape {
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let bounds = [
            ("layers", u64::from(self.layers), 1, 512),
            ("heads", u64::from(self.heads), 1, 1024),
            ("width", u64::from(self.width), 1, 1 << 16),
            ("context", u64::from(self.context), 1, 1 << 20),
            ("vocabulary", u64::from(self.vocabulary), 2, 1 << 22),
        ];
        within(&bounds)?;
        if !self.width.is_multiple_of(u32::from(self.heads)) {
            return Err(ModelError::Heads { width: self.width, heads: self.heads });
        }
        Ok(())
    }

    pub(super) fn parameters(&self) -> u64 {
        let [layers, width] = [u128::from(self.layers), u128::from(self.width)];
        let rows = u128::from(self.vocabulary) + u128::from(self.context);
        // Per block: 12 C^2 in four matrices, 9 C in their biases, 4 C in two norms.
        let total = rows * width + layers * (12 * width * width + 13 * width) + 2 * width;
        u64::try_from(total).unwrap_or(u64::MAX)
    }

    pub(super) fn tensors(&self) -> Vec<Tensor> {
        use Init::{Normal, One, Residual, Zero};
        let c = self.width;
        let [c3, c4] = [c.saturating_mul(3), c.saturating_mul(4)];
        let split = |name: &str, rows| Tensor {
            name: name.into(),
            shape: vec![rows, c],
            init: Normal,
            placement: Placement::Split,
        };
        let block = [
            ("ln_1.weight", vec![c], One),
            ("ln_1.bias", vec![c], Zero),
            ("attn.c_attn.weight", vec![c, c3], Normal),
            ("attn.c_attn.bias", vec![c3], Zero),
            ("attn.c_proj.weight", vec![c, c], Residual),
            ("attn.c_proj.bias", vec![c], Zero),
            ("ln_2.weight", vec![c], One),
            ("ln_2.bias", vec![c], Zero),
            ("mlp.c_fc.weight", vec![c, c4], Normal),
            ("mlp.c_fc.bias", vec![c4], Zero),
            ("mlp.c_proj.weight", vec![c4, c], Residual),
            ("mlp.c_proj.bias", vec![c], Zero),
        ];
        let mut tensors = vec![split("wte.weight", self.vocabulary), split("wpe.weight", self.context)];
        for index in 0..self.layers {
            tensors.extend(block.iter().map(|(name, shape, init)| Tensor {
                name: format!("h.{index}.{name}"),
                shape: shape.clone(),
                init: *init,
                placement: Placement::Block(index),
            }));
        }
        tensors.extend([("ln_f.weight", One), ("ln_f.bias", Zero)].map(|(name, init)| Tensor {
            name: name.into(),
            shape: vec![c],
            init,
            placement: Placement::Last,
        }));
        tensors
    }
}
