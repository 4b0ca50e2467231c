//! One process per data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use super::error::StoreError;

/// Holds a data folder for this process until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct FolderLock {
    // The kernel's lock goes with the open file. The file itself stays: removing it would let a
    // third process lock a file that has no name any more.
    _file: File,
}

impl FolderLock {
    pub(super) fn take(folder: &Path) -> Result<FolderLock, StoreError> {
        let path = folder.join("lock");
        let failed = |error| StoreError::io(&path, error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(failed)?;
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Who it is only helps the reader of the message.
                let _ = (&mut file).take(32).read_to_string(&mut text);
                return Err(StoreError::Locked { folder: folder.to_owned(), pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(FolderLock { _file: file })
    }
}

/// `driftless verify` looks at the lock for an instant, to tell whether a node is running.
fn lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..20 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            result => return result,
        }
    }
    file.try_lock()
}
