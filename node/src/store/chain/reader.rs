//! Reading a chain without a store: offline, or beside a node that is running.

use driftless_protocol::Hash;
use driftless_protocol::block::{CertifiedBlock, Height};

use super::walk::Walk;
use crate::store::acknowledged;
use crate::store::error::StoreError;
use crate::store::folder::SessionFolder;

/// The blocks of a session's folder in order, each with its hash, links between them checked.
///
/// It only reads files. What a running node is about to write ends the iteration; what it relied
/// on must be there and whole. An error ends the iteration as well.
pub struct ChainReader {
    walk: Walk,
    failed: bool,
    acknowledged: Option<Height>,
}

/// An unfinished record at the end of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The file it lies in.
    pub file: std::path::PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// The height that was being written.
    pub height: Height,
}

/// A block of the chain as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBlock {
    /// The block with its certificate; signatures are not checked here.
    pub block: CertifiedBlock,
    /// The block's hash.
    pub hash: Hash,
    /// Blocks before it are missing here: a snapshot was taken over them.
    pub after_gap: bool,
    /// The file it lies in.
    pub file: std::path::PathBuf,
    /// Where its record begins.
    pub offset: u64,
}

impl ChainReader {
    /// Opens the chain of `session`.
    pub fn open(folder: &SessionFolder, session: Hash) -> Result<ChainReader, StoreError> {
        // The mark first: the chain can only have grown since.
        let mark = acknowledged::read_mark(&folder.db(), session)?;
        let acknowledged = mark.map(|mark| mark.height);
        let walk = Walk::new(&folder.chain(), session, acknowledged)?;
        Ok(ChainReader { walk, failed: false, acknowledged })
    }

    /// The height up to which nothing may be missing, if the folder says so.
    pub fn acknowledged(&self) -> Option<Height> {
        self.acknowledged
    }

    /// What was being written last, once all blocks are read.
    pub fn torn(&self) -> Option<TornTail> {
        let torn = self.walk.torn()?;
        Some(TornTail { file: torn.path.clone(), offset: torn.offset, height: torn.height })
    }
}

impl Iterator for ChainReader {
    type Item = Result<ReadBlock, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let found = self.walk.next().transpose()?;
        self.failed = found.is_err();
        Some(found.map(|found| ReadBlock {
            block: found.block,
            hash: found.hash,
            after_gap: found.after_gap,
            file: found.path,
            offset: found.offset,
        }))
    }
}
