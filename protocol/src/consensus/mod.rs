//! Agreement on the next block: an adapter around the Tendermint driver `arc-malachitebft`.
//!
//! The driver is a plain state machine that neither signs, verifies, logs, bounds nor repeats
//! anything. This adapter does: statements are verified and bounded before the driver sees them
//! ([`admission`](self)), its timers carry their height, its own statements are signed once, logged,
//! sent, fed back and sent again until the height is decided, and a restart replays the log so that
//! votes *and locks* come back.
//!
//! # Call contract
//!
//! 1. [`Consensus::start_height`] with the parent of the block to decide, then, after a restart
//!    only, [`Consensus::replay`] with the log, before anything else.
//! 2. [`Consensus::enter`] when a slot can close, its deadline or the heartbeat passed. A valid
//!    proposal or vote enters the height by itself.
//! 3. Feed messages as they come, also relayed ones: a vote is judged by its signature, not by who
//!    delivered it. Answer [`ConsensusOutput::NeedBlock`] with [`Consensus::value_ready`] and
//!    [`ConsensusOutput::CheckBlock`] with [`Consensus::validity`].
//! 4. After every call act on [`Consensus::poll_output`] until it returns `None`, in order. After
//!    [`ConsensusOutput::Persist`] with `sync` nothing may leave before the log is durable. Call
//!    [`Consensus::handle_timeout`] at [`Consensus::next_timeout`].
//! 5. On [`ConsensusOutput::Decided`], or on a certified block from elsewhere: make it durable, cut
//!    the log, apply it, `start_height` for the next. A statement of a decided height deserves the
//!    certified block as its answer; this adapter is past it.
//!
//! Time never goes back. Wrong input is dropped: no call panics or fails because of it.
//!
//! # Bounds
//!
//! Votes of [`PAST_ATTEMPTS`] behind and [`FUTURE_ATTEMPTS`] ahead, proposals and bodies of 8
//! behind, one message per kind and key of the next height. Per seat 256 signature checks at once
//! and 100 a second: who floods in a seat's name can crowd that seat out for as long as it lasts,
//! so the caller limits each sender first. The log of a height grows by at most a few kilobytes
//! per attempt, and by each valid block once.

mod admission;
mod context;
mod early;
mod instance;
mod ledger;
mod output;
mod own;
mod proposals;
mod replay;
mod seats;
mod timers;
mod wal;

pub use ledger::{EVIDENCE_PER_SEAT, FUTURE_ATTEMPTS, MAX_ATTEMPT, PAST_ATTEMPTS};
pub use output::ConsensusOutput;
pub use seats::Seats;
pub use timers::Timeouts;
pub use wal::{ReplayError, StatementKind, Timer, WalRecord};

use std::collections::VecDeque;

use early::Early;
use instance::{Instance, Setting};

use crate::block::{Attempt, Block, Height, Proposal, Step, Vote};
use crate::holdings::Tell;
use crate::identity::{Hash, PeerKey, Scope, Signed, Signer};
use crate::time::{Span, Time};
use crate::wire::Message;

/// Consensus of one peer in one session, one height at a time.
pub struct Consensus {
    signer: Option<Signer>,
    session: Hash,
    timeouts: Timeouts,
    extra: Span,
    height: Height,
    instance: Option<Instance>,
    early: Early,
    outputs: VecDeque<ConsensusOutput>,
}

impl Consensus {
    /// Consensus that waits for its first height. Without a signer, or at heights where it has no
    /// seat, the peer observes: it decides by the votes of others and says nothing.
    pub fn new(signer: Option<Signer>, session: Hash, timeouts: Timeouts) -> Consensus {
        Consensus {
            signer,
            session,
            timeouts,
            extra: Span::ZERO,
            height: 0,
            instance: None,
            early: Early::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Prepares a height; no timer runs before it is entered. The former height's state goes,
    /// decided or not. Seats that are not usable make a height at which nothing happens.
    pub fn start_height(&mut self, now: Time, height: Height, generation: u32, parent: Hash, seats: Seats) {
        self.height = height;
        let early = self.early.take(height);
        self.instance = None;
        if !seats.are_usable() {
            return;
        }
        let scope = Scope { session: self.session, generation };
        let setting = Setting { height, scope, parent, seats };
        let signer = self.signer.as_ref();
        self.instance = Some(Instance::new(now, setting, signer, self.timeouts, self.extra));
        for (proposal, block) in early.proposals {
            self.proposal_received(now, proposal, block);
        }
        for vote in early.votes {
            self.vote_received(now, vote);
        }
    }

    /// Continues this height from its log; once, right after `start_height`. Records of earlier
    /// heights or generations are passed over. After an error the peer observes this height.
    pub fn replay(&mut self, now: Time, records: Vec<WalRecord>) -> Result<(), ReplayError> {
        self.step(|instance| instance.replay(now, records)).unwrap_or(Ok(()))
    }

    /// From now on what this key said at this height and is not known here counts as said, so that it
    /// is not contradicted; right after `start_height`. (Otherwise it silences this peer.) It is sent again like
    /// all else that this key said: somebody may have missed it.
    pub fn adopt_own(&mut self, now: Time) {
        if let Some(instance) = &mut self.instance {
            instance.adopts = true;
            instance.timers.restart_resend(now, &instance.timeouts);
        }
    }

    /// Begins the first attempt, if that did not happen yet.
    pub fn enter(&mut self, now: Time) {
        self.step(|instance| instance.enter(now));
    }

    /// A proposal or a vote, from anywhere; other messages are none of its business.
    pub fn take_in(&mut self, now: Time, statement: Message) {
        match statement {
            Message::Propose { proposal, block } => self.proposal_received(now, proposal, block),
            Message::Vote(vote) => self.vote_received(now, vote),
            _ => {}
        }
    }

    /// A proposal with its block's body, from anywhere.
    pub fn proposal_received(&mut self, now: Time, proposal: Signed<Proposal>, block: Block) {
        if self.is_early(proposal.content.height, &proposal.by) {
            self.early.keep_proposal(proposal, block);
        } else if proposal.content.height == self.height {
            self.step(|instance| instance.proposal(now, proposal, block));
        }
    }

    /// A vote, from anywhere.
    pub fn vote_received(&mut self, now: Time, vote: Signed<Vote>) {
        if self.is_early(vote.content.height, &vote.by) {
            self.early.keep_vote(vote);
        } else if vote.content.height == self.height {
            self.step(|instance| instance.vote(now, vote));
        }
    }

    /// The answer to `NeedBlock`: a block that the session evaluated itself, digest and all.
    /// Ignored if nothing is wanted any more.
    pub fn value_ready(&mut self, now: Time, height: Height, attempt: Attempt, block: Block) {
        if height == self.height {
            self.step(|instance| instance.value(now, attempt, block));
        }
    }

    /// The answer to `CheckBlock`. "Valid" holds for later proposals of the same block; after
    /// "invalid" the question is asked again if the block is proposed again.
    pub fn validity(&mut self, now: Time, block: Hash, valid: bool) {
        self.step(|instance| instance.validity(now, block, valid));
    }

    /// Runs every timer that is due at `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        self.step(|instance| instance.timeout(now));
    }

    /// When `handle_timeout` is due, if ever.
    pub fn next_timeout(&self) -> Option<Time> {
        self.instance.as_ref().and_then(|instance| instance.timers.next())
    }

    /// The next action, in order.
    pub fn poll_output(&mut self) -> Option<ConsensusOutput> {
        self.outputs.pop_front()
    }

    /// The measured time of fetching and aggregating, for propose timers set from now on.
    pub fn set_propose_extra(&mut self, extra: Span) {
        self.extra = extra;
        if let Some(instance) = &mut self.instance {
            instance.extra = extra;
        }
    }

    /// The height that is being decided; 0 before the first.
    pub fn height(&self) -> Height {
        self.height
    }

    /// The current attempt; 0 before the height is entered.
    pub fn attempt(&self) -> Attempt {
        self.instance.as_ref().map_or(0, Instance::attempt)
    }

    /// Whether the height's timers run, or ran until it was decided.
    pub fn is_entered(&self) -> bool {
        self.instance.as_ref().is_some_and(|instance| instance.entered)
    }

    /// Whether this height is decided.
    pub fn is_decided(&self) -> bool {
        self.instance.as_ref().is_some_and(|instance| instance.decided)
    }

    /// Whether this peer makes statements at this height.
    pub fn is_voting(&self) -> bool {
        self.instance.as_ref().is_some_and(|instance| instance.voice.is_some())
    }

    /// What a seat said last at this height: its votes and its proposal of its highest attempt.
    pub fn statements_of(&self, key: &PeerKey) -> Vec<Message> {
        self.instance.as_ref().map_or_else(Vec::new, |instance| instance.statements_of(key))
    }

    /// This peer's last precommit at this height.
    pub fn own_precommit(&self) -> Option<&Signed<Vote>> {
        self.instance.as_ref()?.own.votes.get(&Step::Precommit)
    }

    /// Who proposes in `attempt` of this height.
    pub fn proposer(&self, attempt: Attempt) -> Option<PeerKey> {
        self.instance.as_ref().map(|instance| instance.proposer(attempt))
    }

    /// Tells how much is held.
    pub fn holdings(&self, to: Tell<'_>) {
        self.early.holdings(to);
        if let Some(instance) = &self.instance {
            instance.ledger.holdings(to);
            instance.proposals.holdings(to);
        }
    }

    /// Early messages are kept for the next height only, and only of those who vote now.
    fn is_early(&self, height: Height, by: &PeerKey) -> bool {
        self.height.checked_add(1) == Some(height)
            && self.instance.as_ref().is_some_and(|instance| instance.seats.keys.contains(by))
    }

    fn step<T>(&mut self, f: impl FnOnce(&mut Instance) -> T) -> Option<T> {
        let instance = self.instance.as_mut()?;
        let result = f(instance);
        instance.close(&mut self.outputs);
        Some(result)
    }
}

#[cfg(test)]
mod tests;
