//! Model shapes and the table that maps tensor names to ranges of the one flat parameter buffer.

mod cnn;
mod error;
mod gpt;
mod logistic;
mod mlp;
mod shape;
mod tensors;

pub use cnn::CnnShape;
pub(crate) use cnn::{Convolution, KERNEL};
pub use error::ShapeError;
pub use gpt::GptShape;
pub use logistic::LogisticShape;
pub(crate) use mlp::Dense;
pub use mlp::MlpShape;
pub use shape::{RowShape, Shape};
pub(crate) use tensors::Layout;
pub use tensors::Tensor;
