//! A real session's folder, read without a store: its manifest, its chain and its texts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftless_protocol::archive::{SegmentError, read_segment};
use driftless_protocol::block::CertifiedBlock;
use driftless_protocol::charter::Charter;
use driftless_protocol::identity::Hash;
use driftless_protocol::manifest::{Data, Manifest, ManifestError, SignedManifest};

/// The largest chain file that is read; the store begins a new one long before.
const MAX_SEGMENT: u64 = 1 << 30;

/// A session as its folder tells it.
#[derive(Debug, Clone)]
pub struct SessionFolder {
    /// Where it lies.
    pub path: PathBuf,
    /// Its constitution.
    pub charter: Arc<Charter>,
    /// Its certified blocks from height 1 on. Certificates and links are checked by whoever follows them.
    pub chain: Vec<CertifiedBlock>,
}

/// Why a folder cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// No session is there.
    #[error(
        "{} is no session's folder: it holds no manifest with a chain. Name DIR/sessions/ID, a node's DIR with \
         one session, or the folder of `driftless demo --dir`", .0.display()
    )]
    NoSession(PathBuf),
    /// More than one is.
    #[error("{} holds several sessions, name one of them:{}", path.display(), list(sessions))]
    Several {
        /// The folder.
        path: PathBuf,
        /// What is there.
        sessions: Vec<PathBuf>,
    },
    /// The system's word.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
    /// The manifest is damaged.
    #[error("{}: {source}", path.display())]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: ManifestError,
    },
    /// A chain file is damaged.
    #[error("{}: {source}", path.display())]
    Segment {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: SegmentError,
    },
    /// The blocks are not all there.
    #[error("{}: {reason}", path.display())]
    Chain {
        /// Which file, or the folder of all.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
}

fn list(sessions: &[PathBuf]) -> String {
    sessions.iter().map(|path| format!("\n  {}", path.display())).collect()
}

impl SessionFolder {
    /// Reads the session that `path` names: its own folder, a node's with one session, or a demo's, of
    /// which the first peer's is taken.
    ///
    /// # Errors
    /// There is none or more than one, or it is damaged or begins after genesis.
    pub fn read(path: &Path) -> Result<SessionFolder, FolderError> {
        let path = find(path)?;
        let file = path.join("manifest");
        let bytes = read_at_most(&file, Manifest::MAX_BYTES as u64)?;
        let wrong = |source| FolderError::Manifest { path: file.clone(), source };
        let manifest = SignedManifest::from_bytes(&bytes).map_err(wrong)?;
        let charter = Charter::new(manifest.manifest().clone()).map_err(wrong)?;
        let chain = read_chain(&path.join("chain"), charter.session)?;
        Ok(SessionFolder { path, charter: charter.into(), chain })
    }

    /// The public texts, in the order of the samples, where the node keeps them.
    #[must_use]
    pub fn texts(&self) -> Vec<PathBuf> {
        match &self.charter.manifest.data {
            Data::Public { files, .. } => files.iter().map(|file| self.blob(&file.root)).collect(),
            Data::Private { .. } => Vec::new(),
        }
    }

    /// Where a blob lies.
    #[must_use]
    pub fn blob(&self, root: &Hash) -> PathBuf {
        self.path.join("blobs").join(root.to_string())
    }
}

fn find(path: &Path) -> Result<PathBuf, FolderError> {
    let is_session = |path: &Path| path.join("manifest").is_file() && path.join("chain").is_dir();
    if is_session(path) {
        return Ok(path.to_owned());
    }
    for node in [path.to_owned(), path.join("peer-0")] {
        let mut sessions = match std::fs::read_dir(node.join("sessions")) {
            Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>(),
            Err(_) => continue,
        };
        sessions.retain(|path| is_session(path));
        sessions.sort_unstable();
        return match sessions.len() {
            0 => Err(FolderError::NoSession(path.to_owned())),
            1 => Ok(sessions.remove(0)),
            _ => Err(FolderError::Several { path: node, sessions }),
        };
    }
    Err(FolderError::NoSession(path.to_owned()))
}

fn read_chain(folder: &Path, session: Hash) -> Result<Vec<CertifiedBlock>, FolderError> {
    let mut chain: Vec<CertifiedBlock> = Vec::new();
    let mut torn: Option<PathBuf> = None;
    for (first, path) in chain_files(folder)? {
        let incomplete = |reason: String| FolderError::Chain { path: path.clone(), reason };
        if let Some(path) = torn {
            let reason = "it is damaged: `driftless verify` says where".into();
            return Err(FolderError::Chain { path, reason });
        }
        let bytes = read_at_most(&path, MAX_SEGMENT)?;
        let segment = match read_segment(session, &bytes) {
            // A file that was just begun: the walk of a store ends there, too.
            Err(SegmentError::Short) if !chain.is_empty() => break,
            read => read.map_err(|source| FolderError::Segment { path: path.clone(), source })?,
        };
        let next = chain.len() as u64 + 1;
        if first != next || segment.first != next || segment.after_gap {
            return Err(incomplete(format!(
                "it begins at height {first}, block {next} is missing: this peer took a snapshot. A peer that \
                 was there from the beginning has the whole chain"
            )));
        }
        for (block, height) in segment.blocks.iter().zip(next..) {
            if block.block.height != height {
                return Err(incomplete(format!("block {} follows, {height} is next", block.block.height)));
            }
        }
        chain.extend(segment.blocks);
        torn = segment.torn.map(|_| path);
    }
    Ok(chain)
}

/// The chain's files by the height of their first block.
fn chain_files(folder: &Path) -> Result<Vec<(u64, PathBuf)>, FolderError> {
    let failed = |source| FolderError::File { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(first) = name.strip_suffix(".blocks").and_then(|digits| digits.parse().ok()) {
            files.push((first, path));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// A stranger may have put a pipe or a device there, which has no end.
fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>, FolderError> {
    let failed = |source| FolderError::File { path: path.to_owned(), source };
    let about = std::fs::metadata(path).map_err(failed)?;
    if !about.is_file() || about.len() > limit {
        return Err(failed(std::io::Error::other("it is no file, or too long")));
    }
    std::fs::read(path).map_err(failed)
}
