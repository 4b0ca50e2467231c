//! Two bits per value: which of four bins around the mean it lies in.
//!
//! - Source: the 2-bit statistical quantizer of MuLoCo (Therien et al. 2025, arXiv 2505.23725) and
//!   SparseLoCo (arXiv 2508.15706); where they leave it open, this is ours: the bins are divided by
//!   mean - 1.5 sigma, mean and mean + 1.5 sigma, so that four equal ones span mean +- 3 sigma and the
//!   outer ones take what lies beyond.
//! - Contract: a value becomes the mean of its bin, rounded to f16 (values of 65504 and more saturate,
//!   those of an empty bin are 0). Up to that rounding a contraction:
//!   `|C(x) - x|^2 <= |x|^2`, and the sum of a chunk's values is kept. Biased for each single value.
//! - Size: 2 + 64/4096 = 2.015625 bits per value.
//! - Layout: chunks of 4096 values. Each chunk is the four bins' means, f16 little-endian, the lowest
//!   bin first, then one 2-bit number of a bin per value, lowest bits first. A short last chunk has
//!   ceil(values / 4) bytes of them; unused bits are 0.

use half::f16;

use super::CodecError;

/// Values that share their bins.
pub(super) const CHUNK: usize = 4096;
/// Bytes of the four means.
pub(super) const MEANS: usize = 8;
pub(super) const CHUNK_BYTES: usize = MEANS + CHUNK / 4;

/// Half a bin's distance from the mean, in sigmas.
const WIDTH: f64 = 1.5;

pub(super) fn encoded_len(values: usize) -> u64 {
    let (full, rest) = (values as u64 / CHUNK as u64, values % CHUNK);
    full * CHUNK_BYTES as u64 + if rest == 0 { 0 } else { chunk_len(rest) as u64 }
}

/// Bytes of a chunk of so many values.
pub(super) fn chunk_len(values: usize) -> usize {
    MEANS + values.div_ceil(4)
}

pub(super) fn encode(values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    out.reserve(encoded_len(values.len()) as usize);
    for (index, chunk) in values.chunks(CHUNK).enumerate() {
        if !super::largest_magnitude(chunk).is_finite() {
            out.truncate(start);
            return Err(CodecError::not_finite(chunk, index * CHUNK));
        }
        encode_chunk(chunk, out);
    }
    Ok(())
}

/// Appends the means and the bins of up to 4096 finite values.
pub(super) fn encode_chunk(chunk: &[f32], out: &mut Vec<u8>) {
    let edges = edges(chunk);
    let mut codes = [0u8; CHUNK];
    let (mut sums, mut counts) = ([0.0f64; 4], [0u32; 4]);
    for (code, value) in codes.iter_mut().zip(chunk) {
        *code = edges.iter().map(|edge| u8::from(value >= edge)).sum();
        sums[usize::from(*code)] += f64::from(*value);
        counts[usize::from(*code)] += 1;
    }
    for (sum, count) in sums.iter().zip(counts) {
        let mean = if count == 0 { 0.0 } else { sum / f64::from(count) };
        let limit = f64::from(f16::MAX);
        out.extend_from_slice(&f16::from_f64(mean.clamp(-limit, limit)).to_le_bytes());
    }
    for [a, b, c, d] in codes[..chunk.len().next_multiple_of(4)].as_chunks::<4>().0 {
        out.push(a | b << 2 | c << 4 | d << 6);
    }
}

/// What divides the bins.
fn edges(chunk: &[f32]) -> [f32; 3] {
    let count = chunk.len() as f64;
    let mean = sum(chunk, |value| value) / count;
    let variance = sum(chunk, |value| (value - mean) * (value - mean)) / count;
    let width = WIDTH * variance.sqrt();
    [mean - width, mean, mean + width].map(|edge| edge as f32)
}

fn sum(chunk: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; 8];
    let (rows, rest) = chunk.as_chunks::<8>();
    for row in rows {
        for (lane, value) in lanes.iter_mut().zip(row) {
            *lane += term(f64::from(*value));
        }
    }
    rest.iter().fold(lanes.iter().sum(), |sum: f64, value| sum + term(f64::from(*value)))
}

/// Refuses means that are not finite, and padding; the length is checked already.
pub(super) fn check(bytes: &[u8], values: usize) -> Result<(), CodecError> {
    let mut left = values;
    for (chunk, bytes) in bytes.chunks(CHUNK_BYTES).enumerate() {
        check_chunk(bytes, left.min(CHUNK), chunk)?;
        left = left.saturating_sub(CHUNK);
    }
    Ok(())
}

/// The same for one chunk.
pub(super) fn check_chunk(bytes: &[u8], values: usize, chunk: usize) -> Result<(), CodecError> {
    if means(bytes).iter().any(|mean| !mean.is_finite()) {
        return Err(CodecError::Scale { block: chunk });
    }
    let used = 2 * (values % 4);
    match bytes.last() {
        Some(last) if used != 0 && last >> used != 0 => Err(CodecError::Padding),
        _ => Ok(()),
    }
}

pub(super) fn decode_chunk(bytes: &[u8], out: &mut [f32]) {
    let means = means(bytes);
    let codes = bytes.get(MEANS..).unwrap_or(&[]);
    for (codes, values) in codes.iter().zip(out.chunks_mut(4)) {
        for (place, value) in values.iter_mut().enumerate() {
            *value = means[usize::from(codes >> (2 * place) & 3)];
        }
    }
}

fn means(chunk: &[u8]) -> [f32; 4] {
    let mut means = [0.0; 4];
    for (mean, bytes) in means.iter_mut().zip(chunk.as_chunks::<2>().0) {
        *mean = f16::from_le_bytes(*bytes).to_f32();
    }
    means
}
