//! What this peer signed and what it was told in the running height.
//!
//! Both are local and small, and losing either could make an honest peer contradict itself. So
//! every record is checked on its own (`entry.rs`), and one record says how many there must be.

mod database;
mod entry;
mod load;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftless_protocol::Hash;
use driftless_protocol::block::{Announcement, Height, Slot};
use driftless_protocol::identity::Signed;
use driftless_protocol::wire;

use super::disk::Disk;
use super::error::StoreError;
use database::Database;
pub(super) use database::discard;
use entry::{Key, Meta, PART};

/// Slots of a stream for which a signature is kept after they closed.
const KEPT_CLOSED: u32 = 1024;
/// Buffered changes of this many bytes are written without being asked.
const BUFFER: usize = 1 << 20;

type Change = (Vec<u8>, Option<Vec<u8>>);

/// What the journal held when it was opened.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The height whose inputs are logged.
    pub wal_height: Height,
    pub wal: Vec<Vec<u8>>,
    pub signed: Vec<Signed<Announcement>>,
}

/// The journal, open.
#[derive(Debug)]
pub(super) struct Journal {
    disk: Arc<Disk>,
    folder: PathBuf,
    session: Hash,
    /// `None` after a failure: opened again before the next batch.
    database: Option<Database>,
    /// What the database will hold once `buffer` is applied.
    meta: Meta,
    wal_keys: Vec<Vec<u8>>,
    signed: BTreeMap<Slot, Hash>,
    buffer: Vec<Change>,
    buffered_bytes: usize,
    /// Whether `buffer` has records that nobody may rely on yet (and not only removals).
    awaited: bool,
}

/// Where a record began, to take it back.
pub(super) struct Savepoint {
    meta: Meta,
    wal_keys: usize,
    buffer: usize,
    awaited: bool,
    signed: Option<Slot>,
}

impl Journal {
    /// Opens the database in `folder`; nothing up to batch `acknowledged` may be missing.
    pub(super) fn open(
        disk: Arc<Disk>,
        folder: &Path,
        session: Hash,
        acknowledged: u64,
    ) -> Result<(Journal, Contents), StoreError> {
        let database = Database::open(disk.clone(), folder)?;
        let loaded = load::load(&database, folder, session, acknowledged)?;
        let mut signed = BTreeMap::new();
        for announcement in &loaded.contents.signed {
            signed.insert(announcement.content.slot, content_hash(announcement));
        }
        let journal = Journal {
            disk,
            folder: folder.to_owned(),
            session,
            database: Some(database),
            meta: loaded.meta,
            wal_keys: loaded.wal_keys,
            signed,
            buffer: Vec::new(),
            buffered_bytes: 0,
            awaited: false,
        };
        Ok((journal, loaded.contents))
    }

    /// What is in the database, without what is buffered.
    pub(super) fn contents(&mut self) -> Result<Contents, StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => Database::open(self.disk.clone(), &self.folder)?,
        };
        let loaded = load::load(&database, &self.folder, self.session, self.meta.batch);
        self.database = Some(database);
        Ok(loaded?.contents)
    }

    /// The last batch handed to the database.
    pub(super) fn batch(&self) -> u64 {
        self.meta.batch
    }

    /// Whether so much is buffered that it should be written.
    pub(super) fn is_large(&self) -> bool {
        self.buffered_bytes > BUFFER
    }

    /// Whether somebody may wait for what is buffered.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited
    }

    pub(super) fn savepoint(&self, signed: Option<Slot>) -> Savepoint {
        Savepoint {
            meta: self.meta,
            wal_keys: self.wal_keys.len(),
            buffer: self.buffer.len(),
            awaited: self.awaited,
            signed: signed.filter(|slot| !self.signed.contains_key(slot)),
        }
    }

    /// Takes back what was added since, so that it can be added again, or not.
    ///
    /// The failed batch may have reached the disk all the same: its keys are removed with the next.
    pub(super) fn take_back(&mut self, to: Savepoint) {
        let mut keys = self.wal_keys.split_off(to.wal_keys);
        if let Some(slot) = to.signed {
            self.signed.remove(&slot);
            keys.push(Key::Signed(slot).encode());
        }
        if self.meta.batch == to.meta.batch {
            self.buffer.truncate(to.buffer);
            self.awaited = to.awaited;
        }
        self.buffer.retain(|(key, _)| !keys.contains(key));
        self.buffer.extend(keys.into_iter().map(|key| (key, None)));
        self.buffered_bytes = self.buffer.iter().map(change_bytes).sum();
        self.meta = Meta { batch: self.meta.batch, ..to.meta };
    }

    /// Begins logging inputs of `height`, if it is not begun yet.
    pub(super) fn begin(&mut self, height: Height) {
        if self.meta.wal_height != height {
            self.cut(height);
        }
    }

    /// Logs an input of the height that was begun.
    pub(super) fn append(&mut self, record: &[u8]) {
        let height = self.meta.wal_height;
        let sequence = self.meta.wal_len;
        let count = record.len().div_ceil(PART).max(1);
        for part in 0..count {
            let bytes = &record[part * PART..record.len().min((part + 1) * PART)];
            let key = Key::Wal { height, sequence, part: part as u16 }.encode();
            let mut content = vec![u8::from(part + 1 == count)];
            content.extend_from_slice(bytes);
            self.put(key.clone(), &content);
            self.wal_keys.push(key);
        }
        self.meta.wal_len += 1;
        self.awaited = true;
    }

    /// Writes down what was signed for a slot. Another content for the same slot is refused.
    pub(super) fn sign(&mut self, signed: &Signed<Announcement>) -> Result<(), StoreError> {
        let slot = signed.content.slot;
        let content = content_hash(signed);
        match self.signed.get(&slot) {
            Some(before) if *before == content => return Ok(()),
            Some(_) => return Err(StoreError::AlreadySigned { by: signed.by, slot }),
            None => {}
        }
        self.put(Key::Signed(slot).encode(), &wire::encode(signed));
        self.signed.insert(slot, content);
        self.meta.signed += 1;
        self.awaited = true;
        Ok(())
    }

    /// Forgets the inputs of earlier heights: `height` is the next. Not awaited by anybody, since
    /// records of past heights are ignored.
    pub(super) fn cut(&mut self, height: Height) {
        let mut keys = std::mem::take(&mut self.wal_keys);
        keys.sort_unstable();
        self.buffer.retain(|(key, _)| keys.binary_search(key).is_err());
        self.buffer.extend(keys.into_iter().map(|key| (key, None)));
        self.buffered_bytes = self.buffer.iter().map(change_bytes).sum();
        self.awaited = self.buffer.iter().any(|(_, value)| value.is_some());
        (self.meta.wal_height, self.meta.wal_len) = (height, 0);
    }

    /// Forgets signatures for slots that closed long ago: `slot` closes now.
    pub(super) fn closed(&mut self, slot: Slot) {
        let Some(last) = slot.ordinal.checked_sub(KEPT_CLOSED) else { return };
        let from = Slot { ordinal: 0, ..slot };
        let old: Vec<Slot> =
            self.signed.range(from..=Slot { ordinal: last, ..slot }).map(|(slot, _)| *slot).collect();
        for slot in old {
            self.signed.remove(&slot);
            self.meta.signed -= 1;
            self.buffer.push((Key::Signed(slot).encode(), None));
        }
    }

    /// Makes everything that was buffered durable. On failure it stays buffered.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if let Some(database) = &self.database {
            database.check_room()?;
        }
        let database = match self.database.take() {
            Some(database) => database,
            None => Database::open(self.disk.clone(), &self.folder)?,
        };
        let meta = Meta { batch: self.meta.batch + 1, ..self.meta };
        let key = Key::Meta.encode();
        let value = entry::seal(self.session, &key, &wire::encode(&meta));
        self.buffer.push((key, Some(value)));
        let applied = database.apply(&self.buffer);
        self.buffer.pop();
        // sled refuses everything after a failed write; it starts anew from its file next time.
        applied?;
        self.database = Some(database);
        self.meta = meta;
        self.buffer.clear();
        (self.buffered_bytes, self.awaited) = (0, false);
        Ok(())
    }

    fn put(&mut self, key: Vec<u8>, content: &[u8]) {
        let change = (key.clone(), Some(entry::seal(self.session, &key, content)));
        self.buffered_bytes += change_bytes(&change);
        self.buffer.push(change);
    }
}

fn change_bytes((key, value): &Change) -> usize {
    key.len() + value.as_ref().map_or(0, Vec::len)
}

fn content_hash(signed: &Signed<Announcement>) -> Hash {
    Hash::of(&wire::encode(&signed.content))
}
