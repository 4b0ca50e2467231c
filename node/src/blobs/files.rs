//! The files of a store: written under a temporary name, renamed when durable, read in slices.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use driftless_protocol::Hash;

use super::store::{BlobStore, StoreError};
use super::tree::{self, ReadBlob};

/// Removes a file; that it is not there is no error.
pub(crate) fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io(path, error)),
        _ => Ok(()),
    }
}

/// The outboard of a file, if the file hashes to its name.
pub(super) fn checked_outboard(
    root: &Hash,
    path: &Path,
    data: &File,
    len: u64,
) -> Result<Vec<u8>, StoreError> {
    let buffered = io::BufReader::with_capacity(256 << 10, data);
    let (found, outboard) = tree::outboard(buffered, len).map_err(|error| StoreError::io(path, error))?;
    let found = Hash::from(found);
    if found == *root {
        Ok(outboard)
    } else {
        Err(StoreError::Corrupt { root: *root, path: path.to_owned(), found })
    }
}

/// The hash tree that belongs beside a large blob, computed from its file.
///
/// # Errors
/// The file cannot be read.
pub fn outboard_of(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok(tree::outboard(io::BufReader::with_capacity(256 << 10, file), length)?.1)
}

/// A file that disappears unless it gets its final name.
pub(super) struct Temporary {
    file: File,
    path: PathBuf,
}

impl Temporary {
    pub(super) fn new(store: &BlobStore) -> Result<Temporary, StoreError> {
        let number = store.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = store.folder.join(format!("tmp-{}-{number}", std::process::id()));
        let file = File::create(&path).map_err(|error| StoreError::io(&path, error))?;
        Ok(Temporary { file, path })
    }

    pub(super) fn write(&self, store: &BlobStore, bytes: &[u8]) -> Result<(), StoreError> {
        store.write_at(&self.file, &self.path, bytes, 0)
    }

    pub(super) fn rename(self, store: &BlobStore, to: &Path) -> Result<(), StoreError> {
        store.meter.barrier(|| self.file.sync_all()).map_err(|error| StoreError::io(&self.path, error))?;
        fs::rename(&self.path, to).map_err(|error| StoreError::io(to, error))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing under this name.
        let _ = fs::remove_file(&self.path);
    }
}

/// Copies what is read from `source` into a temporary file.
pub(super) struct Tee<'a> {
    pub(super) source: File,
    pub(super) store: &'a BlobStore,
    pub(super) temporary: &'a Temporary,
    pub(super) offset: u64,
    pub(super) failure: Option<StoreError>,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        let Temporary { file, path } = self.temporary;
        if let Err(failure) = self.store.write_at(file, path, &buffer[..count], self.offset) {
            self.failure = Some(failure);
            return Err(io::ErrorKind::Other.into());
        }
        self.offset += count as u64;
        Ok(count)
    }
}

/// Where a blob's inner nodes are.
pub(super) enum Outboard {
    Memory(Arc<[u8]>),
    File(File),
}

/// A complete blob, ready to be served.
pub struct OpenBlob {
    pub(super) len: u64,
    pub(super) data: File,
    pub(super) outboard: Outboard,
}

impl OpenBlob {
    /// Bytes of the blob.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the blob has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl ReadBlob for OpenBlob {
    fn read_leaf(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.data.read_exact_at(into, offset)
    }

    fn read_pair(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        match &self.outboard {
            Outboard::File(file) => file.read_exact_at(into, offset),
            Outboard::Memory(bytes) => {
                let start = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
                let pair = bytes.get(start..start + into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
                into.copy_from_slice(pair);
                Ok(())
            }
        }
    }
}
