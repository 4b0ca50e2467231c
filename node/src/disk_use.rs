//! What writing to the disk costs: barriers, bytes, and the time that threads waited for both.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// What it cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskUse {
    /// Barriers waited for: fsync and fdatasync of files and folders.
    pub fsyncs: u64,
    /// Bytes handed to the disk, the database's own included.
    pub bytes_written: u64,
    /// Seconds spent writing and waiting, all threads together.
    pub seconds: f64,
}

impl DiskUse {
    /// What was added since `before`.
    pub fn since(self, before: DiskUse) -> DiskUse {
        DiskUse {
            fsyncs: self.fsyncs.saturating_sub(before.fsyncs),
            bytes_written: self.bytes_written.saturating_sub(before.bytes_written),
            seconds: (self.seconds - before.seconds).max(0.0),
        }
    }
}

impl std::ops::Add for DiskUse {
    type Output = DiskUse;

    fn add(self, other: DiskUse) -> DiskUse {
        DiskUse {
            fsyncs: self.fsyncs + other.fsyncs,
            bytes_written: self.bytes_written + other.bytes_written,
            seconds: self.seconds + other.seconds,
        }
    }
}

/// Counts it. Shared by all threads that write to one place.
#[derive(Debug, Default)]
pub(crate) struct DiskMeter {
    fsyncs: AtomicU64,
    bytes: AtomicU64,
    micros: AtomicU64,
}

impl DiskMeter {
    pub(crate) fn total(&self) -> DiskUse {
        DiskUse {
            fsyncs: self.fsyncs.load(Ordering::Relaxed),
            bytes_written: self.bytes.load(Ordering::Relaxed),
            seconds: self.micros.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }

    /// A barrier.
    pub(crate) fn barrier<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        self.time(wait)
    }

    /// A write of so many bytes.
    pub(crate) fn write<T, E>(&self, bytes: usize, write: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let done = self.time(write)?;
        self.add_bytes(bytes as u64);
        Ok(done)
    }

    /// Bytes that somebody else wrote.
    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Something that writes.
    pub(crate) fn time<T>(&self, call: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = call();
        self.micros.fetch_add(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
        done
    }
}
