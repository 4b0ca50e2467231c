//! An unfinished download: the bytes so far and the proof of which are right.
//!
//! The record is the outboard itself. On resuming, every group is hashed against it, so a record
//! cannot claim more than the disk holds: not after a kill, a power cut or a flipped bit.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use driftless_protocol::Hash;

use super::files::remove_if_there;
use super::store::{BlobStore, OUTBOARD_FROM, StoreError};
use super::transfer::FIRST_BATCH;
use super::tree::{self, ReadBlob, WriteBlob};

/// Which groups of a blob are verified: one bit each.
#[derive(Debug, Clone)]
pub(crate) struct GroupSet {
    bits: Vec<u64>,
    total: u64,
    held: u64,
}

impl GroupSet {
    fn new(total: u64) -> GroupSet {
        GroupSet { bits: vec![0; total.div_ceil(64) as usize], total, held: 0 }
    }

    fn insert(&mut self, group: u64) {
        let mask = 1 << (group % 64);
        if let Some(word) = self.bits.get_mut((group / 64) as usize)
            && *word & mask == 0
        {
            *word |= mask;
            self.held += 1;
        }
    }

    fn contains(&self, group: u64) -> bool {
        self.bits.get((group / 64) as usize).is_some_and(|word| word & (1 << (group % 64)) != 0)
    }

    /// The gaps inside `within`, in order.
    pub(crate) fn missing(&self, within: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps: Vec<Range<u64>> = Vec::new();
        for group in within.start..within.end.min(self.total) {
            if self.contains(group) {
                continue;
            }
            match gaps.last_mut() {
                Some(gap) if gap.end == group => gap.end += 1,
                _ => gaps.push(group..group + 1),
            }
        }
        gaps
    }
}

struct Files {
    data: File,
    outboard: File,
}

/// An unfinished download of one blob. The files are made when the first verified bytes arrive.
pub(crate) struct Partial {
    store: Arc<BlobStore>,
    root: Hash,
    len: u64,
    data_path: PathBuf,
    outboard_path: PathBuf,
    files: OnceLock<Files>,
    making: Mutex<()>,
    verified: Mutex<GroupSet>,
    /// Bytes that receivers take at a time: what the last slice found fitting.
    pub(crate) batch: AtomicUsize,
}

impl Partial {
    /// Opens what an earlier attempt left, proving every group of it again, or starts afresh.
    pub(crate) fn open(store: Arc<BlobStore>, root: Hash, len: u64) -> Result<Partial, StoreError> {
        let [data_path, outboard_path] = store.part_paths(&root);
        let partial = Partial {
            store,
            root,
            len,
            data_path,
            outboard_path,
            files: OnceLock::new(),
            making: Mutex::new(()),
            verified: Mutex::new(GroupSet::new(tree::group_count(len))),
            batch: AtomicUsize::new(FIRST_BATCH),
        };
        match fs::metadata(&partial.data_path) {
            Ok(metadata) if metadata.len() == len => {
                let files = partial.files()?;
                let mut verified = partial.verified();
                tree::proven_groups(root.0.into(), len, files, &mut |groups| {
                    groups.for_each(|group| verified.insert(group));
                })
                .map_err(|error| StoreError::io(&partial.data_path, error))?;
            }
            // Begun with another length: one of the two was a lie, and nothing of it can be kept.
            Ok(_) => partial.discard()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io(&partial.data_path, error)),
        }
        Ok(partial)
    }

    pub(crate) fn root(&self) -> Hash {
        self.root
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The groups of `within` that are not verified yet.
    pub(crate) fn missing(&self, within: Range<u64>) -> Vec<Range<u64>> {
        self.verified().missing(within)
    }

    /// How many groups are verified.
    pub(crate) fn held(&self) -> u64 {
        self.verified().held
    }

    /// Records groups as verified: their bytes and inner nodes are written.
    pub(crate) fn mark(&self, groups: Range<u64>) {
        let mut verified = self.verified();
        groups.for_each(|group| verified.insert(group));
    }

    /// Gives the complete blob its name, durably. Fails if a group is missing.
    pub(crate) fn finish(&self) -> Result<(), StoreError> {
        let total = tree::group_count(self.len);
        if self.held() != total {
            let missing = io::Error::other(format!("{} of {total} groups are verified", self.held()));
            return Err(StoreError::io(&self.data_path, missing));
        }
        let files = self.files()?;
        self.store
            .meter
            .barrier(|| files.data.sync_all())
            .map_err(|error| StoreError::io(&self.data_path, error))?;
        if self.len >= OUTBOARD_FROM {
            self.store
                .meter
                .barrier(|| files.outboard.sync_all())
                .map_err(|error| StoreError::io(&self.outboard_path, error))?;
            let kept = self.store.outboard_path(&self.root);
            fs::rename(&self.outboard_path, &kept).map_err(|error| StoreError::io(&kept, error))?;
        } else {
            remove_if_there(&self.outboard_path)?;
        }
        let path = self.store.path(&self.root);
        fs::rename(&self.data_path, &path).map_err(|error| StoreError::io(&path, error))?;
        self.store.sync_folder()
    }

    /// Deletes the files if nothing in them is worth resuming.
    pub(crate) fn discard_if_empty(&self) -> Result<(), StoreError> {
        if self.held() == 0 { self.discard() } else { Ok(()) }
    }

    fn discard(&self) -> Result<(), StoreError> {
        remove_if_there(&self.data_path)?;
        remove_if_there(&self.outboard_path)
    }

    fn files(&self) -> Result<&Files, StoreError> {
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        // Sparse: neither length takes space before bytes are written.
        let data = sized_file(&self.data_path, self.len)?;
        let outboard = sized_file(&self.outboard_path, tree::outboard_len(self.len))?;
        Ok(self.files.get_or_init(|| Files { data, outboard }))
    }

    fn verified(&self) -> MutexGuard<'_, GroupSet> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sized_file(path: &Path, len: u64) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .and_then(|file| file.set_len(len).map(|()| file))
        .map_err(|error| StoreError::io(path, error))
}

impl ReadBlob for Files {
    fn read_leaf(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.data.read_exact_at(into, offset)
    }

    fn read_pair(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.outboard.read_exact_at(into, offset)
    }
}

impl WriteBlob for Partial {
    type Error = StoreError;

    fn write_groups(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        if data.is_empty() {
            return Ok(());
        }
        let files = self.files()?;
        self.store.write_at(&files.data, &self.data_path, data, offset)
    }

    fn write_pairs(&self, offset: u64, pairs: &[u8]) -> Result<(), StoreError> {
        let files = self.files()?;
        self.store.write_at(&files.outboard, &self.outboard_path, pairs, offset)
    }
}
