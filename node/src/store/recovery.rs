//! From the files of a session to what its driver starts with.

use std::sync::{Arc, Mutex};

use driftless_protocol::Hash;
use driftless_protocol::block::{Announcement, CertifiedBlock, Height};
use driftless_protocol::charter::Charter;
use driftless_protocol::consensus::WalRecord;
use driftless_protocol::event::{Recovered, Snapshot};
use driftless_protocol::identity::Signed;
use driftless_protocol::state;

use super::acknowledged::{Acknowledged, Mark};
use super::chain::{Chain, Found};
use super::checkpoints::Checkpoints;
use super::disk::{Disk, make_folder, remove_temporaries};
use super::error::{StoreError, Warning};
use super::folder::SessionFolder;
use super::journal::{Contents, Journal};
use super::seatings::Seatings;
use super::session::{Options, SessionStore};
use super::snapshots::Snapshots;
use super::sweep::Pending;
use crate::blobs::BlobStore;

/// What the store needs to know of a session's charter.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub session: Hash,
    /// Digest of the genesis state.
    pub genesis: Hash,
    /// How the pages of a state lie.
    pub pages: state::Shape,
}

impl From<&Charter> for Shape {
    fn from(charter: &Charter) -> Shape {
        Shape { session: charter.session, genesis: charter.manifest.genesis, pages: charter.shape() }
    }
}

/// Opens everything, checks everything, and gathers what is to be replayed.
pub(super) fn recover(
    folder: SessionFolder,
    shape: &Shape,
    options: Options,
) -> Result<(SessionStore, Recovered), StoreError> {
    let session = shape.session;
    let disk = Arc::new(Disk::default());
    let mut warnings = Vec::new();
    folder.make(&disk)?;
    remove_temporaries(&folder.db())?;
    let pages = Arc::new(BlobStore::open(folder.pages())?);
    let blobs = Arc::new(BlobStore::open(folder.blobs())?);
    let acknowledged = Acknowledged::open(disk.clone(), &folder.db(), session)?;
    let mark = acknowledged.as_ref().map(Acknowledged::mark);
    let (snapshots, snapshot) = Snapshots::open(disk.clone(), pages.clone(), shape, &mut warnings)?;
    let (seatings, mut damaged) = Seatings::open(disk.clone(), &folder.chain(), session)?;
    let mut replay = Replay::after(&snapshot, &folder);
    let (mut chain, torn) = Chain::open(
        disk.clone(),
        &folder.chain(),
        session,
        mark.map(|mark| mark.height),
        options.segment_bytes,
        |found| {
            damaged.remove(&found.block.block.height);
            seatings.keep(&found.block)?;
            replay.take(found)
        },
    )?;
    // What the chain has not either is gone.
    if let Some((_, error)) = damaged.pop_first() {
        return Err(error);
    }
    if let Some(torn) = torn {
        let (file, offset, height) = (torn.path, torn.offset, torn.height);
        warnings.push(Warning::TornTail { file, offset, height });
    }
    if let Some(Snapshot { block: Some(block), .. }) = &snapshot {
        chain.jump(block)?;
    }
    let blocks = replay.finish(&warnings)?;
    let (journal, contents) = open_journal(&disk, &folder, session, mark)?;
    let acknowledged = match acknowledged {
        Some(acknowledged) => acknowledged,
        None => {
            if chain.tip().is_some() {
                warnings.push(Warning::JournalGone { folder: folder.db() });
            }
            let mark = Mark { height: chain.next() - 1, batch: journal.batch() };
            Acknowledged::create(disk.clone(), &folder.db(), session, mark)?
        }
    };
    let (checkpoints, checkpoint) =
        Checkpoints::open(disk.clone(), folder.checkpoints(), session, &mut warnings)?;
    let bar = super::bar::load(folder.path())?;
    let wal = running_height(&contents, chain.next(), &folder)?;
    let signed = still_open(contents.signed, &snapshot, &blocks);
    let offer = Arc::new(Mutex::new(snapshots.offer().map(Arc::new)));
    let (heights, taking) = (snapshots.heights(), snapshots.taking().cloned());
    let reset = super::reset::load(folder.path(), session)?;
    let recovered = Recovered {
        snapshot,
        snapshots: heights,
        offer: taking,
        blocks,
        wal,
        signed,
        checkpoint,
        bar,
        reset,
    };
    let mut store = SessionStore {
        disk,
        folder,
        options,
        acknowledged,
        chain,
        journal,
        snapshots,
        checkpoints,
        seatings,
        blobs,
        pages,
        offer,
        pending: Pending::of(&recovered),
        shape: shape.clone(),
        warnings,
    };
    store.acknowledge()?;
    Ok((store, recovered))
}

impl SessionStore {
    /// What a restart would find, but for the checkpoint: read from the files while they are open.
    pub fn reload(&mut self) -> Result<Recovered, StoreError> {
        self.settle(true)?;
        let snapshot = self.snapshots.read_newest(&self.shape)?;
        let base = snapshot.as_ref().map_or(0, Snapshot::height);
        let mut blocks: Vec<CertifiedBlock> = Vec::new();
        self.chain.index().visit(base + 1, |block| blocks.push(block.clone()))?;
        let follows = |(block, height): (&CertifiedBlock, Height)| block.block.height == height;
        if !blocks.iter().zip(base + 1..).all(follows) {
            let reason = format!("the blocks after height {base} are not here");
            return Err(StoreError::NoState { folder: self.folder.path().to_owned(), reason });
        }
        let contents = self.journal.contents()?;
        let wal = running_height(&contents, self.chain.next(), &self.folder)?;
        let signed = still_open(contents.signed, &snapshot, &blocks);
        let bar = super::bar::load(self.folder.path())?;
        let reset = super::reset::load(self.folder.path(), self.shape.session)?;
        let snapshots = self.snapshots.heights();
        Ok(Recovered { snapshot, snapshots, offer: None, blocks, wal, signed, checkpoint: None, bar, reset })
    }
}

/// The blocks after a snapshot, gathered while the chain is read.
struct Replay {
    folder: std::path::PathBuf,
    base: Height,
    of_base: Option<CertifiedBlock>,
    blocks: Vec<CertifiedBlock>,
    /// The height before which blocks are missing that lead from the snapshot to it.
    gap: Option<Height>,
}

impl Replay {
    fn after(snapshot: &Option<Snapshot>, folder: &SessionFolder) -> Replay {
        let base = snapshot.as_ref().map_or(0, Snapshot::height);
        let of_base = snapshot.as_ref().and_then(|snapshot| snapshot.block.clone());
        let folder = folder.path().to_owned();
        Replay { folder, base, of_base, blocks: Vec::new(), gap: None }
    }

    fn take(&mut self, found: &Found) -> Result<(), StoreError> {
        let height = found.block.block.height;
        if height > self.base {
            if found.after_gap {
                self.gap = Some(height);
            }
            self.blocks.push(found.block.clone());
        } else if height == self.base
            && self.of_base.as_ref().is_some_and(|block| block.block != found.block.block)
        {
            return Err(StoreError::Corrupt {
                file: found.path.clone(),
                offset: found.offset,
                height: Some(height),
                reason: "its block is not the one that the snapshot of this height follows".into(),
            });
        }
        Ok(())
    }

    fn finish(self, warnings: &[Warning]) -> Result<Vec<CertifiedBlock>, StoreError> {
        let Some(gap) = self.gap else { return Ok(self.blocks) };
        let unusable = warnings.iter().find(|warning| matches!(warning, Warning::Snapshot { .. }));
        let reason = match unusable {
            Some(warning) => warning.to_string(),
            None => format!("the chain begins again at height {gap} and its snapshot is gone"),
        };
        Err(StoreError::NoState { folder: self.folder, reason })
    }
}

/// The journal. Where the record of what is durable was deleted, the database must be gone as well.
fn open_journal(
    disk: &Arc<Disk>,
    folder: &SessionFolder,
    session: Hash,
    mark: Option<Mark>,
) -> Result<(Journal, Contents), StoreError> {
    let path = folder.sled();
    make_folder(&path)?;
    let (journal, contents) = Journal::open(disk.clone(), &path, session, mark.map_or(0, |mark| mark.batch))?;
    if mark.is_none() && journal.batch() > 0 {
        let reason = "the file `acknowledged`, which says how much must be here, is missing".into();
        return Err(StoreError::Journal { folder: folder.db(), reason });
    }
    Ok((journal, contents))
}

/// The log of height `next`; that of an earlier height was about to be cut.
fn running_height(
    contents: &Contents,
    next: Height,
    folder: &SessionFolder,
) -> Result<Vec<WalRecord>, StoreError> {
    let damaged = |reason: String| StoreError::Journal { folder: folder.db(), reason };
    if contents.wal_height > next {
        let height = contents.wal_height;
        return Err(damaged(format!("it has inputs of height {height}, but the chain needs {next} next")));
    }
    if contents.wal_height < next {
        return Ok(Vec::new());
    }
    let decode = |bytes: &Vec<u8>| WalRecord::from_bytes(bytes).map_err(|error| damaged(error.to_string()));
    contents.wal.iter().map(decode).collect()
}

/// Announcements for slots that did not close as far as the chain here goes.
fn still_open(
    signed: Vec<Signed<Announcement>>,
    snapshot: &Option<Snapshot>,
    blocks: &[CertifiedBlock],
) -> Vec<Signed<Announcement>> {
    let mut closed = snapshot.as_ref().map(|s| s.state.control.closed.clone()).unwrap_or_default();
    for slot in blocks.iter().flat_map(|block| block.block.closings()).map(|closing| closing.slot) {
        let stream = usize::from(slot.stream);
        if closed.len() <= stream {
            closed.resize(stream + 1, 0);
        }
        closed[stream] = closed[stream].max(slot.ordinal.saturating_add(1));
    }
    let is_open = |signed: &Signed<Announcement>| {
        let slot = signed.content.slot;
        closed.get(usize::from(slot.stream)).is_none_or(|next| slot.ordinal >= *next)
    };
    signed.into_iter().filter(is_open).collect()
}
