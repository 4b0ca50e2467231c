//! How a contribution's values become bytes: one file per codec, a closed enum over them.
//!
//! A blob is the codec's payload and nothing else: codec and number of values follow from the
//! manifest and the slot. Decoding is exact, so all peers decode a blob to the same bits, and it
//! reads any bytes without panicking. Every codec is idempotent:
//! `decode(encode(decode(encode(x)))) == decode(encode(x))`, bit for bit.
//!
//! | codec | name | bits per value | contract |
//! |---|---|---|---|
//! | [`F32`](Codec::F32) | `f32` | 32 | exact: the reference that lossy codecs are measured against |
//! | [`E3M0`](Codec::E3M0) | `e3m0` | 4.125 | nearest power of two |
//! | [`Uniform`](Codec::Uniform) | `int2` to `int8` | n + 0.125 | unbiased |
//! | [`Statistical`](Codec::Statistical) | `stat2` | 2.016 | contraction |
//! | [`Sign`](Codec::Sign) | `sign` | 1.125 | contraction |
//! | [`TopK`](Codec::TopK) | `top-64/4096`, `top-1/64-whole`, each with `-stat2` | 0.234 at `top-64/4096-stat2` | contraction |
//! | [`RandK`](Codec::RandK) | `rand-64/4096` | 32 k/n | contraction in the mean |
//!
//! Those that keep a part of the values only make sense where what they leave out is sent later: with
//! error feedback.

mod bits;
mod e3m0;
mod f32;
mod largest;
mod name;
mod noise;
mod random;
mod sign;
mod sparse;
mod statistical;
mod uniform;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

pub use random::RandK;
pub use sparse::TopK;

/// Values of one block, the unit in which dense codecs are read: it fits the first-level cache.
pub const BLOCK: usize = 256;

/// How values are encoded. Manifests name it as text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Codec {
    /// Plain little-endian f32.
    F32,
    /// Sign and a power of two in 4 bits, with one scale per 256 values.
    E3M0,
    /// Whole numbers with stochastic rounding, with one step per 256 values.
    Uniform {
        /// Bits of each, 2 to 8.
        bits: u8,
    },
    /// One of four means of a chunk.
    Statistical,
    /// The sign, times the mean magnitude of 256 values.
    Sign,
    /// The largest magnitudes.
    TopK(TopK),
    /// Values at random places.
    RandK(RandK),
}

/// Why values cannot be encoded, or bytes not decoded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodecError {
    /// A value to encode is NaN or infinite.
    #[error("value {index} is not finite: it cannot be sent")]
    ValueNotFinite {
        /// Which value.
        index: usize,
    },
    /// The payload has another length than its number of values implies.
    #[error("payload has {found} bytes where {expected} encode the values")]
    Length {
        /// Bytes that the values take.
        expected: u64,
        /// Bytes received.
        found: u64,
    },
    /// A decoded value would be NaN or infinite.
    #[error("payload holds a value that is not finite at index {index}")]
    PayloadNotFinite {
        /// Which value.
        index: usize,
    },
    /// A block's scale is not one that an encoder writes.
    #[error("block {block}: the scale is negative, not finite or too small")]
    Scale {
        /// Which block.
        block: usize,
    },
    /// Bits past the last value are set.
    #[error("the bits after the last value are not zero")]
    Padding,
    /// The places of kept values are not ones that an encoder writes.
    #[error("chunk {chunk}: the places of its values do not ascend within it")]
    Places {
        /// Which chunk.
        chunk: usize,
    },
}

impl CodecError {
    /// Names the first value that is not finite of a block that begins at `start`.
    fn not_finite(block: &[f32], start: usize) -> CodecError {
        let within = block.iter().position(|value| !value.is_finite()).unwrap_or(0);
        CodecError::ValueNotFinite { index: start + within }
    }
}

/// The largest magnitude, or something that is not finite if any value is.
fn largest_magnitude(block: &[f32]) -> f32 {
    // As integers, magnitudes order like the numbers, and NaN comes after infinity.
    let bits = block.iter().fold(0, |largest: u32, value| largest.max(value.to_bits() & 0x7fff_ffff));
    f32::from_bits(bits)
}

impl Codec {
    /// Bytes that encode `values` values.
    pub fn encoded_len(&self, values: usize) -> u64 {
        match self {
            Codec::F32 => f32::encoded_len(values),
            Codec::E3M0 => e3m0::encoded_len(values),
            Codec::Uniform { bits } => uniform::encoded_len(*bits, values),
            Codec::Statistical => statistical::encoded_len(values),
            Codec::Sign => sign::encoded_len(values),
            Codec::TopK(top) => top.encoded_len(values),
            Codec::RandK(random) => random.encoded_len(values),
        }
    }

    /// Appends the encoding of `values` to `out`; what is random in it follows from `key`. On an error
    /// `out` is as it was.
    pub fn encode(&self, values: &[f32], key: u64, out: &mut Vec<u8>) -> Result<(), CodecError> {
        match self {
            Codec::F32 => f32::encode(values, out),
            Codec::E3M0 => e3m0::encode(values, out),
            Codec::Uniform { bits } => uniform::encode(*bits, values, key, out),
            Codec::Statistical => statistical::encode(values, out),
            Codec::Sign => sign::encode(values, out),
            Codec::TopK(top) => top.encode(values, out),
            Codec::RandK(random) => random.encode(values, key, out),
        }
    }

    /// Whether `bytes` decode to `values` finite values.
    pub fn check(&self, bytes: &[u8], values: usize) -> Result<(), CodecError> {
        let (expected, found) = (self.encoded_len(values), bytes.len() as u64);
        if expected != found {
            return Err(CodecError::Length { expected, found });
        }
        match self {
            Codec::F32 => f32::check(bytes),
            Codec::E3M0 => e3m0::check(bytes, values),
            Codec::Uniform { bits } => uniform::check(*bits, bytes, values),
            Codec::Statistical => statistical::check(bytes, values),
            Codec::Sign => sign::check(bytes, values),
            Codec::TopK(top) => top.check(bytes, values),
            Codec::RandK(random) => random.check(bytes),
        }
    }

    /// Whether values are left out that have to be sent later.
    pub fn wants_error_feedback(&self) -> bool {
        matches!(self, Codec::Sign | Codec::TopK(_) | Codec::RandK(_))
    }

    /// Whether what is left out is never longer than what was to be sent, on average where places are random.
    pub fn is_contraction(&self) -> bool {
        !matches!(self, Codec::Uniform { .. })
    }

    /// The share of the square of what is to be sent that is sent at least (alpha), where it is known: a chunk
    /// that is shorter is not sent worse.
    pub fn contraction(&self) -> Option<f64> {
        match self {
            Codec::F32 => Some(1.0),
            Codec::TopK(TopK { keep, of, statistical: false, .. }) | Codec::RandK(RandK { keep, of, .. }) => {
                Some((f64::from(*keep) / f64::from((*of).max(1))).min(1.0))
            }
            _ => None,
        }
    }

    /// Decodes into `out`, whose length is the number of values. On an error `out` is as it was.
    pub fn decode_into(&self, bytes: &[u8], out: &mut [f32]) -> Result<(), CodecError> {
        self.check(bytes, out.len())?;
        match self.dense() {
            Some(dense) => {
                let chunks = bytes.chunks(dense.bytes).zip(out.chunks_mut(dense.values));
                chunks.for_each(|(bytes, out)| self.decode_chunk(bytes, out));
            }
            None => {
                out.fill(0.0);
                self.for_each_kept(bytes, out.len(), |index, value| out[index] = value);
            }
        }
        Ok(())
    }

    /// `accumulator[i] += weight * value[i]`: a multiplication, then an addition, for every value that is
    /// sent. On an error the accumulator is as it was.
    pub fn decode_add(&self, bytes: &[u8], weight: f32, accumulator: &mut [f32]) -> Result<(), CodecError> {
        self.check(bytes, accumulator.len())?;
        let Some(dense) = self.dense() else {
            self.for_each_kept(bytes, accumulator.len(), |index, value| accumulator[index] += weight * value);
            return Ok(());
        };
        let mut buffer = [0.0; statistical::CHUNK];
        for (bytes, sums) in bytes.chunks(dense.bytes).zip(accumulator.chunks_mut(dense.values)) {
            let decoded = &mut buffer[..sums.len()];
            self.decode_chunk(bytes, decoded);
            for (sum, value) in sums.iter_mut().zip(decoded) {
                *sum += weight * *value;
            }
        }
        Ok(())
    }

    /// Visits all values that are sent, in order, in blocks of 256 of which only the last may be shorter:
    /// whatever is not sent is zero.
    pub fn for_each_block(
        &self,
        bytes: &[u8],
        values: usize,
        mut visit: impl FnMut(&[f32]),
    ) -> Result<(), CodecError> {
        self.check(bytes, values)?;
        let Some(dense) = self.dense() else {
            let (mut block, mut filled) = ([0.0; BLOCK], 0);
            self.for_each_kept(bytes, values, |_, value| {
                (block[filled], filled) = (value, filled + 1);
                if filled == BLOCK {
                    visit(&block);
                    filled = 0;
                }
            });
            if filled > 0 {
                visit(&block[..filled]);
            }
            return Ok(());
        };
        let (mut buffer, mut left) = ([0.0; statistical::CHUNK], values);
        for bytes in bytes.chunks(dense.bytes) {
            let decoded = &mut buffer[..left.min(dense.values)];
            self.decode_chunk(bytes, decoded);
            decoded.chunks(BLOCK).for_each(&mut visit);
            left -= decoded.len();
        }
        Ok(())
    }

    /// Whether every value is sent.
    pub fn is_dense(&self) -> bool {
        self.dense().is_some()
    }

    /// Values that are decoded at a time; 1 where not every value is sent.
    pub(crate) fn chunk_values(&self) -> usize {
        self.dense().map_or(1, |chunk| chunk.values)
    }

    /// Decodes the `index`-th chunk of a checked payload of a dense codec.
    pub(crate) fn decode_part(&self, bytes: &[u8], index: usize, out: &mut [f32]) {
        let chunk = self.dense().and_then(|chunk| bytes.chunks(chunk.bytes).nth(index));
        chunk.into_iter().for_each(|bytes| self.decode_chunk(bytes, out));
    }

    /// A full chunk of a codec that sends every value.
    fn dense(&self) -> Option<Chunk> {
        let (values, bytes) = match self {
            Codec::F32 => (BLOCK, f32::BLOCK_BYTES),
            Codec::E3M0 => (BLOCK, e3m0::BLOCK_BYTES),
            Codec::Uniform { bits } => (BLOCK, uniform::block_bytes(*bits)),
            Codec::Sign => (BLOCK, sign::BLOCK_BYTES),
            Codec::Statistical => (statistical::CHUNK, statistical::CHUNK_BYTES),
            Codec::TopK(_) | Codec::RandK(_) => return None,
        };
        Some(Chunk { values, bytes })
    }

    /// Decodes one chunk of a checked payload of a dense codec.
    fn decode_chunk(&self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Codec::F32 => f32::decode_block(bytes, out),
            Codec::E3M0 => e3m0::decode_block(bytes, out),
            Codec::Uniform { bits } => uniform::decode_block(*bits, bytes, out),
            Codec::Sign => sign::decode_block(bytes, out),
            Codec::Statistical => statistical::decode_chunk(bytes, out),
            Codec::TopK(_) | Codec::RandK(_) => {}
        }
    }

    /// Visits what a codec sends that leaves values out, with their indices, ascending.
    fn for_each_kept(&self, bytes: &[u8], values: usize, visit: impl FnMut(usize, f32)) {
        match self {
            Codec::TopK(top) => top.for_each_kept(bytes, values, visit),
            Codec::RandK(random) => random.for_each_kept(bytes, values, visit),
            Codec::F32 | Codec::E3M0 | Codec::Uniform { .. } | Codec::Sign | Codec::Statistical => {}
        }
    }
}

/// The unit in which a dense payload is read.
struct Chunk {
    values: usize,
    bytes: usize,
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests compare with libm and measure speed"
)]
mod tests;
