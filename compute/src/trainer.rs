//! An engine with its data: what a node's compute thread and the simulator drive.

use crate::checkpoint::CheckpointError;
use crate::data::{Data, Evaluation, Gathered, Mismatch, evaluate};
use crate::engine::{Engine, EngineError, StepReport};
use crate::model::Tensor;
use std::ops::Range;
use thiserror::Error;

/// What some training steps did.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TrainReport {
    /// The mean loss of each step, before it: nats per predicted token or row, regularizer included.
    pub losses: Vec<f32>,
    /// 2-norm of each step's gradient, before clipping.
    pub gradient_norms: Vec<f32>,
}

/// Why training stopped.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The data does not fit the model.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The number of samples is not steps x batch.
    #[error("{steps} steps of {batch} samples need {expected} samples, got {got}")]
    SampleCount {
        /// Learning rates given.
        steps: usize,
        /// Samples of a step.
        batch: usize,
        /// Their product.
        expected: usize,
        /// Samples given.
        got: usize,
    },
    /// A step failed; the steps before it took effect, it did not.
    #[error("training step {step}: {error}")]
    Step {
        /// Index of the step, from 0.
        step: usize,
        /// Why.
        #[source]
        error: EngineError,
    },
}

/// One engine and the data it trains on.
///
/// Samples are named by their *positions*, counted through all epochs: each epoch has [`Data::samples`] of them, in an
/// order of its own.
#[derive(Debug)]
pub struct Trainer {
    engine: Engine,
    data: Data,
    room: Gathered,
}

impl Trainer {
    /// Puts an engine and its data, a [`Corpus`](crate::Corpus) or a [`Table`](crate::Table), together.
    ///
    /// # Errors
    /// [`TrainError::Mismatch`] if the model cannot train on it.
    pub fn new(engine: Engine, data: impl Into<Data>) -> Result<Trainer, TrainError> {
        let data = data.into();
        data.check(engine.shape())?;
        Ok(Trainer { engine, room: data.room(), data })
    }

    /// One step per learning rate, on the next `batch` of `positions` each.
    ///
    /// # Errors
    /// A wrong number of positions, before anything is done; or the step that failed, which changed nothing itself.
    pub fn train(&mut self, positions: &[u64], learning_rates: &[f32]) -> Result<TrainReport, TrainError> {
        let (steps, batch) = (learning_rates.len(), self.engine.batch());
        let expected = steps.saturating_mul(batch);
        if positions.len() != expected {
            return Err(TrainError::SampleCount { steps, batch, expected, got: positions.len() });
        }
        let mut report = TrainReport::default();
        for (step, (positions, rate)) in positions.chunks_exact(batch).zip(learning_rates).enumerate() {
            self.data.gather(positions, &mut self.room);
            let StepReport { loss, gradient_norm } = self
                .engine
                .step(self.room.batch(), *rate)
                .map_err(|error| TrainError::Step { step, error })?;
            report.losses.push(loss);
            report.gradient_norms.push(gradient_norm);
        }
        Ok(report)
    }

    /// The mean loss of the samples at any number of positions, at the present parameters, and its gradient in `into`;
    /// nothing is updated.
    ///
    /// # Errors
    /// No positions, or a loss or gradient that is not finite; what `into` holds is of no use then.
    ///
    /// # Panics
    /// If `into` is not as long as the parameters: that is the caller's own number.
    pub fn gradient(&mut self, positions: &[u64], into: &mut [f32]) -> Result<f32, EngineError> {
        self.data.gather(positions, &mut self.room);
        self.engine.gradient(self.room.batch(), into)
    }

    /// The mean loss of the samples at any number of positions, at the present parameters: forward passes only.
    ///
    /// # Errors
    /// No positions, or a loss that is not finite.
    pub fn loss(&mut self, positions: &[u64]) -> Result<f32, EngineError> {
        self.data.gather(positions, &mut self.room);
        Ok(self.engine.loss(self.room.batch())? as f32)
    }

    /// Loss and, of a model of rows, accuracy over at most `most` validation samples.
    ///
    /// # Errors
    /// A loss that is not finite.
    pub fn evaluate(&mut self, most: Option<u64>) -> Result<Evaluation, EngineError> {
        evaluate(&mut self.engine, &self.data, most)
    }

    /// The loss of [`Trainer::evaluate`].
    ///
    /// # Errors
    /// A loss that is not finite.
    pub fn validation_loss(&mut self, most: Option<u64>) -> Result<f64, EngineError> {
        Ok(self.evaluate(most)?.loss)
    }

    /// As [`Engine::read`].
    ///
    /// # Panics
    /// If the range is outside of the buffer or its length differs from `into`'s.
    pub fn read(&self, range: Range<usize>, into: &mut [f32]) {
        self.engine.read(range, into);
    }

    /// As [`Engine::write`].
    ///
    /// # Panics
    /// If the range is outside of the buffer or its length differs from `values`'.
    pub fn write(&mut self, range: Range<usize>, values: &[f32]) {
        self.engine.write(range, values);
    }

    /// As [`Engine::save`].
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        self.engine.save()
    }

    /// As [`Engine::load`].
    ///
    /// # Errors
    /// Bytes that are no checkpoint of this model; nothing is changed then.
    pub fn load(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.engine.load(bytes)
    }

    /// The tensor table, in buffer order.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        self.engine.tensors()
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, to change it.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }
}
