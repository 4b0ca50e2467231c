//! The founder's last word for a new committee: the file `reset` beside the manifest, or none.

use std::path::{Path, PathBuf};

use driftless_protocol::Hash;
use driftless_protocol::archive::Kind;
use driftless_protocol::block::Reset;
use driftless_protocol::identity::Signed;
use driftless_protocol::wire;

use super::disk::Disk;
use super::error::StoreError;
use super::folder::SessionFolder;
use super::frame;

/// Bytes of the longest one: 16 seats.
const LONGEST: usize = 4 << 10;

fn path_in(session: &Path) -> PathBuf {
    session.join("reset")
}

/// Writes it down.
pub(super) fn store(
    disk: &Disk,
    folder: &Path,
    session: Hash,
    reset: &Signed<Reset>,
) -> Result<(), StoreError> {
    let number = u64::from(reset.content.generation);
    frame::write(disk, &path_in(folder), Kind::Reset, session, number, &wire::encode(reset))
}

/// Checks it, if there is one.
pub fn check_reset(folder: &SessionFolder, session: Hash) -> Result<(), StoreError> {
    load(folder.path(), session).map(drop)
}

/// Reads it back.
pub(super) fn load(folder: &Path, session: Hash) -> Result<Option<Signed<Reset>>, StoreError> {
    let path = path_in(folder);
    let (_, bytes) = match frame::read(&path, Kind::Reset, session) {
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        result => result?,
    };
    let reset = wire::decode("reset", &bytes, LONGEST);
    reset.map(Some).map_err(|error| StoreError::corrupt(&path, error.to_string()))
}
