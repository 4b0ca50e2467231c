//! One bit per value: its sign, times the mean magnitude of its block.
//!
//! - Source: scaled sign compression (Karimireddy et al. 2019, arXiv 1901.09847, section 4); blocks
//!   and layout ours.
//! - Contract: a contraction: `|C(x) - x|^2 = (1 - a) |x|^2` for each block of n values, with
//!   `a = |x|_1^2 / (n |x|_2^2)`, at least 1/n (up to the rounding of the scale). Biased: it wants
//!   error feedback.
//! - Size: 1.125 bits per value.
//! - Layout: blocks of 256 values. Each block is one f32 little-endian `scale`, then the sign bits, lowest
//!   first, 1 for negative. A short last block has ceil(values / 8) bytes of them; unused bits are 0.

use super::{BLOCK, CodecError, largest_magnitude};

pub(super) const BLOCK_BYTES: usize = 4 + BLOCK / 8;

pub(super) fn encoded_len(values: usize) -> u64 {
    let (full, rest) = (values as u64 / BLOCK as u64, values as u64 % BLOCK as u64);
    full * BLOCK_BYTES as u64 + if rest == 0 { 0 } else { 4 + rest.div_ceil(8) }
}

pub(super) fn encode(values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    out.reserve(encoded_len(values.len()) as usize);
    for (index, block) in values.chunks(BLOCK).enumerate() {
        if !largest_magnitude(block).is_finite() {
            out.truncate(start);
            return Err(CodecError::not_finite(block, index * BLOCK));
        }
        let scale = mean_magnitude(block);
        out.extend_from_slice(&scale.to_le_bytes());
        for eight in block.chunks(8) {
            let bit = |byte, (place, value): (usize, &f32)| byte | u8::from(*value < 0.0) << place;
            // A block of zeros has one encoding.
            let byte = if scale == 0.0 { 0 } else { eight.iter().enumerate().fold(0, bit) };
            out.push(byte);
        }
    }
    Ok(())
}

fn mean_magnitude(block: &[f32]) -> f32 {
    let mut lanes = [0.0f64; 8];
    for row in block.chunks(8) {
        for (lane, value) in lanes.iter_mut().zip(row) {
            *lane += f64::from(value.abs());
        }
    }
    (lanes.iter().sum::<f64>() / block.len() as f64) as f32
}

/// Refuses scales that are negative or not finite, and padding; the length is checked already.
pub(super) fn check(bytes: &[u8], values: usize) -> Result<(), CodecError> {
    for (block, bytes) in bytes.chunks(BLOCK_BYTES).enumerate() {
        let scale = scale_of(bytes);
        if !scale.is_finite() || scale.is_sign_negative() {
            return Err(CodecError::Scale { block });
        }
    }
    let used = values % 8;
    match bytes.last() {
        Some(last) if used != 0 && last >> used != 0 => Err(CodecError::Padding),
        _ => Ok(()),
    }
}

pub(super) fn decode_block(bytes: &[u8], out: &mut [f32]) {
    let scale = scale_of(bytes);
    let signs = bytes.get(4..).unwrap_or(&[]);
    for (signs, values) in signs.iter().zip(out.chunks_mut(8)) {
        for (place, value) in values.iter_mut().enumerate() {
            let negative = u32::from(signs >> place & 1);
            *value = f32::from_bits(scale.to_bits() | negative << 31);
        }
    }
}

fn scale_of(block: &[u8]) -> f32 {
    block.first_chunk().map_or(0.0, |scale| f32::from_le_bytes(*scale))
}
