//! E3M0: one sign bit and a three-bit exponent, no mantissa.
//!
//! - Source: Douillard et al. 2025, "Streaming DiLoCo with overlapping communication", arXiv
//!   2501.18512, section 3.3 names the format; the paper gives no layout, this one is ours.
//! - Contract: a value becomes the nearest (in the logarithm) of 0 and `2^(L-7) * scale`,
//!   L = 1..=7, with its sign. NaN and infinities are refused. Idempotent, bit for bit.
//! - Size: 4.125 bits per value.
//! - Layout: blocks of 256 values. Each block is one f32 little-endian `scale` (its largest
//!   magnitude), then 128 bytes of nibbles, low nibble first; nibble = `sign << 3 | L`, L = 0 is
//!   zero (nibble 8 too: a negative value too small to keep). A short last block has ceil(n/2)
//!   nibble bytes; an unused last nibble is 0.
//!
//! Rounding is `L = clamp(round(log2(|x| / scale)) + 7, 0, 7)` without a logarithm: L is the
//! number of thresholds `2^(k - 7.5) * scale`, k = 1..=7, that |x| reaches. The thresholds are
//! one f32 product `0.70710677 * scale` times exact powers of two, so they are the same
//! everywhere. Ties: |x| equal to a threshold goes up.
//!
//! A block whose largest magnitude is below 2^-119 is encoded as zeros: below it the powers of
//! two would leave the normal numbers and the products would round.

use super::{BLOCK, CodecError, largest_magnitude};

const NIBBLE_BYTES: usize = BLOCK / 2;
pub(super) const BLOCK_BYTES: usize = 4 + NIBBLE_BYTES;

/// The smallest scale that an encoder writes, 2^-119: 2^-6 of it, and its smallest threshold,
/// are normal numbers still.
const SMALLEST_SCALE: f32 = f32::from_bits((127 - 119) << 23);

/// `2^(L - 7)`, L = 1..=7; L = 0 is zero.
const LEVELS: [f32; 8] = [0.0, 0.015625, 0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0];

pub(super) fn encoded_len(values: usize) -> u64 {
    let (full, rest) = (values as u64 / BLOCK as u64, values as u64 % BLOCK as u64);
    full * BLOCK_BYTES as u64 + if rest == 0 { 0 } else { 4 + rest.div_ceil(2) }
}

pub(super) fn encode(values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    out.reserve(encoded_len(values.len()) as usize);
    for (index, block) in values.chunks(BLOCK).enumerate() {
        let scale = largest_magnitude(block);
        if !scale.is_finite() {
            out.truncate(start);
            return Err(CodecError::not_finite(block, index * BLOCK));
        }
        encode_block(block, scale, out);
    }
    Ok(())
}

fn encode_block(block: &[f32], scale: f32, out: &mut Vec<u8>) {
    let nibble_bytes = block.len().div_ceil(2);
    if scale < SMALLEST_SCALE {
        out.resize(out.len() + 4 + nibble_bytes, 0);
        return;
    }
    let middle = std::f32::consts::FRAC_1_SQRT_2 * scale;
    let thresholds = [1, 2, 3, 4, 5, 6, 7].map(|level| (LEVELS[level] * middle).to_bits() as i32);
    let mut nibbles = [0u8; BLOCK];
    for (nibble, value) in nibbles.iter_mut().zip(block) {
        let bits = value.to_bits();
        let magnitude = (bits & 0x7fff_ffff) as i32;
        let level = thresholds.iter().map(|threshold| i32::from(magnitude >= *threshold)).sum::<i32>();
        *nibble = (bits >> 28 & 8) as u8 | level as u8;
    }
    let mut packed = [0u8; NIBBLE_BYTES];
    for (byte, [low, high]) in packed.iter_mut().zip(nibbles.as_chunks::<2>().0) {
        *byte = low | high << 4;
    }
    out.extend_from_slice(&scale.to_le_bytes());
    out.extend_from_slice(&packed[..nibble_bytes]);
}

/// Refuses scales that no encoder writes and a padding nibble; the length is checked already.
pub(super) fn check(bytes: &[u8], values: usize) -> Result<(), CodecError> {
    for (block, bytes) in bytes.chunks(BLOCK_BYTES).enumerate() {
        let scale = scale_of(bytes);
        // Bits, so that -0 is refused as well.
        if scale.to_bits() != 0 && !(SMALLEST_SCALE..=f32::MAX).contains(&scale) {
            return Err(CodecError::Scale { block });
        }
    }
    match bytes.last() {
        Some(last) if values % 2 == 1 && last >> 4 != 0 => Err(CodecError::Padding),
        _ => Ok(()),
    }
}

pub(super) fn decode_block(bytes: &[u8], out: &mut [f32]) {
    let scale = scale_of(bytes);
    let mut table = [0.0f32; 16];
    for (level, factor) in LEVELS.iter().enumerate() {
        table[level] = factor * scale;
        table[level + 8] = -(factor * scale);
    }
    let (pairs, last) = out.as_chunks_mut::<2>();
    let nibbles = bytes.get(4..).unwrap_or(&[]);
    for ([low, high], byte) in pairs.iter_mut().zip(nibbles) {
        *low = table[usize::from(byte & 15)];
        *high = table[usize::from(byte >> 4)];
    }
    if let ([value], Some(byte)) = (last, nibbles.last()) {
        *value = table[usize::from(byte & 15)];
    }
}

fn scale_of(block: &[u8]) -> f32 {
    block.first_chunk().map_or(0.0, |scale| f32::from_le_bytes(*scale))
}
