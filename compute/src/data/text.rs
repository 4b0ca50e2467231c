//! A text in memory or mapped from a file.

use super::DataError;
use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

/// Read-only bytes.
#[derive(Debug)]
pub(super) enum Text {
    /// Part of the binary.
    Static(&'static [u8]),
    /// A mapped file.
    Mapped(Mmap),
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Text::Static(bytes) => bytes,
            Text::Mapped(map) => map,
        }
    }
}

impl Text {
    /// Maps a file.
    pub(super) fn open(path: &Path) -> Result<Text, DataError> {
        let file = File::open(path).map_err(|error| io_error(path, error))?;
        let metadata = file.metadata().map_err(|error| io_error(path, error))?;
        if !metadata.is_file() {
            return Err(DataError::NotAFile { path: path.into() });
        }
        if metadata.len() == 0 {
            return Err(DataError::Empty { path: path.into() });
        }
        // SAFETY: the map is only read, as bytes, which any bit pattern is. Like every mapping of a user's file it relies
        // on nobody truncating the file meanwhile: that would end the process by a signal, not read foreign memory.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| io_error(path, error))?;
        Ok(Text::Mapped(map))
    }
}

/// Names the file in an error of the operating system.
pub(super) fn io_error(path: &Path, error: io::Error) -> DataError {
    if error.kind() == io::ErrorKind::NotFound {
        DataError::Missing { path: path.into() }
    } else {
        DataError::Io { path: path.into(), error }
    }
}
