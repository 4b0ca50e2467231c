//! Why a node cannot do what its user asked.

use std::path::PathBuf;

use driftless_protocol::Hash;
use driftless_protocol::layout::LayoutError;
use driftless_protocol::manifest::ManifestError;

use crate::blobs::BindError;
use crate::control::ControlError;
use crate::driver::DriverError;
use crate::engine::EngineSetupError;
use crate::store::StoreError;

/// Why a node cannot do what its user asked.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data folder: locked, damaged, full, not there.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Blobs could not be written.
    #[error(transparent)]
    Blobs(#[from] crate::blobs::StoreError),
    /// The control plane: a port in use, a bad address.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The data plane: a port in use.
    #[error(transparent)]
    Data(#[from] BindError),
    /// The manifest is not valid.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The texts, the tokenizer or the model.
    #[error(transparent)]
    Engine(#[from] EngineSetupError),
    /// The engine's tensors are not the session's.
    #[error("the engine does not have the session's tensors: {0}")]
    Layout(#[from] LayoutError),
    /// The session ended with an error.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(std::io::Error),
    /// A part of this program panicked.
    #[error("a part of the node crashed, please report it: {0}")]
    Crashed(String),
    /// The genesis state is not the manifest's.
    #[error(
        "the genesis state has digest {}, the manifest says {}: this build computes other initial \
         parameters than the founder's",
        found.short(),
        expected.short()
    )]
    Genesis {
        /// The manifest's digest.
        expected: Hash,
        /// The digest here.
        found: Hash,
    },
    /// A folder's snapshot is of a block that the session's voters did not sign.
    #[error("the folder's snapshot of height {height} is not certified: it is forged, or another session's")]
    Uncertified {
        /// The snapshot's height.
        height: u64,
    },
    /// An imported model's pages do not fit the manifest.
    #[error("the imported model does not fit the manifest: {0}")]
    Imported(String),
    /// The pages of the session that this one was founded on do not fit the manifest.
    #[error("the state that this session was founded on does not fit the manifest: {0}")]
    Inherited(String),
    /// A file is not the one that the manifest names.
    #[error("{}: its BLAKE3 hash is {found}, but the session trains on {name} with hash {expected}", path.display())]
    WrongFile {
        /// The file.
        path: PathBuf,
        /// Its name in the manifest.
        name: String,
        /// The hash in the manifest.
        expected: Hash,
        /// The hash of the file.
        found: Hash,
    },
    /// Another number of files than the manifest lists.
    #[error("the session trains on {expected} files, {found} were given with --data")]
    FileCount {
        /// The manifest's number.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// A session with private data needs files of its own.
    #[error("this session's data is private: give your own files with --data")]
    PrivateData,
    /// A data file of the session is not in the folder.
    #[error("{name} ({}) is not in this folder: join again to fetch it", root.short())]
    MissingData {
        /// Its name.
        name: String,
        /// Its hash.
        root: Hash,
    },
    /// Nobody in the invitation answers.
    #[error(
        "nobody answers at the invitation's addresses:\n{0}\nis the session running, and reachable from here?"
    )]
    Unreachable(String),
    /// Peers answer, but none gives what is needed.
    #[error("{what} could not be fetched: {reason}")]
    Fetch {
        /// What was asked for.
        what: String,
        /// Why it did not come.
        reason: String,
    },
    /// An invitation names committee keys that the manifest does not.
    #[error("the invitation's committee is not the session's: it is forged or damaged")]
    Committee,
}

impl From<driftless_compute::DataError> for NodeError {
    fn from(error: driftless_compute::DataError) -> NodeError {
        NodeError::Engine(error.into())
    }
}
