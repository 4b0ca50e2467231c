//! The exact codec: values as they are.
//!
//! - Contract: lossless for finite values; NaN and infinities are refused in both directions.
//! - Size: 4 bytes per value.
//! - Layout: IEEE 754 binary32, little-endian, one after another.
//! - Source: none; it is what the lossy codecs are compared with.

use super::{BLOCK, CodecError};

pub(super) const BLOCK_BYTES: usize = 4 * BLOCK;

pub(super) fn encoded_len(values: usize) -> u64 {
    4 * values as u64
}

pub(super) fn encode(values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(CodecError::ValueNotFinite { index });
    }
    out.reserve(4 * values.len());
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    Ok(())
}

/// Refuses payloads with NaN or infinite values; the length is checked already.
pub(super) fn check(bytes: &[u8]) -> Result<(), CodecError> {
    match words(bytes).position(|value| !value.is_finite()) {
        Some(index) => Err(CodecError::PayloadNotFinite { index }),
        None => Ok(()),
    }
}

pub(super) fn decode_block(bytes: &[u8], out: &mut [f32]) {
    for (out, value) in out.iter_mut().zip(words(bytes)) {
        *out = value;
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word))
}
