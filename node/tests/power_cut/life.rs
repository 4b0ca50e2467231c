//! A peer's store from a start to the end of its power: random records, restarts, kills, a full
//! disk, everything recorded, with what was acknowledged at each moment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use driftless::store::{Folder, Options, SessionStore, StoreError};
use driftless_protocol::Hash;
use driftless_protocol::block::{Height, Slot};
use driftless_protocol::consensus::WalRecord;
use driftless_protocol::event::{Record, Recovered, Snapshot};
use driftless_protocol::wire::SnapshotOffer;
use rand::RngExt;
use rand::rngs::StdRng;

use super::recorder::Recorder;
use super::recording::Recording;
use super::session::*;

pub const OPTIONS: Options = Options { keep_history: false, segment_bytes: 3000 };

/// What a peer relies on.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub founded: bool,
    pub height: Height,
    /// Blocks that a snapshot was taken over.
    pub missing: BTreeSet<Height>,
    /// The two newest.
    pub snapshots: Vec<Height>,
    pub checkpoint: Option<u64>,
    /// Records of the height that comes next.
    pub wal: usize,
    pub signed: BTreeSet<Slot>,
    pub blobs: BTreeSet<Slot>,
    /// Whether the key signs nothing any more.
    pub barred: bool,
}

impl Known {
    /// What of this a start did not find.
    fn lost_in(&self, found: &Known) -> Option<String> {
        let open = |slot: &&Slot| height_of(**slot) > found.height;
        let lost = [
            (found.height < self.height, format!("height {}", self.height)),
            (found.snapshots.last() < self.snapshots.last(), format!("snapshots {:?}", self.snapshots)),
            (found.checkpoint < self.checkpoint, format!("checkpoint {:?}", self.checkpoint)),
            (found.height == self.height && found.wal < self.wal, format!("{} inputs", self.wal)),
            (self.signed.iter().filter(open).any(|slot| !found.signed.contains(slot)), "a signature".into()),
            (self.blobs.iter().any(|slot| !found.blobs.contains(slot)), "a contribution".into()),
            (self.barred && !found.barred, "the bar".into()),
        ];
        lost.into_iter().find_map(|(is_lost, what)| is_lost.then(|| format!("{what} was lost: {found:?}")))
    }

    fn learn(&mut self, record: &Record) {
        match record {
            Record::Blob { .. } | Record::Offer(_) | Record::Seatings(_) | Record::Reset(_) => {}
            Record::Bar(bar) => self.barred = bar.is_some(),
            Record::Signed(signed) => drop(self.signed.insert(signed.content.slot)),
            Record::Wal(_) => self.wal += 1,
            Record::Block(block) => self.moved_to(block.block.height),
            Record::Snapshot(snapshot) => {
                let height = snapshot.height();
                if height > self.height {
                    self.missing.extend(self.height + 1..height);
                    self.moved_to(height);
                }
                self.snapshots.retain(|kept| *kept != height);
                self.snapshots.push(height);
                self.snapshots.drain(..self.snapshots.len().saturating_sub(2));
            }
            Record::Checkpoint(checkpoint) => self.checkpoint = Some(checkpoint.height),
        }
    }

    fn moved_to(&mut self, height: Height) {
        (self.height, self.wal) = (height, 0);
        self.signed.retain(|slot| height_of(*slot) > height);
    }

    /// Blobs that no sweep may take: of open slots, and of blocks since the older snapshot.
    fn needs(&self, slot: Slot) -> bool {
        let older = if self.snapshots.len() == 2 { self.snapshots[0] } else { 0 };
        let height = height_of(slot);
        let certified = height > older && height <= self.height && !self.missing.contains(&height);
        certified || self.signed.contains(&slot)
    }
}

/// What was recorded of a life.
pub struct Life {
    pub recording: Recording,
    /// By mark: what was acknowledged when it was made.
    pub moments: Vec<Known>,
    /// Everything that was ever logged, by height and in order.
    pub wal: BTreeMap<Height, Vec<WalRecord>>,
    pub kills: u64,
    pub full: u64,
}

/// A peer at work.
pub struct Peer<'a> {
    session: &'a Session,
    root: &'a Path,
    recorder: Recorder,
    rng: StdRng,
    store: Option<SessionStore>,
    known: Known,
    /// `known`, and what is not durable yet.
    told: Known,
    moments: Vec<Known>,
    wal: BTreeMap<Height, Vec<WalRecord>>,
    kills: u64,
    full: u64,
}

impl<'a> Peer<'a> {
    /// Lives on the disk at `root`, on which `known` is relied on, for so many steps.
    pub fn live(session: &'a Session, root: &'a Path, known: Known, steps: usize, rng: StdRng) -> Life {
        let recorder = Recorder::start(root);
        let mut peer = Peer {
            session,
            root,
            recorder,
            rng,
            store: None,
            told: known.clone(),
            known,
            moments: Vec::new(),
            wal: BTreeMap::new(),
            kills: 0,
            full: 0,
        };
        peer.note();
        peer.start();
        for _ in 0..steps {
            peer.step();
        }
        let Peer { store, recorder, moments, wal, kills, full, .. } = peer;
        let recording = recorder.stop();
        drop(store);
        Life { recording, moments, wal, kills, full }
    }

    fn note(&mut self) {
        self.recorder.mark(self.moments.len());
        self.moments.push(self.known.clone());
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..4 => {
                let calls = self.rng.random_range(0..12);
                self.recorder.fill_after(calls);
            }
            4..10 => {
                let calls = self.rng.random_range(0..16);
                self.recorder.die_after(calls);
            }
            10..12 => self.restart(),
            12..14 => self.tidy(),
            _ => {
                let sync = self.rng.random_range(0..4) > 0;
                let record = self.record();
                self.persist(record, sync);
            }
        }
    }

    fn record(&mut self) -> Record {
        let next = self.told.height + 1;
        match self.rng.random_range(0..22) {
            20 => Record::Bar(Some(self.session.bar())),
            21 => Record::Offer(offer_of(self.session.snapshot(self.told.height + 4))),
            0..3 => {
                let slot = slot_of(next + self.rng.random_range(0..3));
                let bytes = blob(slot);
                Record::Blob { root: Hash::of(&bytes), bytes }
            }
            3..6 => Record::Signed(self.session.signed(slot_of(next + self.rng.random_range(0..3)))),
            6..12 => Record::Wal(self.session.wal(next, self.told.wal)),
            12..16 => Record::Block(self.session.block(next).clone()),
            16..18 => {
                let ahead = if self.rng.random_range(0..6) == 0 { 4 } else { 0 };
                Record::Snapshot(self.session.snapshot(self.told.height + ahead))
            }
            _ => Record::Checkpoint(checkpoint(self.told.checkpoint.map_or(0, |number| number + 1))),
        }
    }

    /// Hands a record over until it is written, by this process or the next.
    fn persist(&mut self, record: Record, sync: bool) {
        if let Record::Wal(wal) = &record {
            let logged = self.wal.entry(wal.height()).or_default();
            logged.truncate(self.told.wal);
            logged.push(wal.clone());
        }
        loop {
            let store = self.store.as_mut().expect("the store is open");
            let written = store.persist(&record, sync);
            if self.recorder.is_dead() {
                return self.again();
            }
            match written {
                Ok(()) => break,
                Err(error) if error.is_full() => self.full += 1,
                Err(error) => panic!("{record:?}: {error}"),
            }
        }
        self.told.learn(&record);
        if let Record::Blob { root, .. } = &record {
            self.told.blobs.extend(self.slot_of_blob(root));
        }
        match record {
            _ if sync => self.known = self.told.clone(),
            Record::Wal(_) | Record::Signed(_) => {}
            Record::Blob { .. } => self.known.blobs = self.told.blobs.clone(),
            record => self.known.learn(&record),
        }
        self.note();
    }

    fn slot_of_blob(&self, root: &Hash) -> Option<Slot> {
        let next = self.told.height + 1;
        (next..next + 4).map(slot_of).find(|slot| Hash::of(&blob(*slot)) == *root)
    }

    /// Deletes what nobody needs.
    fn tidy(&mut self) {
        let told = &self.told;
        let unneeded = |slot: &Slot| !told.needs(*slot);
        let gone: BTreeSet<Slot> = told.blobs.iter().copied().filter(unneeded).collect();
        self.told.blobs.retain(|slot| !gone.contains(slot));
        self.known.blobs.retain(|slot| !gone.contains(slot));
        self.note();
        let store = self.store.as_ref().expect("the store is open");
        let done = if self.rng.random() {
            store.sweep(&BTreeSet::new(), Duration::ZERO).map(drop)
        } else {
            let roots: Vec<Hash> = gone.iter().map(|slot| Hash::of(&blob(*slot))).collect();
            store.forget(&roots)
        };
        if self.recorder.is_dead() {
            self.again();
        } else if let Err(error) = done {
            assert!(error.is_full(), "sweeping: {error}");
        }
    }

    fn restart(&mut self) {
        let store = self.store.take().expect("the store is open");
        let closed = store.close();
        if self.recorder.is_dead() {
            return self.again();
        }
        match closed {
            Ok(()) => {
                self.known = self.told.clone();
                self.note();
            }
            Err(error) => assert!(error.is_full(), "closing: {error}"),
        }
        self.start();
    }

    /// The process died; the next one starts, the machine did not stop.
    fn again(&mut self) {
        self.kills += 1;
        self.store = None;
        self.recorder.revive();
        self.start();
    }

    /// Opens the store, however often it takes; relies on what it finds.
    fn start(&mut self) {
        let recovered = loop {
            match open(self.session, self.root) {
                Ok((store, recovered)) if !self.recorder.is_dead() => {
                    self.store = Some(store);
                    break recovered;
                }
                Err(error) if !self.recorder.is_dead() => {
                    assert!(error.is_full(), "opening: {error}");
                    self.full += 1;
                }
                _ => {
                    self.kills += 1;
                    self.recorder.revive();
                }
            }
        };
        let store = self.store.as_ref().expect("the store is open");
        let found = known_of(store, &recovered, &self.told);
        if let Some(lost) = self.known.lost_in(&found) {
            panic!("after {} kills: {lost}", self.kills);
        }
        self.wal.insert(found.height + 1, recovered.wal);
        (self.known, self.told) = (found.clone(), found);
        self.note();
    }
}

/// Opens the session's store, or founds it.
pub fn open(session: &Session, root: &Path) -> Result<(SessionStore, Recovered), StoreError> {
    let folder = Folder::create(root)?;
    let here = folder.session(session.manifest.id());
    if here.exists() {
        return SessionStore::open(here, &session.charter, OPTIONS);
    }
    let store = SessionStore::create(&folder, &session.manifest, &session.charter, OPTIONS)?;
    Ok((store, Recovered::default()))
}

/// What a store holds that was just opened; `before` is what must be there.
pub fn known_of(store: &SessionStore, recovered: &Recovered, before: &Known) -> Known {
    let height = store.height();
    let reader = store.reader();
    let is_missing =
        |height: &Height| reader.read_blocks(*height, 1, 1 << 20).is_ok_and(|blocks| blocks.is_empty());
    let newest = recovered.snapshot.as_ref().map(|snapshot| snapshot.height());
    let older = before.snapshots.iter().copied().rfind(|height| Some(*height) != newest);
    let blobs = (1..=height + 4).map(slot_of).filter(|slot| reader.has_blob(&Hash::of(&blob(*slot))));
    Known {
        founded: true,
        height,
        missing: (1..=height).filter(is_missing).collect(),
        snapshots: older.into_iter().chain(newest).collect(),
        checkpoint: recovered.checkpoint.as_ref().map(|checkpoint| checkpoint.height),
        wal: recovered.wal.len(),
        signed: recovered.signed.iter().map(|signed| signed.content.slot).collect(),
        blobs: blobs.collect(),
        barred: recovered.bar.is_some(),
    }
}

/// A snapshot as its holder offers it.
fn offer_of(snapshot: Snapshot) -> SnapshotOffer {
    SnapshotOffer {
        control: snapshot.state.control.to_bytes(),
        pages: snapshot.pages().map(|page| page.hash()).collect(),
        block: snapshot.block.expect("a certified height"),
        seatings: Vec::new(),
    }
}
