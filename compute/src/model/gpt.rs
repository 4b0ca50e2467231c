//! The shape of a GPT-2 style model: pre-layer-norm blocks, learned positions, GELU in its tanh form, tied head.

use super::ShapeError;
use super::error::check_bounds;
use super::shape::MAX_PARAMETERS;

/// The numbers that define a GPT-2 style model.
///
/// Shapes in this crate's comments: B sequences, T positions (`context`), C channels (`width`), V tokens
/// (`vocabulary`), L blocks (`layers`), H `heads` of D = C / H channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GptShape {
    /// Transformer blocks (L).
    pub layers: usize,
    /// Attention heads of each block (H); divides `width`.
    pub heads: usize,
    /// Channels of the residual stream (C).
    pub width: usize,
    /// Positions that the model sees at once (T).
    pub context: usize,
    /// Number of tokens (V): 256 for bytes.
    pub vocabulary: usize,
}

impl GptShape {
    /// The named models `gpt:tiny`, `gpt:small` and `gpt:gpt2`, or `None` for any other name.
    ///
    /// `vocabulary` is 256 for bytes, 50,257 for GPT-2's own tokenizer.
    #[must_use]
    pub fn named(name: &str, vocabulary: usize) -> Option<GptShape> {
        let (layers, heads, width, context) = match name {
            "gpt:tiny" => (4, 4, 128, 64),
            "gpt:small" => (6, 6, 384, 256),
            "gpt:gpt2" => (12, 12, 768, 1024),
            _ => return None,
        };
        Some(GptShape { layers, heads, width, context, vocabulary })
    }

    /// Checks every dimension against its maximum and the heads against the width.
    ///
    /// # Errors
    /// [`ShapeError`] names the first dimension that is wrong.
    pub fn check(&self) -> Result<(), ShapeError> {
        // No product of a checked shape overflows 64 bits, and a hostile manifest or configuration file costs no
        // allocation.
        check_bounds(&[
            ("layers", self.layers, 1, 256),
            ("heads", self.heads, 1, 256),
            ("width", self.width, 1, 16_384),
            ("context", self.context, 1, 65_536),
            ("vocabulary", self.vocabulary, 1, 1 << 20),
        ])?;
        if !self.width.is_multiple_of(self.heads) {
            return Err(ShapeError::Heads { width: self.width, heads: self.heads });
        }
        check_bounds(&[("parameters", self.parameter_count(), 1, MAX_PARAMETERS)])
    }

    /// Channels of one head (D).
    #[must_use]
    pub fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// Weights that take part in a matrix product once per token: the blocks' matrices and the tied head.
    #[must_use]
    pub fn matrix_weights(&self) -> usize {
        12 * self.layers * self.width * self.width + self.vocabulary * self.width
    }

    /// All parameters, embeddings, biases and gains included.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        let block = 12 * self.width * self.width + 13 * self.width;
        self.layers * block + (self.vocabulary + self.context) * self.width + 2 * self.width
    }

    /// Floating-point operations of one training step per token that are matrix products: six per matrix weight,
    /// and causal attention, of which only half of each square counts.
    #[must_use]
    pub fn training_flops_per_token(&self) -> f64 {
        6.0 * self.matrix_weights() as f64 + 6.0 * (self.layers * self.width * self.context) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_shapes_have_the_documented_sizes() {
        let tiny = GptShape::named("gpt:tiny", 256).unwrap();
        assert_eq!(tiny.parameter_count(), 834_304);
        assert_eq!((tiny.training_flops_per_token() / 1e5).round(), 51.0);
        let small = GptShape::named("gpt:small", 256).unwrap();
        assert_eq!((small.training_flops_per_token() / 1e5).round(), 678.0);
        let gpt2 = GptShape::named("gpt:gpt2", 50_257).unwrap();
        assert_eq!(gpt2.parameter_count(), 124_439_808);
        assert_eq!(GptShape::named("gpt:huge", 256), None);
        for shape in [tiny, small, gpt2] {
            assert_eq!(shape.check(), Ok(()));
        }
    }

    #[test]
    fn impossible_shapes_are_named() {
        let tiny = GptShape::named("gpt:tiny", 256).unwrap();
        assert_eq!(GptShape { layers: 0, ..tiny }.check(), Err(ShapeError::Zero("layers")));
        assert_eq!(GptShape { heads: 3, ..tiny }.check(), Err(ShapeError::Heads { width: 128, heads: 3 }));
        let wide = GptShape { width: usize::MAX, ..tiny }.check();
        assert!(matches!(wide, Err(ShapeError::TooLarge { what: "width", .. })));
        let huge = GptShape { layers: 256, width: 16_384, heads: 1, ..tiny }.check();
        assert!(matches!(huge, Err(ShapeError::TooLarge { what: "parameters", .. })));
    }
}
