//! The few ways in which the store touches a disk, each counted, each failing with the file's name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::StoreError;
use crate::blobs::BlobStore;
use crate::disk_use::DiskMeter;

/// Counts barriers and bytes; in tests it also fails where it is told to.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) meter: DiskMeter,
    #[cfg(test)]
    pub(super) faults: super::tests::Faults,
}

impl Disk {
    pub(super) fn write_at(
        &self,
        file: &File,
        path: &Path,
        bytes: &[u8],
        offset: u64,
    ) -> Result<(), StoreError> {
        #[cfg(test)]
        self.faults.write(file, path, bytes, offset)?;
        let written = self.meter.write(bytes.len(), || file.write_all_at(bytes, offset));
        written.map_err(|error| StoreError::io(path, error))
    }

    /// Waits until the file's bytes, and the length needed to read them, are on the disk.
    pub(super) fn sync(&self, file: &File, path: &Path) -> Result<(), StoreError> {
        #[cfg(test)]
        self.faults.step(path)?;
        self.meter.barrier(|| file.sync_data()).map_err(|error| StoreError::io(path, error))
    }

    /// Makes the names in a folder durable.
    pub(super) fn sync_folder(&self, folder: &Path) -> Result<(), StoreError> {
        #[cfg(test)]
        self.faults.step(folder)?;
        let synced = self.meter.barrier(|| File::open(folder).and_then(|folder| folder.sync_all()));
        synced.map_err(|error| StoreError::io(folder, error))
    }

    /// Puts a file with these parts, one after another, in the place of `path`: the whole old
    /// file or the whole new one is there at any instant.
    pub(super) fn replace(&self, path: &Path, parts: &[&[u8]]) -> Result<(), StoreError> {
        let temporary = temporary_name(path);
        let written = self.write_new(&temporary, parts).and_then(|()| {
            #[cfg(test)]
            self.faults.step(path)?;
            fs::rename(&temporary, path).map_err(|error| StoreError::io(path, error))
        });
        if let Err(error) = written {
            // The failure is what matters; what stays of the file is removed at the next start.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        self.sync_folder(path.parent().unwrap_or(Path::new(".")))
    }

    fn write_new(&self, path: &Path, parts: &[&[u8]]) -> Result<(), StoreError> {
        let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
        let file = options.open(path).map_err(|error| StoreError::io(path, error))?;
        let mut offset = 0;
        for part in parts {
            self.write_at(&file, path, part, offset)?;
            offset += part.len() as u64;
        }
        self.sync(&file, path)
    }

    /// Deletes a file; one that is not there is no error. Durable only after `sync_folder`.
    pub(super) fn remove(&self, path: &Path) -> Result<(), StoreError> {
        #[cfg(test)]
        self.faults.step(path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io(path, error)),
            _ => Ok(()),
        }
    }

    /// Stores a blob durably, unless it is there.
    pub(super) fn put_blob(&self, store: &BlobStore, bytes: &[u8]) -> Result<(), StoreError> {
        #[cfg(test)]
        self.faults.step(store.folder())?;
        store.insert(bytes)?;
        Ok(())
    }
}

/// Makes a folder and everything above it, durably.
pub(super) fn make_folder(path: &Path) -> Result<(), StoreError> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()).collect();
    fs::create_dir_all(path).map_err(|error| StoreError::io(path, error))?;
    let disk = Disk::default();
    missing.iter().filter_map(|folder| folder.parent()).try_for_each(|above| sync_above(&disk, above))
}

/// Makes the names in a folder durable that is not ours alone.
pub(super) fn sync_above(disk: &Disk, folder: &Path) -> Result<(), StoreError> {
    use io::ErrorKind::{InvalidInput, PermissionDenied};
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    match disk.sync_folder(folder) {
        // One that may be written but not listed, or whose file system knows no such barrier, cannot
        // be synced; the user chose it.
        Err(StoreError::Io { source, .. }) if matches!(source.kind(), PermissionDenied | InvalidInput) => {
            Ok(())
        }
        result => result,
    }
}

/// Removes what `Disk::replace` left in a folder when its process died.
pub(super) fn remove_temporaries(folder: &Path) -> Result<(), StoreError> {
    for (name, path) in names(folder)? {
        if name.ends_with(TEMPORARY) {
            fs::remove_file(&path).map_err(|error| StoreError::io(&path, error))?;
        }
    }
    Ok(())
}

/// Files of a folder named `<number>.<suffix>`, ascending by number.
pub(super) fn numbered(folder: &Path, suffix: &str) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let mut files: Vec<(u64, PathBuf)> = names(folder)?
        .into_iter()
        .filter_map(|(name, path)| {
            let digits = name.strip_suffix(suffix)?.strip_suffix('.')?;
            let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
            Some((number, path))
        })
        .collect();
    files.sort_unstable();
    Ok(files)
}

/// The path of a numbered file.
pub(super) fn numbered_path(folder: &Path, number: u64, suffix: &str) -> PathBuf {
    folder.join(format!("{number:08}.{suffix}"))
}

/// Bytes that an ordinary user may still write on the file system of `path`.
pub(super) fn free_bytes(path: &Path) -> Result<u64, StoreError> {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::CString::new(path.as_os_str().as_bytes())
        .map_err(|error| StoreError::io(path, io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let mut room = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `name` is a C string and `room` is large enough for what statvfs writes.
    let result = unsafe { libc::statvfs(name.as_ptr(), room.as_mut_ptr()) };
    if result != 0 {
        return Err(StoreError::io(path, io::Error::last_os_error()));
    }
    // SAFETY: statvfs succeeded, so it filled the structure.
    let room = unsafe { room.assume_init() };
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

const TEMPORARY: &str = ".tmp";

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    name.into()
}

fn names(folder: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let failed = |error| StoreError::io(folder, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, entry.path()));
        }
    }
    Ok(names)
}
