//! Rand-k: values at places drawn from a key; the places are not sent.
//!
//! - Source: Rand-K of Richtarik et al. 2024, arXiv 2402.10774, section 2; chunks and layout ours.
//! - Contract: over the keys a contraction in the mean with alpha = k / n:
//!   `E |C(x) - x|^2 = (1 - k/n) |x|^2`; times n / k it is unbiased. As it is, it wants error feedback.
//! - Size: 8 bytes, and 4 for each kept value: `k = ceil(n * keep / of)` of each chunk of n.
//! - Layout: the key, u64 little-endian, then the kept values of all chunks of `of`, f32 little-endian, ascending by
//!   place. Place i of a chunk is kept if `word(i) * (n - i) / 2^32 < k - kept so far`, with the words of
//!   [`noise`](super::noise) under the key and the chunk's number.

use bincode::{Decode, Encode};

use super::CodecError;
use super::noise::Noise;

const KEY: usize = 8;

/// How many values are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct RandK {
    /// So many,
    pub keep: u32,
    /// of so many.
    pub of: u32,
}

impl RandK {
    fn kept(&self, values: usize) -> usize {
        let kept = (values as u64 * u64::from(self.keep)).div_ceil(u64::from(self.of.max(1)));
        (kept as usize).min(values)
    }

    pub(super) fn encoded_len(&self, values: usize) -> u64 {
        let of = self.of.max(1) as usize;
        let kept = (values / of) as u64 * self.kept(of) as u64 + self.kept(values % of) as u64;
        KEY as u64 + 4 * kept
    }

    pub(super) fn encode(&self, values: &[f32], key: u64, out: &mut Vec<u8>) -> Result<(), CodecError> {
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(CodecError::ValueNotFinite { index });
        }
        out.reserve(self.encoded_len(values.len()) as usize);
        out.extend_from_slice(&key.to_le_bytes());
        self.for_each_place(key, values.len(), |index| out.extend_from_slice(&values[index].to_le_bytes()));
        Ok(())
    }

    /// Refuses values that are not finite; the length is checked already.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), CodecError> {
        super::f32::check(bytes.get(KEY..).unwrap_or(&[]))
    }

    /// Visits the kept values with their indices, ascending, of a checked payload.
    pub(super) fn for_each_kept(&self, bytes: &[u8], values: usize, mut visit: impl FnMut(usize, f32)) {
        let Some((key, kept)) = bytes.split_first_chunk::<KEY>() else { return };
        let mut kept = kept.as_chunks::<4>().0.iter();
        self.for_each_place(u64::from_le_bytes(*key), values, |index| {
            if let Some(value) = kept.next() {
                visit(index, f32::from_le_bytes(*value));
            }
        });
    }

    fn for_each_place(&self, key: u64, values: usize, mut visit: impl FnMut(usize)) {
        let of = self.of.max(1) as usize;
        for (chunk, start) in (0..values).step_by(of).enumerate() {
            let size = of.min(values - start);
            let (noise, mut left) = (Noise::of_block(key, chunk), self.kept(size) as u64);
            for place in 0..size {
                let draw = (u64::from(noise.word(place as u32)) * (size - place) as u64) >> 32;
                if draw < left {
                    left -= 1;
                    visit(start + place);
                }
            }
        }
    }
}
