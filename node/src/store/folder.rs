//! The data folder: where everything of one peer lies.
//!
//! ```text
//! DIR/identity              32-byte seed, mode 0600
//! DIR/lock                  holds the pid of the process that works here
//! DIR/node.sock             local socket; where its path is too long, DIR/socket names another
//! DIR/config.toml
//! DIR/port                  where the node listens, unless it is told
//! DIR/sessions/<16 hex>/    manifest chain/ pages/ blobs/ checkpoints/ db/ log/
//! ```

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use driftless_protocol::Hash;
use driftless_protocol::identity::Signer;
use driftless_protocol::manifest::{Manifest, SignedManifest};
use rand::TryRng;
use rand::rngs::SysRng;

use super::disk::{Disk, make_folder, sync_above};
use super::error::StoreError;
use super::lock::FolderLock;
use super::plain;

/// Longest path that a Unix socket is bound to here; the kernel's own limit is 107 bytes.
const SOCKET_PATH: usize = 100;

/// A peer's data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`, made if it is not there.
    pub fn create(path: impl Into<PathBuf>) -> Result<Folder, StoreError> {
        let path = path.into();
        if !path.is_dir() {
            make_folder(&path)?;
            let private = fs::Permissions::from_mode(0o700);
            fs::set_permissions(&path, private).map_err(|error| StoreError::io(&path, error))?;
        }
        Ok(Folder { path })
    }

    /// The folder at `path`, which must be there.
    pub fn open(path: impl Into<PathBuf>) -> Result<Folder, StoreError> {
        let path = path.into();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Ok(Folder { path }),
            Ok(_) => Err(StoreError::io(&path, io::ErrorKind::NotADirectory.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::NoFolder { path }),
            Err(error) => Err(StoreError::io(&path, error)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The user's settings.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// Takes the folder for this process; fails with the other one's pid if it is taken.
    pub fn lock(&self) -> Result<FolderLock, StoreError> {
        FolderLock::take(&self.path)
    }

    /// The peer's identity, if it has one yet.
    pub fn identity(&self) -> Result<Option<Signer>, StoreError> {
        let path = self.path.join("identity");
        let failed = |error| StoreError::io(&path, error);
        let file = match plain::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(failed)?,
        };
        let length = file.metadata().map_err(failed)?.len();
        let mut seed = Vec::new();
        file.take(33).read_to_end(&mut seed).map_err(failed)?;
        match <[u8; 32]>::try_from(seed) {
            Ok(seed) => Ok(Some(Signer::from_seed(seed))),
            Err(_) => Err(StoreError::Identity { file: path, found: length }),
        }
    }

    /// The peer's identity; drawn from the operating system's randomness the first time.
    ///
    /// Call it under the folder's lock.
    pub fn identity_or_new(&self) -> Result<Signer, StoreError> {
        if let Some(signer) = self.identity()? {
            return Ok(signer);
        }
        let path = self.path.join("identity");
        let mut seed = [0; 32];
        SysRng.try_fill_bytes(&mut seed).map_err(|error| StoreError::io(&path, io::Error::other(error)))?;
        Disk::default().replace(&path, &[&seed])?;
        Ok(Signer::from_seed(seed))
    }

    /// The port that a node of this folder listens on unless it is told; drawn at its first start.
    pub fn port(&self) -> Result<Option<u16>, StoreError> {
        let path = self.path.join("port");
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(&path, error)),
            Ok(text) => match text.trim().parse() {
                Ok(port) => Ok(Some(port)),
                Err(_) => Err(StoreError::corrupt(
                    &path,
                    format!("{:?} is no port; delete the file to have one drawn", text.trim()),
                )),
            },
        }
    }

    /// Keeps the port for the next start.
    pub fn keep_port(&self, port: u16) -> Result<(), StoreError> {
        Disk::default().replace(&self.path.join("port"), &[format!("{port}\n").as_bytes()])
    }

    /// The folder of a session, whether it is there or not.
    pub fn session(&self, session: Hash) -> SessionFolder {
        SessionFolder { path: self.path.join("sessions").join(prefix_of(session)) }
    }

    /// All sessions of this folder, by name. A founding or joining that never got as far as a
    /// manifest is not listed.
    pub fn sessions(&self) -> Result<Vec<SessionFolder>, StoreError> {
        let folder = self.path.join("sessions");
        let failed = |error| StoreError::io(&folder, error);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.map_err(failed)?,
        };
        let mut sessions = Vec::new();
        for entry in entries {
            let session = SessionFolder { path: entry.map_err(failed)?.path() };
            if session.prefix().is_some() && session.exists() {
                sessions.push(session);
            }
        }
        sessions.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(sessions)
    }

    /// Where a node of this folder shall listen for local commands. Where the natural place has
    /// too long a path, a fresh name in the temporary folder is drawn and written to `DIR/socket`.
    pub fn new_socket(&self) -> Result<PathBuf, StoreError> {
        let natural = self.path.join("node.sock");
        let pointer = self.path.join("socket");
        let disk = Disk::default();
        if natural.as_os_str().len() <= SOCKET_PATH {
            disk.remove(&pointer)?;
            return Ok(natural);
        }
        let mut word = [0; 8];
        SysRng
            .try_fill_bytes(&mut word)
            .map_err(|error| StoreError::io(&pointer, io::Error::other(error)))?;
        let name = format!("driftless-{}.sock", data_encoding::HEXLOWER.encode(&word));
        let mut path = std::env::temp_dir().join(&name);
        if path.as_os_str().len() > SOCKET_PATH {
            path = Path::new("/tmp").join(&name);
        }
        disk.replace(&pointer, &[path.as_os_str().as_encoded_bytes()])?;
        Ok(path)
    }

    /// Where a running node of this folder listens.
    pub fn socket(&self) -> PathBuf {
        use std::os::unix::ffi::OsStringExt;
        match fs::read(self.path.join("socket")) {
            Ok(bytes) if !bytes.is_empty() => std::ffi::OsString::from_vec(bytes).into(),
            _ => self.path.join("node.sock"),
        }
    }
}

/// The folder of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFolder {
    path: PathBuf,
}

impl SessionFolder {
    /// The session folder at `path`.
    pub fn at(path: impl Into<PathBuf>) -> SessionFolder {
        SessionFolder { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a session was founded or joined here.
    pub fn exists(&self) -> bool {
        self.manifest_path().is_file()
    }

    /// The 16 hex digits that the folder is named by.
    pub fn prefix(&self) -> Option<&str> {
        let name = self.path.file_name()?.to_str()?;
        let is_hex = name.len() == 16 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then_some(name)
    }

    /// The folder of another session of the same data folder, whether it is there or not.
    pub fn beside(&self, session: Hash) -> SessionFolder {
        SessionFolder { path: self.path.with_file_name(prefix_of(session)) }
    }

    /// The session's manifest, its bounds and signature checked.
    pub fn manifest(&self) -> Result<SignedManifest, StoreError> {
        let path = self.manifest_path();
        let file = match plain::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NoSession { folder: self.path.clone() });
            }
            result => result.map_err(|error| StoreError::io(&path, error))?,
        };
        let mut bytes = Vec::new();
        // One byte more than allowed tells a file that is too long.
        let most = Manifest::MAX_BYTES as u64 + 1;
        file.take(most).read_to_end(&mut bytes).map_err(|error| StoreError::io(&path, error))?;
        let manifest = SignedManifest::from_bytes(&bytes)
            .map_err(|source| StoreError::Manifest { file: path.clone(), source })?;
        let named = prefix_of(manifest.id());
        match self.prefix() {
            Some(prefix) if prefix != named => Err(StoreError::corrupt(
                &path,
                format!("it is the manifest of session {named}, but lies in the folder of {prefix}"),
            )),
            _ => Ok(manifest),
        }
    }

    /// The manifest's file.
    pub fn manifest_path(&self) -> PathBuf {
        self.path.join("manifest")
    }

    /// Certified blocks.
    pub fn chain(&self) -> PathBuf {
        self.path.join("chain")
    }

    /// Pages of snapshots, and the records that list them.
    pub fn pages(&self) -> PathBuf {
        self.path.join("pages")
    }

    /// Contributions and data.
    pub fn blobs(&self) -> PathBuf {
        self.path.join("blobs")
    }

    /// Local training state.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The database of votes and signatures, and the record of what is durable.
    pub fn db(&self) -> PathBuf {
        self.path.join("db")
    }

    /// The files of the database itself.
    pub(super) fn sled(&self) -> PathBuf {
        self.db().join("sled")
    }

    /// Logs.
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Puts a small file beside the store's own: the whole of it is there at any instant, or nothing.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        Disk::default().replace(&self.path.join(name), &[bytes])
    }

    /// Makes the folders below; every name in them, and theirs, is durable when this returns.
    ///
    /// A process that was killed may have left names behind it that nobody waited for. The next one
    /// finds them and relies on them, so it must not lose them when the power goes.
    pub(super) fn make(&self, disk: &Disk) -> Result<(), StoreError> {
        let folders = [self.chain(), self.pages(), self.blobs(), self.checkpoints(), self.db(), self.log()];
        folders.iter().try_for_each(|folder| make_folder(folder))?;
        folders.iter().try_for_each(|folder| disk.sync_folder(folder))?;
        // The session, `sessions`, the data folder, and what the data folder lies in.
        self.path.ancestors().take(4).try_for_each(|folder| sync_above(disk, folder))
    }
}

/// The name of a session's folder.
fn prefix_of(session: Hash) -> String {
    data_encoding::HEXLOWER.encode(&session.0[..8])
}
