//! Which model: one of a closed list, each with its own numbers.

use super::{CnnShape, GptShape, LogisticShape, MlpShape, ShapeError, Tensor};

/// The shape of a model that an engine can train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// A language model over texts.
    Gpt(GptShape),
    /// Dense layers over rows of a table.
    Mlp(MlpShape),
    /// Two convolutions and a dense layer over square images.
    Cnn(CnnShape),
    /// Logistic regression over rows of a table with two labels.
    Logistic(LogisticShape),
}

/// What a model of rows needs of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowShape {
    /// Features of a row.
    pub inputs: usize,
    /// Labels are below this number.
    pub classes: usize,
}

/// The most parameters an engine allocates: 2^33, 32 GiB of f32.
pub(super) const MAX_PARAMETERS: usize = 1 << 33;

impl Shape {
    /// Checks every dimension against its maximum.
    ///
    /// # Errors
    /// [`ShapeError`] names the first dimension that is wrong.
    pub fn check(&self) -> Result<(), ShapeError> {
        match self {
            Shape::Gpt(shape) => shape.check(),
            Shape::Mlp(shape) => shape.check(),
            Shape::Cnn(shape) => shape.check(),
            Shape::Logistic(shape) => shape.check(),
        }
    }

    /// The tensor table in buffer order.
    #[must_use]
    pub fn tensors(&self) -> Vec<Tensor> {
        match self {
            Shape::Gpt(shape) => shape.tensors(),
            Shape::Mlp(shape) => shape.tensors(),
            Shape::Cnn(shape) => shape.tensors(),
            Shape::Logistic(shape) => shape.tensors(),
        }
    }

    /// All parameters.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        match self {
            Shape::Gpt(shape) => shape.parameter_count(),
            Shape::Mlp(shape) => shape.parameter_count(),
            Shape::Cnn(shape) => shape.parameter_count(),
            Shape::Logistic(shape) => shape.parameter_count(),
        }
    }

    /// What the model needs of the rows that it trains on; `None` for a model of texts.
    #[must_use]
    pub fn rows(&self) -> Option<RowShape> {
        match *self {
            Shape::Gpt(_) => None,
            Shape::Mlp(MlpShape { inputs, classes, .. }) => Some(RowShape { inputs, classes }),
            Shape::Cnn(shape) => Some(RowShape { inputs: shape.inputs(), classes: shape.classes }),
            Shape::Logistic(LogisticShape { inputs, .. }) => Some(RowShape { inputs, classes: 2 }),
        }
    }

    /// The language model's shape, if it is one.
    #[must_use]
    pub fn gpt(&self) -> Option<&GptShape> {
        if let Shape::Gpt(shape) = self { Some(shape) } else { None }
    }

    /// What the model is called in messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Shape::Gpt(_) => "gpt",
            Shape::Mlp(_) => "mlp",
            Shape::Cnn(_) => "cnn",
            Shape::Logistic(_) => "logistic regression",
        }
    }
}

impl From<GptShape> for Shape {
    fn from(shape: GptShape) -> Shape {
        Shape::Gpt(shape)
    }
}

impl From<MlpShape> for Shape {
    fn from(shape: MlpShape) -> Shape {
        Shape::Mlp(shape)
    }
}

impl From<CnnShape> for Shape {
    fn from(shape: CnnShape) -> Shape {
        Shape::Cnn(shape)
    }
}

impl From<LogisticShape> for Shape {
    fn from(shape: LogisticShape) -> Shape {
        Shape::Logistic(shape)
    }
}
