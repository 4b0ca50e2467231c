//! Uniform n-bit numbers with stochastic rounding; 8 bits are int8.
//!
//! - Source: the unbiased quantizer of QSGD (Alistarh et al. 2017, arXiv 1610.02132, section 3.1), with
//!   the largest magnitude of a block in the place of its norm; layout ours.
//! - Contract: unbiased. A value x becomes `q * step`, `step = scale / (2^(n-1) - 1)`, where q is one of
//!   the two integers around `x / step` and its mean over the noise is `x / step`. The variance of a value
//!   is at most `step^2 / 4`.
//! - Size: n + 0.125 bits per value.
//! - Layout: blocks of 256 values. Each block is one f32 little-endian `step`, then q in n bits of
//!   two's complement, lowest bits first. A short last block has ceil(n * values / 8) bytes of
//!   them; unused bits are 0.
//!
//! A block whose `step` would be below the normal numbers is encoded as zeros. Values beyond
//! 127/128 of the largest f32 saturate.

use super::noise::Noise;
use super::{BLOCK, CodecError, largest_magnitude};

/// No encoder writes a larger step: 128 of them are finite.
const LARGEST_STEP: f32 = f32::MAX / 128.0;

pub(super) fn block_bytes(bits: u8) -> usize {
    4 + BLOCK / 8 * usize::from(bits)
}

pub(super) fn encoded_len(bits: u8, values: usize) -> u64 {
    let (full, rest) = (values as u64 / BLOCK as u64, values as u64 % BLOCK as u64);
    let last = if rest == 0 { 0 } else { 4 + (rest * u64::from(bits)).div_ceil(8) };
    full * block_bytes(bits) as u64 + last
}

pub(super) fn encode(bits: u8, values: &[f32], key: u64, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    out.reserve(encoded_len(bits, values.len()) as usize);
    for (index, block) in values.chunks(BLOCK).enumerate() {
        let scale = largest_magnitude(block);
        if !scale.is_finite() {
            out.truncate(start);
            return Err(CodecError::not_finite(block, index * BLOCK));
        }
        encode_block(bits, block, scale, Noise::of_block(key, index), out);
    }
    Ok(())
}

fn encode_block(bits: u8, block: &[f32], scale: f32, noise: Noise, out: &mut Vec<u8>) {
    let levels = ((1 << (bits - 1)) - 1) as f32;
    let step = (scale / levels).min(LARGEST_STEP);
    let packed_bytes = (block.len() * usize::from(bits)).div_ceil(8);
    if step < f32::MIN_POSITIVE {
        out.resize(out.len() + 4 + packed_bytes, 0);
        return;
    }
    // Whole blocks only, so that the loops become vectors; zeros become zeros.
    let mut values = [0.0; BLOCK];
    values[..block.len()].copy_from_slice(block);
    let mut codes = [0i32; BLOCK];
    for (index, (code, value)) in codes.iter_mut().zip(&values).enumerate() {
        // Towards zero after noise in [0, 1): the magnitude's mean is kept.
        let magnitude = value.abs() / step + noise.unit(index as u32);
        let magnitude = whole(if magnitude < levels { magnitude } else { levels });
        *code = if *value < 0.0 { -magnitude } else { magnitude };
    }
    out.extend_from_slice(&step.to_le_bytes());
    // Eight codes take `bits` bytes; the rest of each word is written over by the next.
    let mut packed = [0u8; BLOCK + 8];
    let (mask, bits) = ((1u64 << bits) - 1, usize::from(bits));
    for (index, eight) in codes.as_chunks::<8>().0.iter().enumerate() {
        let pack = |word, (place, code): (usize, &i32)| word | (*code as u64 & mask) << (place * bits);
        let word = eight.iter().enumerate().fold(0u64, pack);
        packed[index * bits..index * bits + 8].copy_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&packed[..packed_bytes]);
}

/// The integer below a number from 0 to 2^22: `as` would check for what cannot be.
fn whole(number: f32) -> i32 {
    const SHIFT: f32 = (1 << 23) as f32;
    let nearest = number + SHIFT;
    let above = i32::from(nearest - SHIFT > number);
    (nearest.to_bits() & 0x7f_ffff) as i32 - above
}

/// Refuses steps that no encoder writes and padding that is not zero; the length is checked already.
pub(super) fn check(bits: u8, bytes: &[u8], values: usize) -> Result<(), CodecError> {
    for (block, bytes) in bytes.chunks(block_bytes(bits)).enumerate() {
        let step = step_of(bytes);
        if step.to_bits() != 0 && !(f32::MIN_POSITIVE..=LARGEST_STEP).contains(&step) {
            return Err(CodecError::Scale { block });
        }
    }
    let used = values % BLOCK * usize::from(bits) % 8;
    match bytes.last() {
        Some(last) if used != 0 && last >> used != 0 => Err(CodecError::Padding),
        _ => Ok(()),
    }
}

pub(super) fn decode_block(bits: u8, bytes: &[u8], out: &mut [f32]) {
    let step = step_of(bytes);
    let bits = usize::from(bits);
    let unused = 8 - bits;
    let mask = (1u64 << bits) - 1;
    let packed = bytes.get(4..).unwrap_or(&[]);
    for (bytes, values) in packed.chunks(bits).zip(out.chunks_mut(8)) {
        let mut word = [0u8; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        let word = u64::from_le_bytes(word);
        for (place, value) in values.iter_mut().enumerate() {
            let code = (word >> (place * bits) & mask) as u8;
            // The sign bit is the highest of the n.
            *value = f32::from((code << unused) as i8 >> unused) * step;
        }
    }
}

fn step_of(block: &[u8]) -> f32 {
    block.first_chunk().map_or(0.0, |step| f32::from_le_bytes(*step))
}
