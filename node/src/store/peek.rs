//! Snapshots by reading files only: nothing is tidied up, so it is safe beside a node.

use std::io;
use std::path::PathBuf;

use driftless_protocol::Hash;
use driftless_protocol::archive::Kind;
use driftless_protocol::block::Height;
use driftless_protocol::charter::Charter;
use driftless_protocol::event::Snapshot;
use driftless_protocol::state::PAGE_BYTES;

use super::disk::{numbered, numbered_path};
use super::error::StoreError;
use super::folder::SessionFolder;
use super::frame;
use super::plain;
use super::recovery::Shape;
use super::seatings::read_committees;
use super::snapshots::{self, Listing, SUFFIX, TAKING, assemble};

/// The newest snapshot in a session's folder that is whole; `None` if there is none.
///
/// A running node deletes older snapshots: a page that vanished is [`StoreError::NotFound`], and
/// worth another try.
pub fn newest_snapshot(folder: &SessionFolder, charter: &Charter) -> Result<Option<Snapshot>, StoreError> {
    let mut failed = None;
    let committees = read_committees(folder, charter)?;
    for height in snapshot_heights(folder)?.into_iter().rev() {
        match read_snapshot(folder, charter, height) {
            Ok(Snapshot { block: Some(block), .. }) if !committees.certifies(charter, &block) => {
                let path = snapshot_path(folder, height);
                let reason = "no quorum signed its block: this is not the session's state".to_owned();
                return Err(StoreError::corrupt(&path, reason));
            }
            Ok(snapshot) => return Ok(Some(snapshot)),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(None), Err)
}

/// Heights of the snapshots in a session's folder, ascending.
pub fn snapshot_heights(folder: &SessionFolder) -> Result<Vec<Height>, StoreError> {
    let pages = folder.pages();
    if !pages.is_dir() {
        return Ok(Vec::new());
    }
    Ok(numbered(&pages, SUFFIX)?.into_iter().map(|(height, _)| height).collect())
}

/// The record of a height's snapshot.
pub fn snapshot_path(folder: &SessionFolder, height: Height) -> PathBuf {
    numbered_path(&folder.pages(), height, SUFFIX)
}

/// What the record of a snapshot lists.
pub fn read_listing(folder: &SessionFolder, session: Hash, height: Height) -> Result<Listing, StoreError> {
    snapshots::read_listing(&snapshot_path(folder, height), session, height)
}

/// The snapshot of a height, its digest checked.
pub fn read_snapshot(
    folder: &SessionFolder,
    charter: &Charter,
    height: Height,
) -> Result<Snapshot, StoreError> {
    let (pages, shape) = (folder.pages(), Shape::from(charter));
    let path = snapshot_path(folder, height);
    let listing = snapshots::read_listing(&path, shape.session, height)?;
    assemble(&path, &listing, &shape, |root: &Hash| {
        let path = pages.join(root.to_string());
        let bytes = plain::read(&path, PAGE_BYTES as u64).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound { root: *root, folder: pages.clone() },
            _ => StoreError::io(&path, error),
        })?;
        match Hash::of(&bytes) {
            found if found == *root => Ok(bytes),
            found => Err(StoreError::CorruptBlob { file: path, root: *root, found }),
        }
    })
}

/// Checks the list of a snapshot that is being fetched, if there is one.
pub fn check_taking(folder: &SessionFolder, session: Hash) -> Result<(), StoreError> {
    let path = folder.pages().join(TAKING);
    match frame::read(&path, Kind::Offer, session) {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map(|_| ()),
    }
}
