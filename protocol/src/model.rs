//! Which tensors a model has: names, shapes, how they start and where they go.
//!
//! Names and order are Hugging Face's GPT-2 (without the prefix `transformer.`), so that exports
//! and imports need no table. The engine keeps its own copy of the same list; `layout.rs` matches
//! the two by name.

use bincode::{Decode, Encode};
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize};

/// The model that a session trains.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// A decoder-only transformer in GPT-2's form.
    Gpt(GptShape),
}

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

/// How a tensor starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Init {
    /// Normal, times the manifest's scale.
    Normal,
    /// Normal, times the scale, divided by sqrt(2 x layers).
    Residual,
    /// All zeros.
    Zero,
    /// All ones.
    One,
}

/// To which fragments a tensor belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// With its block.
    Block(u16),
    /// Its rows are cut into equal ranges, one per fragment.
    Split,
    /// With the last fragment.
    Last,
}

/// One tensor of a model; values are row-major.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tensor {
    /// Hugging Face's name.
    pub name: String,
    /// Its extents.
    pub shape: Vec<u32>,
    /// How it starts.
    pub init: Init,
    /// Where it goes.
    pub placement: Placement,
}

impl Tensor {
    /// Its number of values, saturating.
    pub fn len(&self) -> u64 {
        self.shape.iter().fold(1, |product: u64, extent| product.saturating_mul(u64::from(*extent)))
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values of one row: the product of all extents but the first, saturating.
    pub fn row(&self) -> u64 {
        let extents = self.shape.iter().skip(1);
        extents.fold(1, |product: u64, extent| product.saturating_mul(u64::from(*extent)))
    }
}

/// A model that no session can train.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ModelError {
    /// A number outside its bounds.
    #[error("{field} is {found}, it must be {low} to {high}")]
    Bound {
        /// Which number.
        field: &'static str,
        /// Its value.
        found: u64,
        /// The least it may be.
        low: u64,
        /// The most it may be.
        high: u64,
    },
    /// The heads do not divide the width.
    #[error("width {width} is not a multiple of heads {heads}")]
    Heads {
        /// The width.
        width: u32,
        /// The heads.
        heads: u16,
    },
    /// A name that stands for no model.
    #[error("no model is called {0:?}: there are gpt:tiny, gpt:small and gpt:gpt2")]
    Unknown(String),
}

impl Model {
    /// The most parameters a model may have.
    pub const MAX_PARAMETERS: u64 = 1 << 40;
    /// The names that [`Model::named`] knows.
    pub const NAMES: [&str; 3] = ["gpt:tiny", "gpt:small", "gpt:gpt2"];

    /// The model behind a short name. Tiny and small read bytes; gpt2 has GPT-2's vocabulary.
    pub fn named(name: &str) -> Result<Model, ModelError> {
        let (layers, heads, width, context, vocabulary) = match name {
            "gpt:tiny" => (4, 4, 128, 64, 256),
            "gpt:small" => (6, 6, 384, 256, 256),
            "gpt:gpt2" => (12, 12, 768, 1024, 50_257),
            _ => return Err(ModelError::Unknown(name.chars().take(64).collect())),
        };
        Ok(Model::Gpt(GptShape { layers, heads, width, context, vocabulary }))
    }

    /// Refuses shapes that no session can train. Everything else here may be called on any shape,
    /// but only a checked one is known to be of a size that fits.
    pub fn check(&self) -> Result<(), ModelError> {
        let Model::Gpt(shape) = self;
        shape.check()
    }

    /// All tensors, in Hugging Face's order.
    pub fn tensors(&self) -> Vec<Tensor> {
        let Model::Gpt(shape) = self;
        shape.tensors()
    }

    /// The number of parameters, saturating.
    pub fn parameters(&self) -> u64 {
        let Model::Gpt(shape) = self;
        shape.parameters()
    }

    /// Transformer blocks, or whatever a method may cut the model by.
    pub fn layers(&self) -> u16 {
        let Model::Gpt(shape) = self;
        shape.layers
    }

    /// Different tokens that the model knows.
    pub fn vocabulary(&self) -> u32 {
        let Model::Gpt(shape) = self;
        shape.vocabulary
    }

    /// Tokens of one training sample.
    pub fn context(&self) -> u32 {
        let Model::Gpt(shape) = self;
        shape.context
    }
}

impl GptShape {
    fn check(&self) -> Result<(), ModelError> {
        let bounds = [
            ("layers", u64::from(self.layers), 1, 512),
            ("heads", u64::from(self.heads), 1, 1024),
            ("width", u64::from(self.width), 1, 1 << 16),
            ("context", u64::from(self.context), 1, 1 << 20),
            ("vocabulary", u64::from(self.vocabulary), 2, 1 << 22),
        ];
        for (field, found, low, high) in bounds {
            if !(low..=high).contains(&found) {
                return Err(ModelError::Bound { field, found, low, high });
            }
        }
        if !self.width.is_multiple_of(u32::from(self.heads)) {
            return Err(ModelError::Heads { width: self.width, heads: self.heads });
        }
        let found = self.parameters();
        if found > Model::MAX_PARAMETERS {
            return Err(ModelError::Bound {
                field: "parameters",
                found,
                low: 1,
                high: Model::MAX_PARAMETERS,
            });
        }
        Ok(())
    }

    fn parameters(&self) -> u64 {
        let [layers, width] = [u128::from(self.layers), u128::from(self.width)];
        let rows = u128::from(self.vocabulary) + u128::from(self.context);
        // Per block: 12 C^2 in four matrices, 9 C in their biases, 4 C in two norms.
        let total = rows * width + layers * (12 * width * width + 13 * width) + 2 * width;
        u64::try_from(total).unwrap_or(u64::MAX)
    }

    fn tensors(&self) -> Vec<Tensor> {
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

impl<'de> Deserialize<'de> for Model {
    /// A short name, or a table `gpt = { layers = ... }`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Model, D::Error> {
        struct NameOrShape;
        impl<'de> serde::de::Visitor<'de> for NameOrShape {
            type Value = Model;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a model's name such as \"gpt:tiny\", or its shape")
            }
            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Model, E> {
                Model::named(name).map_err(E::custom)
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Model, A::Error> {
                #[derive(Deserialize)]
                #[serde(rename_all = "kebab-case")]
                enum Shape {
                    Gpt(GptShape),
                }
                let Shape::Gpt(shape) = Shape::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Model::Gpt(shape))
            }
        }
        deserializer.deserialize_any(NameOrShape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpt_tiny_has_834304_parameters_and_gpt2_the_published_number() {
        assert_eq!(Model::named("gpt:tiny").unwrap().parameters(), 834_304);
        assert_eq!(Model::named("gpt:gpt2").unwrap().parameters(), 124_439_808);
        for name in Model::NAMES {
            let model = Model::named(name).unwrap();
            model.check().unwrap();
            assert_eq!(model.tensors().iter().map(Tensor::len).sum::<u64>(), model.parameters(), "{name}");
        }
        assert_eq!(Model::named("gpt:huge"), Err(ModelError::Unknown("gpt:huge".into())));
    }

    #[test]
    fn tensors_are_hugging_faces_in_order() {
        let tensors = Model::named("gpt:tiny").unwrap().tensors();
        let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names.len(), 4 + 12 * 4);
        assert_eq!(names[..3], ["wte.weight", "wpe.weight", "h.0.ln_1.weight"]);
        assert_eq!(names[12..15], ["h.0.mlp.c_proj.weight", "h.0.mlp.c_proj.bias", "h.1.ln_1.weight"]);
        assert_eq!(names[50..], ["ln_f.weight", "ln_f.bias"]);
        let projection = &tensors[12];
        assert_eq!(projection.shape, [512, 128]);
        assert_eq!((projection.init, projection.placement), (Init::Residual, Placement::Block(0)));
    }

    #[test]
    fn hostile_shapes_are_refused_without_overflow() {
        let largest =
            GptShape { layers: u16::MAX, heads: 1, width: u32::MAX, context: u32::MAX, vocabulary: u32::MAX };
        assert!(matches!(Model::Gpt(largest).check(), Err(ModelError::Bound { field: "layers", .. })));
        assert!(Model::Gpt(largest).parameters() > Model::MAX_PARAMETERS);
        let Model::Gpt(tiny) = Model::named("gpt:tiny").unwrap();
        let refused = |shape| Model::Gpt(shape).check().unwrap_err().to_string();
        assert_eq!(refused(GptShape { heads: 0, ..tiny }), "heads is 0, it must be 1 to 1024");
        assert_eq!(refused(GptShape { heads: 3, ..tiny }), "width 128 is not a multiple of heads 3");
        let wide = GptShape { layers: 512, width: 1 << 16, ..tiny };
        assert!(matches!(Model::Gpt(wide).check(), Err(ModelError::Bound { field: "parameters", .. })));
    }
}
