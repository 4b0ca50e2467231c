//! Blocks that changed the seats, `chain/NNNNNNNN.seats`: whoever has them knows who signed at every
//! height, also where a snapshot was taken over the blocks between, and leads others there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use driftless_protocol::Hash;
use driftless_protocol::archive::Kind;
use driftless_protocol::block::{CertifiedBlock, Height};
use driftless_protocol::charter::Charter;
use driftless_protocol::election::Committees;
use driftless_protocol::wire::{self, limits};

use super::disk::{Disk, numbered, numbered_path};
use super::error::StoreError;
use super::folder::SessionFolder;
use super::frame;

const SUFFIX: &str = "seats";

/// All of a session's, in memory too: there are few.
#[derive(Debug, Clone)]
pub(super) struct Seatings {
    disk: Arc<Disk>,
    folder: PathBuf,
    session: Hash,
    blocks: Arc<RwLock<BTreeMap<Height, CertifiedBlock>>>,
}

impl Seatings {
    /// Reads the files in a session's `chain/`. A damaged one is handed over: the chain may have its
    /// block.
    pub(super) fn open(
        disk: Arc<Disk>,
        folder: &Path,
        session: Hash,
    ) -> Result<(Seatings, BTreeMap<Height, StoreError>), StoreError> {
        let mut blocks = BTreeMap::new();
        let mut damaged = BTreeMap::new();
        for (height, path) in numbered(folder, SUFFIX)? {
            match read(&path, session, height) {
                Ok(block) => drop(blocks.insert(height, block)),
                Err(error @ StoreError::Io { .. }) => return Err(error),
                Err(error) => drop(damaged.insert(height, error)),
            }
        }
        let blocks = Arc::new(RwLock::new(blocks));
        Ok((Seatings { disk, folder: folder.to_owned(), session, blocks }, damaged))
    }

    /// Keeps a block, if it is one of these and not here yet.
    pub(super) fn keep(&self, certified: &CertifiedBlock) -> Result<(), StoreError> {
        let height = certified.block.height;
        if certified.block.seating().is_none() || self.read_map(|blocks| blocks.contains_key(&height)) {
            return Ok(());
        }
        let path = numbered_path(&self.folder, height, SUFFIX);
        frame::write(&self.disk, &path, Kind::Seats, self.session, height, &wire::encode(certified))?;
        let mut blocks = self.blocks.write().unwrap_or_else(PoisonError::into_inner);
        blocks.insert(height, certified.clone());
        Ok(())
    }

    /// Those after `since` up to a height, as many as fit into a reply.
    pub(super) fn between(&self, since: Height, up_to: Height) -> Vec<CertifiedBlock> {
        self.read_map(|blocks| {
            let later = blocks.range(since.saturating_add(1)..).take_while(|(height, _)| **height <= up_to);
            later.take(limits::BLOCKS_PER_REPLY).map(|(_, block)| block.clone()).collect()
        })
    }

    /// Who signed at every height, as far as these lead.
    pub(super) fn committees(&self, charter: &Charter) -> Committees {
        let mut committees = Committees::founding(charter);
        self.read_map(|blocks| {
            let _last = blocks.values().take_while(|block| committees.follow(charter, block)).count();
        });
        committees
    }

    fn read_map<T>(&self, read: impl FnOnce(&BTreeMap<Height, CertifiedBlock>) -> T) -> T {
        read(&self.blocks.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Who signed at every height of a session's folder, by reading files only.
pub fn read_committees(folder: &SessionFolder, charter: &Charter) -> Result<Committees, StoreError> {
    let chain = folder.chain();
    if !chain.is_dir() {
        return Ok(Committees::founding(charter));
    }
    let mut committees = Committees::founding(charter);
    for (height, path) in numbered(&chain, SUFFIX)? {
        if !committees.follow(charter, &read(&path, charter.session, height)?) {
            let reason = "those who voted before it did not certify this block".to_owned();
            return Err(StoreError::corrupt(&path, reason));
        }
    }
    Ok(committees)
}

fn read(path: &Path, session: Hash, height: Height) -> Result<CertifiedBlock, StoreError> {
    let (number, bytes) = frame::read(path, Kind::Seats, session)?;
    let block: CertifiedBlock = wire::decode("block", &bytes, limits::MESSAGE)
        .map_err(|error| StoreError::corrupt(path, error.to_string()))?;
    if number != height || block.block.height != height {
        return Err(StoreError::corrupt(path, format!("it is of height {}", block.block.height)));
    }
    Ok(block)
}
