//! Files under the header of `driftless_protocol::archive`: no byte of them goes unchecked.

use std::io::{self, Read};
use std::path::Path;

use driftless_protocol::archive::{self, HEADER, HeaderError, Kind};
use driftless_protocol::{Hash, wire};

use super::disk::Disk;
use super::error::StoreError;
use super::plain;

/// Number and length that a header names; the hash is checked by `verify`.
pub(super) fn parse(
    path: &Path,
    kind: Kind,
    session: Hash,
    header: &[u8; HEADER],
) -> Result<(u64, u64), StoreError> {
    archive::parse(kind, session, header).map_err(|error| match error {
        HeaderError::OtherSession(found) => {
            StoreError::OtherSession { file: path.to_owned(), expected: session, found }
        }
        HeaderError::Kind(_) | HeaderError::Version(_) => StoreError::corrupt(path, error.to_string()),
    })
}

/// Whether header and body belong together.
pub(super) fn verify(path: &Path, header: &[u8; HEADER], body: &[u8]) -> Result<(), StoreError> {
    match archive::is_whole(header, body) {
        true => Ok(()),
        false => Err(StoreError::corrupt(path, "its bytes do not have the hash in its header")),
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
    let header = archive::header(kind, session, [number, body.len() as u64], body);
    disk.replace(path, &[&header, body])
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
