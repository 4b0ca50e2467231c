//! Why an engine refuses.

use crate::model::ShapeError;
use thiserror::Error;

/// Why an engine could not be made or a pass could not run.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The model's shape is impossible.
    #[error(transparent)]
    Shape(#[from] ShapeError),
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
