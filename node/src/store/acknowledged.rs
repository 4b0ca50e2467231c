//! The height record: what this peer relies on having.
//!
//! Two slots in one file, written in turn after the bytes they speak of are durable. With it a
//! record that was being written when the power went can be told from one that was lost or
//! damaged later: the first is cut and fetched again, the second is an error.
//!
//! | slot at 0 and 4096 | |
//! |---|---|
//! | 0..8 | number of this write; the higher valid one counts |
//! | 8..16 | height up to which the chain was durable |
//! | 16..24 | number of the database's last durable batch |
//! | 24..56 | BLAKE3 of the session id and bytes 0..24 |

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftless_protocol::Hash;
use driftless_protocol::block::Height;

use super::disk::Disk;
use super::error::StoreError;
use super::plain;

/// Each slot has a disk sector of its own, so that writing one cannot tear the other.
const STRIDE: usize = 4096;
const SLOT: usize = 56;

/// What is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    /// The chain's last height.
    pub height: Height,
    /// The database's last batch.
    pub batch: u64,
}

/// The open height record.
#[derive(Debug)]
pub(super) struct Acknowledged {
    disk: Arc<Disk>,
    file: File,
    path: PathBuf,
    session: Hash,
    written: u64,
    mark: Mark,
}

impl Acknowledged {
    /// Makes the file.
    pub(super) fn create(
        disk: Arc<Disk>,
        folder: &Path,
        session: Hash,
        mark: Mark,
    ) -> Result<Acknowledged, StoreError> {
        let path = path_in(folder);
        let mut bytes = vec![0; 2 * STRIDE];
        bytes[..SLOT].copy_from_slice(&encode(session, 0, mark));
        disk.replace(&path, &[&bytes])?;
        Ok(Acknowledged { file: open(&path)?, disk, path, session, written: 0, mark })
    }

    /// Opens the file, if it is there.
    pub(super) fn open(
        disk: Arc<Disk>,
        folder: &Path,
        session: Hash,
    ) -> Result<Option<Acknowledged>, StoreError> {
        let path = path_in(folder);
        let Some((written, mark)) = read(&path, session)? else { return Ok(None) };
        Ok(Some(Acknowledged { file: open(&path)?, disk, path, session, written, mark }))
    }

    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    /// Writes down that `mark` is durable. On failure the mark before holds on.
    pub(super) fn write(&mut self, mark: Mark) -> Result<(), StoreError> {
        let written = self.written + 1;
        let offset = (written % 2) * STRIDE as u64;
        let bytes = encode(self.session, written, mark);
        self.disk.write_at(&self.file, &self.path, &bytes, offset)?;
        self.disk.sync(&self.file, &self.path)?;
        (self.written, self.mark) = (written, mark);
        Ok(())
    }
}

/// The mark in a database folder, if there is one: for readers beside a running node.
pub(super) fn read_mark(folder: &Path, session: Hash) -> Result<Option<Mark>, StoreError> {
    Ok(read(&path_in(folder), session)?.map(|(_, mark)| mark))
}

/// Whether there is a height record in a database folder.
pub(super) fn is_there(folder: &Path) -> Result<bool, StoreError> {
    let path = path_in(folder);
    path.try_exists().map_err(|error| StoreError::io(&path, error))
}

fn path_in(folder: &Path) -> PathBuf {
    folder.join("acknowledged")
}

fn open(path: &Path) -> Result<File, StoreError> {
    let options = OpenOptions::new().read(true).write(true).mode(0o600).clone();
    options.open(path).map_err(|error| StoreError::io(path, error))
}

fn read(path: &Path, session: Hash) -> Result<Option<(u64, Mark)>, StoreError> {
    let file = match plain::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(|error| StoreError::io(path, error))?,
    };
    let mut newest = None;
    for offset in [0, STRIDE] {
        let mut slot = [0; SLOT];
        match file.read_exact_at(&mut slot, offset as u64) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            result => result.map_err(|error| StoreError::io(path, error))?,
        }
        newest = newest.max(decode(session, &slot));
    }
    match newest {
        Some((written, height, batch)) => Ok(Some((written, Mark { height, batch }))),
        None => Err(StoreError::corrupt(path, "neither of its two records has the right hash")),
    }
}

fn encode(session: Hash, written: u64, mark: Mark) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..8].copy_from_slice(&written.to_le_bytes());
    slot[8..16].copy_from_slice(&mark.height.to_le_bytes());
    slot[16..24].copy_from_slice(&mark.batch.to_le_bytes());
    let check = check(session, &slot);
    slot[24..].copy_from_slice(&check);
    slot
}

fn decode(session: Hash, slot: &[u8; SLOT]) -> Option<(u64, Height, u64)> {
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| slot[at + index]));
    (check(session, slot) == slot[24..]).then(|| (word(0), word(8), word(16)))
}

fn check(session: Hash, slot: &[u8; SLOT]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"driftless acknowledged\0");
    hasher.update(&session.0);
    hasher.update(&slot[..24]);
    *hasher.finalize().as_bytes()
}
