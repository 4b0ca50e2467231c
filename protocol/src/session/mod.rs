//! The root machine of one peer in one session.
//!
//! # Contract
//! A driver calls [`Session::handle_input`] with whatever happened and the present time, and
//! [`Session::handle_timeout`] when the time that [`Session::next_timeout`] names has come; after
//! each of them it drains [`Session::poll_output`] and acts on the outputs in order. Time never
//! goes back. `Output::Persist` with `sync` is a barrier. After `Output::Finished` the session
//! takes no more input.
//!
//! The parts: `chain` applies blocks, `voting` drives consensus, `spreading` gossips what it decides,
//! `contributing` drives the engine and announces, `stepping` orders batches of steps, `elections` and `resets` see to it that somebody votes,
//! `following` catches up, `recall` sees that nothing signed is forgotten, `repair` gets over a state that
//! went wrong, `ending` stops in order; `snapshots` decides which are written and kept.

mod chain;
mod contributing;
mod elections;
mod ending;
mod following;
mod holdings;
mod listening;
mod overhearing;
mod recall;
mod repair;
mod resets;
mod restore;
mod snapshots;
mod spreading;
mod stepping;
mod voting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::block::{Evidence, Height, Join, Leave};
use crate::catch_up::CatchUp;
use crate::charter::Charter;
use crate::committee::MAX_SEATS;
use crate::consensus::Consensus;
use crate::event::{Event, Input, Output, Waiting};
use crate::identity::{Hash, PeerKey, Scope, Signed, Signer};
use crate::invitation::Ticket;
use crate::membership::MAX_MEMBERS;
use crate::schedule::writes::Writes;
use crate::slot::{Ground, Slots};
use crate::state::State;
use crate::time::{Span, Time};
use crate::training::Training;
use crate::wire::Message;

use chain::Candidates;
use contributing::Contributing;
use elections::Elections;
use ending::Ending;
use recall::Recall;
use repair::Repair;
use resets::Resets;
use restore::Restoring;
use snapshots::Snapshots;
use spreading::Spreading;
use stepping::Stepping;
use voting::Voting;

/// The most pending joins, leaves and convictions kept.
const MAX_PENDING: usize = 256;
/// Peers that this one knows to be in reach, at most: all members, and as many others.
const MAX_IN_REACH: usize = 2 * MAX_MEMBERS;
/// How often peers tell where their chain ends.
const BEACON: Span = Span::seconds(10);
/// A voter that says nothing for so long, not even where its chain ends, is not there.
const SILENT: Span = Span::seconds(25);
/// A failed fetch is tried again after this long.
const FETCH_AGAIN: Span = Span::seconds(1);

/// What a peer wants in a session.
#[derive(Debug, Clone)]
pub struct Options {
    /// Contribute (ask for membership); a follower only applies blocks.
    pub contribute: bool,
    /// Take a seat if elected (others can dial this peer, and it stays up), or do not; `None` while
    /// that is not known: what this peer said before holds.
    pub stand: Option<bool>,
    /// The height of the invitation, and who voted then: a chain that says otherwise is another one.
    pub invited: Option<(Height, Vec<PeerKey>)>,
    /// The invitation's ticket, where admission asks for one.
    pub ticket: Option<Ticket>,
    /// Never forget a blob, so that `verify --replay` goes back to genesis.
    pub keep_history: bool,
    /// Stream-0 slots between two checkpoints.
    pub checkpoint_every: u32,
    /// Bytes that may be written in a day; snapshots and checkpoints are as rare as it takes.
    pub writes_per_day: u64,
}

/// What a home machine's disk is asked to bear unless its owner says otherwise: 20 GB.
pub const WRITES_PER_DAY: u64 = 20_000_000_000;

impl Default for Options {
    fn default() -> Options {
        Options {
            contribute: true,
            stand: None,
            invited: None,
            ticket: None,
            keep_history: false,
            checkpoint_every: 4,
            writes_per_day: WRITES_PER_DAY,
        }
    }
}

/// One peer in one session.
pub struct Session {
    charter: Arc<Charter>,
    signer: Signer,
    me: PeerKey,
    options: Options,
    /// The certified head: the state and the hash of the block that led to it.
    state: State,
    head: Hash,
    /// When the head was applied here.
    head_at: Time,
    /// When this peer last did everything that it could.
    done_at: Time,
    connected: BTreeSet<PeerKey>,
    /// When each voter said something last: a connection may outlive whoever is behind it.
    heard_at: BTreeMap<PeerKey, Time>,
    slots: Slots,
    voting: Voting,
    spreading: Spreading,
    /// Hears the other voters while this one does not vote.
    observer: Option<Consensus>,
    elections: Elections,
    resets: Resets,
    recall: Recall,
    repair: Repair,
    candidates: Candidates,
    snapshots: Snapshots,
    catch_up: CatchUp,
    restoring: Option<Restoring>,
    training: Training,
    stepping: Stepping,
    contributing: Contributing,
    writes: Writes,
    /// Blobs known to be in the store, among those that matter now.
    held: BTreeSet<Hash>,
    /// Blobs asked for; `Some` is when a failed one may be asked for again.
    fetching: BTreeMap<Hash, Option<Time>>,
    joins: BTreeMap<PeerKey, Signed<Join>>,
    leaves: BTreeMap<PeerKey, Signed<Leave>>,
    evidence: Vec<Evidence>,
    next_beacon: Time,
    /// Whose turn it is to be told.
    beacon_turn: usize,
    next_join: Time,
    ending: Option<Ending>,
    /// Why this peer's chain may not go on; it only waits for its user.
    halted: Option<String>,
    waiting: Waiting,
    outputs: VecDeque<Output>,
}

/// A session at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Height of the head.
    pub height: Height,
    /// Hash of the head block.
    pub head: Hash,
    /// Digest of the state.
    pub digest: Hash,
    /// Tokens counted so far.
    pub tokens: u64,
    /// Members.
    pub members: usize,
    /// Whether this peer is one.
    pub member: bool,
    /// Whether this peer has a seat.
    pub voter: bool,
    /// Who votes on the next height.
    pub seats: Vec<PeerKey>,
    /// Whether nothing is decided while any one of them is away.
    pub all_needed: bool,
    /// Local inner steps.
    pub step: u64,
    /// Why training stands still.
    pub waiting: Waiting,
    /// Why the chain may not go on here.
    pub halted: Option<String>,
    /// Why this peer signs nothing.
    pub barred: Option<String>,
}

impl Session {
    fn at(
        now: Time,
        charter: Arc<Charter>,
        signer: Signer,
        options: Options,
        state: State,
        head: Hash,
    ) -> Session {
        let me = signer.key();
        Session {
            slots: Slots::new(&charter),
            voting: Voting::new(&charter, &signer),
            spreading: Spreading::default(),
            observer: None,
            elections: Elections::default(),
            resets: Resets::default(),
            recall: Recall::default(),
            repair: Repair::default(),
            training: Training::new(charter.clone(), me, &state),
            charter,
            signer,
            me,
            state,
            head,
            head_at: now,
            done_at: now,
            connected: BTreeSet::new(),
            heard_at: BTreeMap::new(),
            candidates: Candidates::default(),
            snapshots: Snapshots::default(),
            catch_up: CatchUp::default(),
            restoring: None,
            stepping: Stepping::default(),
            contributing: Contributing::default(),
            writes: Writes::new(now, options.writes_per_day),
            options,
            held: BTreeSet::new(),
            fetching: BTreeMap::new(),
            joins: BTreeMap::new(),
            leaves: BTreeMap::new(),
            evidence: Vec::new(),
            next_beacon: now,
            beacon_turn: 0,
            next_join: now,
            ending: None,
            halted: None,
            waiting: Waiting::No,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input; drain the outputs afterwards.
    pub fn handle_input(&mut self, now: Time, input: Input) {
        let matters = self.matters(&input);
        match input {
            Input::Message { from, message } => self.handle_message(now, from, message),
            Input::Connected(peer) => self.peer_connected(peer),
            Input::Disconnected(peer) => {
                self.connected.remove(&peer);
                self.slots.went(peer);
                self.catch_up.forget(&peer);
                self.recall.asked.remove(&peer);
            }
            Input::Restarted(peer) => self.peer_restarted(peer),
            Input::BlobStored(root) => self.blob_stored(now, root),
            Input::BlobFailed(root) => self.blob_failed(now, root),
            Input::Pushed { root, to } => self.pushed(now, root, to),
            Input::WorkDone(done) => self.work_done(now, done),
            Input::Candidate { id, result } => self.candidate_done(now, id, result),
            Input::Assembled(result) => self.assembled(now, result),
            Input::StateDamaged(what) => self.state_is_wrong(self.height() + 1, &what),
            Input::Reloaded(result) => self.reloaded(now, result),
            Input::Command(command) => self.command(now, command),
        }
        if matters {
            self.go_on(now);
        }
    }

    /// Whether anything may have become possible. In a large session most of what comes makes nothing
    /// so: one of many blobs that the next block needs, and word that a peer is no further than this one.
    fn matters(&self, input: &Input) -> bool {
        match input {
            Input::BlobStored(root) => self.is_voter() || self.candidates.may_go_on_with(root),
            Input::Message { from, message: Message::Head { height } } => {
                let news = *height > self.height() || self.state.control.seats.contains(from);
                news || self.is_complete() || self.ending.is_some()
            }
            _ => true,
        }
    }

    /// Acts on the time that `next_timeout` named.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.can_vote() {
            self.voting.consensus.handle_timeout(now);
        }
        self.resend(now);
        self.go_on(now);
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle_timeout`, if nothing else happens before.
    pub fn next_timeout(&self) -> Option<Time> {
        if self.is_over() {
            return None;
        }
        let fetches = self.fetching.values().flatten().copied();
        let join = self.wants_to_join().then_some(self.next_join);
        let voting = self.can_vote().then(|| self.voting_timeouts());
        let stand = self.stand_timeout();
        let spread = self.spreading.timeout();
        let some = [join, stand, spread, self.catch_up.next_timeout(), self.ending_timeout()];
        let some = some.into_iter().flatten().chain(self.recall.timeouts()).chain(self.stepping_timeouts());
        // What was due when this peer last did all it could waits for an input, not for time.
        let pending = some.chain(fetches).chain(voting.into_iter().flatten());
        let pending = pending.filter(|at| *at > self.done_at).min();
        let consensus = self.can_vote().then(|| self.voting.consensus.next_timeout()).flatten();
        [pending, consensus, Some(self.next_beacon), self.resend_timeout()].into_iter().flatten().min()
    }

    /// The session at a glance.
    pub fn status(&self) -> Status {
        Status {
            height: self.height(),
            head: self.head,
            digest: self.state.digest(),
            tokens: self.state.control.counted_tokens,
            members: self.state.control.members.len(),
            member: self.is_member(),
            voter: self.is_voter(),
            seats: self.voters().to_vec(),
            all_needed: self.charter.quorum(self.voters().len()) == self.voters().len(),
            step: self.training.step(),
            waiting: self.waiting,
            halted: self.halted.clone(),
            barred: self.recall.bar().map(|bar| bar.reason.clone()),
        }
    }

    /// Peers of this session that can be reached.
    pub fn connected(&self) -> usize {
        self.connected.len()
    }

    /// Whether gossip may travel on.
    pub fn vouches_for(&self, message: &Message) -> bool {
        match message {
            Message::Block(certified) => self.vouches_for_block(certified),
            Message::Reset(reset) => self.vouches_for_reset(reset),
            _ => false,
        }
    }

    /// Contributions to open slots that this peer knows of, its own included, each with the step after which
    /// its slot is due: whoever gives several of them gives the earliest first.
    pub fn underway(&self) -> BTreeMap<Hash, u64> {
        let schedule = self.charter.manifest.method.schedule();
        let known = self.slots.blobs().chain(self.contributing.blobs());
        known.map(|(slot, root)| (root, schedule.due(slot.stream, slot.ordinal))).collect()
    }

    /// The certified state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Everything that may have become possible, in the order of the data flow.
    fn go_on(&mut self, now: Time) {
        if self.is_over() {
            return;
        }
        loop {
            let height = self.height();
            self.apply_next(now);
            self.vote(now);
            if self.height() == height {
                break;
            }
        }
        self.fetch_missing(now);
        self.follow(now);
        self.go_on_listening(now);
        self.vote_late(now);
        self.go_on_stepping(now);
        self.drive_engine(now);
        self.drive_ending(now);
        self.spread_due(now);
        self.beacon(now);
        self.done_at = now;
    }

    fn handle_message(&mut self, now: Time, from: PeerKey, message: Message) {
        if self.voters().contains(&from) {
            self.hear(now, from);
        }
        match message {
            Message::Announce { announcement, .. } if announcement.by == self.me => {
                self.own_announcement_received(&announcement);
            }
            Message::Announce { announcement, mirrors, relay } => {
                self.announcement_received(now, announcement, mirrors, relay)
            }
            Message::Propose { .. } | Message::Vote(_) => self.statement_received(now, from, message),
            Message::Block(certified) => self.certified_received(from, certified),
            Message::Join(join) => self.join_received(join),
            Message::Leave(leave) => self.leave_received(leave),
            Message::Stand(word) => self.stand_received(word),
            Message::Presence(presence) => self.presence_received(from, presence),
            Message::Reset(reset) => self.reset_received(now, from, reset),
            Message::Head { height } => self.head_received(from, height),
            Message::Blocks(reply) => self.blocks_received(from, reply),
            Message::Snapshot(offer) => self.snapshot_received(from, offer),
            Message::Samples { slot, step, bytes } => self.samples_received(now, from, slot, step, bytes),
            Message::List { slot, step, listed, bytes } => {
                self.list_received(now, from, slot, step, listed, bytes)
            }
            Message::GetStatements => self.statements_asked(from),
            Message::Statements(statements) => self.statements_received(now, from, *statements),
            // Answered by the driver from its store.
            Message::GetBlocks { .. }
            | Message::GetSnapshot { .. }
            | Message::GetManifest
            | Message::GetPeers => {}
            // Read by the driver.
            Message::Hello { .. } | Message::Manifest(_) | Message::Peers(_) | Message::DialBack => {}
        }
    }

    fn ground(&self) -> Ground<'_> {
        Ground { charter: &self.charter, state: &self.state, head: self.head }
    }

    fn scope(&self) -> Scope {
        self.ground().scope()
    }

    fn height(&self) -> Height {
        self.state.control.height
    }

    fn is_member(&self) -> bool {
        self.state.control.index_of(&self.me).is_some()
    }

    fn is_voter(&self) -> bool {
        match self.adopted_reset() {
            Some(reset) => reset.content.seats.contains(&self.me),
            None => self.state.control.seat_of(&self.me).is_some(),
        }
    }

    /// A voter said something. Those who vote no more are forgotten.
    fn hear(&mut self, now: Time, voter: PeerKey) {
        if self.heard_at.len() >= MAX_SEATS && !self.heard_at.contains_key(&voter) {
            let voters: BTreeSet<PeerKey> = self.voters().iter().copied().collect();
            self.heard_at.retain(|key, _| voters.contains(key));
        }
        self.heard_at.insert(voter, now);
    }

    /// Whether a voter said something lately.
    fn speaks(&self, now: Time, key: &PeerKey) -> bool {
        let heard = self.heard_at.get(key).is_some_and(|at| now.since(*at) < SILENT);
        heard && self.connected.contains(key)
    }

    /// The other voters that can be reached.
    fn other_voters(&self) -> Vec<PeerKey> {
        self.voters().iter().filter(|key| **key != self.me && self.connected.contains(key)).copied().collect()
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn warn(&mut self, text: String) {
        self.event(Event::Warning(text));
    }

    fn send(&mut self, to: Vec<PeerKey>, message: Message) {
        if !to.is_empty() {
            self.outputs.push_back(Output::Send { to, message });
        }
    }

    /// Stops this peer's chain for good: going on could only make it worse.
    fn halt(&mut self, reason: String) {
        self.warn(reason.clone());
        self.training.stop();
        self.halted = Some(reason);
    }
}
