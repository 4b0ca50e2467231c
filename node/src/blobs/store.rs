//! A folder of blobs, each a file named by its root.
//!
//! | file | meaning |
//! |---|---|
//! | `<root>` | a complete blob: it appears under this name only after its bytes are on the disk |
//! | `<root>.obao4` | its outboard (inner nodes in pre-order, 16 KiB groups); kept from 16 MiB on |
//! | `<root>.part`, `<root>.part.obao4` | an unfinished download and the record of what is proven |
//! | `tmp-*` | being written; removed at the next start |
//!
//! All calls block: async code wraps them in `spawn_blocking`.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use driftless_protocol::Hash;

use super::files::{OpenBlob, Outboard, Tee, Temporary, checked_outboard, remove_if_there};
use super::tree;
use crate::disk_use::{DiskMeter, DiskUse};

/// Blobs of at least this many bytes keep their outboard in a file beside them; smaller ones
/// recompute it when they are served (5 ms for 16 MiB).
pub const OUTBOARD_FROM: u64 = 16 << 20;

/// Recomputed outboards that are remembered, at most 64 KiB each.
const REMEMBERED: usize = 64;

/// Why a blob could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such complete blob.
    #[error("blob {root} is not in {}", folder.display())]
    NotFound {
        /// What was asked for.
        root: Hash,
        /// The store's folder.
        folder: PathBuf,
    },
    /// The file's bytes do not hash to its name.
    #[error("blob {root} is damaged: {} hashes to {found}", path.display())]
    Corrupt {
        /// Its name.
        root: Hash,
        /// The damaged file.
        path: PathBuf,
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
    pub(crate) fn io(path: &Path, source: io::Error) -> StoreError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::Full { path: path.to_owned() }
            }
            _ => StoreError::Io { path: path.to_owned(), source },
        }
    }
}

/// A folder of content-addressed blobs. Safe to share between threads.
#[derive(Debug)]
pub struct BlobStore {
    pub(super) folder: PathBuf,
    pub(super) next_temporary: AtomicU64,
    outboards: Mutex<VecDeque<(Hash, Arc<[u8]>)>>,
    pub(super) meter: DiskMeter,
    /// Bytes that may still be written before the disk pretends to be full.
    #[cfg(test)]
    pub(crate) space: AtomicU64,
}

impl BlobStore {
    /// Opens (or makes) the folder and removes what a killed process left half-written.
    /// Unfinished downloads stay, to be resumed.
    pub fn open(folder: impl Into<PathBuf>) -> Result<BlobStore, StoreError> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(|error| StoreError::io(&folder, error))?;
        for entry in fs::read_dir(&folder).map_err(|error| StoreError::io(&folder, error))? {
            let entry = entry.map_err(|error| StoreError::io(&folder, error))?;
            if entry.file_name().to_string_lossy().starts_with("tmp-") {
                fs::remove_file(entry.path()).map_err(|error| StoreError::io(&entry.path(), error))?;
            }
        }
        Ok(BlobStore {
            folder,
            next_temporary: AtomicU64::new(0),
            outboards: Mutex::default(),
            meter: DiskMeter::default(),
            #[cfg(test)]
            space: AtomicU64::new(u64::MAX),
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What writing cost since the folder was opened.
    pub fn disk_use(&self) -> DiskUse {
        self.meter.total()
    }

    /// Stores `bytes` durably and returns their root. Storing what is there already is free.
    pub fn insert(&self, bytes: &[u8]) -> Result<Hash, StoreError> {
        let len = bytes.len() as u64;
        let (root, outboard) = if len >= OUTBOARD_FROM {
            let (root, outboard) =
                tree::outboard(bytes, len).map_err(|error| StoreError::io(&self.folder, error))?;
            (Hash::from(root), Some(outboard))
        } else {
            (Hash::of(bytes), None)
        };
        if self.contains(&root) {
            return Ok(root);
        }
        let temporary = Temporary::new(self)?;
        temporary.write(self, bytes)?;
        self.keep(temporary, root, outboard.as_deref())?;
        Ok(root)
    }

    /// Copies a file into the store durably and returns its root.
    ///
    /// Memory: the outboard, 1/256 of the file.
    pub fn insert_file(&self, path: &Path) -> Result<Hash, StoreError> {
        let source = File::open(path).map_err(|error| StoreError::io(path, error))?;
        let len = source.metadata().map_err(|error| StoreError::io(path, error))?.len();
        let temporary = Temporary::new(self)?;
        let mut tee = Tee { source, store: self, temporary: &temporary, offset: 0, failure: None };
        let computed = tree::outboard(&mut tee, len);
        if let Some(failure) = tee.failure.take() {
            return Err(failure);
        }
        let (root, outboard) = computed.map_err(|error| StoreError::io(path, error))?;
        let root = Hash::from(root);
        if !self.contains(&root) {
            self.keep(temporary, root, (len >= OUTBOARD_FROM).then_some(&outboard[..]))?;
        }
        Ok(root)
    }

    /// Whether the complete blob is here (its bytes are not read).
    pub fn contains(&self, root: &Hash) -> bool {
        self.path(root).is_file()
    }

    /// The blob's length in bytes, if it is here.
    pub fn len(&self, root: &Hash) -> Result<Option<u64>, StoreError> {
        let path = self.path(root);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(&path, error)),
        }
    }

    /// The blob's bytes, checked against its root.
    pub fn read(&self, root: &Hash) -> Result<Vec<u8>, StoreError> {
        let path = self.path(root);
        let bytes = fs::read(&path).map_err(|error| self.missing_or_io(root, &path, error))?;
        let found = Hash::of(&bytes);
        if found != *root {
            return Err(StoreError::Corrupt { root: *root, path, found });
        }
        Ok(bytes)
    }

    /// Deletes the blob, its outboard and any unfinished download of it. What is not here is no error.
    pub fn remove(&self, root: &Hash) -> Result<(), StoreError> {
        self.remove_all(std::iter::once(root))
    }

    /// Deletes several blobs at the price of one barrier.
    pub fn remove_all<'a>(&self, roots: impl IntoIterator<Item = &'a Hash>) -> Result<(), StoreError> {
        let mut any = false;
        for root in roots {
            any = true;
            self.lock_outboards().retain(|(known, _)| known != root);
            let [part, part_outboard] = self.part_paths(root);
            for path in [self.path(root), self.outboard_path(root), part, part_outboard] {
                remove_if_there(&path)?;
            }
        }
        if any { self.sync_folder() } else { Ok(()) }
    }

    /// The blobs, unfinished ones included, of which nothing was written within `age`.
    pub fn older_than(&self, age: Duration) -> Result<BTreeSet<Hash>, StoreError> {
        let now = SystemTime::now();
        let (mut old, mut young) = (BTreeSet::new(), BTreeSet::new());
        for entry in fs::read_dir(&self.folder).map_err(|error| StoreError::io(&self.folder, error))? {
            let entry = entry.map_err(|error| StoreError::io(&self.folder, error))?;
            let name = entry.file_name();
            let Some(root) = name.to_str().and_then(|name| Hash::from_hex(name.split('.').next()?)) else {
                continue;
            };
            let written = match entry.metadata().and_then(|metadata| metadata.modified()) {
                Ok(written) => written,
                // Removed or renamed since the folder was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(StoreError::io(&entry.path(), error)),
            };
            // What was written in the future is young: the clock was set back.
            let is_old = now.duration_since(written).is_ok_and(|since| since >= age);
            if is_old {
                old.insert(root)
            } else {
                young.insert(root)
            };
        }
        Ok(&old - &young)
    }

    /// All complete blobs with their lengths in bytes, by root.
    pub fn list(&self) -> Result<Vec<(Hash, u64)>, StoreError> {
        let mut blobs = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(|error| StoreError::io(&self.folder, error))? {
            let entry = entry.map_err(|error| StoreError::io(&self.folder, error))?;
            let Some(root) = entry.file_name().to_str().and_then(Hash::from_hex) else { continue };
            match entry.metadata() {
                Ok(metadata) => blobs.push((root, metadata.len())),
                // Removed since the folder was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io(&entry.path(), error)),
            }
        }
        blobs.sort_unstable();
        Ok(blobs)
    }

    /// Opens a complete blob to serve slices of it.
    ///
    /// A small blob is hashed here, so damage is found; a large one relies on its receiver.
    pub fn open_blob(&self, root: &Hash) -> Result<OpenBlob, StoreError> {
        let path = self.path(root);
        let data = File::open(&path).map_err(|error| self.missing_or_io(root, &path, error))?;
        let len = data.metadata().map_err(|error| StoreError::io(&path, error))?.len();
        let outboard = if len < OUTBOARD_FROM {
            Outboard::Memory(self.small_outboard(root, &path, &data, len)?)
        } else {
            Outboard::File(self.large_outboard(root, &path, len)?)
        };
        Ok(OpenBlob { len, data, outboard })
    }

    fn small_outboard(
        &self,
        root: &Hash,
        path: &Path,
        data: &File,
        len: u64,
    ) -> Result<Arc<[u8]>, StoreError> {
        if let Some((_, outboard)) = self.lock_outboards().iter().find(|(known, _)| known == root) {
            return Ok(outboard.clone());
        }
        let outboard: Arc<[u8]> = checked_outboard(root, path, data, len)?.into();
        let mut remembered = self.lock_outboards();
        if remembered.len() >= REMEMBERED {
            remembered.pop_front();
        }
        remembered.push_back((*root, outboard.clone()));
        Ok(outboard)
    }

    /// The outboard's file; a missing or torn one is computed again.
    fn large_outboard(&self, root: &Hash, path: &Path, len: u64) -> Result<File, StoreError> {
        let outboard_path = self.outboard_path(root);
        match File::open(&outboard_path) {
            Ok(file) if file.metadata().is_ok_and(|m| m.len() == tree::outboard_len(len)) => return Ok(file),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io(&outboard_path, error)),
        }
        let data = File::open(path).map_err(|error| StoreError::io(path, error))?;
        let outboard = checked_outboard(root, path, &data, len)?;
        let temporary = Temporary::new(self)?;
        temporary.write(self, &outboard)?;
        temporary.rename(self, &outboard_path)?;
        File::open(&outboard_path).map_err(|error| StoreError::io(&outboard_path, error))
    }

    /// Gives a written temporary file its final name, durably; the outboard goes first.
    fn keep(&self, data: Temporary, root: Hash, outboard: Option<&[u8]>) -> Result<(), StoreError> {
        if let Some(outboard) = outboard {
            let temporary = Temporary::new(self)?;
            temporary.write(self, outboard)?;
            temporary.rename(self, &self.outboard_path(&root))?;
        }
        data.rename(self, &self.path(&root))?;
        self.sync_folder()
    }

    /// Makes renames and removals in the folder durable.
    pub(crate) fn sync_folder(&self) -> Result<(), StoreError> {
        self.meter
            .barrier(|| File::open(&self.folder).and_then(|folder| folder.sync_all()))
            .map_err(|error| StoreError::io(&self.folder, error))
    }

    pub(crate) fn path(&self, root: &Hash) -> PathBuf {
        self.folder.join(root.to_string())
    }

    pub(crate) fn outboard_path(&self, root: &Hash) -> PathBuf {
        self.folder.join(format!("{root}.obao4"))
    }

    pub(crate) fn part_paths(&self, root: &Hash) -> [PathBuf; 2] {
        [self.folder.join(format!("{root}.part")), self.folder.join(format!("{root}.part.obao4"))]
    }

    fn missing_or_io(&self, root: &Hash, path: &Path, error: io::Error) -> StoreError {
        if error.kind() == io::ErrorKind::NotFound {
            StoreError::NotFound { root: *root, folder: self.folder.clone() }
        } else {
            StoreError::io(path, error)
        }
    }

    fn lock_outboards(&self) -> std::sync::MutexGuard<'_, VecDeque<(Hash, Arc<[u8]>)>> {
        self.outboards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every byte of a blob that reaches the disk passes here.
    pub(crate) fn write_at(
        &self,
        file: &File,
        path: &Path,
        bytes: &[u8],
        offset: u64,
    ) -> Result<(), StoreError> {
        #[cfg(test)]
        {
            use std::sync::atomic::Ordering;
            let taken = self.space.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes.len() as u64)
            });
            if taken.is_err() {
                return Err(StoreError::io(path, io::ErrorKind::StorageFull.into()));
            }
        }
        let written = self.meter.write(bytes.len(), || file.write_all_at(bytes, offset));
        written.map_err(|error| StoreError::io(path, error))
    }
}
