//! The newest state of a session's folder, by reading files only: beside a running node or without.
//!
//! The newest snapshot, then every later block applied again from its blobs, exactly as every peer
//! does it: certificates and digests are checked on the way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftless_protocol::Hash;
use driftless_protocol::block::{CertifiedBlock, Height};
use driftless_protocol::charter::Charter;
use driftless_protocol::election::Sitting;
use driftless_protocol::layout::LayoutError;
use driftless_protocol::manifest::Data;
use driftless_protocol::state::{PAGE_BYTES, State};
use driftless_protocol::transition::{self, CandidateError, CandidateJob, Invalid, Parent};

use crate::engine::{EngineSetupError, check_size};
use crate::node::{NodeError, genesis_state};
use crate::parameters;
use crate::store::{ChainReader, Folder, SessionFolder, StoreError, newest_snapshot, plain};

/// How often files may vanish under the reader because a running node tidied up.
const TRIES: usize = 3;

/// A session as its folder holds it.
#[derive(Debug, Clone)]
pub struct Offline {
    /// Its folder.
    pub folder: SessionFolder,
    /// Its constitution.
    pub charter: Arc<Charter>,
    /// The newest state that the files lead to.
    pub state: State,
    /// Blocks beyond that state whose contributions are not here (any more or yet).
    pub missing: u64,
}

/// Why a folder's state cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The files.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The model's layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A block without a quorum's signatures.
    #[error("block {0} of this folder has no valid certificate")]
    NotCertified(Height),
    /// A block that does not follow from the state before it.
    #[error("block {height} of this folder is not valid: {reason}")]
    Invalid {
        /// Its height.
        height: Height,
        /// Why.
        reason: Invalid,
    },
    /// The state after a block cannot be computed.
    #[error("the state after block {height} of this folder cannot be computed: {reason}")]
    Candidate {
        /// Its height.
        height: Height,
        /// Why.
        reason: CandidateError,
    },
    /// The state after a block is not the one that was certified.
    #[error("the state after block {height} is {}, but {} was certified", found.short(), expected.short())]
    Digest {
        /// The block's height.
        height: Height,
        /// The certified digest.
        expected: Hash,
        /// The digest here.
        found: Hash,
    },
    /// The genesis state is not the manifest's, or a page of an imported model is not here.
    #[error(transparent)]
    Genesis(#[from] Box<NodeError>),
    /// The model does not fit into this machine's memory.
    #[error(transparent)]
    TooLarge(#[from] EngineSetupError),
    /// No session fits.
    #[error("{0}")]
    NoSession(String),
    /// The texts are not here.
    #[error("the session's text {0} is not in this folder")]
    NoText(String),
}

impl Offline {
    /// Reads the newest state of a session's folder.
    pub fn load(folder: SessionFolder) -> Result<Offline, OfflineError> {
        let manifest = folder.manifest()?;
        let charter = Charter::new(manifest.manifest().clone())
            .map_err(|source| StoreError::Manifest { file: folder.manifest_path(), source })?;
        let charter = Arc::new(charter);
        let mut tries = 0;
        loop {
            tries += 1;
            match read(&folder, &charter) {
                // A running node replaced what was being read: begin again with what is there now.
                Err(OfflineError::Store(StoreError::NotFound { .. })) if tries < TRIES => {}
                result => {
                    let (state, missing) = result?;
                    return Ok(Offline { folder, charter, state, missing });
                }
            }
        }
    }

    /// The outer parameters in the engine's order.
    pub fn parameters(&self) -> Result<Vec<f32>, OfflineError> {
        Ok(parameters::from_state(&self.charter, &self.state)?)
    }

    /// The session's texts.
    pub fn texts(&self) -> Result<Vec<PathBuf>, OfflineError> {
        match &self.charter.manifest.data {
            Data::Public { files, .. } => files
                .iter()
                .map(|file| {
                    let path = self.folder.blobs().join(file.root.to_string());
                    if path.is_file() { Ok(path) } else { Err(OfflineError::NoText(file.name.clone())) }
                })
                .collect(),
            Data::Private { .. } => {
                let list = std::fs::read_to_string(self.folder.path().join("private-data"));
                let list = list.map_err(|_| OfflineError::NoText("(private)".into()))?;
                Ok(list.lines().map(PathBuf::from).collect())
            }
        }
    }

    /// The session's tokenizer.
    pub fn tokenizer(&self) -> Option<PathBuf> {
        let file = self.charter.manifest.tokenizer.as_ref()?;
        Some(self.folder.blobs().join(file.root.to_string()))
    }

    /// Where tokens of its texts are cached.
    pub fn token_cache(&self) -> PathBuf {
        self.folder.path().join("tokens")
    }
}

/// Finds the session folder that `argument` names: a folder, or a session of `dir`.
pub fn find(dir: &Path, argument: Option<&str>) -> Result<SessionFolder, OfflineError> {
    let Some(text) = argument else { return pick(&Folder::open(dir)?, None) };
    let path = Path::new(text);
    // A demo's own folder holds a manifest as well.
    if path.join("manifest").is_file() && path.join("chain").is_dir() {
        // Its parents tell whether a node works on it.
        let path = path.canonicalize().map_err(|error| StoreError::io(path, error))?;
        return Ok(SessionFolder::at(&path));
    }
    if path.is_dir() {
        return pick(&Folder::open(path)?, None);
    }
    pick(&Folder::open(dir)?, Some(text))
}

/// Whether what was typed means this session: its name, or at least 4 digits of its id.
pub fn names(typed: &str, id: &str, name: &str) -> bool {
    let by_id = typed.len() >= 4 && id.len() >= 4 && (id.starts_with(typed) || typed.starts_with(id));
    by_id || (typed == name && !name.is_empty())
}

/// The one session of a folder that `name` fits: its name, or the beginning of its id.
pub fn pick(folder: &Folder, name: Option<&str>) -> Result<SessionFolder, OfflineError> {
    let all = folder.sessions()?;
    let fits = |session: &SessionFolder| match name {
        None => true,
        Some(text) => {
            let name = session.manifest().map(|manifest| manifest.manifest().name.clone());
            names(text, session.prefix().unwrap_or_default(), &name.unwrap_or_default())
        }
    };
    let fitting: Vec<&SessionFolder> = all.iter().filter(|session| fits(session)).collect();
    let list = || {
        let line = |session: &SessionFolder| {
            let name = session.manifest().map_or("(damaged)".into(), |m| m.manifest().name.clone());
            format!("\n  {}  {name}", session.prefix().unwrap_or(""))
        };
        all.iter().map(line).collect::<String>()
    };
    match (fitting.as_slice(), name) {
        ([one], _) => Ok((*one).clone()),
        ([], _) if all.is_empty() => {
            let text = format!(
                "there is no session in {}: `driftless new` or `join` makes one",
                folder.path().display()
            );
            Err(OfflineError::NoSession(text))
        }
        ([], name) => {
            let text = format!("no session here is called {:?}; there are:{}", name.unwrap_or(""), list());
            Err(OfflineError::NoSession(text))
        }
        (_, None) => {
            Err(OfflineError::NoSession(format!("there are several sessions, name one of them:{}", list())))
        }
        (_, Some(name)) => Err(OfflineError::NoSession(format!("{name:?} fits several sessions:{}", list()))),
    }
}

/// The newest state, and how many blocks could not be applied.
fn read(folder: &SessionFolder, charter: &Arc<Charter>) -> Result<(State, u64), OfflineError> {
    let (mut state, mut head) = match newest_snapshot(folder, charter)? {
        Some(snapshot) => {
            let head = snapshot.block.as_ref().map_or(charter.session, |block| block.block.hash());
            (snapshot.state, head)
        }
        None => (genesis(folder, charter)?, charter.session),
    };
    let mut missing = 0;
    for found in ChainReader::open(folder, charter.session)? {
        let found = found?;
        if found.block.block.height <= state.control.height {
            continue;
        }
        if missing == 0
            && let Some(next) = apply(folder, charter, &state, head, &found.block)?
        {
            state = next;
            head = found.hash;
        } else {
            missing += 1;
        }
    }
    Ok((state, missing))
}

/// The state after `certified`; `None` if a contribution or a block before it is not here.
pub(crate) fn apply(
    folder: &SessionFolder,
    charter: &Arc<Charter>,
    state: &State,
    head: Hash,
    certified: &CertifiedBlock,
) -> Result<Option<State>, OfflineError> {
    let block = &certified.block;
    let height = block.height;
    if height != state.control.height + 1 {
        return Ok(None);
    }
    if !Sitting::of(&state.control).certifies(charter, certified) {
        return Err(OfflineError::NotCertified(height));
    }
    let parent = Parent { state, hash: head };
    let checked =
        transition::continues(parent, block).and_then(|()| transition::check(charter, parent, &block.items));
    let plan = checked.map_err(|reason| OfflineError::Invalid { height, reason })?;
    let job = CandidateJob::new(0, charter.clone(), state.clone(), plan);
    let mut read =
        |root: &Hash| read_contribution(folder, charter, root).ok_or_else(|| "not here".to_string());
    let next = match job.run(&mut read) {
        Ok(next) => next,
        Err(CandidateError::Missing { .. }) => return Ok(None),
        Err(reason) => return Err(OfflineError::Candidate { height, reason }),
    };
    let (expected, found) = (block.digest, next.digest());
    if found == expected { Ok(Some(next)) } else { Err(OfflineError::Digest { height, expected, found }) }
}

pub(crate) fn genesis(folder: &SessionFolder, charter: &Charter) -> Result<State, OfflineError> {
    check_size(&charter.manifest)?;
    let read = |root: &Hash| {
        let page = |folder: &Path| read_blob(folder, root, PAGE_BYTES as u64);
        let bytes = page(&folder.pages()).or_else(|| page(&folder.blobs()));
        bytes.ok_or_else(|| format!("page {} is not in this folder", root.short()))
    };
    Ok(genesis_state(charter, read).map_err(Box::new)?)
}

/// A contribution, if it is here whole.
pub(crate) fn read_contribution(folder: &SessionFolder, charter: &Charter, root: &Hash) -> Option<Vec<u8>> {
    let longest = charter.lengths.iter().max().copied().unwrap_or(0);
    read_blob(&folder.blobs(), root, charter.manifest.method.longest(longest))
}

/// A blob of at most so many bytes that hash to its name.
fn read_blob(folder: &Path, root: &Hash, most: u64) -> Option<Vec<u8>> {
    let bytes = plain::read(&folder.join(root.to_string()), most).ok()?;
    (Hash::of(&bytes) == *root).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_session_is_named_by_its_name_or_the_beginning_of_its_id() {
        let id = "0123456789abcdef";
        for typed in ["plays", "0123", id, "0123456789abcdef0123"] {
            assert!(names(typed, id, "plays"), "{typed}");
        }
        for typed in ["play", "012", "", "1234", "0124"] {
            assert!(!names(typed, id, "plays"), "{typed}");
        }
        assert!(!names("", "", "") && !names("abcd", "", ""), "a damaged session has neither");
    }
}
