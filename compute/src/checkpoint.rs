//! Checkpoints: parameters and optimizer of an engine as bytes.
//!
//! Layout, little-endian: magic (8), version u32, the optimizer's step count u64, the five numbers of the shape as u64
//! (layers, heads, width, context, vocabulary), then parameters, first and second moments as f32, then the BLAKE3 hash
//! (32) of everything before it. The length follows from the shape, so it is checked before anything is read.

use crate::engine::Engine;
use crate::model::GptShape;
use thiserror::Error;

const MAGIC: [u8; 8] = *b"drftless";
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 8 + 5 * 8;
const HASH: usize = blake3::OUT_LEN;

/// Why a checkpoint was refused; the engine is unchanged.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum CheckpointError {
    /// It does not start like a checkpoint.
    #[error("not a checkpoint: its first bytes are wrong")]
    Magic,
    /// It was written by another version.
    #[error("checkpoint version {0} is not supported, this build reads version 1")]
    Version(u32),
    /// It belongs to another model.
    #[error("the checkpoint is of another model shape")]
    Shape,
    /// It is truncated or too long.
    #[error("the checkpoint has {got} bytes, a model of this shape needs {expected}")]
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

/// The shape as it stands in the header.
fn shape_numbers(shape: &GptShape) -> [u64; 5] {
    [shape.layers, shape.heads, shape.width, shape.context, shape.vocabulary].map(|number| number as u64)
}

pub(crate) fn save(engine: &Engine) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length(engine));
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&engine.steps.to_le_bytes());
    for number in shape_numbers(engine.shape()) {
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
    if version != VERSION {
        return Err(CheckpointError::Version(version));
    }
    let Some((steps, rest)) = rest.split_first_chunk::<8>() else { return Err(wrong_length) };
    let Some((numbers, rest)) = rest.split_first_chunk::<40>() else { return Err(wrong_length) };
    let (numbers, _) = numbers.as_chunks::<8>();
    if !numbers.iter().map(|n| u64::from_le_bytes(*n)).eq(shape_numbers(engine.shape())) {
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
    let n = engine.parameter_count();
    for (into, from) in [&mut engine.parameters, &mut engine.first, &mut engine.second]
        .into_iter()
        .zip(values.chunks_exact(n))
    {
        for (into, from) in into.iter_mut().zip(from) {
            *into = f32::from_le_bytes(*from);
        }
    }
    engine.steps = u64::from_le_bytes(*steps);
    Ok(())
}

/// Bytes of a checkpoint of this engine.
fn length(engine: &Engine) -> usize {
    HEADER + 3 * 4 * engine.parameter_count() + HASH
}
