//! Bytes on the wire and on disk: bincode 2, canonical, bounded before anything is allocated.
//!
//! `docs/wire-format.md` describes the layout; the golden tests beside the messages pin it.

mod message;

pub(crate) use message::check_block;
pub use message::{BlockReply, Message, SnapshotOffer, limits};

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

/// No decoder ever reads or allocates more than this for one value.
pub const HARD_LIMIT: usize = 16 << 20;

/// Decodes local bytes of up to `limit` that a hash vouches for: no canonical check, no second copy.
pub fn decode_large<T: Decode<()>>(what: &'static str, bytes: &[u8], limit: usize) -> Result<T, WireError> {
    if bytes.len() > limit {
        return Err(WireError::TooLong { what, found: bytes.len(), limit });
    }
    // A collection can claim at most what is there: the decoder reads from the slice as it goes.
    let (value, read) = bincode::decode_from_slice(bytes, config::standard())
        .map_err(|error| WireError::Malformed { what, reason: error.to_string() })?;
    if read != bytes.len() {
        return Err(WireError::Malformed { what, reason: format!("{} bytes follow", bytes.len() - read) });
    }
    Ok(value)
}

/// Decodes `bytes`, which may be at most `limit` long, refusing trailing and non-canonical bytes.
///
/// A hostile length costs no allocation: the decoder claims a collection's bytes against
/// `HARD_LIMIT` and `bytes` is checked against `limit` first.
pub fn decode<T: Decode<()> + Encode>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<T, WireError> {
    if bytes.len() > limit {
        return Err(WireError::TooLong { what, found: bytes.len(), limit });
    }
    let malformed = |reason: String| WireError::Malformed { what, reason };
    let config = config::standard().with_limit::<HARD_LIMIT>();
    let (value, read) = bincode::decode_from_slice(bytes, config).map_err(|e| malformed(e.to_string()))?;
    if read != bytes.len() {
        return Err(malformed(format!("{} bytes follow the value", bytes.len() - read)));
    }
    if encode(&value) != bytes {
        return Err(WireError::NotCanonical { what });
    }
    Ok(value)
}
