//! The store of one session: what its driver writes down and what it answers others with.

use std::sync::{Arc, Mutex, PoisonError};

use driftless_protocol::Hash;
use driftless_protocol::block::{CertifiedBlock, Height};
use driftless_protocol::charter::Charter;
use driftless_protocol::consensus::WalRecord;
use driftless_protocol::election::Committees;
use driftless_protocol::event::{Record, Recovered, Snapshot};
use driftless_protocol::manifest::SignedManifest;
use driftless_protocol::wire::SnapshotOffer;

use super::acknowledged::{self, Acknowledged, Mark};
use super::bar;
use super::chain::{Chain, Index};
use super::checkpoints::Checkpoints;
use super::disk::Disk;
use super::error::{StoreError, Warning};
use super::folder::{Folder, SessionFolder};
use super::journal::{self, Journal};
use super::recovery::{Shape, recover};
use super::reset;
use super::seatings::Seatings;
use super::snapshots::Snapshots;
use super::sweep::Pending;
use crate::blobs::{self, BlobStore};
use crate::disk_use::DiskUse;

/// How a session's files are kept.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Keep every blob, so that the whole run can be recomputed from the genesis state.
    pub keep_history: bool,
    /// Size above which a chain file is not continued.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { keep_history: false, segment_bytes: 64 << 20 }
    }
}

/// The open store of one session. All calls block; one thread owns it.
#[derive(Debug)]
pub struct SessionStore {
    pub(super) disk: Arc<Disk>,
    pub(super) folder: SessionFolder,
    pub(super) options: Options,
    pub(super) acknowledged: Acknowledged,
    pub(super) chain: Chain,
    pub(super) journal: Journal,
    pub(super) snapshots: Snapshots,
    pub(super) checkpoints: Checkpoints,
    pub(super) seatings: Seatings,
    pub(super) blobs: Arc<BlobStore>,
    pub(super) pages: Arc<BlobStore>,
    pub(super) offer: Arc<Mutex<Option<Arc<SnapshotOffer>>>>,
    pub(super) pending: Pending,
    pub(super) shape: Shape,
    pub(super) warnings: Vec<Warning>,
}

impl SessionStore {
    /// Makes the folder of a session that was founded or joined. Its manifest is written last:
    /// only then is the session listed.
    pub fn create(
        folder: &Folder,
        manifest: &SignedManifest,
        charter: &Charter,
        options: Options,
    ) -> Result<SessionStore, StoreError> {
        let session = folder.session(manifest.id());
        if session.exists() {
            return Err(StoreError::SessionExists { folder: session.path().to_owned() });
        }
        let shape = checked_shape(manifest, charter)?;
        discard_unfounded(&session)?;
        let (store, _) = recover(session, &shape, options)?;
        store.disk.replace(&store.folder.manifest_path(), &[&manifest.to_bytes()])?;
        Ok(store)
    }

    /// Opens a session's folder and reads back what its driver starts with.
    ///
    /// Call it under the folder's lock.
    pub fn open(
        folder: SessionFolder,
        charter: &Charter,
        options: Options,
    ) -> Result<(SessionStore, Recovered), StoreError> {
        let shape = checked_shape(&folder.manifest()?, charter)?;
        recover(folder, &shape, options)
    }

    /// What was got over when the store was opened.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The session's folder.
    pub fn folder(&self) -> &SessionFolder {
        &self.folder
    }

    /// The height of the last block.
    pub fn height(&self) -> Height {
        self.chain.next() - 1
    }

    /// What durability cost since the store was opened.
    pub fn disk_use(&self) -> DiskUse {
        self.reader().disk_use()
    }

    /// A handle for whoever answers other peers; cheap to clone.
    pub fn reader(&self) -> StoreReader {
        StoreReader {
            disk: self.disk.clone(),
            chain: self.chain.index().clone(),
            blobs: self.blobs.clone(),
            pages: self.pages.clone(),
            offer: self.offer.clone(),
            seatings: self.seatings.clone(),
        }
    }

    /// Writes a record down. With `sync` it and every record before it are durable when this
    /// returns; without, logged inputs and signatures may wait for the next that asks. Blobs,
    /// blocks, snapshots and checkpoints are always durable at once.
    ///
    /// After an error the record is not written, as far as anybody may rely on it; when there is
    /// space again, the same record may be persisted again.
    pub fn persist(&mut self, record: &Record, sync: bool) -> Result<(), StoreError> {
        match record {
            Record::Signed(signed) => {
                let savepoint = self.journal.savepoint(Some(signed.content.slot));
                self.journal.sign(signed)?;
                self.settle(sync).inspect_err(|_| self.journal.take_back(savepoint))?;
                self.pending.signed(signed);
                return Ok(());
            }
            Record::Wal(record) => return self.log(record, sync),
            Record::Blob { root, bytes } => self.put_blob(*root, bytes)?,
            Record::Block(block) => self.append(block)?,
            Record::Snapshot(snapshot) => self.put_snapshot(snapshot)?,
            Record::Checkpoint(checkpoint) => self.checkpoints.store(checkpoint)?,
            Record::Offer(offer) => {
                self.keep_seatings(&offer.seatings)?;
                self.snapshots.keep_offer(offer)?;
            }
            Record::Seatings(blocks) => self.keep_seatings(blocks)?,
            Record::Reset(reset) => {
                reset::store(&self.disk, self.folder.path(), self.shape.session, reset)?;
            }
            Record::Bar(bar) => bar::store(&self.disk, self.folder.path(), bar.as_ref())?,
        }
        self.settle(sync)
    }

    /// Writes out what is buffered and closes the store.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.settle(true)
    }

    /// Snapshots of this height and later stay; two always do.
    pub fn retain_from(&mut self, height: Height) {
        self.snapshots.retain_from(height);
    }

    /// Whether every blob is kept that a block names.
    pub fn keeps_history(&self) -> bool {
        self.options.keep_history
    }

    /// Deletes blobs that nobody needs any more, unless the history is kept.
    pub fn forget(&self, roots: &[Hash]) -> Result<(), StoreError> {
        if self.options.keep_history {
            return Ok(());
        }
        self.blobs.remove_all(roots)?;
        Ok(())
    }

    fn log(&mut self, record: &WalRecord, sync: bool) -> Result<(), StoreError> {
        let next = self.chain.next();
        match record.height() {
            past if past < next => return self.settle(sync),
            height if height > next => return Err(StoreError::NotNext { expected: next, found: height }),
            _ => self.journal.begin(next),
        }
        let savepoint = self.journal.savepoint(None);
        self.journal.append(&record.to_bytes());
        self.settle(sync).inspect_err(|_| self.journal.take_back(savepoint))?;
        self.pending.logged(record);
        Ok(())
    }

    fn put_blob(&self, root: Hash, bytes: &[u8]) -> Result<(), StoreError> {
        if self.blobs.contains(&root) {
            return Ok(());
        }
        let found = Hash::of(bytes);
        if found != root {
            return Err(StoreError::WrongRoot { expected: root, found });
        }
        self.disk.put_blob(&self.blobs, bytes)
    }

    fn keep_seatings(&self, blocks: &[CertifiedBlock]) -> Result<(), StoreError> {
        blocks.iter().try_for_each(|block| self.seatings.keep(block))
    }

    /// Who signed at every height.
    pub fn committees(&self, charter: &Charter) -> Committees {
        self.seatings.committees(charter)
    }

    fn append(&mut self, block: &CertifiedBlock) -> Result<(), StoreError> {
        self.chain.append(block)?;
        self.seatings.keep(block)?;
        self.journal.begin(self.chain.next());
        self.pending.certified(&block.block);
        block.block.closings().for_each(|closing| self.journal.closed(closing.slot));
        self.acknowledge()
    }

    fn put_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let ahead = snapshot.height() >= self.chain.next();
        match &snapshot.block {
            // Refuses the snapshot of another chain before anything is written.
            Some(block) if !ahead => self.chain.append(block)?,
            _ => {}
        }
        self.snapshots.store(snapshot)?;
        *self.offer.lock().unwrap_or_else(PoisonError::into_inner) = self.snapshots.offer().map(Arc::new);
        if let (true, Some(block)) = (ahead, &snapshot.block) {
            self.chain.jump(block)?;
            self.journal.begin(self.chain.next());
        }
        self.acknowledge()
    }

    /// The barrier: buffered records become durable if somebody may wait for them.
    pub(super) fn settle(&mut self, sync: bool) -> Result<(), StoreError> {
        if (sync && self.journal.is_awaited()) || self.journal.is_large() {
            self.journal.sync()?;
        }
        self.acknowledge()
    }

    /// Writes down how much is durable, if that changed.
    pub(super) fn acknowledge(&mut self) -> Result<(), StoreError> {
        let mark = Mark { height: self.height(), batch: self.journal.batch() };
        if mark == self.acknowledged.mark() { Ok(()) } else { self.acknowledged.write(mark) }
    }
}

/// Answers other peers from a session's files while its store goes on writing.
#[derive(Debug, Clone)]
pub struct StoreReader {
    disk: Arc<Disk>,
    chain: Arc<Index>,
    blobs: Arc<BlobStore>,
    pages: Arc<BlobStore>,
    offer: Arc<Mutex<Option<Arc<SnapshotOffer>>>>,
    seatings: Seatings,
}

impl StoreReader {
    /// Certified blocks from height `from` on: at most `max` (`limits::BLOCKS_PER_REPLY` in a
    /// reply) of `max_bytes` together, but at least one if there is one. Ends where blocks are
    /// missing because a snapshot was taken over them.
    pub fn read_blocks(
        &self,
        from: Height,
        max: usize,
        max_bytes: usize,
    ) -> Result<Vec<CertifiedBlock>, StoreError> {
        self.chain.read(from, max, max_bytes)
    }

    /// What writing cost since the store was opened: its own files, blobs and pages.
    pub fn disk_use(&self) -> DiskUse {
        self.disk.meter.total() + self.blobs.disk_use() + self.pages.disk_use()
    }

    /// The newest snapshot, as a peer that joins and knows the seats up to `since` is told of it.
    pub fn snapshot_offer(&self, since: Height) -> Option<SnapshotOffer> {
        let offer = self.offer.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let seatings = self.seatings.between(since, offer.block.block.height);
        Some(SnapshotOffer { seatings, ..offer.as_ref().clone() })
    }

    /// A blob's bytes, checked against its root. A damaged one goes, so that it can be fetched.
    pub fn blob(&self, root: &Hash) -> Result<Vec<u8>, StoreError> {
        read_or_discard(&self.blobs, root)
    }

    /// A page's bytes, checked against its root; pages in transit lie among the blobs. A damaged
    /// one goes, so that it can be fetched.
    pub fn page(&self, root: &Hash) -> Result<Vec<u8>, StoreError> {
        let store = if self.pages.contains(root) { &self.pages } else { &self.blobs };
        read_or_discard(store, root)
    }

    /// Whether the blob is here.
    pub fn has_blob(&self, root: &Hash) -> bool {
        self.blobs.contains(root)
    }

    /// The folder of blobs, for the data plane.
    pub fn blobs(&self) -> &Arc<BlobStore> {
        &self.blobs
    }

    /// The folder of pages, for the data plane.
    pub fn pages(&self) -> &Arc<BlobStore> {
        &self.pages
    }
}

/// While a damaged file lies there, nobody asks for a whole one.
fn read_or_discard(store: &BlobStore, root: &Hash) -> Result<Vec<u8>, StoreError> {
    let read = store.read(root);
    if let Err(error @ blobs::StoreError::Corrupt { .. }) = &read {
        tracing::warn!(%error, "a damaged file is deleted");
        store.remove(root)?;
    }
    Ok(read?)
}

/// Removes the database that an interrupted founding left, which may be torn: nobody relied on it
/// yet where the record of what is durable was not made either.
fn discard_unfounded(session: &SessionFolder) -> Result<(), StoreError> {
    let relied_on = acknowledged::is_there(&session.db())?;
    if relied_on { Ok(()) } else { journal::discard(&session.sled()) }
}

fn checked_shape(manifest: &SignedManifest, charter: &Charter) -> Result<Shape, StoreError> {
    if manifest.id() == charter.session {
        Ok(Shape::from(charter))
    } else {
        Err(StoreError::WrongCharter { expected: charter.session, found: manifest.id() })
    }
}
