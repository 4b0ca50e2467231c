//! An engine with its corpus: what a node's compute thread and the simulator drive.

use crate::checkpoint::CheckpointError;
use crate::data::{Corpus, validation_loss};
use crate::engine::{Engine, EngineError, StepReport};
use crate::model::Tensor;
use std::ops::Range;
use thiserror::Error;

/// What some training steps did.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TrainReport {
    /// Mean nats per predicted token of each step, before it.
    pub losses: Vec<f32>,
    /// 2-norm of each step's gradient, before clipping.
    pub gradient_norms: Vec<f32>,
}

/// Why training stopped.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The corpus does not fit the model.
    #[error(
        "the corpus has windows of {corpus_context} and tokens below {corpus_vocabulary}, the model a context of {context} and a vocabulary of {vocabulary}"
    )]
    Mismatch {
        /// Predicted tokens of a sample.
        corpus_context: usize,
        /// The corpus' vocabulary.
        corpus_vocabulary: usize,
        /// The model's context.
        context: usize,
        /// The model's vocabulary.
        vocabulary: usize,
    },
    /// The number of samples is not steps x batch.
    #[error("{steps} steps of {batch} samples need {expected} samples, got {got}")]
    SampleCount {
        /// Learning rates given.
        steps: usize,
        /// Sequences of a step.
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

/// One engine and the corpus it trains on.
#[derive(Debug)]
pub struct Trainer {
    engine: Engine,
    corpus: Corpus,
    tokens: Vec<u32>,
}

impl Trainer {
    /// Puts an engine and a corpus together.
    ///
    /// # Errors
    /// [`TrainError::Mismatch`] if the context differs or the corpus has tokens that the model does not know.
    pub fn new(engine: Engine, corpus: Corpus) -> Result<Trainer, TrainError> {
        let shape = engine.shape();
        if corpus.context() != shape.context || corpus.vocabulary() > shape.vocabulary {
            return Err(TrainError::Mismatch {
                corpus_context: corpus.context(),
                corpus_vocabulary: corpus.vocabulary(),
                context: shape.context,
                vocabulary: shape.vocabulary,
            });
        }
        let tokens = vec![0; engine.batch() * (shape.context + 1)];
        Ok(Trainer { engine, corpus, tokens })
    }

    /// One step per learning rate, on the next `batch` of `samples` (global indices of the corpus) each.
    ///
    /// # Errors
    /// A wrong number of samples, before anything is done; or the step that failed, which changed nothing itself.
    pub fn train(&mut self, samples: &[u64], learning_rates: &[f32]) -> Result<TrainReport, TrainError> {
        let (steps, batch) = (learning_rates.len(), self.engine.batch());
        let expected = steps.saturating_mul(batch);
        if samples.len() != expected {
            return Err(TrainError::SampleCount { steps, batch, expected, got: samples.len() });
        }
        let mut report = TrainReport::default();
        for (step, (samples, rate)) in samples.chunks_exact(batch).zip(learning_rates).enumerate() {
            let StepReport { loss, gradient_norm } =
                self.step(samples, *rate).map_err(|error| TrainError::Step { step, error })?;
            report.losses.push(loss);
            report.gradient_norms.push(gradient_norm);
        }
        Ok(report)
    }

    fn step(&mut self, samples: &[u64], learning_rate: f32) -> Result<StepReport, EngineError> {
        let row = self.corpus.context() + 1;
        for (sample, tokens) in samples.iter().zip(self.tokens.chunks_exact_mut(row)) {
            self.corpus.fill(*sample, tokens);
        }
        self.engine.step(&self.tokens, learning_rate)
    }

    /// Mean nats per predicted token over at most `max_windows` validation windows.
    ///
    /// # Errors
    /// A loss that is not finite.
    pub fn validation_loss(&mut self, max_windows: Option<u64>) -> Result<f64, EngineError> {
        validation_loss(&mut self.engine, &self.corpus, max_windows)
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

    /// The corpus.
    #[must_use]
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
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
