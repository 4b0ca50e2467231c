//! Inner optimizers: what turns a gradient into a change of the parameters.

mod adamw;
pub(crate) mod muon;

pub use adamw::AdamW;
pub(crate) use adamw::{Coefficients, Decay, Moments};
pub use muon::Muon;
