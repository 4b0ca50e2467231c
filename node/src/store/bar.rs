//! Why this key signs nothing in a session: the file `barred` beside the manifest, or none.

use std::path::{Path, PathBuf};

use driftless_protocol::event::Bar;
use driftless_protocol::wire;

use super::disk::Disk;
use super::error::StoreError;

/// Bytes of the longest file.
const LONGEST: usize = 16 << 10;

fn path_in(session: &Path) -> PathBuf {
    session.join("barred")
}

/// Writes it down, or forgets it.
pub(super) fn store(disk: &Disk, session: &Path, bar: Option<&Bar>) -> Result<(), StoreError> {
    let path = path_in(session);
    match bar {
        Some(bar) => disk.replace(&path, &[&wire::encode(bar)]),
        None => {
            disk.remove(&path)?;
            disk.sync_folder(session)
        }
    }
}

/// Reads it back.
pub(super) fn load(session: &Path) -> Result<Option<Bar>, StoreError> {
    let path = path_in(session);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(|error| StoreError::io(&path, error))?,
    };
    let bar = wire::decode("bar", &bytes, LONGEST);
    bar.map(Some).map_err(|error| StoreError::corrupt(&path, error.to_string()))
}
