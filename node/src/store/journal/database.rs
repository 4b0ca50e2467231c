//! sled, with what it leaves to its user: barriers, and panics on damaged files.
//!
//! `flush()` alone is not a barrier on Linux (it is `sync_file_range`), so the database file is
//! synced through an own handle after each; nothing is flushed behind our back; folder and `conf`
//! are synced once at opening.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::disk::{Disk, free_bytes, make_folder};
use crate::store::error::StoreError;

/// Memory for cached pages.
const CACHE: u64 = 8 << 20;
/// Free space below which nothing is handed to sled: its file grows by segments of 512 KiB, and
/// an interrupted one costs more to repair than a clear refusal.
const RESERVE: u64 = 4 << 20;

/// An open database.
pub(super) struct Database {
    db: sled::Db,
    file: File,
    folder: PathBuf,
    path: PathBuf,
    disk: Arc<Disk>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Database {
    pub(super) fn open(disk: Arc<Disk>, folder: &Path) -> Result<Database, StoreError> {
        make_folder(folder)?;
        remove_unfinished(folder)?;
        let db = open_sled(folder)?;
        let path = folder.join("db");
        let failed = |error| StoreError::io(&path, error);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let conf = folder.join("conf");
        let opened = File::open(&conf).map_err(|error| StoreError::io(&conf, error))?;
        disk.sync(&opened, &conf)?;
        disk.sync(&file, &path)?;
        disk.sync_folder(folder)?;
        Ok(Database { db, file, folder: folder.to_owned(), path, disk })
    }

    /// Everything in it.
    pub(super) fn entries(&self) -> Result<Vec<(sled::IVec, sled::IVec)>, StoreError> {
        guarded(&self.folder, || self.db.iter().collect())
    }

    /// Fails where the disk is too full for a change to be begun.
    pub(super) fn check_room(&self) -> Result<(), StoreError> {
        match free_bytes(&self.folder)? {
            free if free < RESERVE => Err(StoreError::Full { path: self.path.clone() }),
            _ => Ok(()),
        }
    }

    /// Applies all changes or none, durably.
    pub(super) fn apply(&self, changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        self.check_room()?;
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        let meter = &self.disk.meter;
        let bytes = meter.time(|| {
            guarded(&self.folder, || {
                self.db.apply_batch(batch)?;
                self.db.flush()
            })
        })?;
        meter.add_bytes(bytes as u64);
        self.disk.sync(&self.file, &self.path)
    }
}

/// Removes every file of a database, if there is one.
pub(in crate::store) fn discard(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() { remove_files(folder, "") } else { Ok(()) }
}

/// Removes index snapshots that sled was writing when its process died. It takes them for whole
/// ones, and refuses to open when they are not; without them it reads its log from further back.
fn remove_unfinished(folder: &Path) -> Result<(), StoreError> {
    remove_files(folder, ".generating")
}

fn remove_files(folder: &Path, suffix: &str) -> Result<(), StoreError> {
    let failed = |error| StoreError::io(folder, error);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_file = entry.file_type().map_err(failed)?.is_file();
        if is_file && entry.file_name().to_string_lossy().ends_with(suffix) {
            std::fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Opens sled. Its own lock may outlive the handle that was dropped before by a moment (its threads
/// hold the file a little longer), so it is tried for some time; others are kept out by the
/// data folder's lock.
fn open_sled(folder: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new().path(folder).cache_capacity(CACHE).flush_every_ms(None);
    let is_locked = |error: &StoreError| matches!(error, StoreError::Io { source, .. } if source.to_string().contains("could not acquire lock"));
    let mut tries = 0;
    loop {
        match guarded(folder, || config.open()) {
            Err(error) if is_locked(&error) && tries < 100 => {
                tries += 1;
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

/// Calls sled; its errors and its panics become ours.
fn guarded<T>(folder: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    let damaged = |reason: String| StoreError::Journal { folder: folder.to_owned(), reason };
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) => Err(StoreError::io(folder, error)),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
            Err(damaged(format!("the database cannot be read ({text})")))
        }
    }
}
