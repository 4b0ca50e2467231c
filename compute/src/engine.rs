//! The engine: one model's parameters and optimizer, and the passes over them, on the CPU.
//!
//! A batch is cut into [`SHARDS`] fixed parts. Each part runs forward and backward on one thread with its own gradient
//! buffer, and the gradients are added in the order of the parts: the number of threads never changes a bit. Between
//! the parts of a step threads wait asleep.

mod error;
#[cfg(test)]
mod gradient_tests;
mod options;
mod shard;

pub use error::EngineError;
pub use options::EngineOptions;

use crate::checkpoint::{self, CheckpointError};
use crate::cpu::{self, Activations, Buffer, Keep, Rows};
use crate::model::{GptShape, Layout, Tensor};
use crate::optimizer::muon::{self, Block, MuonStep, MuonValues, Scratch};
use crate::optimizer::{Coefficients, Decay, Moments, Muon};
use rayon::prelude::*;
use shard::{Shard, Worker};
use std::ops::Range;

/// Parts that a batch is cut into; so at most this many threads train at once.
pub const SHARDS: usize = 4;

/// Values that one task of a pass over the flat buffers handles: fixed, so that sums are too.
const CHUNK: usize = 1 << 15;

/// What one training step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Mean nats per predicted token, before the step.
    pub loss: f32,
    /// 2-norm of the whole gradient, before clipping.
    pub gradient_norm: f32,
}

/// A GPT-2 style model in training: one flat buffer of f32 parameters, AdamW's moments, and every buffer that a step
/// needs, so that a step allocates nothing of size.
pub struct Engine {
    shape: GptShape,
    options: EngineOptions,
    tensors: Vec<Tensor>,
    layout: Layout,
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
    pool: rayon::ThreadPool,
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
    pub fn new(shape: GptShape, options: EngineOptions) -> Result<Engine, EngineError> {
        shape.check()?;
        options.check()?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .thread_name(|index| format!("compute-{index}"))
            .build()
            .map_err(|error| EngineError::Threads(error.to_string()))?;
        let (tensors, layout) = shape.table();
        let parts = SHARDS.min(options.batch);
        let shards: Vec<Shard> = (0..parts)
            .map(|part| Shard {
                sequences: part * options.batch / parts..(part + 1) * options.batch / parts,
                gradients: Buffer::zeros(layout.len),
                nats: 0.0,
            })
            .collect();
        let blocks = options.muon.map_or(Vec::new(), |_| muon::blocks(&shape, &layout));
        let sequences = options.batch.div_ceil(parts);
        let workers = (0..parts.min(options.threads))
            .map(|_| Worker {
                activations: Activations::new(&shape, sequences * shape.context),
                tokens: Vec::with_capacity(sequences * shape.context),
                targets: Vec::with_capacity(sequences * shape.context),
                scratch: Scratch::new(&blocks),
            })
            .collect();
        Ok(Engine {
            decay: Decay::new(&tensors, &blocks),
            blocks,
            parameters: Buffer::zeros(layout.len),
            turned: Buffer::zeros(layout.len),
            first: Buffer::zeros(layout.len),
            second: Buffer::zeros(layout.len),
            steps: 0,
            ramp: 0,
            squares: vec![0.0; layout.len.div_ceil(CHUNK)],
            shape,
            options,
            tensors,
            layout,
            shards,
            workers,
            pool,
        })
    }

    /// The model's shape.
    #[must_use]
    pub fn shape(&self) -> &GptShape {
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
        self.layout.len
    }

    /// Sequences of one step (B).
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

    /// One training step on `tokens`, (B, T + 1) row-major: each row's first T predict its last T.
    ///
    /// # Errors
    /// A wrong number of tokens, a token outside of the vocabulary, a broken learning rate, or a loss or gradient that is
    /// not finite. In every case parameters and optimizer are as they were.
    pub fn step(&mut self, tokens: &[u32], learning_rate: f32) -> Result<StepReport, EngineError> {
        let (batch, row) = (self.options.batch, self.shape.context + 1);
        if tokens.len() != batch * row {
            return Err(EngineError::TokenCount { expected: format!("{batch} x {row}"), got: tokens.len() });
        }
        self.check_tokens(tokens)?;
        if !learning_rate.is_finite() || learning_rate < 0.0 {
            return Err(EngineError::LearningRate(learning_rate));
        }
        self.turn_matrices(self.tensors.len());
        self.run_shards(tokens);
        let predicted = (batch * self.shape.context) as f64;
        let loss = self.shards.iter().map(|shard| shard.nats).sum::<f64>() / predicted;
        if !loss.is_finite() {
            return Err(EngineError::NonFinite("loss"));
        }
        let norm = self.sum_gradients().sqrt();
        if !norm.is_finite() {
            return Err(EngineError::NonFinite("gradient"));
        }
        self.update(learning_rate, norm);
        Ok(StepReport { loss: loss as f32, gradient_norm: norm as f32 })
    }

    /// Transposes the matrices among the first `count` tensors: once a step, instead of in every product.
    fn turn_matrices(&mut self, count: usize) {
        let Engine { tensors, parameters, turned, pool, .. } = self;
        let mut rest: &mut [f32] = turned;
        pool.scope(|scope| {
            for tensor in &tensors[..count] {
                let (into, after) = std::mem::take(&mut rest).split_at_mut(tensor.len());
                rest = after;
                if let [rows, columns] = tensor.shape[..] {
                    let from = &parameters[tensor.range()];
                    scope.spawn(move |_| {
                        cpu::transpose::transpose(from, rows, columns, columns, into, rows);
                    });
                }
            }
        });
    }

    /// Forward and backward of every shard; worker w takes the shards of part w.
    fn run_shards(&mut self, tokens: &[u32]) {
        let Engine { shape, layout, parameters, turned, shards, workers, pool, options, .. } = self;
        let model = cpu::Model { shape, layout, parameters, turned };
        let context = shape.context;
        let scale = 1.0 / (options.batch * context) as f32;
        let each = shards.len().div_ceil(workers.len());
        pool.scope(|scope| {
            for (worker, shards) in workers.iter_mut().zip(shards.chunks_mut(each)) {
                scope.spawn(move |_| {
                    for shard in shards {
                        let range =
                            shard.sequences.start * (context + 1)..shard.sequences.end * (context + 1);
                        worker.read(&tokens[range], context);
                        let rows = Rows { sequences: shard.sequences.len(), length: context };
                        let Worker { activations, tokens, targets, .. } = &mut *worker;
                        cpu::forward(model, tokens, rows, Keep::Everything, activations);
                        let gradients = &mut shard.gradients;
                        shard.nats =
                            cpu::backward(model, tokens, targets, rows, scale, activations, gradients);
                    }
                });
            }
        });
    }

    /// Adds the shards' gradients, in order, into the first one's buffer; returns the sum of squares.
    fn sum_gradients(&mut self) -> f64 {
        let Engine { shards, squares, pool, .. } = self;
        let Some((first, others)) = shards.split_first_mut() else { return 0.0 };
        pool.install(|| {
            first.gradients.par_chunks_mut(CHUNK).zip(squares.par_iter_mut()).enumerate().for_each(
                |(index, (sum, square))| {
                    let range = index * CHUNK..index * CHUNK + sum.len();
                    for other in &*others {
                        cpu::reduce::add(sum, &other.gradients[range.clone()]);
                    }
                    *square = cpu::reduce::sum_of_squares(sum);
                },
            );
        });
        squares.iter().sum()
    }

    /// The optimizer's pass, over fixed chunks.
    fn update(&mut self, learning_rate: f32, gradient_norm: f64) {
        self.steps += 1;
        let ramp = if self.ramp == 0 { 1.0 } else { (self.steps as f32 / self.ramp as f32).min(1.0) };
        let adamw = &self.options.adamw;
        let coefficients = Coefficients::new(adamw, self.steps, learning_rate * ramp, gradient_norm);
        let Engine { shards, parameters, first, second, pool, decay, .. } = self;
        let gradients: &[f32] = &shards[0].gradients;
        pool.install(|| {
            parameters
                .par_chunks_mut(CHUNK)
                .zip(first.par_chunks_mut(CHUNK))
                .zip(second.par_chunks_mut(CHUNK))
                .zip(gradients.par_chunks(CHUNK))
                .enumerate()
                .for_each(|(index, (((parameters, first), second), gradients))| {
                    let values = Moments { parameters, first, second, gradients };
                    decay.update(&coefficients, index * CHUNK, values);
                });
        });
        if let Some(Muon { rate, momentum }) = self.options.muon {
            let rate = rate * learning_rate * ramp;
            let keep = 1.0 - rate * self.options.adamw.weight_decay;
            self.update_blocks(MuonStep { momentum, rate, keep, scale: coefficients.scale });
        }
    }

    /// Muon's pass: a matrix is one thread's.
    fn update_blocks(&mut self, step: MuonStep) {
        let Engine { shards, parameters, first, blocks, workers, pool, .. } = self;
        let gradients: &[f32] = &shards[0].gradients;
        let mut shares: Vec<Vec<(&Block, MuonValues<'_>)>> = workers.iter().map(|_| Vec::new()).collect();
        let (mut parameters, mut first, mut at): (&mut [f32], &mut [f32], usize) = (parameters, first, 0);
        for (index, block) in blocks.iter().enumerate() {
            let (skip, len) = (block.range.start - at, block.range.len());
            let (values, rest) = std::mem::take(&mut parameters)[skip..].split_at_mut(len);
            let (momentum, behind) = std::mem::take(&mut first)[skip..].split_at_mut(len);
            (parameters, first, at) = (rest, behind, block.range.end);
            let gradients = &gradients[block.range.clone()];
            let share = index % shares.len();
            shares[share].push((block, MuonValues { parameters: values, momentum, gradients }));
        }
        pool.scope(|scope| {
            for (worker, share) in workers.iter_mut().zip(shares) {
                scope.spawn(move |_| {
                    for (block, values) in share {
                        muon::update(step, block, values, &mut worker.scratch);
                    }
                });
            }
        });
    }

    /// The sum of nats over `tokens`, (N, T + 1) row-major for any N; divide by N x T for the mean.
    ///
    /// # Errors
    /// A number of tokens that is no multiple of T + 1, a token outside of the vocabulary, or a loss that is not finite.
    pub fn loss(&mut self, tokens: &[u32]) -> Result<f64, EngineError> {
        let context = self.shape.context;
        if !tokens.len().is_multiple_of(context + 1) {
            let expected = format!("a multiple of {}", context + 1);
            return Err(EngineError::TokenCount { expected, got: tokens.len() });
        }
        self.check_tokens(tokens)?;
        self.turn_matrices(1);
        // Groups are as large as a shard, whatever the number of threads.
        let group = self.options.batch.div_ceil(self.shards.len()) * (context + 1);
        let mut nats = vec![0.0_f64; tokens.len().div_ceil(group)];
        let Engine { shape, layout, parameters, turned, workers, pool, .. } = self;
        let model = cpu::Model { shape, layout, parameters, turned };
        let each = nats.len().div_ceil(workers.len()).max(1);
        pool.scope(|scope| {
            let parts = nats.chunks_mut(each).zip(tokens.chunks(each * group));
            for (worker, (nats, tokens)) in workers.iter_mut().zip(parts) {
                scope.spawn(move |_| {
                    for (nats, tokens) in nats.iter_mut().zip(tokens.chunks(group)) {
                        worker.read(tokens, context);
                        let rows = Rows { sequences: tokens.len() / (context + 1), length: context };
                        let activations = &mut worker.activations;
                        cpu::forward(model, &worker.tokens, rows, Keep::Latest, activations);
                        *nats = cpu::loss(model, &worker.targets, activations);
                    }
                });
            }
        });
        let total: f64 = nats.iter().sum();
        if total.is_finite() { Ok(total) } else { Err(EngineError::NonFinite("loss")) }
    }

    /// The logits (V) of the token after `context`, which holds 1 to T tokens.
    ///
    /// # Errors
    /// An empty or too long context, a token outside of the vocabulary, or logits that are not finite.
    pub fn logits_last(&mut self, context: &[u32]) -> Result<Vec<f32>, EngineError> {
        if context.is_empty() || context.len() > self.shape.context {
            let expected = format!("1 to {}", self.shape.context);
            return Err(EngineError::TokenCount { expected, got: context.len() });
        }
        self.check_tokens(context)?;
        let Engine { shape, layout, parameters, turned, workers, .. } = self;
        let model = cpu::Model { shape, layout, parameters, turned };
        let rows = Rows { sequences: 1, length: context.len() };
        let activations = &mut workers[0].activations;
        cpu::forward(model, context, rows, Keep::Latest, activations);
        let logits = cpu::last_logits(model, rows, activations);
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

    fn check_tokens(&self, tokens: &[u32]) -> Result<(), EngineError> {
        let vocabulary = self.shape.vocabulary;
        match tokens.iter().position(|token| *token as usize >= vocabulary) {
            None => Ok(()),
            Some(position) => Err(EngineError::Token { token: tokens[position], position, vocabulary }),
        }
    }
}
