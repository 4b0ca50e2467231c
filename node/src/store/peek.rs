//! The newest snapshot by reading files only: nothing is tidied up, so it is safe beside a node.

use driftless_protocol::Hash;
use driftless_protocol::charter::Charter;
use driftless_protocol::event::Snapshot;
use driftless_protocol::membership::ControlPage;
use driftless_protocol::state::{Page, PageError, State};
use driftless_protocol::wire;

use super::disk::numbered;
use super::error::StoreError;
use super::folder::SessionFolder;
use super::frame::{self, Kind};
use super::snapshots::{Listing, SUFFIX};

/// The newest snapshot in a session's folder that is whole; `None` if there is none.
///
/// A running node deletes older snapshots: a file that vanished is [`StoreError::NotFound`], and
/// worth another try.
pub fn newest_snapshot(folder: &SessionFolder, charter: &Charter) -> Result<Option<Snapshot>, StoreError> {
    let pages = folder.pages();
    if !pages.is_dir() {
        return Ok(None);
    }
    let mut failed = None;
    for (height, path) in numbered(&pages, SUFFIX)?.into_iter().rev() {
        let snapshot = frame::read(&path, Kind::Snapshot, charter.session).and_then(|(number, body)| {
            let listing: Listing = wire::decode("snapshot", &body, wire::HARD_LIMIT)
                .map_err(|error| StoreError::corrupt(&path, error.to_string()))?;
            let state = assemble(&pages, &path, &listing, charter)?;
            match number == height && state.control.height == height {
                true => Ok(Snapshot { block: listing.block, state }),
                false => Err(StoreError::corrupt(&path, "it is the snapshot of another height")),
            }
        });
        match snapshot {
            Ok(snapshot) => return Ok(Some(snapshot)),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(None), Err)
}

fn assemble(
    pages: &std::path::Path,
    path: &std::path::Path,
    listing: &Listing,
    charter: &Charter,
) -> Result<State, StoreError> {
    let corrupt = |reason: String| StoreError::corrupt(path, reason);
    let control = ControlPage::from_bytes(&listing.control).map_err(|error| corrupt(error.to_string()))?;
    let mut gone = None;
    let read = |root: Hash, values: usize| match std::fs::read(pages.join(root.to_string())) {
        Ok(bytes) => Page::from_bytes(root, &bytes, values),
        Err(_) => {
            gone = Some(root);
            Err(PageError::Length { root, expected: values * 4, found: 0 })
        }
    };
    let arrays = charter.manifest.method.arrays();
    let state = State::assemble(control, arrays, &charter.lengths, &listing.pages, read);
    if let Some(root) = gone {
        return Err(StoreError::NotFound { root, folder: pages.to_owned() });
    }
    let state = state.map_err(|error| corrupt(error.to_string()))?;
    let expected = listing.block.as_ref().map_or(charter.manifest.genesis, |block| block.block.digest);
    match state.digest() {
        digest if digest == expected => Ok(state),
        digest => Err(corrupt(format!("its state has digest {digest}, its block says {expected}"))),
    }
}
