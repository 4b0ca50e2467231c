//! The parts of a batch and the threads that work on them.

use crate::cpu::{Activations, Buffer};
use crate::optimizer::muon::Scratch;
use std::ops::Range;

/// One part of the batch.
pub(super) struct Shard {
    pub sequences: Range<usize>,
    pub gradients: Buffer,
    pub nats: f64,
}

/// One thread's buffers.
pub(super) struct Worker {
    pub activations: Activations,
    pub tokens: Vec<u32>,
    pub targets: Vec<u32>,
    pub scratch: Scratch,
}

impl Worker {
    /// Splits rows of T + 1 tokens into inputs and targets.
    pub(super) fn read(&mut self, rows: &[u32], context: usize) {
        self.tokens.clear();
        self.targets.clear();
        for row in rows.chunks_exact(context + 1) {
            self.tokens.extend_from_slice(&row[..context]);
            self.targets.extend_from_slice(&row[1..]);
        }
    }
}
