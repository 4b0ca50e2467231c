//! The engine: one model's parameters and optimizer, and the passes over them, on the CPU.
//!
//! A batch is cut into [`SHARDS`] fixed parts. Each part runs forward and backward on one thread with its own gradient
//! buffer, and the gradients are added in the order of the parts: the number of threads never changes a bit. Between
//! the parts of a step threads wait asleep; where they are one, or the model is small, the caller does the work.

mod batch;
mod error;
#[cfg(test)]
mod gradient_tests;
mod options;
mod passes;
mod pool;
mod shard;
mod update;

pub use batch::Batch;
pub use error::EngineError;
pub use options::EngineOptions;

use crate::checkpoint::{self, CheckpointError};
use crate::cpu::{self, Buffer, Values};
use crate::model::{Shape, Tensor};
use crate::optimizer::Decay;
use crate::optimizer::muon::{self, Block, Scratch};
use batch::check_tokens;
use passes::Passes;
use pool::Pool;
use shard::{Shard, Worker};
use std::ops::Range;

/// Parts that a batch is cut into; so at most this many threads train at once.
pub const SHARDS: usize = 4;

/// Values that one task of a pass over the flat buffers handles: fixed, so that sums are too.
const CHUNK: usize = 1 << 15;

/// What one training step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The mean loss before the step: nats per predicted token or row, regularizer included.
    pub loss: f32,
    /// 2-norm of the whole gradient, before clipping.
    pub gradient_norm: f32,
}

/// A model in training: one flat buffer of f32 parameters, the optimizer's moments, and every buffer that a step needs, so
/// that a step allocates nothing of size. Buffers that are never needed take no memory where the system allocates as
/// Linux does: an engine that only evaluates keeps one block's activations and no gradient.
pub struct Engine {
    shape: Shape,
    options: EngineOptions,
    tensors: Vec<Tensor>,
    decay: Decay,
    /// The tensors that are Muon's.
    blocks: Vec<Block>,
    pub(crate) parameters: Buffer,
    /// The parameters with every matrix transposed; as fresh as the last pass that needed it.
    turned: Buffer,
    pub(crate) first: Buffer,
    pub(crate) second: Buffer,
    /// Steps that the optimizer has taken since it was fresh.
    pub(crate) steps: u64,
    ramp: u32,
    shards: Vec<Shard>,
    workers: Vec<Worker>,
    /// Sum of squares of each chunk of the gradient.
    squares: Vec<f64>,
    pool: Pool,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("shape", &self.shape)
            .field("options", &self.options)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine whose parameters are all zero: the caller writes them.
    ///
    /// # Errors
    /// An impossible shape, an option out of its range, or no threads.
    pub fn new(shape: impl Into<Shape>, options: EngineOptions) -> Result<Engine, EngineError> {
        let shape = shape.into();
        shape.check()?;
        options.check(&shape)?;
        let tensors = shape.tensors();
        let len = shape.parameter_count();
        let pool = Pool::new(&options, len)?;
        let parts = SHARDS.min(options.batch);
        let blocks = match (options.optimizer.muon(), shape.gpt()) {
            (Some(_), Some(shape)) => muon::blocks(shape),
            _ => Vec::new(),
        };
        let samples = options.batch.div_ceil(parts);
        let workers = (0..parts.min(options.threads))
            .map(|_| Worker { passes: Passes::new(&shape, samples), scratch: Scratch::new(&blocks) })
            .collect();
        let moments = if options.optimizer.has_moments() { len } else { 0 };
        Ok(Engine {
            decay: Decay::new(&tensors, &blocks),
            blocks,
            parameters: Buffer::zeros(len),
            turned: Buffer::zeros(len),
            first: Buffer::zeros(moments),
            second: Buffer::zeros(moments),
            steps: 0,
            ramp: 0,
            squares: vec![0.0; len.div_ceil(CHUNK)],
            shape,
            options,
            tensors,
            shards: (0..parts).map(|_| Shard { gradients: Buffer::zeros(len), nats: 0.0 }).collect(),
            workers,
            pool,
        })
    }

    /// The model's shape.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The tensor table, in buffer order.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Length of the flat parameter buffer.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.parameters.len()
    }

    /// Samples of one step (B).
    #[must_use]
    pub fn batch(&self) -> usize {
        self.options.batch
    }

    /// The options that the engine was made with.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The flat parameter buffer.
    #[must_use]
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// Copies a range of the parameters.
    ///
    /// # Panics
    /// If the range is outside of the buffer or its length differs from `into`'s: both are the caller's own numbers.
    pub fn read(&self, range: Range<usize>, into: &mut [f32]) {
        into.copy_from_slice(&self.parameters[range]);
    }

    /// Overwrites a range of the parameters; the optimizer's moments stay.
    ///
    /// # Panics
    /// If the range is outside of the buffer or its length differs from `values`': both are the caller's own numbers.
    pub fn write(&mut self, range: Range<usize>, values: &[f32]) {
        self.parameters[range].copy_from_slice(values);
    }

    /// Steps that the optimizer has taken since it was fresh.
    #[must_use]
    pub fn optimizer_steps(&self) -> u64 {
        self.steps
    }

    /// Makes the optimizer fresh: moments and step count zero.
    pub fn reset_optimizer(&mut self) {
        self.first.fill(0.0);
        self.second.fill(0.0);
        self.steps = 0;
    }

    /// Learning rates are multiplied by min(1, own steps / `steps`) from now on; 0, the default, turns that off.
    pub fn set_ramp(&mut self, steps: u32) {
        self.ramp = steps;
    }

    /// One training step on a batch of B samples.
    ///
    /// # Errors
    /// Samples that are not the model's, another number of them, a broken learning rate, or a loss or gradient that is not
    /// finite. In every case parameters and optimizer are as they were.
    pub fn step(&mut self, batch: Batch<'_>, learning_rate: f32) -> Result<StepReport, EngineError> {
        let samples = batch.check(&self.shape)?;
        if samples != self.options.batch {
            return Err(EngineError::SampleCount { expected: self.options.batch, got: samples });
        }
        if !learning_rate.is_finite() || learning_rate < 0.0 {
            return Err(EngineError::LearningRate(learning_rate));
        }
        self.turn_matrices(self.tensors.len());
        let (loss, norm) = self.batch_gradient(batch, samples, samples, true)?;
        self.update(learning_rate, norm);
        Ok(StepReport { loss: loss as f32, gradient_norm: norm as f32 })
    }

    /// The mean loss of any number of samples at the present parameters, and its gradient in `into`. With B samples the
    /// gradient is the very one that a step would take.
    ///
    /// # Errors
    /// No samples, samples that are not the model's, or a loss or gradient that is not finite; what `into` holds is of no
    /// use then.
    ///
    /// # Panics
    /// If `into` is not as long as the parameters: that is the caller's own number.
    pub fn gradient(&mut self, batch: Batch<'_>, into: &mut [f32]) -> Result<f32, EngineError> {
        assert_eq!(
            into.len(),
            self.parameters.len(),
            "a gradient has as many values as there are parameters"
        );
        let samples = batch.check(&self.shape)?;
        if samples == 0 {
            return Err(EngineError::NoSamples);
        }
        self.turn_matrices(self.tensors.len());
        into.fill(0.0);
        let mut total = 0.0;
        for start in (0..samples).step_by(self.options.batch) {
            let end = (start + self.options.batch).min(samples);
            let part = batch.part(start..end, samples);
            total += self.batch_gradient(part, end - start, samples, start == 0)?.0;
            cpu::reduce::add(into, &self.shards[0].gradients);
        }
        Ok(total as f32)
    }

    /// The mean loss of any number of samples at the present parameters: nats per predicted token or row, regularizer
    /// included. Forward passes only, which keep what one layer needs.
    ///
    /// # Errors
    /// No samples, samples that are not the model's, or a loss that is not finite.
    pub fn loss(&mut self, batch: Batch<'_>) -> Result<f64, EngineError> {
        let samples = batch.check(&self.shape)?;
        if samples == 0 {
            return Err(EngineError::NoSamples);
        }
        let score = self.score(batch)?;
        Ok(self.mean_loss(score.nats, samples))
    }

    /// The logits (V) of the token after `context`, which holds 1 to T tokens; of a GPT only.
    ///
    /// # Errors
    /// An empty or too long context, a token outside of the vocabulary, logits that are not finite, or another model.
    pub fn logits_last(&mut self, context: &[u32]) -> Result<Vec<f32>, EngineError> {
        let Engine { shape, parameters, turned, workers, .. } = self;
        let (Shape::Gpt(shape), Passes::Gpt(gpt)) = (&*shape, &mut workers[0].passes) else {
            return Err(EngineError::Kind { model: shape.name() });
        };
        if context.is_empty() || context.len() > shape.context {
            let expected = format!("1 to {}", shape.context);
            return Err(EngineError::TokenCount { expected, got: context.len() });
        }
        check_tokens(context, shape.vocabulary)?;
        let logits = gpt.last_logits(Values { parameters, turned }, context);
        if logits.iter().all(|logit| logit.is_finite()) {
            Ok(logits)
        } else {
            Err(EngineError::NonFinite("logits"))
        }
    }

    /// Parameters and optimizer as a checkpoint: versioned, with a BLAKE3 hash over everything.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        checkpoint::save(self)
    }

    /// Restores what [`Engine::save`] wrote for a model of this shape.
    ///
    /// # Errors
    /// Bytes that are truncated, oversized, altered, of another version or of another model; nothing is changed then.
    pub fn load(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        checkpoint::load(self, bytes)
    }
}
