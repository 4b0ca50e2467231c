//! The chain on disk: certified blocks in append-only files, `chain/NNNNNNNN.blocks`.
//!
//! A file is named by the height of its first block; its header (`driftless_protocol::archive`) says whether that
//! block continues the file before or follows a gap that a snapshot bridges. A file is never
//! changed but at its end, and a new one begins when it has grown large.

mod reader;
mod walk;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use driftless_protocol::Hash;
use driftless_protocol::archive::{self, AFTER_GAP, CONTINUES, HEADER, Kind, PREFIX};
use driftless_protocol::block::{CertifiedBlock, Height};

use super::disk::{Disk, numbered_path};
use super::error::StoreError;

pub use reader::{ChainReader, ReadBlock, TornTail};
pub(super) use walk::{Found, Torn, Walk};

const SUFFIX: &str = "blocks";

/// Where every block lies. Shared with whoever answers peers that lag.
#[derive(Debug)]
pub(super) struct Index {
    session: Hash,
    segments: RwLock<Vec<Segment>>,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: Arc<File>,
    first: Height,
    /// Where each record ends; the first begins behind the header.
    ends: Vec<u64>,
}

impl Segment {
    fn end(&self) -> u64 {
        self.ends.last().copied().unwrap_or(HEADER as u64)
    }

    fn range(&self, height: Height) -> Option<std::ops::Range<u64>> {
        let index = usize::try_from(height.checked_sub(self.first)?).ok()?;
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(HEADER as u64, |before| self.ends[before]);
        Some(start..end)
    }
}

impl Index {
    /// At most `max` blocks from height `from` on, as long as none is missing and their encodings
    /// together are at most `max_bytes`, but at least one if there is one.
    pub(super) fn read(
        &self,
        from: Height,
        max: usize,
        max_bytes: usize,
    ) -> Result<Vec<CertifiedBlock>, StoreError> {
        let mut blocks = Vec::new();
        let mut bytes = 0;
        while blocks.len() < max {
            let height = from.saturating_add(blocks.len() as u64);
            let Some((file, path, range)) = self.locate(height) else { break };
            bytes += (range.end - range.start) as usize - PREFIX;
            if bytes > max_bytes && !blocks.is_empty() {
                break;
            }
            blocks.push(walk::read_record(&file, &path, self.session, height, range)?);
        }
        Ok(blocks)
    }

    /// Hands every block from height `from` on to `visit`, across gaps.
    pub(super) fn visit(
        &self,
        from: Height,
        mut visit: impl FnMut(&CertifiedBlock),
    ) -> Result<(), StoreError> {
        let runs: Vec<std::ops::Range<Height>> =
            self.segments().iter().map(|s| s.first..s.first + s.ends.len() as u64).collect();
        for height in runs.into_iter().flat_map(|run| run.start.max(from)..run.end) {
            if let Some((file, path, range)) = self.locate(height) {
                visit(&walk::read_record(&file, &path, self.session, height, range)?);
            }
        }
        Ok(())
    }

    fn locate(&self, height: Height) -> Option<(Arc<File>, PathBuf, std::ops::Range<u64>)> {
        let segments = self.segments();
        let at = segments.partition_point(|segment| segment.first <= height).checked_sub(1)?;
        let segment = &segments[at];
        Some((segment.file.clone(), segment.path.clone(), segment.range(height)?))
    }

    fn segments(&self) -> RwLockReadGuard<'_, Vec<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The chain, open for appending.
#[derive(Debug)]
pub(super) struct Chain {
    disk: Arc<Disk>,
    folder: PathBuf,
    session: Hash,
    index: Arc<Index>,
    tip: Option<(Height, Hash)>,
    segment_bytes: u64,
    /// An append failed half-way: what stands behind the last whole record must go first.
    unclean: bool,
}

impl Chain {
    /// Reads the whole chain, hands every block to `visit` and cuts an unfinished write off.
    ///
    /// Nothing up to height `acknowledged` may be missing.
    pub(super) fn open(
        disk: Arc<Disk>,
        folder: &Path,
        session: Hash,
        acknowledged: Option<Height>,
        segment_bytes: u64,
        mut visit: impl FnMut(&Found) -> Result<(), StoreError>,
    ) -> Result<(Chain, Option<Torn>), StoreError> {
        let mut walk = Walk::new(folder, session, acknowledged)?;
        let mut segments: Vec<Segment> = Vec::new();
        let mut tip = None;
        while let Some(found) = walk.next()? {
            visit(&found)?;
            let height = found.block.block.height;
            if found.opens {
                let file = open_file(&found.path)?;
                let path = found.path;
                segments.push(Segment { path, file, first: height, ends: Vec::new() });
            }
            if let Some(segment) = segments.last_mut() {
                segment.ends.push(found.end);
            }
            tip = Some((height, found.hash));
        }
        let torn = walk.torn().cloned();
        if let Some(torn) = &torn {
            walk::cut(torn)?;
            disk.sync_folder(folder)?;
        }
        // The process before may have been killed before the barrier behind its last block.
        if let Some(last) = segments.last() {
            disk.sync(&last.file, &last.path)?;
        }
        let index = Arc::new(Index { session, segments: RwLock::new(segments) });
        let folder = folder.to_owned();
        Ok((Chain { disk, folder, session, index, tip, segment_bytes, unclean: false }, torn))
    }

    pub(super) fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// Height and hash of the last block.
    pub(super) fn tip(&self) -> Option<(Height, Hash)> {
        self.tip
    }

    /// The height that comes next.
    pub(super) fn next(&self) -> Height {
        self.tip.map_or(1, |(height, _)| height + 1)
    }

    /// Appends the next block durably. A block that is here already is left as it is.
    pub(super) fn append(&mut self, block: &CertifiedBlock) -> Result<(), StoreError> {
        let (height, parent) = (block.block.height, block.block.parent);
        if height < self.next() {
            return self.same_as_stored(block);
        }
        if height > self.next() {
            return Err(StoreError::NotNext { expected: self.next(), found: height });
        }
        if parent != self.tip.map_or(self.session, |(_, hash)| hash) {
            return Err(StoreError::Fork { height, folder: self.folder.clone() });
        }
        self.write(block, false)
    }

    /// Appends the block of a snapshot that is ahead of the chain.
    pub(super) fn jump(&mut self, block: &CertifiedBlock) -> Result<(), StoreError> {
        if block.block.height <= self.next() { self.append(block) } else { self.write(block, true) }
    }

    fn same_as_stored(&self, block: &CertifiedBlock) -> Result<(), StoreError> {
        let height = block.block.height;
        match self.index.read(height, 1, usize::MAX)?.first() {
            // Another quorum's certificate of the same block is as good.
            Some(stored) if stored.block != block.block => {
                Err(StoreError::Fork { height, folder: self.folder.clone() })
            }
            // Below what a snapshot jumped over.
            _ => Ok(()),
        }
    }

    fn write(&mut self, block: &CertifiedBlock, after_gap: bool) -> Result<(), StoreError> {
        self.clean()?;
        let record = archive::encode(self.session, block);
        let current = self.index.segments().last().map(|s| (s.path.clone(), s.file.clone(), s.end()));
        let fits = |end: u64| end + record.len() as u64 <= self.segment_bytes;
        self.unclean = true;
        let height = block.block.height;
        match current {
            Some((path, file, end)) if !after_gap && fits(end) => {
                self.disk.write_at(&file, &path, &record, end)?;
                self.disk.sync(&file, &path)?;
                self.with_segments(|segments| {
                    if let Some(segment) = segments.last_mut() {
                        segment.ends.push(end + record.len() as u64);
                    }
                });
            }
            _ => {
                let segment = self.begin(height, after_gap, &record)?;
                self.with_segments(|segments| segments.push(segment));
            }
        }
        self.unclean = false;
        self.tip = Some((height, block.block.hash()));
        Ok(())
    }

    /// Begins a new file with its first record.
    fn begin(&self, height: Height, after_gap: bool, record: &[u8]) -> Result<Segment, StoreError> {
        let path = numbered_path(&self.folder, height, SUFFIX);
        let flag = if after_gap { AFTER_GAP } else { CONTINUES };
        let mut bytes = archive::header(Kind::Chain, self.session, [height, flag], &[]).to_vec();
        bytes.extend_from_slice(record);
        let options = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).clone();
        let file = options.open(&path).map_err(|error| StoreError::io(&path, error))?;
        self.disk.write_at(&file, &path, &bytes, 0)?;
        self.disk.sync(&file, &path)?;
        self.disk.sync_folder(&self.folder)?;
        let ends = vec![bytes.len() as u64];
        Ok(Segment { path, file: file.into(), first: height, ends })
    }

    /// Removes what a failed append left behind the last whole record.
    fn clean(&mut self) -> Result<(), StoreError> {
        if !self.unclean {
            return Ok(());
        }
        let mut next = None;
        {
            let segments = self.index.segments();
            if let Some(last) = segments.last() {
                last.file.set_len(last.end()).map_err(|error| StoreError::io(&last.path, error))?;
                next = Some(last.first);
            }
        }
        for (first, path) in super::disk::numbered(&self.folder, SUFFIX)? {
            if next.is_none_or(|last| first > last) {
                self.disk.remove(&path)?;
            }
        }
        self.unclean = false;
        Ok(())
    }

    fn with_segments(&self, change: impl FnOnce(&mut Vec<Segment>)) {
        change(&mut self.index.segments.write().unwrap_or_else(PoisonError::into_inner));
    }
}

fn open_file(path: &Path) -> Result<Arc<File>, StoreError> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.map(Arc::new).map_err(|error| StoreError::io(path, error))
}
