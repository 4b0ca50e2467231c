//! How an engine trains.

use super::EngineError;
use crate::model::Shape;
use crate::optimizer::Optimizer;

/// The largest batch and number of threads admitted.
const MAX_BATCH: usize = 1 << 16;
const MAX_THREADS: usize = 1 << 10;

/// How an engine trains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngineOptions {
    /// Threads that compute; more than [`SHARDS`](super::SHARDS) help only the optimizer, and a small model takes one.
    pub threads: usize,
    /// Samples of one step (B).
    pub batch: usize,
    /// The inner optimizer.
    pub optimizer: Optimizer,
}

impl EngineOptions {
    /// Checks every option against its range.
    pub(super) fn check(&self, shape: &Shape) -> Result<(), EngineError> {
        if !(1..=MAX_THREADS).contains(&self.threads) {
            return Err(EngineError::Option("threads must be 1 to 1024"));
        }
        if !(1..=MAX_BATCH).contains(&self.batch) {
            return Err(EngineError::Option("batch must be 1 to 65536"));
        }
        match self.optimizer {
            Optimizer::AdamW(adamw) | Optimizer::Muon { adamw, .. } if !adamw.is_valid() => {
                Err(EngineError::Option("adamw has a number out of its range"))
            }
            Optimizer::Muon { muon, .. } if !muon.is_valid() => {
                Err(EngineError::Option("muon has a number out of its range"))
            }
            Optimizer::Muon { .. } if shape.gpt().is_none() => {
                Err(EngineError::Option("muon is for the blocks of gpt models: use adamw or sgd"))
            }
            Optimizer::Sgd(sgd) if !sgd.is_valid() => {
                Err(EngineError::Option("sgd has a number out of its range"))
            }
            _ => Ok(()),
        }
    }
}
