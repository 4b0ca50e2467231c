//! Keys and values of the database.
//!
//! | key | value |
//! |---|---|
//! | `m` | [`Meta`] |
//! | `s`, stream, ordinal (big-endian) | the announcement this peer signed for that slot |
//! | `w`, height, sequence, part (big-endian) | a part of a logged input: 1 if it is the last, else 0; bytes |
//!
//! Every value begins with 16 bytes of BLAKE3 over session id, key and what follows: a value is
//! the one that was written under its key, or an error. Logged inputs are cut into parts because
//! the database writes large nodes into files that it never syncs.

use bincode::{Decode, Encode};
use driftless_protocol::Hash;
use driftless_protocol::block::{Height, Slot};

/// Bytes of a logged input in one value: a leaf of 16 entries and 10 changes stays far below the
/// 128 KiB above which the database would put it into a file of its own.
pub(super) const PART: usize = 4000;
pub(super) const META: &[u8] = b"m";
const CHECK: usize = 16;

/// What must be in the database: one record, changed with every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub(super) struct Meta {
    /// The number of the batch that wrote this.
    pub batch: u64,
    /// The height whose inputs are logged.
    pub wal_height: Height,
    /// How many of them.
    pub wal_len: u32,
    /// How many signed announcements are kept.
    pub signed: u64,
}

/// What a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Meta,
    Signed(Slot),
    Wal { height: Height, sequence: u32, part: u16 },
}

impl Key {
    pub(super) fn encode(self) -> Vec<u8> {
        match self {
            Key::Meta => META.to_vec(),
            Key::Signed(slot) => {
                let mut key = b"s".to_vec();
                key.extend_from_slice(&slot.stream.to_be_bytes());
                key.extend_from_slice(&slot.ordinal.to_be_bytes());
                key
            }
            Key::Wal { height, sequence, part } => {
                let mut key = b"w".to_vec();
                key.extend_from_slice(&height.to_be_bytes());
                key.extend_from_slice(&sequence.to_be_bytes());
                key.extend_from_slice(&part.to_be_bytes());
                key
            }
        }
    }

    pub(super) fn decode(key: &[u8]) -> Option<Key> {
        let (kind, rest) = key.split_first()?;
        match (kind, rest.len()) {
            (b'm', 0) => Some(Key::Meta),
            (b's', 6) => {
                let stream = u16::from_be_bytes(array(rest, 0));
                Some(Key::Signed(Slot { stream, ordinal: u32::from_be_bytes(array(rest, 2)) }))
            }
            (b'w', 14) => {
                let height = u64::from_be_bytes(array(rest, 0));
                let sequence = u32::from_be_bytes(array(rest, 8));
                Some(Key::Wal { height, sequence, part: u16::from_be_bytes(array(rest, 12)) })
            }
            _ => None,
        }
    }
}

/// `N` bytes from `at` on; the caller checked the length.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}

/// The value that stands for `content` under `key`.
pub(super) fn seal(session: Hash, key: &[u8], content: &[u8]) -> Vec<u8> {
    let mut value = check(session, key, content).to_vec();
    value.extend_from_slice(content);
    value
}

/// The content of a value, if it was written under this key.
pub(super) fn open<'a>(session: Hash, key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (stored, content) = value.split_first_chunk::<CHECK>()?;
    (*stored == check(session, key, content)).then_some(content)
}

fn check(session: Hash, key: &[u8], content: &[u8]) -> [u8; CHECK] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"driftless journal\0");
    hasher.update(&session.0);
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(content);
    array(hasher.finalize().as_bytes(), 0)
}
