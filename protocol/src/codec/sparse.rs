//! Top-k: the largest magnitudes of each chunk, with their places.
//!
//! - Source: Top-K of Richtarik et al. 2024, arXiv 2402.10774, section 2; chunks, 12-bit places and 2-bit
//!   values of SparseLoCo, arXiv 2508.15706; layout ours.
//! - Contract: a contraction with alpha = k / n: `|C(x) - x|^2 <= (1 - k/n) |x|^2`, exact values. With
//!   2-bit values the kept ones are those of [`statistical`]. Biased: it wants error feedback.
//! - Size: for each chunk of n values `k = ceil(n * keep / of)` places of b bits, rounded up to bytes, and
//!   k values of 4 bytes, or 8 + ceil(k / 4) bytes for all. 64 of 4096 in 2 bits: 96 + 8 + 16 = 120 bytes,
//!   0.234375 bits per value.
//! - Layout: chunks of `of` values, or one of all. Each chunk is the places of the kept values in it,
//!   ascending, in b = ceil(log2(of)) bits (32 where one chunk is all), lowest bits first, unused bits 0; then
//!   the values in that order, f32 little-endian or as a chunk of [`statistical`].
//!
//! Of equal magnitudes the first is kept. Kept values of more than 4096 are quantized in parts of 4096.

use bincode::{Decode, Encode};

use super::largest::Largest;
use super::{CodecError, bits, statistical};

/// Which values are kept, and how they are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct TopK {
    /// So many,
    pub keep: u32,
    /// of so many.
    pub of: u32,
    /// Chosen among all values rather than in each chunk.
    pub whole: bool,
    /// In 2 bits each.
    pub statistical: bool,
}

impl TopK {
    /// The largest chunk, in values.
    pub const MAX_CHUNK: u32 = 1 << 16;

    /// Values of a chunk.
    fn chunk(&self, values: usize) -> usize {
        if self.whole { values.max(1) } else { self.of.max(1) as usize }
    }

    /// How many are kept of a chunk of `values`.
    fn kept(&self, values: usize) -> usize {
        let kept = (values as u128 * u128::from(self.keep)).div_ceil(u128::from(self.of.max(1)));
        (kept as usize).min(values)
    }

    /// Bits of a place.
    fn place_bits(&self) -> u32 {
        if self.whole { 32 } else { self.of.next_power_of_two().trailing_zeros() }
    }

    fn values_len(&self, kept: usize) -> usize {
        if self.statistical { statistical::encoded_len(kept) as usize } else { 4 * kept }
    }

    fn chunk_len(&self, values: usize) -> usize {
        let kept = self.kept(values);
        bits::packed_len(kept, self.place_bits()) + self.values_len(kept)
    }

    pub(super) fn encoded_len(&self, values: usize) -> u64 {
        let chunk = self.chunk(values);
        let (full, rest) = (values / chunk, values % chunk);
        full as u64 * self.chunk_len(chunk) as u64 + if rest == 0 { 0 } else { self.chunk_len(rest) as u64 }
    }

    pub(super) fn encode(&self, values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        out.reserve(self.encoded_len(values.len()) as usize);
        let (mut largest, mut places, mut kept) = (Largest::default(), Vec::new(), Vec::new());
        let size = self.chunk(values.len());
        for (index, chunk) in values.chunks(size).enumerate() {
            let count = self.kept(chunk.len());
            let finite = if self.whole && !self.statistical {
                // As they are written: what is that large is not copied.
                let at = out.len();
                out.resize(at + 8 * count, 0);
                let (places, kept) = out[at..].split_at_mut(4 * count);
                largest.choose(chunk, places.as_chunks_mut().0, kept.as_chunks_mut().0)
            } else {
                places.resize(count, [0; 4]);
                kept.resize(count, [0; 4]);
                let finite = largest.choose(chunk, &mut places, &mut kept);
                bits::pack(&places, self.place_bits(), out);
                match self.statistical {
                    true => encode_statistical(&kept, out),
                    false => out.extend_from_slice(kept.as_flattened()),
                }
                finite
            };
            if !finite {
                out.truncate(start);
                return Err(CodecError::not_finite(chunk, index * size));
            }
        }
        Ok(())
    }

    /// Refuses places that do not ascend or lie outside, and values that are not finite; the length is
    /// checked already.
    pub(super) fn check(&self, bytes: &[u8], values: usize) -> Result<(), CodecError> {
        let mut refused = Ok(());
        self.for_each_chunk(bytes, values, |part| {
            if refused.is_ok() {
                refused = self.check_chunk(&part);
            }
        });
        refused
    }

    fn check_chunk(&self, part: &Part<'_>) -> Result<(), CodecError> {
        let kept = self.kept(part.size);
        let mut last = None;
        for place in bits::unpack(part.places, self.place_bits(), kept) {
            if last.is_some_and(|last| place <= last) || place as usize >= part.size {
                return Err(CodecError::Places { chunk: part.index });
            }
            last = Some(place);
        }
        if !bits::padding_is_zero(part.places, self.place_bits(), kept) {
            return Err(CodecError::Padding);
        }
        match self.statistical {
            true => statistical::check(part.values, kept),
            false => super::f32::check(part.values),
        }
    }

    /// Visits the kept values with their indices, ascending, of a checked payload.
    pub(super) fn for_each_kept(&self, bytes: &[u8], values: usize, mut visit: impl FnMut(usize, f32)) {
        let mut buffer = [0.0; statistical::CHUNK];
        self.for_each_chunk(bytes, values, |part| {
            let mut places = bits::unpack(part.places, self.place_bits(), self.kept(part.size));
            let mut left = self.kept(part.size);
            let step = if self.statistical { statistical::CHUNK_BYTES } else { 4 * statistical::CHUNK };
            for bytes in part.values.chunks(step) {
                let decoded = &mut buffer[..left.min(statistical::CHUNK)];
                match self.statistical {
                    true => statistical::decode_chunk(bytes, decoded),
                    false => super::f32::decode_block(bytes, decoded),
                }
                left -= decoded.len();
                for (value, place) in decoded.iter().zip(&mut places) {
                    visit(part.start + place as usize, *value);
                }
            }
        });
    }

    fn for_each_chunk(&self, mut bytes: &[u8], values: usize, mut visit: impl FnMut(Part<'_>)) {
        let chunk = self.chunk(values);
        for (index, start) in (0..values).step_by(chunk).enumerate() {
            let size = chunk.min(values - start);
            let places = bits::packed_len(self.kept(size), self.place_bits());
            let Some((part, rest)) = bytes.split_at_checked(self.chunk_len(size)) else { return };
            let (places, values) = part.split_at(places);
            visit(Part { index, start, size, places, values });
            bytes = rest;
        }
    }
}

/// One chunk of a payload.
struct Part<'a> {
    index: usize,
    /// The first value's index, and how many there are.
    start: usize,
    size: usize,
    places: &'a [u8],
    values: &'a [u8],
}

/// Appends kept values in 2 bits each.
fn encode_statistical(kept: &[[u8; 4]], out: &mut Vec<u8>) {
    let mut buffer = [0.0; statistical::CHUNK];
    for kept in kept.chunks(statistical::CHUNK) {
        let values = &mut buffer[..kept.len()];
        values.iter_mut().zip(kept).for_each(|(value, bytes)| *value = f32::from_le_bytes(*bytes));
        statistical::encode_chunk(values, out);
    }
}
