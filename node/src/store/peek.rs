//! The newest snapshot by reading files only: nothing is tidied up, so it is safe beside a node.

use std::io;

use driftless_protocol::Hash;
use driftless_protocol::charter::Charter;
use driftless_protocol::event::Snapshot;

use super::disk::numbered;
use super::error::StoreError;
use super::folder::SessionFolder;
use super::recovery::Shape;
use super::snapshots::{SUFFIX, assemble, read_listing};

/// The newest snapshot in a session's folder that is whole; `None` if there is none.
///
/// A running node deletes older snapshots: a page that vanished is [`StoreError::NotFound`], and
/// worth another try.
pub fn newest_snapshot(folder: &SessionFolder, charter: &Charter) -> Result<Option<Snapshot>, StoreError> {
    let pages = folder.pages();
    if !pages.is_dir() {
        return Ok(None);
    }
    let shape = Shape::from(charter);
    let read = |root: &Hash| {
        let path = pages.join(root.to_string());
        let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound { root: *root, folder: pages.clone() },
            _ => StoreError::io(&path, error),
        })?;
        match Hash::of(&bytes) {
            found if found == *root => Ok(bytes),
            found => Err(StoreError::CorruptBlob { file: path, root: *root, found }),
        }
    };
    let mut failed = None;
    for (height, path) in numbered(&pages, SUFFIX)?.into_iter().rev() {
        let listing = read_listing(&path, shape.session, height);
        match listing.and_then(|listing| assemble(&path, &listing, &shape, read)) {
            Ok(Snapshot { block: Some(block), .. }) if !charter.certifies(&block) => {
                let reason = "no quorum signed its block: this is not the session's state".to_owned();
                return Err(StoreError::corrupt(&path, reason));
            }
            Ok(snapshot) => return Ok(Some(snapshot)),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(None), Err)
}
