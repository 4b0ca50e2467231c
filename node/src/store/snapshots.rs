//! Snapshots: the pages of a state at a height, and a record that lists them.
//!
//! A page is a blob in `pages/`, shared by all snapshots that contain it. The record,
//! `pages/NNNNNNNN.snapshot`, is written after its pages are durable: what is listed is complete.
//! Two are kept, and more where the session says so: a joiner on a slow link takes its time. Pages
//! that none of them names are deleted once a newer one is complete.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bincode::{Decode, Encode};
use driftless_protocol::Hash;
use driftless_protocol::archive::Kind;
use driftless_protocol::block::{CertifiedBlock, Height};
use driftless_protocol::charter::Charter;
use driftless_protocol::election::Committees;
use driftless_protocol::event::Snapshot;
use driftless_protocol::membership::ControlPage;
use driftless_protocol::state::{Page, PageError, State, state_digest};
use driftless_protocol::wire::{self, SnapshotOffer};

use super::disk::{Disk, numbered, numbered_path, remove_temporaries};
use super::error::{StoreError, Warning};
use super::frame;
use super::recovery::Shape;
use crate::blobs::BlobStore;

pub(super) const SUFFIX: &str = "snapshot";
const KEPT: usize = 2;
/// Lists the pages of a snapshot that is being fetched.
pub(super) const TAKING: &str = "taking";

/// The body of a snapshot's record.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Listing {
    /// The block whose digest the state has; none at height 0.
    pub block: Option<CertifiedBlock>,
    /// The control page.
    pub control: Vec<u8>,
    /// Roots of the pages in digest order.
    pub pages: Vec<Hash>,
}

impl Listing {
    /// Whether a quorum signed the block, and the block this state.
    pub fn is_certified(&self, charter: &Charter, committees: &Committees) -> bool {
        let digest = state_digest(&self.control, self.pages.iter().copied());
        match &self.block {
            Some(block) => committees.certifies(charter, block) && block.block.digest == digest,
            None => charter.manifest.genesis == digest,
        }
    }
}

/// The snapshots of a session.
#[derive(Debug)]
pub(super) struct Snapshots {
    disk: Arc<Disk>,
    folder: PathBuf,
    session: Hash,
    pages: Arc<BlobStore>,
    /// Complete ones, ascending.
    kept: Vec<(Height, Listing)>,
    /// The one whose pages are being fetched.
    taking: Option<SnapshotOffer>,
    /// From this height on all are kept.
    from: Height,
}

impl Snapshots {
    /// Reads what is there and assembles the newest usable state, if any.
    pub(super) fn open(
        disk: Arc<Disk>,
        pages: Arc<BlobStore>,
        shape: &Shape,
        warnings: &mut Vec<Warning>,
    ) -> Result<(Snapshots, Option<Snapshot>), StoreError> {
        let folder = pages.folder().to_owned();
        remove_temporaries(&folder)?;
        let taking = read_offer(&folder.join(TAKING), shape.session)?;
        let mut snapshots = Snapshots {
            disk,
            folder,
            session: shape.session,
            pages,
            kept: Vec::new(),
            taking,
            from: Height::MAX,
        };
        let mut newest = None;
        for (height, path) in numbered(&snapshots.folder, SUFFIX)?.into_iter().rev() {
            let listing = match read_listing(&path, shape.session, height) {
                Ok(listing) => listing,
                Err(error) => {
                    warnings.push(Warning::Snapshot { height, error: unless_io(error)? });
                    continue;
                }
            };
            if newest.is_none() {
                let read = |root: &Hash| Ok(snapshots.pages.read(root)?);
                match assemble(&path, &listing, shape, read) {
                    Ok(snapshot) => newest = Some(snapshot),
                    Err(error) => {
                        // A damaged page goes, or the next snapshot would take it for its own.
                        if let StoreError::CorruptBlob { root, .. } = &error {
                            snapshots.pages.remove(root)?;
                        }
                        warnings.push(Warning::Snapshot { height, error: unless_io(error)? });
                        continue;
                    }
                }
            }
            snapshots.kept.insert(0, (height, listing));
        }
        let here = newest.as_ref().map_or(0, Snapshot::height);
        snapshots.taking.take_if(|offer| offer.block.block.height <= here);
        Ok((snapshots, newest))
    }

    /// The newest snapshot that is whole, read from its files.
    pub(super) fn read_newest(&self, shape: &Shape) -> Result<Option<Snapshot>, StoreError> {
        for (height, listing) in self.kept.iter().rev() {
            let path = numbered_path(&self.folder, *height, SUFFIX);
            match assemble(&path, listing, shape, |root| Ok(self.pages.read(root)?)) {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(error) => {
                    // A damaged page goes, or the next snapshot would take it for its own.
                    if let StoreError::CorruptBlob { root, .. } = &error {
                        self.pages.remove(root)?;
                    }
                    let error = unless_io(error)?;
                    tracing::warn!(height, %error, "a snapshot cannot be used");
                }
            }
        }
        Ok(None)
    }

    /// The newest snapshot of a certified height, as others are told of it.
    pub(super) fn offer(&self) -> Option<SnapshotOffer> {
        let (_, listing) = self.kept.last()?;
        let Listing { block, control, pages } = listing.clone();
        Some(SnapshotOffer { block: block?, control, pages, seatings: Vec::new() })
    }

    /// Snapshots of this height and later stay when another is stored.
    pub(super) fn retain_from(&mut self, height: Height) {
        self.from = height;
    }

    /// Keeps the list of a snapshot whose pages are being fetched.
    pub(super) fn keep_offer(&mut self, offer: &SnapshotOffer) -> Result<(), StoreError> {
        let (path, height) = (self.folder.join(TAKING), offer.block.block.height);
        frame::write(&self.disk, &path, Kind::Offer, self.session, height, &wire::encode(offer))?;
        self.taking = Some(offer.clone());
        Ok(())
    }

    /// The snapshot whose pages are being fetched.
    pub(super) fn taking(&self) -> Option<&SnapshotOffer> {
        self.taking.as_ref()
    }

    /// Heights of the snapshots here, ascending.
    pub(super) fn heights(&self) -> Vec<Height> {
        self.kept.iter().map(|(height, _)| *height).collect()
    }

    /// Stores a snapshot: pages first, then the record, then older ones go.
    pub(super) fn store(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let height = snapshot.height();
        for page in snapshot.pages() {
            if !self.pages.contains(&page.hash()) {
                let (expected, found) = (page.hash(), Hash::of(page.bytes()));
                if found != expected {
                    return Err(StoreError::WrongPage { expected, found });
                }
                self.disk.put_blob(&self.pages, page.bytes())?;
            }
        }
        let listing = Listing {
            block: snapshot.block.clone(),
            control: snapshot.state.control.to_bytes(),
            pages: snapshot.pages().map(Page::hash).collect(),
        };
        let path = numbered_path(&self.folder, height, SUFFIX);
        frame::write(&self.disk, &path, Kind::Snapshot, self.session, height, &wire::encode(&listing))?;
        self.kept.retain(|(kept, _)| *kept != height);
        self.kept.push((height, listing));
        self.kept.sort_by_key(|(height, _)| *height);
        if self.taking.take_if(|offer| offer.block.block.height <= height).is_some() {
            self.disk.remove(&self.folder.join(TAKING))?;
        }
        self.retain()
    }

    /// Deletes all but the newest records, damaged ones included, then pages that nobody names.
    fn retain(&mut self) -> Result<(), StoreError> {
        let old = self.kept.iter().filter(|(height, _)| *height < self.from).count();
        let surplus = self.kept.len().saturating_sub(KEPT).min(old);
        let kept: BTreeSet<Height> = self.kept.iter().skip(surplus).map(|(height, _)| *height).collect();
        let mut removed = false;
        for (height, path) in numbered(&self.folder, SUFFIX)? {
            if !kept.contains(&height) {
                self.disk.remove(&path)?;
                removed = true;
            }
        }
        if !removed {
            return Ok(());
        }
        self.disk.sync_folder(&self.folder)?;
        self.kept.drain(..surplus);
        let named: BTreeSet<Hash> =
            self.kept.iter().flat_map(|(_, listing)| listing.pages.iter().copied()).collect();
        for (root, _) in self.pages.list()? {
            if !named.contains(&root) {
                self.pages.remove(&root)?;
            }
        }
        Ok(())
    }
}

/// The list of a snapshot that was being fetched. A damaged one is of no use, and another is soon here.
fn read_offer(path: &Path, session: Hash) -> Result<Option<SnapshotOffer>, StoreError> {
    if !path.is_file() {
        return Ok(None);
    }
    let offer = frame::read(path, Kind::Offer, session).and_then(|(_, body)| {
        let decoded = wire::decode("snapshot offer", &body, wire::HARD_LIMIT);
        decoded.map_err(|error| StoreError::corrupt(path, error.to_string()))
    });
    match offer {
        Ok(offer) => Ok(Some(offer)),
        Err(error) => {
            let error = unless_io(error)?;
            tracing::warn!(%error, "a snapshot that was being fetched is begun anew");
            Ok(None)
        }
    }
}

/// The record of the snapshot of `height`.
pub(super) fn read_listing(path: &Path, session: Hash, height: Height) -> Result<Listing, StoreError> {
    let (number, body) = frame::read(path, Kind::Snapshot, session)?;
    let listing: Listing = wire::decode("snapshot", &body, wire::HARD_LIMIT)
        .map_err(|error| StoreError::corrupt(path, error.to_string()))?;
    let of_block = listing.block.as_ref().map_or(0, |block| block.block.height);
    if number != height || of_block != height {
        let reason = format!("it is the snapshot of height {number} after block {of_block}");
        return Err(StoreError::corrupt(path, reason));
    }
    Ok(listing)
}

/// The snapshot that the record at `path` lists, its digest checked; `read` returns a page's bytes.
pub(super) fn assemble(
    path: &Path,
    listing: &Listing,
    shape: &Shape,
    mut read: impl FnMut(&Hash) -> Result<Vec<u8>, StoreError>,
) -> Result<Snapshot, StoreError> {
    let corrupt = |reason: String| StoreError::corrupt(path, reason);
    let control = ControlPage::from_bytes(&listing.control).map_err(|error| corrupt(error.to_string()))?;
    let mut failed = None;
    let page = |root: Hash, values: usize| match read(&root) {
        Ok(bytes) => Page::from_bytes(root, &bytes, values),
        Err(error) => {
            failed = Some(error);
            Err(PageError::Length { root, expected: values * 4, found: 0 })
        }
    };
    let state = State::assemble(control, &shape.pages, &listing.pages, page);
    if let Some(error) = failed {
        return Err(error);
    }
    let state = state.map_err(|error| corrupt(error.to_string()))?;
    let expected = listing.block.as_ref().map_or(shape.genesis, |block| block.block.digest);
    match state.digest() {
        digest if digest == expected => Ok(Snapshot { block: listing.block.clone(), state }),
        digest => Err(corrupt(format!("its state has digest {digest}, its block says {expected}"))),
    }
}

/// Damage is got over by taking something older; a failing disk is not.
fn unless_io(error: StoreError) -> Result<Box<StoreError>, StoreError> {
    match error {
        StoreError::Io { .. } | StoreError::Full { .. } => Err(error),
        damage => Ok(Box::new(damage)),
    }
}
