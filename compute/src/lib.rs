//! Training engines of Driftless: models, optimizers, data.
//!
//! [`Engine`] holds one model's parameters and optimizer and runs training steps; [`Corpus`] turns texts and [`Table`]
//! files of rows into samples in a reproducible order; [`Trainer`] puts both together. This crate knows nothing of peers or
//! sessions.

#[macro_use]
mod vectorised;

pub mod bench;
mod checkpoint;
mod cpu;
mod data;
mod engine;
pub mod huggingface;
mod model;
mod optimizer;
pub mod rng;
pub mod sample;
mod schedule;
mod smoothness;
mod trainer;

pub use checkpoint::CheckpointError;
pub use data::{
    Corpus, Data, DataError, Evaluation, Example, IdxError, LineError, MAX_TOKENIZER_BYTES, Mismatch,
    Scaling, Split, Table, TableError, TableOptions, Tokenizer, evaluate,
};
pub use engine::{Batch, Engine, EngineError, EngineOptions, SHARDS, StepReport};
pub use model::{CnnShape, GptShape, LogisticShape, MlpShape, RowShape, Shape, ShapeError, Tensor};
pub use optimizer::{AdamW, Muon, Optimizer, Sgd};
pub use schedule::Schedule;
pub use trainer::{TrainError, TrainReport, Trainer};

/// A part of Shakespeare's plays, 1,115,394 bytes, in the public domain: what `driftless demo` trains on.
pub const TINY_SHAKESPEARE: &[u8] = include_bytes!("../data/tinyshakespeare.txt");

/// 1797 handwritten digits of 8 x 8 values from 0 to 16, as CSV with a header; `compute/data/README.md` names source and
/// licence.
pub const DIGITS: &[u8] = include_bytes!("../data/digits.csv");

/// 690 credit applications of 14 features with labels -1 and 1, in LIBSVM's format; source and licence as above.
pub const AUSTRALIAN: &[u8] = include_bytes!("../data/australian");
