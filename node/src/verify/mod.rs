//! Checks a whole run from the files of a session's folder, without trusting whoever wrote them.
//!
//! It only reads, and may run beside a node. `follow` reads the chain: links,
//! certificates, and the control page folded block by block, which covers members, leases, draws and
//! statements. `files` checks every byte of pages and blobs. `replay` computes the states again from
//! the kept blobs: then the signatures under contributions, weights and digests are checked as well.
//! `parent` looks up where a session that was founded on another one's state comes from.

mod files;
mod follow;
mod parent;
mod replay;
#[cfg(test)]
pub(crate) mod tests;

pub use follow::{Followed, follow};
pub use parent::FoundedOn;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftless_protocol::block::{Height, Payload};
use driftless_protocol::charter::Charter;
use driftless_protocol::{Hash, PeerKey};

use crate::offline::OfflineError;
use crate::store::{SessionFolder, StoreError, read_committees, snapshot_heights};

/// Problems that are listed; one is enough to distrust a folder.
const MAX_PROBLEMS: usize = 100;
/// How often files may vanish under the reader because a running node tidied up.
const TRIES: usize = 3;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The height that it concerns, where it concerns one.
    pub height: Option<Height>,
    /// The blob or page that it concerns, where it concerns one.
    pub root: Option<Hash>,
    /// What is wrong.
    pub reason: String,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    /// The session: the hash of its manifest, which is what an invitation names.
    pub session: Hash,
    /// Its name.
    pub name: String,
    /// The session that it was founded on.
    pub founded_on: Option<FoundedOn>,
    /// Who votes.
    pub voters: Vec<PeerKey>,
    /// The first height whose block is here.
    pub first: Height,
    /// Heights before which blocks are missing: a snapshot was taken over them.
    pub gaps: Vec<Height>,
    /// The last.
    pub height: Height,
    /// The certified digest of its state.
    pub digest: Hash,
    /// The height from whose state on everything was computed again.
    pub replayed_from: Option<Height>,
    /// Blocks whose members, draws and statements could not be checked, since the control page before
    /// them is not known: those between a gap and the next snapshot that is kept.
    pub unfollowed: u64,
    /// Hash of the block of each height.
    pub hashes: BTreeMap<Height, Hash>,
    /// Contributions counted in these blocks.
    pub contributions: u64,
    /// Bytes of pages and blobs that were hashed.
    pub bytes: u64,
    /// What is wrong, the first 100.
    pub problems: Vec<Problem>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A block was followed.
    Block(Height),
    /// So many of all bytes of pages and blobs were hashed.
    Bytes(u64, u64),
    /// A state of so many was computed again.
    State(Height, Height),
}

impl Verified {
    fn problem(&mut self, problem: Problem) {
        list(&mut self.problems, problem);
    }
}

fn list(problems: &mut Vec<Problem>, problem: Problem) {
    if problems.len() < MAX_PROBLEMS {
        problems.push(problem);
    }
}

impl Problem {
    fn at(file: &Path, reason: impl Into<String>) -> Problem {
        Problem { file: file.to_owned(), height: None, root: None, reason: reason.into() }
    }

    fn of_height(self, height: Height) -> Problem {
        Problem { height: Some(height), ..self }
    }

    fn of_root(self, root: Hash) -> Problem {
        Problem { root: Some(root), ..self }
    }

    /// Damage that reading found.
    fn from_store(error: StoreError, folder: &SessionFolder) -> Problem {
        let text = error.to_string();
        match error {
            StoreError::Corrupt { file, offset, height, reason } => {
                Problem { file, height, root: None, reason: format!("at byte {offset}: {reason}") }
            }
            StoreError::CorruptBlob { file, root, found } => {
                Problem::at(&file, format!("its bytes hash to {found}")).of_root(root)
            }
            StoreError::NotFound { root, folder } => {
                Problem::at(&folder.join(root.to_string()), "it is not here").of_root(root)
            }
            StoreError::OtherSession { file, .. } | StoreError::Manifest { file, .. } => {
                Problem::at(&file, text)
            }
            StoreError::Io { path, source } => Problem::at(&path, source.to_string()),
            _ => Problem::at(folder.path(), text),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", printable(&self.file.to_string_lossy()))?;
        if let Some(height) = self.height {
            write!(f, ", height {height}")?;
        }
        if let Some(root) = self.root {
            write!(f, ", {root}")?;
        }
        write!(f, ": {}", printable(&self.reason))
    }
}

/// A stranger's text without what would move the cursor about.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Verifies a session's folder; with `replay` every state that the kept blobs lead to is computed
/// again.
///
/// # Errors
/// Only what keeps it from beginning: no manifest, or one that is damaged. Everything else is listed
/// among the problems.
pub fn verify(
    folder: &SessionFolder,
    replay: bool,
    told: &mut dyn FnMut(Step),
) -> Result<Verified, OfflineError> {
    let charter = charter_of(folder)?;
    let mut tries = 0;
    loop {
        tries += 1;
        let before = snapshot_heights(folder)?;
        let verified = verify_once(folder, &charter, replay, told)?;
        // A running node replaced what was being read: begin again with what is there now.
        if verified.problems.is_empty() || tries >= TRIES || snapshot_heights(folder)? == before {
            return Ok(verified);
        }
    }
}

/// A session's constitution.
pub fn charter_of(folder: &SessionFolder) -> Result<Arc<Charter>, OfflineError> {
    let manifest = folder.manifest()?;
    let charter = Charter::new(manifest.manifest().clone())
        .map_err(|source| StoreError::Manifest { file: folder.manifest_path(), source })?;
    Ok(Arc::new(charter))
}

fn verify_once(
    folder: &SessionFolder,
    charter: &Arc<Charter>,
    replay: bool,
    told: &mut dyn FnMut(Step),
) -> Result<Verified, OfflineError> {
    let mut verified = Verified {
        session: charter.session,
        name: charter.manifest.name.clone(),
        voters: charter.founding_seats(),
        digest: charter.manifest.genesis,
        ..Verified::default()
    };
    let mut problems = Vec::new();
    follow(folder, charter, &mut problems, &mut |followed| {
        let block = &followed.read.block.block;
        if verified.hashes.is_empty() {
            verified.first = block.height;
        }
        if followed.read.after_gap {
            verified.gaps.push(block.height);
        }
        verified.unfollowed += u64::from(followed.before.is_none());
        (verified.height, verified.digest) = (block.height, block.digest);
        verified.hashes.insert(block.height, followed.read.hash);
        verified.contributions += block.closings().map(|closing| closing.counted.len() as u64).sum::<u64>();
        told(Step::Block(block.height));
    })?;
    verified.problems = problems;
    if let Ok(committees) = read_committees(folder, charter) {
        verified.voters = committees.last().to_vec();
    }
    parent::check(folder, charter, &mut verified)?;
    files::check(folder, charter, &mut verified, told)?;
    if replay {
        replay::replay(folder, charter, &mut verified, told)?;
    }
    Ok(verified)
}

/// The blobs that a block counts.
fn blobs(block: &driftless_protocol::block::Block) -> impl Iterator<Item = Hash> {
    block.closings().flat_map(|closing| &closing.counted).filter_map(|counted| match counted.payload {
        Payload::Blob { root, .. } => Some(root),
        Payload::Inline(_) => None,
    })
}
