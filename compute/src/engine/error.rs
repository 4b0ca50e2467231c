//! Why an engine refuses.

use crate::data::Mismatch;
use crate::model::ShapeError;
use thiserror::Error;

/// Why an engine could not be made or a pass could not run.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The model's shape is impossible.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The data does not fit the model.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// An option is out of its range.
    #[error("engine option {0}")]
    Option(&'static str),
    /// The operating system gave no threads.
    #[error("the engine's threads could not be started: {0}")]
    Threads(String),
    /// The slice of tokens has a wrong length.
    #[error("expected {expected} tokens, got {got}")]
    TokenCount {
        /// What the call needs, in words.
        expected: String,
        /// The length of the slice.
        got: usize,
    },
    /// The batch is of another kind than the model trains on.
    #[error(
        "this batch is not what a {model} model trains on: gpt models take texts, all others rows of a table"
    )]
    Kind {
        /// The model's kind.
        model: &'static str,
    },
    /// The number of features is not that of the labels' rows.
    #[error("{labels} rows of {inputs} features each, but {features} features")]
    RowCount {
        /// Labels given.
        labels: usize,
        /// Features of a row.
        inputs: usize,
        /// Features given.
        features: usize,
    },
    /// A label is not one of the model's classes.
    #[error("label {label} of row {row} is not below the model's {classes} classes")]
    Label {
        /// The label.
        label: u32,
        /// Its row in the batch, from 0.
        row: usize,
        /// The model's classes.
        classes: usize,
    },
    /// A step has another number of samples.
    #[error("a step takes {expected} samples, got {got}")]
    SampleCount {
        /// Samples of a step.
        expected: usize,
        /// Samples given.
        got: usize,
    },
    /// There is nothing to take the mean of.
    #[error("no samples were given")]
    NoSamples,
    /// A token is outside of the vocabulary.
    #[error("token {token} at position {position} is outside of the vocabulary of {vocabulary}")]
    Token {
        /// The token.
        token: u32,
        /// Its index in the slice.
        position: usize,
        /// The model's vocabulary.
        vocabulary: usize,
    },
    /// The learning rate is negative or not finite.
    #[error("learning rate {0} is not a finite number of at least zero")]
    LearningRate(f32),
    /// The loss or the gradient is NaN or infinite; parameters and optimizer are unchanged.
    #[error("the {0} is not finite; parameters and optimizer are unchanged")]
    NonFinite(&'static str),
}
