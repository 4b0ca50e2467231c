//! The CPU engine's kernels. Matrices are row-major f32; R = sequences x positions is the number of rows.
//!
//! Bits do not depend on the number of threads. They do depend on the CPU type (vector width, fused multiply-add),
//! so nothing that is replicated may come from here.

mod activations;
mod attention;
mod backward;
mod buffer;
mod cross_entropy;
mod forward;
mod gelu;
pub(crate) mod math;
pub(crate) mod matmul;
mod norm;
pub(crate) mod reduce;
pub(crate) mod transpose;

pub(crate) use activations::{Activations, Keep, Rows};
pub(crate) use backward::backward;
pub(crate) use buffer::Buffer;
pub(crate) use forward::{Model, forward, last_logits, loss};
