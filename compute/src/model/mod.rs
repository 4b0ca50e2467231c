//! Model shapes and the table that maps tensor names to ranges of the one flat parameter buffer.

mod gpt;
mod tensors;

pub use gpt::{GptShape, ShapeError};
pub(crate) use tensors::Layout;
pub use tensors::Tensor;
