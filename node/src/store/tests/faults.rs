//! A disk that fails when it is told to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::StoreError;

/// Counts steps (writes, barriers, renames, removals) and fails from a chosen one on.
#[derive(Debug)]
pub(in crate::store) struct Faults {
    left: AtomicU64,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults { left: AtomicU64::new(u64::MAX) }
    }
}

impl Faults {
    /// Lets `steps` more succeed; the next one, and all after it, fail as on a full disk.
    pub(in crate::store) fn fail_after(&self, steps: u64) {
        self.left.store(steps, Ordering::Relaxed);
    }

    pub(in crate::store) fn heal(&self) {
        self.fail_after(u64::MAX);
    }

    pub(in crate::store) fn step(&self, path: &Path) -> Result<(), StoreError> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| match left {
            u64::MAX => Some(left),
            _ => left.checked_sub(1),
        });
        taken.map(|_| ()).map_err(|_| StoreError::io(path, io::ErrorKind::StorageFull.into()))
    }

    /// A write that fails leaves its first half.
    pub(in crate::store) fn write(
        &self,
        file: &File,
        path: &Path,
        bytes: &[u8],
        offset: u64,
    ) -> Result<(), StoreError> {
        self.step(path).inspect_err(|_| {
            let _ = file.write_all_at(&bytes[..bytes.len() / 2], offset);
        })
    }
}
