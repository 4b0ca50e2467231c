//! Joiner, laggard, partition and restart: one path back to the head of the chain.
//!
//! Blocks in bounded replies while they suffice; a newer snapshot's pages when the gap is longer
//! than the snapshots are apart. Everything is checked against certificates, so any peer may
//! answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::block::{Block, CertifiedBlock, Height};
use crate::charter::Charter;
use crate::election::Sitting;
use crate::holdings::{Tell, tell};
use crate::identity::{Hash, PeerKey};
use crate::membership::{ControlPage, MAX_MEMBERS};
use crate::state::{Page, State, state_digest};
use crate::time::{Span, Time};
use crate::wire::SnapshotOffer;

/// Certified blocks kept ahead of the head.
const MAX_QUEUED: usize = 128;
/// The very next block is given this long to come by gossip, which is on its way to everybody.
const GOSSIP: Span = Span::millis(500);
/// Peers whose heads are kept.
const MAX_HEADS: usize = 2 * MAX_MEMBERS;
/// An unanswered question is asked of somebody else after this long.
const PATIENCE: Span = Span::seconds(3);
/// Failed fetches of pages after which a snapshot is given up: its holders forgot it.
const MAX_FAILURES: u32 = 16;

/// What to ask, of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Blocks from a height on.
    Blocks {
        /// Of whom.
        of: PeerKey,
        /// The first height wanted.
        from: Height,
    },
    /// The newest snapshot.
    Snapshot {
        /// Of whom.
        of: PeerKey,
    },
}

/// Progress towards the head.
#[derive(Debug, Default)]
pub struct CatchUp {
    /// Where each connected peer's chain ends.
    heads: BTreeMap<PeerKey, Known>,
    /// The highest of them.
    highest: Height,
    /// Certified blocks above the head, checked against its seats.
    queued: BTreeMap<Height, CertifiedBlock>,
    /// Until when the very next block may come by itself.
    expected: Option<Time>,
    asked: Option<(Ask, Time)>,
    /// Rotates through the peers that know more.
    turn: usize,
    snapshot: Option<Pending>,
    /// Nobody had a snapshot that helps: use blocks, however many.
    blocks_only: bool,
    /// The state at hand is of no use: blocks do not help.
    snapshots_only: bool,
    /// Blobs of the next block are gone everywhere: queued blocks are of no use.
    blobs_gone: bool,
    /// Who votes, on the way to a snapshot that is beyond the head.
    pub walked: Option<Sitting>,
}

/// What is known of a peer's head.
#[derive(Debug, Default, Clone, Copy)]
struct Known {
    /// A block of this height came by way of it: worth asking.
    passed_on: Height,
    /// Its own word.
    told: Height,
}

impl Known {
    fn height(&self) -> Height {
        self.passed_on.max(self.told)
    }
}

#[derive(Debug)]
struct Pending {
    offer: SnapshotOffer,
    /// Number of values of each of its pages.
    sizes: Vec<usize>,
    missing: BTreeSet<Hash>,
    failures: u32,
}

impl CatchUp {
    /// A peer told where its chain ends.
    pub fn told_head(&mut self, peer: PeerKey, height: Height) {
        let Some(known) = self.head_of(peer) else { return };
        known.told = known.told.max(height);
        self.highest = self.highest.max(height);
    }

    /// What is known of a peer's head, or that nothing is yet.
    fn head_of(&mut self, peer: PeerKey) -> Option<&mut Known> {
        let room = self.heads.len() < MAX_HEADS || self.heads.contains_key(&peer);
        room.then(|| self.heads.entry(peer).or_default())
    }

    /// Tells how much is held; a state has so many pages.
    pub fn holdings(&self, pages: usize, to: Tell<'_>) {
        tell(to, "heads", self.heads.len(), MAX_HEADS);
        tell(to, "blocks ahead", self.queued.len(), MAX_QUEUED);
        let missing = self.snapshot.as_ref().map_or(0, |pending| pending.missing.len());
        tell(to, "pages missing", missing, pages);
    }

    /// A peer passed on what others made at this height; it may not have applied it.
    pub fn passed_on(&mut self, peer: PeerKey, height: Height) {
        let Some(known) = self.head_of(peer) else { return };
        known.passed_on = known.passed_on.max(height);
        self.highest = self.highest.max(height);
    }

    /// Who is at `height` or beyond, by their own word.
    pub fn who_has(&self, height: Height) -> impl Iterator<Item = PeerKey> {
        self.heads.iter().filter(move |(_, head)| head.told >= height).map(|(peer, _)| *peer)
    }

    /// A peer went away.
    pub fn forget(&mut self, peer: &PeerKey) {
        self.heads.remove(peer);
        self.highest = self.heads.values().map(Known::height).max().unwrap_or(0);
        self.will_not_answer(peer);
    }

    /// What a peer was asked is lost.
    pub fn will_not_answer(&mut self, peer: &PeerKey) {
        self.asked.take_if(|(ask, _)| ask.of() == *peer);
    }

    /// Whether there is proof of a head well beyond `head`: a snapshot to come, or a certified block
    /// that is not the very next.
    pub fn is_behind(&self, head: Height) -> bool {
        self.snapshot.is_some() || self.queued.last_key_value().is_some_and(|(last, _)| *last > head + 1)
    }

    /// Whether blocks are of no use, because the state that they would be applied to is wrong.
    pub fn only_snapshots(&mut self, only: bool) {
        self.snapshots_only = only;
    }

    /// Whether something certified is still to come: pages, or blocks beyond `head`.
    pub fn has_more(&self, head: Height) -> bool {
        self.snapshot.is_some() || self.queued.last_key_value().is_some_and(|(last, _)| *last > head)
    }

    /// The highest head told of.
    pub fn target(&self) -> Height {
        let queued = self.queued.last_key_value().map(|(height, _)| *height);
        self.highest.max(queued.unwrap_or(0))
    }

    /// Keeps a certified block for its turn. Returns whether it is new and near enough.
    pub fn queue(&mut self, head: Height, certified: CertifiedBlock) -> bool {
        let height = certified.block.height;
        let news = height > head && height <= head + MAX_QUEUED as u64 && !self.queued.contains_key(&height);
        if news {
            self.queued.insert(height, certified);
        }
        news
    }

    /// The next block to apply.
    pub fn next_block(&self, head: Height) -> Option<&CertifiedBlock> {
        self.queued.get(&(head + 1))
    }

    /// Drops a queued block that turned out not to apply, and everything up to `head`.
    pub fn drop_block(&mut self, height: Height) {
        self.queued.remove(&height);
    }

    /// The head moved.
    pub fn advanced(&mut self, head: Height) {
        (self.blocks_only, self.blobs_gone) = (false, false);
        self.expected = None;
        self.walked.take_if(|sitting| sitting.since <= head);
        // A repair goes back.
        self.queued.retain(|height, _| *height > head && *height <= head + MAX_QUEUED as u64);
        if let Some((Ask::Blocks { from, .. }, _)) = self.asked
            && from <= head
        {
            self.asked = None;
        }
    }

    /// `from` sent blocks that are of use. (Useless ones are no answer: somebody else is asked in a
    /// while.)
    pub fn answered_blocks(&mut self, from: PeerKey) {
        let asked = |(ask, _): &mut (Ask, Time)| matches!(ask, Ask::Blocks { of, .. } if *of == from);
        self.asked.take_if(asked);
    }

    /// Whether `from` was asked for a snapshot, and answers now. One snapshot at a time.
    pub fn answers_snapshot(&self, from: PeerKey) -> bool {
        let asked = self.asked.is_some_and(|(ask, _)| ask == Ask::Snapshot { of: from });
        asked && self.snapshot.is_none()
    }

    /// The peer has no snapshot that helps: blocks do, or somebody else is asked in a while.
    pub fn no_snapshot(&mut self) {
        self.blocks_only = true;
        if !self.snapshots_only {
            self.asked = None;
        }
    }

    /// The answer leads a part of the way: the next question follows at once.
    pub fn ask_again(&mut self) {
        self.asked = None;
    }

    /// Whether blocks do not help: what they would be applied with is gone.
    pub fn needs_snapshot(&self) -> bool {
        self.blobs_gone
    }

    /// What to ask now, if the head is behind what peers told and nothing is under way: a snapshot
    /// where the gap is longer than `longest`, blocks otherwise.
    pub fn ask(&mut self, now: Time, head: Height, longest: u64) -> Option<Ask> {
        let useless = self.blobs_gone || self.snapshots_only;
        let next_is_here = self.queued.contains_key(&(head + 1)) && !useless;
        if self.snapshot.is_some() || next_is_here || self.target() <= head {
            return None;
        }
        if self.target() == head + 1 {
            self.expected.get_or_insert(now + GOSSIP);
        } else {
            self.expected = None;
        }
        if self.next_timeout().is_some_and(|at| now < at) {
            return None;
        }
        let ahead: Vec<(PeerKey, Height)> = self
            .heads
            .iter()
            .filter(|(_, known)| known.height() > head)
            .map(|(key, known)| (*key, known.height()))
            .collect();
        let (of, height) = *ahead.get(self.turn % ahead.len().max(1))?;
        self.turn = self.turn.wrapping_add(1);
        let gap = height - head;
        let far = (gap > longest || self.blobs_gone) && !self.blocks_only;
        let ask = match far || self.snapshots_only {
            true => Ask::Snapshot { of },
            false => Ask::Blocks { of, from: head + 1 },
        };
        self.asked = Some((ask, now));
        Some(ask)
    }

    /// A blob of the next block cannot be had. If the others may have forgotten it, as they do
    /// once two snapshots are newer, only a snapshot helps.
    pub fn blob_failed(&mut self, head: Height, snapshot_every: u32) {
        if self.target() > head + u64::from(snapshot_every) {
            (self.blobs_gone, self.blocks_only) = (true, false);
        }
    }

    /// A page of the pending snapshot cannot be had for now. Gives the snapshot up in the end.
    pub fn page_failed(&mut self, root: &Hash) {
        let Some(pending) = self.snapshot.as_mut().filter(|pending| pending.missing.contains(root)) else {
            return;
        };
        pending.failures += 1;
        if pending.failures >= MAX_FAILURES {
            self.snapshot = None;
        }
    }

    /// When what is waited for should have come: the answer to the present question, or the next block.
    pub fn next_timeout(&self) -> Option<Time> {
        self.asked.map(|(_, at)| at + PATIENCE).or(self.expected)
    }

    /// Takes up a snapshot that was checked, with the number of values of each page. Returns the pages to fetch.
    pub fn begin_snapshot(&mut self, offer: SnapshotOffer, sizes: Vec<usize>) -> Vec<Hash> {
        let missing: BTreeSet<Hash> = offer.pages.iter().copied().collect();
        let pages = missing.iter().copied().collect();
        self.snapshot = Some(Pending { offer, sizes, missing, failures: 0 });
        self.asked = None;
        pages
    }

    /// A blob arrived. Returns the complete offer once its last page is here.
    pub fn page_stored(&mut self, root: &Hash) -> Option<SnapshotOffer> {
        let pending = self.snapshot.as_mut()?;
        let was_missing = pending.missing.remove(root);
        (was_missing && pending.missing.is_empty()).then(|| pending.offer.clone())
    }

    /// Whether `root` is a page that is being fetched.
    pub fn wants_page(&self, root: &Hash) -> bool {
        self.snapshot.as_ref().is_some_and(|pending| pending.missing.contains(root))
    }

    /// Position of a page of the pending snapshot in digest order, and its length in bytes.
    pub fn page_place(&self, root: &Hash) -> Option<(usize, u64)> {
        let pending = self.snapshot.as_ref()?;
        let index = pending.offer.pages.iter().position(|page| page == root)?;
        Some((index, *pending.sizes.get(index)? as u64 * 4))
    }

    /// Ends the pending snapshot, which is in place now or of no use.
    pub fn take_snapshot(&mut self) -> Option<SnapshotOffer> {
        self.snapshot.take().map(|pending| pending.offer)
    }
}

impl Ask {
    /// Whom the question goes to.
    pub fn of(&self) -> PeerKey {
        match self {
            Ask::Blocks { of, .. } | Ask::Snapshot { of } => *of,
        }
    }
}

/// Why a snapshot offer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// It is not newer than the state at hand.
    #[error("the snapshot is of height {0}, not newer than ours")]
    NotNewer(Height),
    /// No quorum signed its block.
    #[error("the snapshot's block is not certified")]
    NotCertified,
    /// Control page and pages do not hash to the block's digest.
    #[error("the snapshot's pages do not have its block's digest")]
    Digest,
    /// The control page does not decode, or the number of pages is not the layout's.
    #[error("the snapshot is malformed: {0}")]
    Malformed(String),
}

/// Checks an offer against the charter; `head` is the height at hand. `sitting`, who votes as far as
/// that is known, is led on by the blocks that come with the offer, also if they do not lead to it.
pub fn check_offer(
    charter: &Charter,
    sitting: &mut Sitting,
    head: Height,
    offer: &SnapshotOffer,
) -> Result<(), OfferError> {
    let height = offer.block.block.height;
    if height <= head {
        return Err(OfferError::NotNewer(height));
    }
    let led = offer.seatings.iter().all(|block| sitting.advance(charter, block));
    // The snapshot's own block may be the last that changed the seats.
    let last = led && offer.seatings.last() == Some(&offer.block);
    if !last && !sitting.certifies(charter, &offer.block) {
        return Err(OfferError::NotCertified);
    }
    let control = ControlPage::from_bytes(&offer.control);
    let control = control.map_err(|error| OfferError::Malformed(error.to_string()))?;
    let expected = charter.shape().page_sizes(&control).len();
    if offer.pages.len() != expected {
        return Err(OfferError::Malformed(format!("{} pages instead of {expected}", offer.pages.len())));
    }
    if state_digest(&offer.control, offer.pages.iter().copied()) != offer.block.block.digest {
        return Err(OfferError::Digest);
    }
    if control.height != height || control.closed.len() != usize::from(charter.manifest.method.streams()) {
        return Err(OfferError::Malformed("the control page is of another height or method".into()));
    }
    Ok(())
}

/// Who signed the certificate of a checked offer's block: `seats` are those that led there.
pub fn certifiers<'a>(offer: &'a SnapshotOffer, seats: &'a [PeerKey]) -> &'a [PeerKey] {
    let height = offer.block.block.height;
    let before =
        offer.seatings.iter().map(|certified| &certified.block).filter(|block| block.height < height);
    let seats = before.filter_map(Block::seating).next_back().map_or(seats, |seating| &seating.seats);
    offer.block.block.reset().map_or(seats, |reset| &reset.content.seats)
}

/// Puts a snapshot's pages together, where it blocks nobody.
#[derive(Debug, Clone)]
pub struct AssembleJob {
    charter: Arc<Charter>,
    offer: SnapshotOffer,
}

impl AssembleJob {
    /// A job for a checked offer.
    pub fn new(charter: Arc<Charter>, offer: SnapshotOffer) -> AssembleJob {
        AssembleJob { charter, offer }
    }

    /// Reads every page by root and builds the state.
    pub fn run(&self, read: &mut dyn FnMut(&Hash) -> Result<Vec<u8>, String>) -> Result<Box<State>, String> {
        let control = ControlPage::from_bytes(&self.offer.control).map_err(|error| error.to_string())?;
        let mut failed = None;
        let state = State::assemble(control, &self.charter.shape(), &self.offer.pages, |root, values| {
            let bytes = read(&root).unwrap_or_else(|error| {
                failed = Some(error);
                Vec::new()
            });
            Page::from_bytes(root, &bytes, values)
        });
        match (state, failed) {
            (_, Some(error)) => Err(error),
            (Ok(state), None) => Ok(Box::new(state)),
            (Err(error), None) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
