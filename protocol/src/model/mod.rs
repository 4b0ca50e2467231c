//! Which tensors a model has: names, shapes, how they start and where they go.
//!
//! The engine keeps its own copy of the same list; `layout.rs` matches the two by name.

mod gpt;
mod names;
mod small;

use bincode::{Decode, Encode};
use serde::Serialize;

pub use gpt::GptShape;
pub use small::{CnnShape, LogisticShape, MlpShape};

/// The model that a session trains.
#[derive(Clone, Copy, PartialEq, Debug, Encode, Decode, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// A decoder-only transformer in GPT-2's form, on texts.
    Gpt(GptShape),
    /// Dense layers, on rows of features.
    Mlp(MlpShape),
    /// Two convolutions and a dense layer, on square images.
    Cnn(CnnShape),
    /// Logistic regression of two classes.
    Logistic(LogisticShape),
}

/// How a tensor starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Init {
    /// Normal, times the manifest's scale.
    Normal,
    /// Normal, times the scale, divided by sqrt(2 x layers).
    Residual,
    /// Normal, times sqrt(2 / inputs), whatever the manifest's scale (He et al. 2015).
    He {
        /// Values that one output adds up.
        inputs: u32,
    },
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
    /// Hugging Face's name, or PyTorch's.
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
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
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
    /// A number that must be finite and not below zero.
    #[error("{field} is {found}, it must be 0 or more")]
    Negative {
        /// Which number.
        field: &'static str,
        /// Its value.
        found: f32,
    },
    /// A name that stands for no model.
    #[error(
        "no model is called {0:?}: there are gpt:tiny, gpt:small and gpt:gpt2 for texts; for tables \
         mlp:INPUTS-HIDDEN-CLASSES, cnn:SIDExCHANNELS-FILTERS-CLASSES and logistic:INPUTS"
    )]
    Unknown(String),
}

/// Refuses the first number outside its bounds.
fn within(bounds: &[(&'static str, u64, u64, u64)]) -> Result<(), ModelError> {
    match bounds.iter().find(|(_, found, low, high)| !(low..=high).contains(&found)) {
        Some(&(field, found, low, high)) => Err(ModelError::Bound { field, found, low, high }),
        None => Ok(()),
    }
}

impl Model {
    /// The most parameters a model may have.
    pub const MAX_PARAMETERS: u64 = 1 << 40;
    /// Models of texts that [`Model::named`] knows.
    pub const NAMES: [&str; 3] = ["gpt:tiny", "gpt:small", "gpt:gpt2"];

    /// Refuses shapes that no session can train. Everything else here may be called on any shape,
    /// but only a checked one is known to be of a size that fits.
    pub fn check(&self) -> Result<(), ModelError> {
        match self {
            Model::Gpt(shape) => shape.check()?,
            Model::Mlp(shape) => shape.check()?,
            Model::Cnn(shape) => shape.check()?,
            Model::Logistic(shape) => shape.check()?,
        }
        within(&[("parameters", self.parameters(), 1, Model::MAX_PARAMETERS)])
    }

    /// All tensors, in the order of Hugging Face or PyTorch.
    pub fn tensors(&self) -> Vec<Tensor> {
        match self {
            Model::Gpt(shape) => shape.tensors(),
            Model::Mlp(shape) => shape.tensors(),
            Model::Cnn(shape) => shape.tensors(),
            Model::Logistic(shape) => shape.tensors(),
        }
    }

    /// The number of parameters, saturating.
    pub fn parameters(&self) -> u64 {
        match self {
            Model::Gpt(shape) => shape.parameters(),
            Model::Mlp(_) | Model::Cnn(_) | Model::Logistic(_) => {
                self.tensors().iter().fold(0, |sum: u64, tensor| sum.saturating_add(tensor.len()))
            }
        }
    }

    /// Transformer blocks, or whatever a method may cut the model by.
    pub fn layers(&self) -> u16 {
        match self {
            Model::Gpt(shape) => shape.layers,
            Model::Mlp(shape) => shape.layers.saturating_add(1),
            Model::Cnn(_) => CnnShape::LAYERS,
            Model::Logistic(_) => 1,
        }
    }

    /// Different tokens that a model of texts knows.
    pub fn vocabulary(&self) -> Option<u32> {
        match self {
            Model::Gpt(shape) => Some(shape.vocabulary),
            Model::Mlp(_) | Model::Cnn(_) | Model::Logistic(_) => None,
        }
    }

    /// Tokens of one training sample: 1 where that is a row of a table.
    pub fn context(&self) -> u32 {
        match self {
            Model::Gpt(shape) => shape.context,
            Model::Mlp(_) | Model::Cnn(_) | Model::Logistic(_) => 1,
        }
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
        let Model::Gpt(tiny) = Model::named("gpt:tiny").unwrap() else { unreachable!() };
        let refused = |shape| Model::Gpt(shape).check().unwrap_err().to_string();
        assert_eq!(refused(GptShape { heads: 0, ..tiny }), "heads is 0, it must be 1 to 1024");
        assert_eq!(refused(GptShape { heads: 3, ..tiny }), "width 128 is not a multiple of heads 3");
        let wide = GptShape { layers: 512, width: 1 << 16, ..tiny };
        assert!(matches!(Model::Gpt(wide).check(), Err(ModelError::Bound { field: "parameters", .. })));
    }
}
