//! What an engine trains on: texts or rows, by position.

use super::{Corpus, DataError, Table, TableOptions};
use crate::engine::Batch;
use crate::model::{RowShape, Shape};
use crate::{AUSTRALIAN, DIGITS, TINY_SHAKESPEARE};
use std::path::PathBuf;
use thiserror::Error;

/// Training and validation samples of either kind.
#[derive(Debug)]
pub enum Data {
    /// Texts, for a GPT.
    Texts(Corpus),
    /// Rows of a table, for every other model.
    Rows(Table),
}

impl From<Corpus> for Data {
    fn from(corpus: Corpus) -> Data {
        Data::Texts(corpus)
    }
}

impl From<Table> for Data {
    fn from(table: Table) -> Data {
        Data::Rows(table)
    }
}

/// Why data does not fit a model.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// Texts for a model of rows, or rows for a GPT.
    #[error("a {model} model cannot train on {data}: gpt models take texts, all others rows of a table")]
    Kind {
        /// The model's kind.
        model: &'static str,
        /// What was given.
        data: &'static str,
    },
    /// The texts' windows or tokens are not the model's.
    #[error(
        "the corpus has windows of {corpus_context} and tokens below {corpus_vocabulary}, the model a context of {context} and a vocabulary of {vocabulary}"
    )]
    Texts {
        /// Predicted tokens of a sample.
        corpus_context: usize,
        /// The corpus' vocabulary.
        corpus_vocabulary: usize,
        /// The model's context.
        context: usize,
        /// The model's vocabulary.
        vocabulary: usize,
    },
    /// The rows have more or fewer features than the model.
    #[error("rows of {found} features, the model takes {inputs}")]
    Inputs {
        /// Features of a row.
        found: usize,
        /// The model's inputs.
        inputs: usize,
    },
    /// The rows have labels that the model does not know.
    #[error("labels from 0 to {largest}, the model has {classes} classes: number them from 0 to {}", classes - 1)]
    Labels {
        /// The largest label.
        largest: usize,
        /// The model's classes.
        classes: usize,
    },
}

/// Samples in the form that an engine takes.
#[derive(Debug)]
pub(crate) enum Gathered {
    Tokens(Vec<u32>),
    Rows { features: Vec<f32>, labels: Vec<u32> },
}

impl Gathered {
    /// The samples as a batch.
    pub(crate) fn batch(&self) -> Batch<'_> {
        match self {
            Gathered::Tokens(tokens) => Batch::Tokens(tokens),
            Gathered::Rows { features, labels } => Batch::Rows { features, labels },
        }
    }
}

/// A file that this crate carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// Its name.
    pub name: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
}

impl Example {
    /// What a model of this shape can be tried on: a text whose tokens are bytes, digits of 64 pixels in 10 classes, or
    /// 14 numbers of each of 690 applications for credit. None for other shapes.
    #[must_use]
    pub fn of(shape: &Shape) -> Option<Example> {
        match (shape, shape.rows()) {
            (Shape::Gpt(_), _) => Some(Example { name: "tinyshakespeare.txt", bytes: TINY_SHAKESPEARE }),
            (_, Some(RowShape { inputs: 64, classes: 10 })) => {
                Some(Example { name: "digits.csv", bytes: DIGITS })
            }
            (_, Some(RowShape { inputs: 14, classes: 2 })) => {
                Some(Example { name: "australian", bytes: AUSTRALIAN })
            }
            _ => None,
        }
    }
}

impl Data {
    /// The files that a model of this shape reads: texts whose tokens are bytes, or tables.
    ///
    /// # Errors
    /// What is wrong with a file.
    pub fn open(paths: &[PathBuf], shape: &Shape, seed: [u8; 32]) -> Result<Data, DataError> {
        match shape {
            Shape::Gpt(shape) => Ok(Corpus::open(paths, shape.context, seed)?.into()),
            rows => Ok(Table::open(paths, table_options(rows), seed)?.into()),
        }
    }

    /// The same of a file that the program carries.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn embedded(bytes: &'static [u8], shape: &Shape, seed: [u8; 32]) -> Result<Data, DataError> {
        match shape {
            Shape::Gpt(shape) => Ok(Corpus::embedded(bytes, shape.context, seed)?.into()),
            rows => Ok(Table::embedded(bytes, table_options(rows), seed)?.into()),
        }
    }

    /// Training samples of an epoch, at least 1.
    #[must_use]
    pub fn samples(&self) -> u64 {
        match self {
            Data::Texts(corpus) => corpus.samples(),
            Data::Rows(table) => table.samples(),
        }
    }

    /// Validation samples, at least 1: windows of texts, or rows.
    #[must_use]
    pub fn validation_samples(&self) -> u64 {
        match self {
            Data::Texts(corpus) => corpus.validation_windows(),
            Data::Rows(table) => table.validation_rows(),
        }
    }

    /// Whether a model of this shape can train on it.
    ///
    /// # Errors
    /// [`Mismatch`] says what does not fit.
    pub fn check(&self, shape: &Shape) -> Result<(), Mismatch> {
        match (self, shape, shape.rows()) {
            (Data::Texts(corpus), Shape::Gpt(shape), _) => {
                let (corpus_context, corpus_vocabulary) = (corpus.context(), corpus.vocabulary());
                let (context, vocabulary) = (shape.context, shape.vocabulary);
                if corpus_context == context && corpus_vocabulary <= vocabulary {
                    return Ok(());
                }
                Err(Mismatch::Texts { corpus_context, corpus_vocabulary, context, vocabulary })
            }
            (Data::Rows(table), _, Some(rows)) => {
                let found = table.shape();
                if found.inputs != rows.inputs {
                    return Err(Mismatch::Inputs { found: found.inputs, inputs: rows.inputs });
                }
                if found.classes > rows.classes {
                    return Err(Mismatch::Labels { largest: found.classes - 1, classes: rows.classes });
                }
                Ok(())
            }
            (Data::Texts(_), ..) => Err(Mismatch::Kind { model: shape.name(), data: "texts" }),
            (Data::Rows(_), ..) => Err(Mismatch::Kind { model: shape.name(), data: "rows" }),
        }
    }

    /// Room for samples.
    pub(crate) fn room(&self) -> Gathered {
        match self {
            Data::Texts(_) => Gathered::Tokens(Vec::new()),
            Data::Rows(_) => Gathered::Rows { features: Vec::new(), labels: Vec::new() },
        }
    }

    /// The training samples at some positions, which are counted through all epochs; `into` is room of this data.
    pub(crate) fn gather(&self, positions: &[u64], into: &mut Gathered) {
        self.fill(positions.iter().copied(), into, Corpus::fill, Table::training_row);
    }

    /// The validation samples at some places; `into` is room of this data.
    pub(crate) fn gather_validation(&self, places: impl Iterator<Item = u64>, into: &mut Gathered) {
        self.fill(places, into, Corpus::fill_validation, Table::validation_row);
    }

    fn fill(
        &self,
        places: impl Iterator<Item = u64>,
        into: &mut Gathered,
        window: impl Fn(&Corpus, u64, &mut [u32]),
        row: impl Fn(&Table, u64) -> usize,
    ) {
        match (self, into) {
            (Data::Texts(corpus), Gathered::Tokens(tokens)) => {
                tokens.clear();
                for place in places {
                    let start = tokens.len();
                    tokens.resize(start + corpus.context() + 1, 0);
                    window(corpus, place, &mut tokens[start..]);
                }
            }
            (Data::Rows(table), Gathered::Rows { features, labels }) => {
                features.clear();
                labels.clear();
                for place in places {
                    let (values, label) = table.row(row(table, place));
                    features.extend_from_slice(values);
                    labels.push(label);
                }
            }
            // Room of other data stays as it is; nobody makes any.
            _ => {}
        }
    }
}

/// As sessions read tables.
fn table_options(shape: &Shape) -> TableOptions {
    TableOptions { inputs: shape.rows().map(|rows| rows.inputs), ..TableOptions::default() }
}
