//! Why the store could not do what it was asked.

use std::io;
use std::path::{Path, PathBuf};

use driftless_protocol::Hash;
use driftless_protocol::block::{Height, Slot};
use driftless_protocol::identity::PeerKey;
use driftless_protocol::manifest::ManifestError;

use crate::blobs::StoreError as BlobError;

/// Why something could not be read from the data folder or written to it.
///
/// After any error nothing half-written is ever taken for complete. After `Full` and `Io` the
/// same record may be persisted again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process works on this folder.
    #[error("{} is in use by process {}", folder.display(), pid.map_or("(unknown)".into(), |pid| pid.to_string()))]
    Locked {
        /// The data folder.
        folder: PathBuf,
        /// Who holds it, if its lock file says so.
        pid: Option<u32>,
    },
    /// The identity file is not a 32-byte seed.
    #[error("{}: an identity has 32 bytes, this file has {found}", file.display())]
    Identity {
        /// The identity file.
        file: PathBuf,
        /// Its length in bytes.
        found: u64,
    },
    /// There is no such session here.
    #[error("there is no session in {}", folder.display())]
    NoSession {
        /// Where it would be.
        folder: PathBuf,
    },
    /// The session is here already.
    #[error("the session in {} exists already", folder.display())]
    SessionExists {
        /// Where it is.
        folder: PathBuf,
    },
    /// The manifest's file does not hold a valid manifest.
    #[error("{}: {source}", file.display())]
    Manifest {
        /// The manifest's file.
        file: PathBuf,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// A session's manifest and the charter it is to be opened with are not the same session's.
    #[error("the manifest is that of session {found}, the charter is that of {expected}")]
    WrongCharter {
        /// The charter's session.
        expected: Hash,
        /// The manifest's session.
        found: Hash,
    },
    /// A file belongs to another session than the folder it lies in.
    #[error("{}: belongs to session {found}, not {expected}", file.display())]
    OtherSession {
        /// The file.
        file: PathBuf,
        /// The session that was opened.
        expected: Hash,
        /// The session that the file names.
        found: Hash,
    },
    /// Bytes on disk are not what was written.
    #[error("{}: damaged at byte {offset}{}: {reason}", file.display(), at_height(*height))]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where the damaged record begins.
        offset: u64,
        /// The height that it belongs to, where it belongs to one.
        height: Option<Height>,
        /// What does not fit.
        reason: String,
    },
    /// A blob or page does not hash to its name.
    #[error("{}: damaged, {root} hashes to {found}", file.display())]
    CorruptBlob {
        /// The damaged file.
        file: PathBuf,
        /// Its name.
        root: Hash,
        /// What its bytes hash to.
        found: Hash,
    },
    /// No data folder is here.
    #[error("there is no data folder at {}: is --dir right?", path.display())]
    NoFolder {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A blob or page is not here.
    #[error("{root} is not in {}", folder.display())]
    NotFound {
        /// What was asked for.
        root: Hash,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The database of votes and signatures is damaged or lost records.
    #[error(
        "{}: {reason}. It holds what this peer signed, and without it the peer could contradict itself: \
         take a new identity, or, if this peer never voted, delete this folder and start again",
        folder.display()
    )]
    Journal {
        /// The database's folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No snapshot is usable and the chain does not reach back to the genesis state.
    #[error(
        "{}: no snapshot can be read ({reason}) and the chain here does not lead there from an earlier \
         state: delete this session's folder and join again with a new identity",
        folder.display()
    )]
    NoState {
        /// The session's folder.
        folder: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// A block that is not the next one.
    #[error("block {found} was to be stored, but {expected} is next")]
    NotNext {
        /// The next height.
        expected: Height,
        /// The block's height.
        found: Height,
    },
    /// A block that contradicts the chain on disk.
    #[error("block {height} does not fit the chain in {}", folder.display())]
    Fork {
        /// Its height.
        height: Height,
        /// The chain's folder.
        folder: PathBuf,
    },
    /// This key signed something else for the same slot.
    #[error("{by} signed another contribution to slot {slot:?} before")]
    AlreadySigned {
        /// Whose signature it is.
        by: PeerKey,
        /// The slot.
        slot: Slot,
    },
    /// Bytes were to be stored under a name that is not their hash.
    #[error("bytes that hash to {found} were to be stored as {expected}")]
    WrongRoot {
        /// The name given.
        expected: Hash,
        /// The hash of the bytes.
        found: Hash,
    },
    /// A page changed in memory since its hash was taken.
    #[error("a page of the state changed in memory: {expected} hashes to {found} now")]
    WrongPage {
        /// Its name.
        expected: Hash,
        /// What its bytes hash to.
        found: Hash,
    },
    /// The disk, or the user's quota on it, is full.
    #[error("no space left to write {}", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// Any other failure of the file system.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl StoreError {
    /// Whether freeing space on the disk is all it takes.
    pub fn is_full(&self) -> bool {
        matches!(self, StoreError::Full { .. })
    }

    /// Whether something on disk is damaged.
    pub fn is_corrupt(&self) -> bool {
        use StoreError::{Corrupt, CorruptBlob, Journal, Manifest, NoState, OtherSession};
        matches!(
            self,
            Corrupt { .. }
                | CorruptBlob { .. }
                | Journal { .. }
                | Manifest { .. }
                | NoState { .. }
                | OtherSession { .. }
        )
    }

    pub(crate) fn io(path: &Path, source: io::Error) -> StoreError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::Full { path: path.to_owned() }
            }
            _ => StoreError::Io { path: path.to_owned(), source },
        }
    }

    pub(super) fn corrupt(file: &Path, reason: impl Into<String>) -> StoreError {
        StoreError::Corrupt { file: file.to_owned(), offset: 0, height: None, reason: reason.into() }
    }
}

impl From<BlobError> for StoreError {
    fn from(error: BlobError) -> StoreError {
        match error {
            BlobError::NotFound { root, folder } => StoreError::NotFound { root, folder },
            BlobError::Corrupt { root, path, found } => StoreError::CorruptBlob { file: path, root, found },
            BlobError::Full { path } => StoreError::Full { path },
            BlobError::Io { path, source } => StoreError::Io { path, source },
        }
    }
}

/// Something the store got over when it was opened, for logs and people.
#[derive(Debug, thiserror::Error)]
pub enum Warning {
    /// The tail of the chain was being written when the process died; it will be fetched again.
    #[error("{}: cut an unfinished record at byte {offset} (height {height})", file.display())]
    TornTail {
        /// The segment file.
        file: PathBuf,
        /// Where it was cut.
        offset: u64,
        /// The height that was being written.
        height: Height,
    },
    /// A snapshot cannot be used; an older state is taken instead.
    #[error("snapshot {height} cannot be used: {error}")]
    Snapshot {
        /// Its height.
        height: Height,
        /// What is wrong with it.
        error: Box<StoreError>,
    },
    /// A checkpoint cannot be used; an older one is taken, or none.
    #[error("a checkpoint cannot be used: {0}")]
    Checkpoint(Box<StoreError>),
    /// The database of votes and signatures was deleted while the chain stayed.
    #[error("{}: what this peer signed before was deleted", folder.display())]
    JournalGone {
        /// The database's folder.
        folder: PathBuf,
    },
}

fn at_height(height: Option<Height>) -> String {
    height.map_or(String::new(), |height| format!(" (height {height})"))
}
