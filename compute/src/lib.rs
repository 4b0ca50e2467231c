//! Training engines of Driftless: models, optimizers, data.
//!
//! [`Engine`] holds one model's parameters and optimizer and runs training steps; [`Corpus`] turns texts into samples
//! in a reproducible order; [`Trainer`] puts both together. This crate knows nothing of peers or sessions.

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
mod trainer;

pub use checkpoint::CheckpointError;
pub use data::{Corpus, DataError, MAX_TOKENIZER_BYTES, Tokenizer, validation_loss};
pub use engine::{Engine, EngineError, EngineOptions, SHARDS, StepReport};
pub use model::{GptShape, ShapeError, Tensor};
pub use optimizer::{AdamW, Muon};
pub use schedule::Schedule;
pub use trainer::{TrainError, TrainReport, Trainer};

/// A part of Shakespeare's plays, 1,115,394 bytes, in the public domain: what `driftless demo` trains on.
pub const TINY_SHAKESPEARE: &[u8] = include_bytes!("../data/tinyshakespeare.txt");
