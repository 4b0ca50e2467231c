//! The CPU engine's kernels. Matrices are row-major f32; R = sequences x positions is the number of rows.
//!
//! Bits do not depend on the number of threads. They do depend on the CPU type (vector width, fused multiply-add),
//! so nothing that is replicated may come from here.

mod activations;
mod attention;
mod backward;
mod buffer;
mod cnn;
mod convolution;
mod cross_entropy;
mod forward;
mod gelu;
mod logistic;
pub(crate) mod math;
pub(crate) mod matmul;
mod mlp;
mod norm;
pub(crate) mod reduce;
mod score;
pub(crate) mod transpose;

pub(crate) use activations::{Activations, Keep, Rows};
pub(crate) use backward::backward;
pub(crate) use buffer::Buffer;
pub(crate) use cnn::Cnn;
pub(crate) use forward::{Model, forward, last_logits, loss};
pub(crate) use logistic::{Logistic, add_penalty_gradient, penalty};
pub(crate) use mlp::Mlp;
pub(crate) use score::Score;

/// A model's parameters.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub parameters: &'a [f32],
    /// The same places, every matrix transposed.
    pub turned: &'a [f32],
}
