//! The whole surface of a session: what goes in, what comes out.

use bincode::{Decode, Encode};

use crate::block::{Announcement, CertifiedBlock, Height, Reset, Slot};
use crate::catch_up::AssembleJob;
use crate::consensus::WalRecord;
use crate::identity::{Hash, PeerKey, Signed};
use crate::state::{Page, State};
use crate::time::Span;
use crate::transition::{CandidateError, CandidateJob};
use crate::wire::{Message, SnapshotOffer};
use crate::worker::{Work, WorkDone};

/// What a driver tells a session.
#[allow(clippy::large_enum_variant, reason = "most inputs are messages")]
#[derive(Debug)]
pub enum Input {
    /// A message whose sender the transport authenticated.
    Message {
        /// Who sent it.
        from: PeerKey,
        /// What it says.
        message: Message,
    },
    /// A peer can be reached now.
    Connected(PeerKey),
    /// A peer cannot be reached any more.
    Disconnected(PeerKey),
    /// A peer that can be reached is another process than before.
    Restarted(PeerKey),
    /// A blob of others is complete and durable in the store: fetched, or pushed to us.
    BlobStored(Hash),
    /// A blob could not be fetched from any source.
    BlobFailed(Hash),
    /// A push ended; `to` are the peers that hold the blob now.
    Pushed {
        /// The blob.
        root: Hash,
        /// Who holds it.
        to: Vec<PeerKey>,
    },
    /// The work ordered last is done.
    WorkDone(WorkDone),
    /// A candidate state was computed.
    Candidate {
        /// The job's id.
        id: u64,
        /// The state after the block.
        result: Result<State, CandidateError>,
    },
    /// A snapshot's pages were put together.
    Assembled(Result<Box<State>, String>),
    /// The state in memory turned out not to be the certified one.
    StateDamaged(String),
    /// The answer to `Reload`: what a restart would find, its snapshot the genesis state if there is
    /// no other; or why there is no state on disk.
    Reloaded(Result<Box<Recovered>, String>),
    /// A wish of the peer's user.
    Command(Command),
}

/// What the peer's user may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Stop computing, keep following and voting.
    Pause,
    /// Compute again.
    Resume,
    /// Sign again: nothing else uses this key, and what it signed elsewhere is gone.
    VoteAgain,
    /// Complete the slot in flight, leave, end.
    Finish,
    /// Leave now, end.
    Leave,
    /// Save a checkpoint and end without leaving.
    Stop,
    /// Take a seat, or do not any more: others can dial this peer, and it stays up.
    Stand(bool),
    /// Seat those who can be reached in the place of a committee that cannot decide any more; the
    /// founder alone can.
    Reset,
}

/// What a session asks of its driver, to be acted on in order.
#[derive(Debug)]
pub enum Output {
    /// Write this down. With `sync` it is a barrier: nothing after it may be acted on before this
    /// record, and every record before it, is durable.
    Persist {
        /// What to write.
        record: Record,
        /// Whether what follows waits for it.
        sync: bool,
    },
    /// Send to these peers, as far as they are connected. May be lost: statements are re-sent.
    Send {
        /// The receivers.
        to: Vec<PeerKey>,
        /// The message.
        message: Message,
    },
    /// Gossip to everybody in the session.
    Publish(Message),
    /// Fetch a blob; answered by `BlobStored` or `BlobFailed`.
    Fetch {
        /// The blob.
        root: Hash,
        /// Its exact length in bytes.
        length: u64,
        /// Who is likely to have it, best first.
        sources: Vec<PeerKey>,
    },
    /// Offer a blob until `copies` of the peers in `to` hold it; answered by `Pushed`.
    Push {
        /// The blob.
        root: Hash,
        /// Candidates, best first.
        to: Vec<PeerKey>,
        /// How many of them shall hold it.
        copies: usize,
        /// Whoever does not hold it after so long hangs: the next candidate takes its place.
        within: Span,
    },
    /// Run this where it blocks nobody; answered by `Candidate`.
    Evaluate(CandidateJob),
    /// Put a snapshot's pages together; answered by `Assembled`.
    Assemble(AssembleJob),
    /// When the next snapshot is stored, those below this height go (but one older than it stays).
    Retain {
        /// The oldest height that is still needed.
        from: Height,
    },
    /// Read back what is on disk; answered by `Reloaded`.
    Reload,
    /// Let the engine do this; answered by `WorkDone`. At most one at a time.
    Work(Work),
    /// These blobs are not worth waiting for any more: fetches and pushes of them end, without an answer.
    Cancel(Vec<Hash>),
    /// These blobs are not needed any more.
    Forget(Vec<Hash>),
    /// Something a person or a log may want to know.
    Event(Event),
    /// The session ended; no output follows.
    Finished(Ending),
}

/// What a session wants written down.
#[derive(Debug, Clone)]
pub enum Record {
    /// An own contribution, before it is announced.
    Blob {
        /// Its name.
        root: Hash,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// What this peer signed for a slot, before it is sent: never sign another.
    Signed(Signed<Announcement>),
    /// An input or statement of the running consensus height.
    Wal(WalRecord),
    /// A certified block, before it is applied. The WAL of its height ends with it.
    Block(CertifiedBlock),
    /// A snapshot: the state as of a certified block.
    Snapshot(Snapshot),
    /// Blocks that changed the seats, on the way to a snapshot: a peer keeps all of them.
    Seatings(Vec<CertifiedBlock>),
    /// The snapshot of others whose pages are being fetched; void once one as new is stored.
    Offer(SnapshotOffer),
    /// Local training state.
    Checkpoint(Checkpoint),
    /// Why this key signs nothing more in this session, or that it does again.
    Bar(Option<Bar>),
    /// The founder's word for a new committee, before anything is signed for it.
    Reset(Signed<Reset>),
}

/// Why a key signs nothing in a session, until its user says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Bar {
    /// The key; another one in the same folder is not meant.
    pub key: PeerKey,
    /// What was found, and what to do, for its user.
    pub reason: String,
    /// Its user said that it may go on; what ran at that moment is not over yet.
    pub lifted: bool,
}

/// A state on disk.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The block whose digest the state has; `None` for the genesis state.
    pub block: Option<CertifiedBlock>,
    /// The state (its pages are shared, not copied).
    pub state: State,
}

impl Snapshot {
    /// The snapshot's height.
    pub fn height(&self) -> Height {
        self.state.control.height
    }

    /// Its pages in digest order.
    pub fn pages(&self) -> impl Iterator<Item = &Page> {
        self.state.pages()
    }
}

/// Local training state: never replicated, never trusted.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The height it belongs to.
    pub height: Height,
    /// The scheduler's part and the engine's part, opaque to the store.
    pub bytes: Vec<u8>,
}

/// What a driver found on disk when it starts again.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The newest complete snapshot, as a state whose digest was checked; none for a new session.
    pub snapshot: Option<Snapshot>,
    /// Heights of all snapshots on disk, ascending.
    pub snapshots: Vec<Height>,
    /// The snapshot of others whose pages were being fetched, if it is newer.
    pub offer: Option<SnapshotOffer>,
    /// All later certified blocks in order.
    pub blocks: Vec<CertifiedBlock>,
    /// The log of the height after the last block.
    pub wal: Vec<WalRecord>,
    /// Announcements this peer signed for slots that may still be open.
    pub signed: Vec<Signed<Announcement>>,
    /// The newest checkpoint that passes its checks.
    pub checkpoint: Option<Checkpoint>,
    /// Why this key signs nothing, if so.
    pub bar: Option<Bar>,
    /// The founder's last word for a new committee.
    pub reset: Option<Signed<Reset>>,
}

/// Something that happened, for people and logs.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// This peer became a member.
    Joined {
        /// The height that admitted it.
        height: Height,
    },
    /// This peer is no member any more.
    Removed {
        /// The height that removed it.
        height: Height,
    },
    /// Inner steps were done.
    Trained {
        /// Inner steps so far.
        step: u64,
        /// Mean loss of the last ones, in nats per token.
        loss: f32,
        /// Steps per second, in thousandths.
        speed: u32,
    },
    /// A contribution was announced.
    Announced {
        /// Its slot.
        slot: Slot,
        /// Its blob.
        root: Hash,
        /// Length of the blob in bytes.
        length: u64,
    },
    /// A certified block was applied.
    Block {
        /// Its height.
        height: Height,
        /// The digest of the state after it.
        digest: Hash,
        /// The slots it closed, each with the number of contributions counted.
        closed: Vec<(Slot, usize)>,
        /// Tokens counted so far.
        tokens: u64,
        /// Contributions that this block counted, times their encoded length, in bytes.
        counted_bytes: u64,
        /// Whether the session's `stop_at` is reached.
        last: bool,
    },
    /// The outer parameters were evaluated.
    Evaluated {
        /// The height of the parameters.
        height: Height,
        /// Nats per predicted byte (or token) of the validation text, or per row.
        loss: f64,
        /// Share of the rows whose class is told, where there are classes.
        accuracy: Option<f64>,
    },
    /// Others vote from the next height on.
    Seats {
        /// The height that changed them.
        height: Height,
        /// How many there are.
        seats: usize,
        /// Whether this peer has one.
        seated: bool,
    },
    /// The founder starts the committee anew.
    Reset {
        /// The new generation.
        generation: u32,
        /// The height that it goes on from.
        height: Height,
        /// The new seats.
        seats: usize,
    },
    /// Training waits for something.
    Waiting(Waiting),
    /// Something is wrong that the session survives.
    Warning(String),
    /// Catching up: blocks or pages to go.
    CatchingUp {
        /// Our height.
        height: Height,
        /// The height we know of.
        target: Height,
    },
}

/// Why training stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Training goes on.
    No,
    /// For a certificate of the slot in flight.
    Certificate,
    /// For membership, a lease, or to be drawn.
    Turn,
    /// The user paused it.
    Paused,
    /// Training stopped itself: the loss or the parameters are not finite.
    Stopped,
    /// Too few voters answer.
    Quorum,
    /// The chain is behind the others'.
    CatchUp,
    /// The state turned out to be wrong, and is rebuilt.
    Repair,
    /// This key signs nothing, until its user says otherwise.
    Barred,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// `stop_at` was reached.
    Complete,
    /// This peer left the session.
    Left,
    /// This peer stopped and can go on later.
    Stopped,
}
