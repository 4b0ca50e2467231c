//! The header of chain files, snapshots and checkpoints, so that no byte of them goes unchecked.
//!
//! | bytes | |
//! |---|---|
//! | 0..4 | `DFTL` |
//! | 4 | kind of file |
//! | 5 | version of its format |
//! | 6..8 | 0 |
//! | 8..40 | session id |
//! | 40..48 | number: a height, or what the kind makes of it (little-endian) |
//! | 48..56 | length of the body in bytes |
//! | 56..88 | BLAKE3 of bytes 0..56 and the body |

use crate::identity::Hash;

/// Bytes of a header.
pub const HEADER: usize = 88;
const MAGIC: [u8; 4] = *b"DFTL";
const VERSION: u8 = 1;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A segment of the chain: a header without a body, then records under hashes of their own.
    Chain = 1,
    /// The list of a state's pages.
    Snapshot = 2,
    /// A peer's engine and schedule.
    Checkpoint = 3,
    /// A snapshot that is being taken.
    Offer = 4,
    /// A block that changed the seats.
    Seats = 5,
    /// The founder's word for a new committee.
    Reset = 6,
}

/// Why bytes are not the header that they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Another kind of file, or none of ours.
    #[error("it is not a {0:?} file")]
    Kind(Kind),
    /// A format of another release.
    #[error("version {0} is unknown here")]
    Version(u8),
    /// A file of another session.
    #[error("it belongs to session {}", .0.short())]
    OtherSession(Hash),
}

/// The header of a file with `body`; both of its numbers are given.
pub fn header(kind: Kind, session: Hash, numbers: [u64; 2], body: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&MAGIC);
    header[4] = kind as u8;
    header[5] = VERSION;
    header[8..40].copy_from_slice(&session.0);
    header[40..48].copy_from_slice(&numbers[0].to_le_bytes());
    header[48..56].copy_from_slice(&numbers[1].to_le_bytes());
    let check = check(&header, body);
    header[56..].copy_from_slice(&check.0);
    header
}

/// The two numbers that a header names; its hash is checked by [`is_whole`].
pub fn parse(kind: Kind, session: Hash, header: &[u8; HEADER]) -> Result<(u64, u64), HeaderError> {
    if header[..4] != MAGIC || header[4] != kind as u8 || header[6..8] != [0, 0] {
        return Err(HeaderError::Kind(kind));
    }
    if header[5] != VERSION {
        return Err(HeaderError::Version(header[5]));
    }
    let id = Hash(bytes_of(header, 8));
    if id != session {
        return Err(HeaderError::OtherSession(id));
    }
    let word = |at| u64::from_le_bytes(bytes_of(header, at));
    Ok((word(40), word(48)))
}

/// Whether header and body belong together.
pub fn is_whole(header: &[u8; HEADER], body: &[u8]) -> bool {
    check(header, body).0 == header[56..]
}

fn check(header: &[u8; HEADER], body: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header[..56]);
    hasher.update(body);
    hasher.finalize().into()
}

/// `N` bytes of the header from `at` on.
fn bytes_of<const N: usize>(header: &[u8; HEADER], at: usize) -> [u8; N] {
    std::array::from_fn(|index| header[at + index])
}
