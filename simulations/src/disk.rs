//! One peer's disk: what survives a crash and what does not.
//!
//! A record is durable only after a sync barrier. A crash keeps some prefix of the records since
//! the last one, as a real disk does, and loses the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use driftless_protocol::Hash;
use driftless_protocol::block::{Announcement, CertifiedBlock, Height, Reset, Slot};
use driftless_protocol::consensus::WalRecord;
use driftless_protocol::event::{Bar, Checkpoint, Record, Recovered, Snapshot};
use driftless_protocol::identity::Signed;
use driftless_protocol::wire::{BlockReply, SnapshotOffer, limits};

use crate::random::Random;

/// Snapshots that are always kept.
const SNAPSHOTS: usize = 2;
/// Checkpoints that are kept.
const CHECKPOINTS: usize = 2;

/// What is on disk.
#[derive(Debug, Default, Clone)]
struct Contents {
    blobs: BTreeMap<Hash, Arc<[u8]>>,
    signed: BTreeMap<Slot, Signed<Announcement>>,
    wal: Vec<WalRecord>,
    blocks: BTreeMap<Height, Arc<CertifiedBlock>>,
    snapshots: BTreeMap<Height, Snapshot>,
    checkpoints: Vec<Checkpoint>,
    /// Snapshots from this height on are kept.
    retain: Option<Height>,
    offer: Option<SnapshotOffer>,
    bar: Option<Bar>,
    reset: Option<Signed<Reset>>,
    /// Blocks that changed the seats, from the first on.
    seatings: BTreeMap<Height, CertifiedBlock>,
}

/// A peer's disk.
#[derive(Debug, Default)]
pub struct Disk {
    durable: Contents,
    /// Written since the last barrier.
    tail: Vec<Written>,
}

/// What a disk is given.
#[derive(Debug)]
enum Written {
    Record(Box<Record>),
    /// Shared with the disks of others: in a crowd nobody could keep a chain otherwise.
    Block(Arc<CertifiedBlock>),
}

impl Disk {
    /// Writes a record; `sync` makes it and everything before it durable.
    pub fn persist(&mut self, record: Record, sync: bool) {
        self.write(Written::Record(Box::new(record)), sync);
    }

    /// Writes a block that other disks share.
    pub fn write_block(&mut self, block: Arc<CertifiedBlock>, sync: bool) {
        self.write(Written::Block(block), sync);
    }

    fn write(&mut self, written: Written, sync: bool) {
        self.tail.push(written);
        if sync {
            std::mem::take(&mut self.tail).into_iter().for_each(|written| self.durable.receive(written));
        }
    }

    /// What a copy of all files holds.
    #[must_use]
    pub fn copy(&self) -> Disk {
        Disk { durable: self.durable.clone(), tail: Vec::new() }
    }

    /// The power goes: a prefix of what was not synced may have reached the disk.
    pub fn crash(&mut self, random: &mut Random) {
        let kept = random.below(self.tail.len() as u64 + 1) as usize;
        let tail = std::mem::take(&mut self.tail);
        tail.into_iter().take(kept).for_each(|written| self.durable.receive(written));
    }

    /// The power goes while the disk is full: what was not synced is lost.
    pub fn crash_full(&mut self) {
        self.tail.clear();
    }

    /// Keeps a blob that came over the data plane, durable at once.
    pub fn store_blob(&mut self, root: Hash, bytes: Arc<[u8]>) {
        self.durable.blobs.insert(root, bytes);
    }

    /// A blob, or a page of a snapshot, by its name.
    #[must_use]
    pub fn blob(&self, root: &Hash) -> Option<Arc<[u8]>> {
        if let Some(bytes) = self.durable.blobs.get(root) {
            return Some(bytes.clone());
        }
        let mut pages = self.durable.snapshots.values().flat_map(Snapshot::pages);
        pages.find(|page| page.hash() == *root).map(|page| page.bytes().into())
    }

    /// Whether a blob came over the data plane or was made here. (A page that is fetched may become one of an
    /// own snapshot meanwhile.)
    #[must_use]
    pub fn received(&self, root: &Hash) -> bool {
        self.durable.blobs.contains_key(root)
    }

    /// Drops blobs that are not needed any more.
    pub fn forget(&mut self, roots: &[Hash]) {
        roots.iter().for_each(|root| {
            self.durable.blobs.remove(root);
        });
    }

    /// Snapshots below `from` may go.
    pub fn retain(&mut self, from: Height) {
        self.durable.retain = Some(from);
    }

    /// The certified blocks, by height.
    #[must_use]
    pub fn blocks(&self) -> &BTreeMap<Height, Arc<CertifiedBlock>> {
        &self.durable.blocks
    }

    /// The answer to `GetBlocks`.
    #[must_use]
    pub fn block_reply(&self, from: Height) -> BlockReply {
        let head = self.durable.blocks.last_key_value().map_or(0, |(height, _)| *height);
        let mut blocks = Vec::new();
        let mut next = from;
        while let Some(block) = self.durable.blocks.get(&next) {
            if blocks.len() == limits::BLOCKS_PER_REPLY {
                break;
            }
            blocks.push((**block).clone());
            next += 1;
        }
        BlockReply { blocks, head }
    }

    /// The answer to `GetSnapshot`.
    #[must_use]
    pub fn snapshot_offer(&self, since: Height) -> Option<SnapshotOffer> {
        let snapshot = self.durable.snapshots.values().next_back()?;
        let seatings = self.durable.seatings.range(since + 1..=snapshot.height().max(since + 1));
        Some(SnapshotOffer {
            seatings: seatings.take(limits::BLOCKS_PER_REPLY).map(|(_, block)| block.clone()).collect(),
            block: snapshot.block.clone()?,
            control: snapshot.state.control.to_bytes(),
            pages: snapshot.pages().map(|page| page.hash()).collect(),
        })
    }

    /// What a restarted peer finds.
    #[must_use]
    pub fn recover(&self) -> Recovered {
        let snapshot = self.durable.snapshots.values().next_back().cloned();
        let base = snapshot.as_ref().map_or(0, Snapshot::height);
        let mut blocks = Vec::new();
        while let Some(block) = self.durable.blocks.get(&(base + 1 + blocks.len() as u64)) {
            blocks.push((**block).clone());
        }
        // Of closed slots nothing is kept, as in the store.
        let mut closed =
            snapshot.as_ref().map_or(Vec::new(), |snapshot| snapshot.state.control.closed.clone());
        for slot in blocks.iter().flat_map(|certified| certified.block.closings()).map(|closing| closing.slot)
        {
            closed.resize(closed.len().max(usize::from(slot.stream) + 1), 0);
            closed[usize::from(slot.stream)] = slot.ordinal + 1;
        }
        let is_open =
            |slot: &Slot| closed.get(usize::from(slot.stream)).is_none_or(|next| slot.ordinal >= *next);
        let signed = self.durable.signed.iter().filter(|(slot, _)| is_open(slot));
        Recovered {
            snapshots: self.durable.snapshots.keys().copied().collect(),
            snapshot,
            blocks,
            wal: self.durable.wal.clone(),
            signed: signed.map(|(_, signed)| signed.clone()).collect(),
            checkpoint: self.durable.checkpoints.last().cloned(),
            offer: self.durable.offer.clone(),
            bar: self.durable.bar.clone(),
            reset: self.durable.reset.clone(),
        }
    }
}

impl Contents {
    fn receive(&mut self, written: Written) {
        match written {
            Written::Record(record) => self.take(*record),
            Written::Block(certified) => self.take_block(certified),
        }
    }

    fn take_block(&mut self, certified: Arc<CertifiedBlock>) {
        let height = certified.block.height;
        self.keep_seatings(std::slice::from_ref(certified.as_ref()));
        self.blocks.insert(height, certified);
        self.wal.retain(|record| record.height() > height);
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Blob { root, bytes } => {
                self.blobs.insert(root, bytes.into());
            }
            Record::Signed(signed) => {
                self.signed.insert(signed.content.slot, signed);
            }
            Record::Wal(record) => self.wal.push(record),
            Record::Block(certified) => self.take_block(Arc::new(certified)),
            Record::Snapshot(snapshot) => {
                if let Some(block) = &snapshot.block {
                    let here = self.blocks.entry(block.block.height);
                    here.or_insert_with(|| Arc::new(block.clone()));
                }
                self.offer.take_if(|offer| offer.block.block.height <= snapshot.height());
                self.snapshots.insert(snapshot.height(), snapshot);
                let from = self.retain.unwrap_or(Height::MAX);
                while self.snapshots.len() > SNAPSHOTS
                    && self.snapshots.first_key_value().is_some_and(|(height, _)| *height < from)
                {
                    self.snapshots.pop_first();
                }
            }
            Record::Checkpoint(checkpoint) => {
                self.checkpoints.push(checkpoint);
                let drop = self.checkpoints.len().saturating_sub(CHECKPOINTS);
                self.checkpoints.drain(..drop);
            }
            Record::Offer(offer) => {
                self.keep_seatings(&offer.seatings);
                self.offer = Some(offer);
            }
            Record::Seatings(blocks) => self.keep_seatings(&blocks),
            Record::Reset(reset) => self.reset = Some(reset),
            Record::Bar(bar) => self.bar = bar,
        }
    }

    fn keep_seatings(&mut self, blocks: &[CertifiedBlock]) {
        let seating = blocks.iter().filter(|certified| certified.block.seating().is_some());
        self.seatings.extend(seating.map(|certified| (certified.block.height, certified.clone())));
    }
}
