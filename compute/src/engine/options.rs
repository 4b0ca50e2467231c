//! How an engine trains.

use super::EngineError;
use crate::optimizer::{AdamW, Muon};

/// The largest batch and number of threads admitted.
const MAX_BATCH: usize = 1 << 16;
const MAX_THREADS: usize = 1 << 10;

/// How an engine trains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngineOptions {
    /// Threads that compute; more than [`SHARDS`](super::SHARDS) help only the optimizer.
    pub threads: usize,
    /// Sequences of one step (B).
    pub batch: usize,
    /// The inner optimizer.
    pub adamw: AdamW,
    /// The optimizer of the blocks' matrices, if it is another; their weight decay is AdamW's number at its rate.
    pub muon: Option<Muon>,
}

impl EngineOptions {
    /// Checks every option against its range.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        if !(1..=MAX_THREADS).contains(&self.threads) {
            return Err(EngineError::Option("threads must be 1 to 1024"));
        }
        if !(1..=MAX_BATCH).contains(&self.batch) {
            return Err(EngineError::Option("batch must be 1 to 65536"));
        }
        if !self.adamw.is_valid() {
            return Err(EngineError::Option("adamw has a number out of its range"));
        }
        if self.muon.is_some_and(|muon| !muon.is_valid()) {
            return Err(EngineError::Option("muon has a number out of its range"));
        }
        Ok(())
    }
}
