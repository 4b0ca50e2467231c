//! What travels on a stream besides slices. Every header has a fixed size: nothing to bound.
//!
//! | stream | opener | acceptor |
//! |---|---|---|
//! | get | `1, root, length, first group, groups` | `OK`, slice; or a refusal |
//! | push | `2, root, length` | `OK`, first group wanted; or a refusal |
//! | push, accepted | slice from that group to the end | `STORED` when durable; or a refusal |
//!
//! Integers are little-endian 64 bit, a reply is one byte. The version is in the ALPN.

use std::ops::Range;

use driftless_protocol::Hash;

use super::tree::group_count;

/// Longest blob that is ever asked for or taken: 64 GiB.
pub const MAX_BLOB: u64 = 64 << 30;

pub(crate) const GET: u8 = 1;
pub(crate) const PUSH: u8 = 2;
/// Bytes after the first one.
pub(crate) const GET_BODY: usize = 32 + 8 + 8 + 8;
pub(crate) const PUSH_BODY: usize = 32 + 8;

/// Close code of a connection whose peer is not admitted.
pub(crate) const CLOSE_REFUSED: u32 = 1;
/// Close code of a connection that ends in order.
pub(crate) const CLOSE_DONE: u32 = 0;
/// Stream code: the bytes sent do not belong to the root.
pub(crate) const STOP_WRONG_BYTE: u32 = 2;
/// Stream code: no longer wanted, or no longer possible.
pub(crate) const STOP_CANCELLED: u32 = 3;

/// An answer's first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Reply {
    Ok = 0,
    NotFound = 1,
    WrongLength = 2,
    Busy = 3,
    Declined = 4,
    Have = 5,
    Stored = 6,
    Malformed = 7,
    /// The other side's disk failed or is full.
    Failed = 8,
    WrongByte = 9,
}

impl Reply {
    pub(crate) fn from_byte(byte: u8) -> Option<Reply> {
        Some(match byte {
            0 => Reply::Ok,
            1 => Reply::NotFound,
            2 => Reply::WrongLength,
            3 => Reply::Busy,
            4 => Reply::Declined,
            5 => Reply::Have,
            6 => Reply::Stored,
            7 => Reply::Malformed,
            8 => Reply::Failed,
            9 => Reply::WrongByte,
            _ => return None,
        })
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Get {
    pub(crate) root: Hash,
    pub(crate) len: u64,
    pub(crate) groups: Range<u64>,
}

impl Get {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![GET];
        bytes.extend_from_slice(&self.root.0);
        for number in [self.len, self.groups.start, self.groups.end - self.groups.start] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// `None` if length or range make no sense.
    pub(crate) fn decode(body: &[u8; GET_BODY]) -> Option<Get> {
        let (root, len) = (hash_at(body), number_at(body, 32));
        let (first, count) = (number_at(body, 40), number_at(body, 48));
        let end = first.checked_add(count)?;
        let sound = len > 0 && len <= MAX_BLOB && count > 0 && end <= group_count(len);
        sound.then_some(Get { root, len, groups: first..end })
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Push {
    pub(crate) root: Hash,
    pub(crate) len: u64,
}

impl Push {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![PUSH];
        bytes.extend_from_slice(&self.root.0);
        bytes.extend_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// `None` if the length makes no sense.
    pub(crate) fn decode(body: &[u8; PUSH_BODY]) -> Option<Push> {
        let len = number_at(body, 32);
        (len > 0 && len <= MAX_BLOB).then_some(Push { root: hash_at(body), len })
    }
}

fn hash_at(body: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(&body[..32]);
    Hash(hash)
}

fn number_at(body: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&body[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_golden_bytes() {
        let get = Get { root: Hash([7; 32]), len: 40_000, groups: 1..3 };
        let bytes = get.encode();
        let mut golden = vec![1];
        golden.extend([7; 32]);
        golden.extend([0x40, 0x9c, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes, golden);
        assert_eq!(Get::decode(bytes[1..].try_into().unwrap()), Some(get));
        let push = Push { root: Hash([9; 32]), len: 1 };
        let bytes = push.encode();
        assert_eq!(bytes.len(), 41);
        assert_eq!(Push::decode(bytes[1..].try_into().unwrap()), Some(push));
    }

    #[test]
    fn hostile_numbers_are_refused() {
        let with = |len: u64, first: u64, count: u64| {
            let mut body = [0; GET_BODY];
            body[32..40].copy_from_slice(&len.to_le_bytes());
            body[40..48].copy_from_slice(&first.to_le_bytes());
            body[48..].copy_from_slice(&count.to_le_bytes());
            Get::decode(&body)
        };
        assert!(with(40_000, 0, 3).is_some());
        assert!(with(40_000, 0, 4).is_none());
        assert!(with(40_000, 0, 0).is_none());
        assert!(with(0, 0, 1).is_none());
        assert!(with(u64::MAX, 0, 1).is_none());
        assert!(with(MAX_BLOB, u64::MAX, 2).is_none());
        let mut push = [0; PUSH_BODY];
        assert!(Push::decode(&push).is_none());
        push[32..].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Push::decode(&push).is_none());
    }

    #[test]
    fn replies_round_trip() {
        for byte in 0..=255 {
            if let Some(reply) = Reply::from_byte(byte) {
                assert_eq!(reply as u8, byte);
            }
        }
    }
}
