//! Bytes on the wire and on disk: bincode 2, canonical, bounded before anything is allocated.
//!
//! `docs/wire-format.md` describes the layout; the golden tests beside the messages pin it.

mod message;

pub(crate) use message::check_block;
pub use message::{BlockReply, Introduction, Message, SnapshotOffer, Statements, limits};

use bincode::{Decode, Encode, config};

/// Why bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// More bytes than this kind of message may have.
    #[error("{what}: {found} bytes, at most {limit} are allowed")]
    TooLong {
        /// The kind of message.
        what: &'static str,
        /// Bytes received.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The bytes are not an encoding of this type.
    #[error("{what}: malformed ({reason})")]
    Malformed {
        /// The kind of message.
        what: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// The value decodes, but from other bytes than its canonical encoding.
    #[error("{what}: not the canonical encoding")]
    NotCanonical {
        /// The kind of message.
        what: &'static str,
    },
    /// A field is outside its fixed bound.
    #[error("{what}: {field} out of bounds")]
    OutOfBounds {
        /// The kind of message.
        what: &'static str,
        /// The field.
        field: &'static str,
    },
}

/// The canonical encoding of `value`. Encoding into memory cannot fail for our types.
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    bincode::encode_to_vec(value, config::standard()).expect("encoding into memory does not fail")
}

/// Bytes of the largest value that is decoded whole: a listing of pages or a chain's reply.
pub const HARD_LIMIT: usize = 16 << 20;

/// Decodes local bytes of up to `limit` that a hash vouches for: no canonical check, no second copy.
///
/// # Errors
/// Bytes that are too long, malformed, or followed by others.
pub fn decode_large<T: Decode<()>>(what: &'static str, bytes: &[u8], limit: usize) -> Result<T, WireError> {
    if bytes.len() > limit {
        return Err(WireError::TooLong { what, found: bytes.len(), limit });
    }
    let malformed = |reason: String| WireError::Malformed { what, reason };
    let (value, read) = decode_front(bytes).map_err(|error| malformed(error.to_string()))?;
    if read != bytes.len() {
        return Err(malformed(format!("{} bytes follow the value", bytes.len() - read)));
    }
    Ok(value)
}

/// Decodes `bytes`, which may be at most `limit` long, refusing trailing and non-canonical bytes.
///
/// # Errors
/// Bytes that are too long, malformed, followed by others, or not what [`encode`] gives.
pub fn decode<T: Decode<()> + Encode>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<T, WireError> {
    let value = decode_large(what, bytes, limit)?;
    if encode(&value) != bytes {
        return Err(WireError::NotCanonical { what });
    }
    Ok(value)
}

/// Decodes the value at the front of `bytes`; returns how many it took.
///
/// The decoder reserves a collection's memory before it reads the collection, so a hostile length
/// must be refused by the decoder's own limit, a number fixed at compile time: the memory of all
/// collections of a value together is at most 16 times (values in memory are larger than on the
/// wire) the upper end of the bytes' size class.
fn decode_front<T: Decode<()>>(bytes: &[u8]) -> Result<(T, usize), bincode::error::DecodeError> {
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    let config = config::standard();
    match bytes.len() {
        0..=KIB => bincode::decode_from_slice(bytes, config.with_limit::<{ 16 * KIB }>()),
        1_025..=0x1_0000 => bincode::decode_from_slice(bytes, config.with_limit::<MIB>()),
        0x1_0001..=0x100_0000 => bincode::decode_from_slice(bytes, config.with_limit::<{ 256 * MIB }>()),
        0x100_0001..=0x1_0000_0000 => {
            bincode::decode_from_slice(bytes, config.with_limit::<0x10_0000_0000>())
        }
        _ => bincode::decode_from_slice(bytes, config.with_limit::<0x1000_0000_0000>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A length of 2^40 in a value of any size class is an error, not a reservation.
    #[test]
    fn a_hostile_length_reserves_nothing() {
        for size in [16, 5 << 10, 1 << 20] {
            let mut bytes = encode(&(vec![0u8; size], ()));
            let tail = encode(&(1u64 << 40));
            bytes.extend(&tail);
            bytes.extend([0; 32]);
            let found = decode_large::<(Vec<u8>, Vec<crate::identity::Hash>)>("hostile", &bytes, usize::MAX);
            assert!(matches!(found, Err(WireError::Malformed { .. })), "{size} bytes: {found:?}");
        }
    }
}
