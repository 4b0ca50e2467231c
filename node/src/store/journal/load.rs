//! Reading the journal back: everything that must be there, and nothing else.

use std::path::Path;

use driftless_protocol::Hash;
use driftless_protocol::block::{Announcement, Height};
use driftless_protocol::identity::Signed;
use driftless_protocol::wire;

use super::Contents;
use super::database::Database;
use super::entry::{self, Key, Meta};
use crate::store::error::StoreError;

/// Bytes of the largest signed announcement or meta record.
const SMALL: usize = 4 << 10;

pub(super) struct Loaded {
    pub meta: Meta,
    pub wal_keys: Vec<Vec<u8>>,
    pub contents: Contents,
}

pub(super) fn load(
    database: &Database,
    folder: &Path,
    session: Hash,
    acknowledged: u64,
) -> Result<Loaded, StoreError> {
    let mut reading =
        Reading { session, meta: None, wal_keys: Vec::new(), wal: Vec::new(), signed: Vec::new() };
    let damaged = |reason: String| StoreError::Journal { folder: folder.to_owned(), reason };
    for (key, value) in database.entries()? {
        reading.take(&key, &value).map_err(damaged)?;
    }
    reading.finish(acknowledged).map_err(damaged)
}

struct Reading {
    session: Hash,
    meta: Option<Meta>,
    wal_keys: Vec<Vec<u8>>,
    wal: Vec<(Height, u32, u16, Vec<u8>)>,
    signed: Vec<Signed<Announcement>>,
}

impl Reading {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let name = data_encoding::HEXLOWER.encode(key);
        let content = entry::open(self.session, key, value)
            .ok_or_else(|| format!("the value of key {name} is not what was written"))?;
        match Key::decode(key) {
            Some(Key::Meta) => {
                self.meta = Some(wire::decode("journal meta", content, SMALL).map_err(|e| e.to_string())?);
            }
            Some(Key::Signed(slot)) => {
                let signed: Signed<Announcement> =
                    wire::decode("signed announcement", content, SMALL).map_err(|e| e.to_string())?;
                if signed.content.slot != slot {
                    return Err(format!("key {name} holds an announcement for {:?}", signed.content.slot));
                }
                self.signed.push(signed);
            }
            Some(Key::Wal { height, sequence, part }) => {
                self.wal_keys.push(key.to_vec());
                self.wal.push((height, sequence, part, content.to_vec()));
            }
            None => return Err(format!("key {name} is unknown")),
        }
        Ok(())
    }

    fn finish(self, acknowledged: u64) -> Result<Loaded, String> {
        let meta = match self.meta {
            Some(meta) => meta,
            None if self.wal.is_empty() && self.signed.is_empty() => Meta::default(),
            None => return Err("the record that counts the others is missing".into()),
        };
        if meta.batch < acknowledged {
            let lost = acknowledged - meta.batch;
            return Err(format!("the last {lost} of {acknowledged} batches of records are missing"));
        }
        if meta.signed != self.signed.len() as u64 {
            let found = self.signed.len();
            return Err(format!("{found} signed announcements instead of {}", meta.signed));
        }
        let wal = assemble(&self.wal, meta)?;
        let contents = Contents { wal_height: meta.wal_height, wal, signed: self.signed };
        Ok(Loaded { meta, wal_keys: self.wal_keys, contents })
    }
}

/// The logged inputs of the running height, whole and in order. Parts of other heights, or behind
/// a last part, are left-overs of a batch that was taken back.
fn assemble(parts: &[(Height, u32, u16, Vec<u8>)], meta: Meta) -> Result<Vec<Vec<u8>>, String> {
    let mut parts = parts.iter().filter(|(height, ..)| *height == meta.wal_height).peekable();
    let mut records = Vec::new();
    for sequence in 0..meta.wal_len {
        let mut record = Vec::new();
        let mut complete = false;
        for expected in 0..=u16::MAX {
            let Some((_, _, _, content)) = parts.next_if(|(_, s, p, _)| (*s, *p) == (sequence, expected))
            else {
                break;
            };
            let (last, bytes) = content.split_first().ok_or("an empty record")?;
            record.extend_from_slice(bytes);
            if *last == 1 {
                complete = true;
                break;
            }
        }
        if !complete {
            return Err(format!("logged input {sequence} of height {} is missing", meta.wal_height));
        }
        while parts.next_if(|(_, s, ..)| *s == sequence).is_some() {}
        records.push(record);
    }
    Ok(records)
}
