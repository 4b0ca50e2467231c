//! Samples as an engine takes them.

use super::EngineError;
use crate::model::Shape;
use std::ops::Range;

/// Some samples, row-major, of the kind that the model trains on.
#[derive(Clone, Copy, Debug)]
pub enum Batch<'a> {
    /// Texts, (N, T + 1): each row's first T tokens predict its last T.
    Tokens(&'a [u32]),
    /// Rows of a table.
    Rows {
        /// (N, inputs)
        features: &'a [f32],
        /// (N)
        labels: &'a [u32],
    },
}

impl<'a> Batch<'a> {
    /// Some of its `all` samples.
    pub(super) fn part(self, samples: Range<usize>, all: usize) -> Batch<'a> {
        let places = |len: usize| samples.start * (len / all)..samples.end * (len / all);
        match self {
            Batch::Tokens(tokens) => Batch::Tokens(&tokens[places(tokens.len())]),
            Batch::Rows { features, labels } => {
                Batch::Rows { features: &features[places(features.len())], labels: &labels[samples] }
            }
        }
    }

    /// The number of samples, where they are what a model of this shape trains on.
    pub(super) fn check(self, shape: &Shape) -> Result<usize, EngineError> {
        match (self, shape, shape.rows()) {
            (Batch::Tokens(tokens), Shape::Gpt(shape), _) => {
                check_tokens(tokens, shape.vocabulary)?;
                let row = shape.context + 1;
                if !tokens.len().is_multiple_of(row) {
                    let expected = format!("a multiple of {row}");
                    return Err(EngineError::TokenCount { expected, got: tokens.len() });
                }
                Ok(tokens.len() / row)
            }
            (Batch::Rows { features, labels }, _, Some(rows)) => {
                if labels.len().checked_mul(rows.inputs) != Some(features.len()) {
                    let (labels, inputs, features) = (labels.len(), rows.inputs, features.len());
                    return Err(EngineError::RowCount { labels, inputs, features });
                }
                match labels.iter().position(|label| *label as usize >= rows.classes) {
                    None => Ok(labels.len()),
                    Some(row) => Err(EngineError::Label { label: labels[row], row, classes: rows.classes }),
                }
            }
            _ => Err(EngineError::Kind { model: shape.name() }),
        }
    }
}

/// Refuses tokens outside of the vocabulary.
pub(super) fn check_tokens(tokens: &[u32], vocabulary: usize) -> Result<(), EngineError> {
    match tokens.iter().position(|token| *token as usize >= vocabulary) {
        None => Ok(()),
        Some(position) => Err(EngineError::Token { token: tokens[position], position, vocabulary }),
    }
}
