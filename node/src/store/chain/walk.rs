//! Reading the chain from its first file to its last, every byte checked.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use driftless_protocol::Hash;
use driftless_protocol::archive::{self, CONTINUES, HEADER, Kind, LARGEST, PREFIX, Prefix};
use driftless_protocol::block::{CertifiedBlock, Height};

use super::SUFFIX;
use crate::store::disk::numbered;
use crate::store::error::StoreError;
use crate::store::frame;
use crate::store::plain;

/// A block with its place.
#[derive(Debug)]
pub(crate) struct Found {
    pub path: PathBuf,
    /// Whether it is the first record of its file.
    pub opens: bool,
    /// Whether blocks before it are missing here (a snapshot was taken over them).
    pub after_gap: bool,
    /// Where its record begins and ends.
    pub offset: u64,
    pub end: u64,
    pub block: CertifiedBlock,
    pub hash: Hash,
}

/// An unfinished write at the very end of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Torn {
    pub path: PathBuf,
    /// Where it begins: 0 where the file has no whole record.
    pub offset: u64,
    pub height: Height,
}

/// Walks over all records in order, checking hashes and links.
pub(crate) struct Walk {
    session: Hash,
    acknowledged: Option<Height>,
    folder: PathBuf,
    files: VecDeque<(Height, PathBuf)>,
    current: Option<Segment>,
    previous: Option<(Height, Hash)>,
    torn: Option<Torn>,
    done: bool,
}

struct Segment {
    path: PathBuf,
    reader: BufReader<File>,
    first: Height,
    offset: u64,
    opens: bool,
    after_gap: bool,
}

/// What does not fit, and where the damaged record begins.
struct Damage {
    offset: u64,
    reason: String,
}

enum Step {
    Record(Box<CertifiedBlock>, u64, u64),
    End,
    Damaged(Damage),
}

impl Walk {
    /// A walk over the files in `folder`. `acknowledged` is the height up to which nothing may be
    /// missing, if it is known.
    pub(crate) fn new(
        folder: &Path,
        session: Hash,
        acknowledged: Option<Height>,
    ) -> Result<Walk, StoreError> {
        Ok(Walk {
            session,
            acknowledged,
            folder: folder.to_owned(),
            files: numbered(folder, SUFFIX)?.into(),
            current: None,
            previous: None,
            torn: None,
            done: false,
        })
    }

    /// What was being written when the process died, once the walk is over.
    pub(crate) fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// The next block, or `None` at the end of the chain.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, StoreError> {
        while !self.done {
            let Some(mut segment) = self.current.take() else {
                self.open_next()?;
                continue;
            };
            let height = if segment.opens { segment.first } else { self.next_height() };
            match segment.step(self.session).map_err(|error| StoreError::io(&segment.path, error))? {
                Step::End => {}
                Step::Damaged(damage) => self.damaged(&segment.path, height, damage)?,
                Step::Record(block, offset, end) => {
                    let hash = block.block.hash();
                    let (opens, after_gap) = (segment.opens, segment.opens && segment.after_gap);
                    segment.opens = false;
                    if let Err(reason) = self.links(&block, after_gap) {
                        let (file, height) = (segment.path, Some(height));
                        return Err(StoreError::Corrupt { file, offset, height, reason });
                    }
                    self.previous = Some((block.block.height, hash));
                    let path = segment.path.clone();
                    self.current = Some(segment);
                    return Ok(Some(Found { path, opens, after_gap, offset, end, block: *block, hash }));
                }
            }
        }
        Ok(None)
    }

    fn open_next(&mut self) -> Result<(), StoreError> {
        let Some((first, path)) = self.files.pop_front() else { return self.end() };
        match Segment::open(&path, self.session, first)? {
            Ok(segment) => self.current = Some(segment),
            Err(damage) => self.damaged(&path, first, damage)?,
        }
        Ok(())
    }

    fn next_height(&self) -> Height {
        self.previous.map_or(1, |(height, _)| height + 1)
    }

    fn links(&self, block: &CertifiedBlock, after_gap: bool) -> Result<(), String> {
        let (height, parent) = (block.block.height, block.block.parent);
        match self.previous {
            Some((last, _)) if after_gap && height > last + 1 => Ok(()),
            None if after_gap && height > 1 => Ok(()),
            _ if after_gap => Err(format!("block {height} is said to follow a gap, but there is none")),
            _ if height != self.next_height() => {
                Err(format!("block {height} follows, {} is next", self.next_height()))
            }
            Some((_, hash)) if parent != hash => Err("its parent is not the block before".into()),
            None if parent != self.session => Err("its parent is not the session's manifest".into()),
            _ => Ok(()),
        }
    }

    /// Decides whether damage is an unfinished write, which ends the walk, or an error.
    fn damaged(&mut self, path: &Path, height: Height, damage: Damage) -> Result<(), StoreError> {
        let relied_on = self.acknowledged.is_some_and(|acknowledged| height <= acknowledged);
        let is_last = self.files.is_empty();
        if relied_on || !is_last || followed_by_record(path, damage.offset, self.session)? {
            let Damage { offset, reason } = damage;
            return Err(StoreError::Corrupt { file: path.to_owned(), offset, height: Some(height), reason });
        }
        self.torn = Some(Torn { path: path.to_owned(), offset: damage.offset, height });
        self.end()
    }

    fn end(&mut self) -> Result<(), StoreError> {
        self.done = true;
        let last = self.next_height() - 1;
        match self.acknowledged {
            Some(acknowledged) if acknowledged > last => Err(StoreError::Corrupt {
                file: self.folder.clone(),
                offset: 0,
                height: Some(last + 1),
                reason: format!("the chain ends at height {last}, but {acknowledged} was complete once"),
            }),
            _ => Ok(()),
        }
    }
}

impl Segment {
    fn open(path: &Path, session: Hash, first: Height) -> Result<Result<Segment, Damage>, StoreError> {
        let file = plain::open(path).map_err(|error| StoreError::io(path, error))?;
        let mut reader = BufReader::with_capacity(256 << 10, file);
        let mut header = [0; HEADER];
        let damage = |reason: String| Ok(Err(Damage { offset: 0, reason }));
        match reader.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return damage("the file is shorter than its header".into());
            }
            result => result.map_err(|error| StoreError::io(path, error))?,
        }
        if frame::verify(path, &header, &[]).is_err() {
            return damage("its header does not have the hash in it".into());
        }
        let (number, flag) = frame::parse(path, Kind::Chain, session, &header)?;
        if number != first {
            return damage(format!("its header says that it begins at height {number}"));
        }
        let (path, offset, after_gap) = (path.to_owned(), HEADER as u64, flag != CONTINUES);
        Ok(Ok(Segment { path, reader, first, offset, opens: true, after_gap }))
    }

    /// The next record of the file.
    fn step(&mut self, session: Hash) -> io::Result<Step> {
        let offset = self.offset;
        // A file without a whole record is as good as none.
        let begins = if self.opens { 0 } else { offset };
        let damaged = |reason: String| Ok(Step::Damaged(Damage { offset: begins, reason }));
        let mut prefix = [0; PREFIX];
        match read_up_to(&mut self.reader, &mut prefix)? {
            0 if !self.opens => return Ok(Step::End),
            count if count < PREFIX => return damaged("the record ends in its prefix".into()),
            _ => {}
        }
        let prefix = Prefix::parse(prefix);
        if prefix.length > LARGEST {
            return damaged(format!("a length of {} bytes, at most {LARGEST} are allowed", prefix.length));
        }
        let mut body = vec![0; prefix.length];
        let count = read_up_to(&mut self.reader, &mut body)?;
        if count < body.len() {
            return damaged(format!("{count} of the record's {} bytes are there", body.len()));
        }
        self.offset += (PREFIX + body.len()) as u64;
        match prefix.open(session, &body) {
            Ok(block) => Ok(Step::Record(Box::new(block), offset, self.offset)),
            Err(reason) => damaged(reason),
        }
    }
}

/// Whether a damaged record is more than the write that was interrupted: a whole one lies behind it, or
/// more bytes than the header of a file and one record have.
fn followed_by_record(path: &Path, offset: u64, session: Hash) -> Result<bool, StoreError> {
    const ONE_WRITE: u64 = (HEADER + PREFIX + LARGEST) as u64;
    let read = || -> io::Result<Option<Vec<u8>>> {
        let mut file = plain::open(path)?;
        if file.metadata()?.len().saturating_sub(offset) > ONE_WRITE {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(offset + 1))?;
        let mut bytes = Vec::new();
        file.take(ONE_WRITE).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    };
    let bytes = read().map_err(|error| StoreError::io(path, error))?;
    Ok(bytes.is_none_or(|bytes| archive::whole_record_in(session, &bytes)))
}

fn read_up_to(reader: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < into.len() {
        match reader.read(&mut into[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// Reads one record back.
pub(super) fn read_record(
    file: &File,
    path: &Path,
    session: Hash,
    height: Height,
    range: std::ops::Range<u64>,
) -> Result<CertifiedBlock, StoreError> {
    use std::os::unix::fs::FileExt;
    let corrupt = |reason: String| StoreError::Corrupt {
        file: path.to_owned(),
        offset: range.start,
        height: Some(height),
        reason,
    };
    let mut bytes = vec![0; (range.end - range.start) as usize];
    match file.read_exact_at(&mut bytes, range.start) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(corrupt("the file became shorter".into()));
        }
        result => result.map_err(|error| StoreError::io(path, error))?,
    }
    let (prefix, body) = bytes.split_first_chunk().ok_or_else(|| corrupt("no record".into()))?;
    Prefix::parse(*prefix).open(session, body).map_err(corrupt)
}

/// Cuts an unfinished write off.
pub(super) fn cut(torn: &Torn) -> Result<(), StoreError> {
    let failed = |error| StoreError::io(&torn.path, error);
    if torn.offset == 0 {
        return fs::remove_file(&torn.path).map_err(failed);
    }
    let file = File::options().write(true).open(&torn.path).map_err(failed)?;
    file.set_len(torn.offset).and_then(|()| file.sync_all()).map_err(failed)
}
