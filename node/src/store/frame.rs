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

use std::io::{self, Read};
use std::path::Path;

use driftless_protocol::{Hash, wire};

use super::disk::Disk;
use super::error::StoreError;
use super::plain;

pub(super) const HEADER: usize = 88;
const MAGIC: [u8; 4] = *b"DFTL";
const VERSION: u8 = 1;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A segment of the chain: a header without a body, then records under hashes of their own.
    Chain = 1,
    Snapshot = 2,
    Checkpoint = 3,
    Offer = 4,
    Seats = 5,
    Reset = 6,
}

/// The header of a file with `body`.
pub(super) fn header(kind: Kind, session: Hash, number: u64, body: &[u8]) -> [u8; HEADER] {
    header_with(kind, session, [number, body.len() as u64], body)
}

/// The header with both of its numbers given.
pub(super) fn header_with(kind: Kind, session: Hash, numbers: [u64; 2], body: &[u8]) -> [u8; HEADER] {
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

/// Number and length that a header names; the hash is checked by `verify`.
pub(super) fn parse(
    path: &Path,
    kind: Kind,
    session: Hash,
    header: &[u8; HEADER],
) -> Result<(u64, u64), StoreError> {
    if header[..4] != MAGIC || header[4] != kind as u8 || header[6..8] != [0, 0] {
        return Err(StoreError::corrupt(path, format!("it is not a {kind:?} file")));
    }
    if header[5] != VERSION {
        return Err(StoreError::corrupt(path, format!("version {} is unknown here", header[5])));
    }
    let id = Hash(bytes_of(header, 8));
    if id != session {
        return Err(StoreError::OtherSession { file: path.to_owned(), expected: session, found: id });
    }
    let word = |at| u64::from_le_bytes(bytes_of(header, at));
    Ok((word(40), word(48)))
}

/// Whether header and body belong together.
pub(super) fn verify(path: &Path, header: &[u8; HEADER], body: &[u8]) -> Result<(), StoreError> {
    if check(header, body).0 == header[56..] {
        Ok(())
    } else {
        Err(StoreError::corrupt(path, "its bytes do not have the hash in its header"))
    }
}

/// Writes a whole file durably in the place of `path`.
pub(super) fn write(
    disk: &Disk,
    path: &Path,
    kind: Kind,
    session: Hash,
    number: u64,
    body: &[u8],
) -> Result<(), StoreError> {
    disk.replace(path, &[&header(kind, session, number, body), body])
}

/// Reads a whole file back: its number and body.
pub(super) fn read(path: &Path, kind: Kind, session: Hash) -> Result<(u64, Vec<u8>), StoreError> {
    let failed = |error| StoreError::io(path, error);
    let mut file = plain::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?.len();
    let mut header = [0; HEADER];
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(StoreError::corrupt(path, format!("{found} bytes are less than its header")));
        }
        result => result.map_err(failed)?,
    }
    let (number, length) = parse(path, kind, session, &header)?;
    let found = found.saturating_sub(HEADER as u64);
    if length != found {
        let reason = format!("{found} bytes follow the header, {length} were written");
        return Err(StoreError::corrupt(path, reason));
    }
    let most = if kind == Kind::Checkpoint { u64::MAX } else { wire::HARD_LIMIT as u64 };
    let mut body = Vec::new();
    let fits = usize::try_from(length).is_ok_and(|length| body.try_reserve_exact(length).is_ok());
    if length > most || !fits {
        return Err(StoreError::corrupt(path, format!("{length} bytes are too many")));
    }
    file.take(length).read_to_end(&mut body).map_err(failed)?;
    verify(path, &header, &body)?;
    Ok((number, body))
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
