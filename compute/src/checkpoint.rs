//! Checkpoints: parameters and optimizer of an engine as bytes.
//!
//! Layout, little-endian: magic (8), version u32, the optimizer's step count u64, the five numbers of the shape as u64,
//! then parameters, and first and second moments where the optimizer has them, as f32, then the BLAKE3 hash (32) of
//! everything before it. The length follows from shape and optimizer, so it is checked before anything is read.
//!
//! Version 1 is of a GPT (layers, heads, width, context, vocabulary), version 2 of any other model: its first number tells
//! which, 1 for an MLP (inputs, hidden, layers, classes), 2 for a CNN (side, channels, filters, classes), 3 for logistic
//! regression (inputs, the bits of the regularization, 0, 0).

use crate::engine::Engine;
use crate::model::{CnnShape, GptShape, LogisticShape, MlpShape, Shape};
use thiserror::Error;

const MAGIC: [u8; 8] = *b"drftless";
const VERSIONS: [u32; 2] = [1, 2];
const HEADER: usize = 8 + 4 + 8 + 5 * 8;
const HASH: usize = blake3::OUT_LEN;

/// Why a checkpoint was refused; the engine is unchanged.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum CheckpointError {
    /// It does not start like a checkpoint.
    #[error("not a checkpoint: its first bytes are wrong")]
    Magic,
    /// It was written by another version.
    #[error("checkpoint version {0} is not supported, this build reads versions 1 and 2")]
    Version(u32),
    /// It belongs to another model.
    #[error("the checkpoint is of another model shape")]
    Shape,
    /// It is truncated or too long.
    #[error("the checkpoint has {got} bytes, this model with its optimizer needs {expected}")]
    Length {
        /// Bytes that a checkpoint of this engine has.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// Its content does not match its hash.
    #[error("the checkpoint is damaged: its hash does not match")]
    Hash,
    /// It holds a NaN or an infinity.
    #[error("the checkpoint holds a number that is not finite")]
    NonFinite,
}

/// The version, and the shape as it stands in the header.
fn header(shape: &Shape) -> (u32, [u64; 5]) {
    let (version, numbers) = match *shape {
        Shape::Gpt(GptShape { layers, heads, width, context, vocabulary }) => {
            (1, [layers, heads, width, context, vocabulary])
        }
        Shape::Mlp(MlpShape { inputs, hidden, layers, classes }) => (2, [1, inputs, hidden, layers, classes]),
        Shape::Cnn(CnnShape { side, channels, filters, classes }) => {
            (2, [2, side, channels, filters, classes])
        }
        Shape::Logistic(LogisticShape { inputs, regularization }) => {
            (2, [3, inputs, regularization.to_bits() as usize, 0, 0])
        }
    };
    (version, numbers.map(|number| number as u64))
}

pub(crate) fn save(engine: &Engine) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length(engine));
    bytes.extend_from_slice(&MAGIC);
    let (version, numbers) = header(engine.shape());
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&engine.steps.to_le_bytes());
    for number in numbers {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for values in [&engine.parameters, &engine.first, &engine.second] {
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes
}

pub(crate) fn load(engine: &mut Engine, bytes: &[u8]) -> Result<(), CheckpointError> {
    let expected = length(engine);
    let wrong_length = CheckpointError::Length { expected, got: bytes.len() };
    let Some((magic, rest)) = bytes.split_first_chunk::<8>() else { return Err(wrong_length) };
    if *magic != MAGIC {
        return Err(CheckpointError::Magic);
    }
    let Some((version, rest)) = rest.split_first_chunk::<4>() else { return Err(wrong_length) };
    let version = u32::from_le_bytes(*version);
    if !VERSIONS.contains(&version) {
        return Err(CheckpointError::Version(version));
    }
    let Some((steps, rest)) = rest.split_first_chunk::<8>() else { return Err(wrong_length) };
    let Some((numbers, rest)) = rest.split_first_chunk::<40>() else { return Err(wrong_length) };
    let (numbers, _) = numbers.as_chunks::<8>();
    let (own_version, own_numbers) = header(engine.shape());
    if version != own_version || !numbers.iter().map(|n| u64::from_le_bytes(*n)).eq(own_numbers) {
        return Err(CheckpointError::Shape);
    }
    if bytes.len() != expected {
        return Err(wrong_length);
    }
    let Some((content, hash)) = bytes.split_last_chunk::<HASH>() else { return Err(wrong_length) };
    if blake3::hash(content) != blake3::Hash::from_bytes(*hash) {
        return Err(CheckpointError::Hash);
    }
    let (values, _) = rest[..rest.len() - HASH].as_chunks::<4>();
    if values.iter().any(|value| !f32::from_le_bytes(*value).is_finite()) {
        return Err(CheckpointError::NonFinite);
    }
    let mut from = values.iter();
    for into in [&mut engine.parameters, &mut engine.first, &mut engine.second] {
        for (into, from) in into.iter_mut().zip(&mut from) {
            *into = f32::from_le_bytes(*from);
        }
    }
    engine.steps = u64::from_le_bytes(*steps);
    Ok(())
}

/// Bytes of a checkpoint of this engine.
fn length(engine: &Engine) -> usize {
    let values = engine.parameters.len() + engine.first.len() + engine.second.len();
    HEADER + 4 * values + HASH
}
