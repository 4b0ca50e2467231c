//! One certified block in a segment file.
//!
//! | bytes | |
//! |---|---|
//! | 0..8 | height |
//! | 8..12 | length of the body |
//! | 12..44 | BLAKE3 of the session id, bytes 0..12 and the body |
//! | 44.. | the certified block, canonically encoded |

use crate::block::{CertifiedBlock, Height};
use crate::identity::Hash;
use crate::wire::{self, limits};

/// Bytes before the body.
pub const PREFIX: usize = 44;
/// Bytes of the largest body: a block and its certificate.
pub const LARGEST: usize = limits::BLOCK + (4 << 10);

/// The record of a block.
pub fn encode(session: Hash, block: &CertifiedBlock) -> Vec<u8> {
    let body = wire::encode(block);
    let mut record = Vec::with_capacity(PREFIX + body.len());
    record.extend_from_slice(&block.block.height.to_le_bytes());
    record.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let check = check(session, &record, &body);
    record.extend_from_slice(&check);
    record.extend_from_slice(&body);
    record
}

/// What the prefix of a record says; nothing of it is proven yet.
#[derive(Debug, Clone, Copy)]
pub struct Prefix {
    /// The block's height.
    pub height: Height,
    /// Bytes of the body.
    pub length: usize,
    bytes: [u8; PREFIX],
}

impl Prefix {
    /// Takes a prefix apart.
    pub fn parse(bytes: [u8; PREFIX]) -> Prefix {
        let height = u64::from_le_bytes(std::array::from_fn(|index| bytes[index]));
        let length = u32::from_le_bytes(std::array::from_fn(|index| bytes[8 + index]));
        Prefix { height, length: length as usize, bytes }
    }

    /// Whether the body belongs to this prefix: every bit of both is covered.
    pub fn fits(&self, session: Hash, body: &[u8]) -> bool {
        check(session, &self.bytes[..12], body) == self.bytes[12..]
    }

    /// The block, if prefix and body are as they were written.
    pub fn open(&self, session: Hash, body: &[u8]) -> Result<CertifiedBlock, String> {
        if !self.fits(session, body) {
            return Err("its bytes do not have the hash in the record".into());
        }
        let block: CertifiedBlock =
            wire::decode("certified block", body, LARGEST).map_err(|error| error.to_string())?;
        match block.block.height {
            height if height == self.height => Ok(block),
            height => Err(format!("the record of height {} holds block {height}", self.height)),
        }
    }
}

/// Whether a whole record begins anywhere in `bytes`.
pub fn whole_record_in(session: Hash, bytes: &[u8]) -> bool {
    (0..bytes.len().saturating_sub(PREFIX)).any(|at| {
        let prefix = Prefix::parse(std::array::from_fn(|index| bytes[at + index]));
        let body = bytes.get(at + PREFIX..(at + PREFIX).saturating_add(prefix.length));
        prefix.length <= LARGEST && body.is_some_and(|body| prefix.fits(session, body))
    })
}

fn check(session: Hash, prefix: &[u8], body: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"driftless chain\0");
    hasher.update(&session.0);
    hasher.update(prefix);
    hasher.update(body);
    *hasher.finalize().as_bytes()
}
