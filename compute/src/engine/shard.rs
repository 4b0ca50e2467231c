//! The parts of a batch and the threads that work on them.

use super::passes::{Passes, turned_for_loss};
use super::{Batch, CHUNK, Engine, EngineError};
use crate::cpu::{self, Buffer, Score, Values};
use crate::model::Shape;
use crate::optimizer::muon::Scratch;

/// One part of the batch.
pub(super) struct Shard {
    pub gradients: Buffer,
    pub nats: f64,
}

/// One thread's buffers.
pub(super) struct Worker {
    pub passes: Passes,
    pub scratch: Scratch,
}

impl Engine {
    /// Predictions of one sample.
    fn predictions(&self) -> usize {
        self.shape.gpt().map_or(1, |shape| shape.context)
    }

    /// Transposes the matrices among the first `count` tensors: once a step, instead of in every product.
    pub(super) fn turn_matrices(&mut self, count: usize) {
        let Engine { tensors, parameters, turned, pool, .. } = self;
        let mut rest: &mut [f32] = turned;
        let tasks = tensors[..count].iter().map(|tensor| {
            let (into, after) = std::mem::take(&mut rest).split_at_mut(tensor.len());
            rest = after;
            (tensor, into)
        });
        pool.run(tasks, |(tensor, into)| {
            if let [rows, columns] = tensor.shape[..] {
                cpu::transpose::transpose(&parameters[tensor.range()], rows, columns, columns, into, rows);
            }
        });
    }

    /// The gradient of the batch's share of the mean over `all` samples, in the first shard's buffer: returns that share of
    /// the loss and the gradient's norm. `with_penalty`: that of the regularizer belongs to it.
    pub(super) fn batch_gradient(
        &mut self,
        batch: Batch<'_>,
        samples: usize,
        all: usize,
        with_penalty: bool,
    ) -> Result<(f64, f64), EngineError> {
        let parts = self.run_shards(batch, samples, all);
        let nats = self.shards[..parts].iter().map(|shard| shard.nats).sum::<f64>();
        let mut loss = nats / (all * self.predictions()) as f64;
        if with_penalty {
            loss += self.penalty();
            self.add_penalty_gradient();
        }
        if !loss.is_finite() {
            return Err(EngineError::NonFinite("loss"));
        }
        let norm = self.sum_gradients(parts).sqrt();
        if norm.is_finite() { Ok((loss, norm)) } else { Err(EngineError::NonFinite("gradient")) }
    }

    /// Forward and backward of every part of the batch; worker w takes the shards of part w. Returns their number.
    fn run_shards(&mut self, batch: Batch<'_>, samples: usize, all: usize) -> usize {
        let scale = 1.0 / (all * self.predictions()) as f32;
        let Engine { parameters, turned, shards, workers, pool, .. } = self;
        let values = Values { parameters, turned };
        let parts = shards.len().min(samples);
        let each = parts.div_ceil(workers.len());
        let tasks = workers.iter_mut().zip(shards[..parts].chunks_mut(each)).enumerate();
        pool.run(tasks, |(index, (worker, shards))| {
            for (part, shard) in (index * each..).zip(shards) {
                let range = part * samples / parts..(part + 1) * samples / parts;
                let batch = batch.part(range, samples);
                shard.nats = worker.passes.gradient(values, batch, scale, &mut shard.gradients);
            }
        });
        parts
    }

    /// Adds the gradients of so many shards, in order, into the first one's buffer; returns the sum of squares.
    fn sum_gradients(&mut self, parts: usize) -> f64 {
        let Engine { shards, squares, pool, .. } = self;
        let Some((first, others)) = shards[..parts].split_first_mut() else { return 0.0 };
        let tasks = first.gradients.chunks_mut(CHUNK).zip(&mut *squares).enumerate();
        pool.run(tasks, |(index, (sum, square))| {
            let range = index * CHUNK..index * CHUNK + sum.len();
            for other in &*others {
                cpu::reduce::add(sum, &other.gradients[range.clone()]);
            }
            *square = cpu::reduce::sum_of_squares(sum);
        });
        squares.iter().sum()
    }

    /// What all samples of the batch cost together, the regularizer left out: forward passes only.
    pub(crate) fn score(&mut self, batch: Batch<'_>) -> Result<Score, EngineError> {
        let samples = batch.check(&self.shape)?;
        self.turn_matrices(turned_for_loss(&self.shape, &self.tensors));
        // Groups are as large as a shard, whatever the number of threads.
        let group = self.options.batch.div_ceil(self.shards.len());
        let mut scores = vec![Score::default(); samples.div_ceil(group)];
        let Engine { parameters, turned, workers, pool, .. } = self;
        let values = Values { parameters, turned };
        let each = scores.len().div_ceil(workers.len()).max(1);
        let tasks = workers.iter_mut().zip(scores.chunks_mut(each)).enumerate();
        pool.run(tasks, |(index, (worker, scores))| {
            for (place, score) in (index * each..).zip(scores) {
                let range = place * group..((place + 1) * group).min(samples);
                *score = worker.passes.score(values, batch.part(range, samples));
            }
        });
        let total = scores.into_iter().fold(Score::default(), |total, score| total + score);
        if total.nats.is_finite() { Ok(total) } else { Err(EngineError::NonFinite("loss")) }
    }

    /// The mean loss of so many samples that cost `nats` together, regularizer included.
    pub(crate) fn mean_loss(&self, nats: f64, samples: usize) -> f64 {
        nats / (samples * self.predictions()) as f64 + self.penalty()
    }

    /// What the regularizer adds to every mean loss.
    fn penalty(&self) -> f64 {
        match self.shape {
            Shape::Logistic(shape) => cpu::penalty(shape.regularization, &self.parameters),
            _ => 0.0,
        }
    }

    /// Adds the regularizer's gradient to the first shard's.
    fn add_penalty_gradient(&mut self) {
        if let Shape::Logistic(shape) = self.shape {
            let gradients = &mut self.shards[0].gradients;
            cpu::add_penalty_gradient(shape.regularization, &self.parameters, gradients);
        }
    }
}
