//! How a contribution's values become bytes: one file per codec, a closed enum over them.
//!
//! A blob is the codec's payload and nothing else: codec and number of values follow from the
//! manifest and the slot. Decoding is exact, so all peers decode a blob to the same bits, and it
//! reads any bytes without panicking. Every codec is idempotent:
//! `decode(encode(decode(encode(x)))) == decode(encode(x))`, bit for bit.
//!
//! | codec | bits per value | source |
//! |---|---|---|
//! | [`F32`](Codec::F32) | 32 | exact: the reference that lossy codecs are measured against |
//! | [`E3M0`](Codec::E3M0) | 4.125 | Douillard et al. 2025, arXiv 2501.18512, section 3.3 (number format); layout ours |

mod e3m0;
mod f32;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Values of one block, the unit in which every codec is read: it fits the first-level cache.
pub const BLOCK: usize = 256;

/// How values are encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Plain little-endian f32.
    F32,
    /// Sign and a power of two in 4 bits, with one scale per 256 values.
    E3M0,
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
}

impl Codec {
    /// Bytes that encode `values` values.
    pub fn encoded_len(&self, values: usize) -> u64 {
        match self {
            Codec::F32 => f32::encoded_len(values),
            Codec::E3M0 => e3m0::encoded_len(values),
        }
    }

    /// Appends the encoding of `values` to `out`. On an error `out` is as it was.
    pub fn encode(&self, values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
        match self {
            Codec::F32 => f32::encode(values, out),
            Codec::E3M0 => e3m0::encode(values, out),
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
        }
    }

    /// Decodes into `out`, whose length is the number of values. On an error `out` is as it was.
    pub fn decode_into(&self, bytes: &[u8], out: &mut [f32]) -> Result<(), CodecError> {
        self.check(bytes, out.len())?;
        for (block, out) in bytes.chunks(self.block_bytes()).zip(out.chunks_mut(BLOCK)) {
            self.decode_block(block, out);
        }
        Ok(())
    }

    /// `accumulator[i] += weight * value[i]`: a multiplication, then an addition. On an error the
    /// accumulator is as it was.
    pub fn decode_add(&self, bytes: &[u8], weight: f32, accumulator: &mut [f32]) -> Result<(), CodecError> {
        let count = accumulator.len();
        let mut rest = accumulator.chunks_mut(BLOCK);
        self.for_each_block(bytes, count, |values| {
            for (sum, value) in rest.next().into_iter().flatten().zip(values) {
                *sum += weight * value;
            }
        })
    }

    /// Decodes block by block, without a buffer for the whole payload.
    pub fn for_each_block(
        &self,
        bytes: &[u8],
        values: usize,
        mut visit: impl FnMut(&[f32]),
    ) -> Result<(), CodecError> {
        self.check(bytes, values)?;
        let mut buffer = [0.0; BLOCK];
        let mut left = values;
        for block in bytes.chunks(self.block_bytes()) {
            let decoded = &mut buffer[..left.min(BLOCK)];
            self.decode_block(block, decoded);
            visit(decoded);
            left -= decoded.len();
        }
        Ok(())
    }

    /// Bytes of a full block.
    fn block_bytes(&self) -> usize {
        match self {
            Codec::F32 => f32::BLOCK_BYTES,
            Codec::E3M0 => e3m0::BLOCK_BYTES,
        }
    }

    /// Decodes one block of a checked payload.
    fn decode_block(&self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Codec::F32 => f32::decode_block(bytes, out),
            Codec::E3M0 => e3m0::decode_block(bytes, out),
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests compare with libm and measure speed"
)]
mod tests;
