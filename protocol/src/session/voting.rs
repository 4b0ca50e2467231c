//! Voting: enters heights, proposes, checks proposals, spreads what was decided.

use crate::block::{Attempt, Block, CertifiedBlock, Evidence, Height, Item};
use crate::charter::Charter;
use crate::consensus::{Consensus, ConsensusOutput, Seats, Timeouts};
use crate::event::{Output, Record};
use crate::identity::Signer;
use crate::state::State;
use crate::time::Time;
use crate::transition;
use crate::wire::{Message, limits};

use super::Session;
use super::chain::Purpose;

/// This peer's part in the committee.
pub(super) struct Voting {
    pub consensus: Consensus,
    /// The attempt for which this peer owes a proposal.
    proposing: Option<(Height, Attempt)>,
    /// Statements of this key are in use elsewhere: no more votes.
    barred: bool,
}

impl Voting {
    pub fn new(charter: &Charter, signer: &Signer) -> Voting {
        let consensus = Consensus::new(Some(signer.clone()), charter.session, Timeouts::default());
        Voting { consensus, proposing: None, barred: false }
    }
}

impl Session {
    /// Whether this peer takes part in consensus now.
    pub(super) fn can_vote(&self) -> bool {
        self.is_voter()
            && !self.voting.barred
            && self.halted.is_none()
            && self.restoring.is_none()
            && !self.is_complete()
    }

    pub(super) fn begin_voting(&mut self, now: Time) {
        self.voting.proposing = None;
        if !self.can_vote() {
            return;
        }
        let control = &self.state.control;
        let (height, generation) = (control.height + 1, control.generation);
        let seats = self.seats();
        self.voting.consensus.start_height(now, height, generation, self.head, seats);
        self.drain_consensus(now);
    }

    fn seats(&self) -> Seats {
        let quorum = self.charter.manifest.committee.quorum_rule();
        Seats { keys: self.state.control.seats.clone(), quorum }
    }

    /// When this voter looks again at what it waits for, beside the timers of consensus.
    pub(super) fn voting_timeouts(&self) -> Vec<Time> {
        let entered = self.voting.consensus.is_entered();
        let mut times = Vec::new();
        if !entered || self.has_deferred() {
            times = self.slots.deadlines(self.ground()).collect();
        }
        if !entered {
            times.push(self.head_at + self.charter.manifest.heartbeat);
        }
        times
    }

    fn has_deferred(&self) -> bool {
        self.voting.proposing.is_some() || !self.candidates.checking.is_empty()
    }

    /// Everything a voter can do now.
    pub(super) fn vote(&mut self, now: Time) {
        if !self.can_vote() {
            return;
        }
        if !self.voting.consensus.is_entered() && self.wants_height(now) {
            self.voting.consensus.enter(now);
        }
        self.drain_consensus(now);
        self.check_proposals(now);
        self.propose(now);
        self.drain_consensus(now);
    }

    fn wants_height(&self, now: Time) -> bool {
        let statements = !(self.joins.is_empty() && self.leaves.is_empty() && self.evidence.is_empty());
        statements
            || self.slots.wants_height(now, self.ground())
            || now >= self.head_at + self.charter.manifest.heartbeat
    }

    pub(super) fn drain_consensus(&mut self, now: Time) {
        while let Some(output) = self.voting.consensus.poll_output() {
            match output {
                ConsensusOutput::Persist { record, sync } => {
                    self.outputs.push_back(Output::Persist { record: Record::Wal(record), sync });
                }
                ConsensusOutput::Broadcast(message) => {
                    let to = self.other_voters();
                    self.send(to, message);
                }
                ConsensusOutput::NeedBlock { height, attempt } => {
                    self.voting.proposing = Some((height, attempt));
                }
                ConsensusOutput::CheckBlock { block } => self.candidates.checking.push_back(block),
                ConsensusOutput::Decided(certified) => {
                    // If another route already applies this height, that is the same block.
                    if certified.block.height == self.height() + 1 {
                        self.candidates.applying = Some(certified);
                        return self.apply_next(now);
                    }
                }
                ConsensusOutput::Evidence(evidence) => self.keep_evidence(evidence),
                ConsensusOutput::Entered => {}
                ConsensusOutput::KeyInUseElsewhere { height, .. } => {
                    self.bar(format!(
                        "this key signed something at height {height} that is not in this folder: the folder \
                         was restored from an older copy, or the key is in use elsewhere. This peer does not \
                         vote any more; the remedy is a new key (`driftless identity --new`)"
                    ));
                }
            }
        }
    }

    /// Proposes, if it is this peer's turn and what can be closed is here.
    fn propose(&mut self, now: Time) {
        let Some((height, attempt)) = self.voting.proposing else { return };
        if height != self.height() + 1 || self.candidates.is_running() {
            return;
        }
        let closings = self.slots.closable(now, self.ground());
        if closings.is_empty() && self.slots.wants_height(now, self.ground()) {
            // Complete, but a blob is still on its way.
            return;
        }
        let mut items: Vec<Item> = closings.into_iter().map(Item::Close).collect();
        items.extend(self.statements());
        match self.plan(&items) {
            Ok(plan) => self.evaluate(Purpose::Propose { height, attempt, items }, plan),
            Err(invalid) => {
                // Statements were checked one by one; together they may collide (a full session).
                self.warn(format!("own proposal dropped its statements: {invalid}"));
                items.retain(|item| matches!(item, Item::Close(_)));
                if let Ok(plan) = self.plan(&items) {
                    self.evaluate(Purpose::Propose { height, attempt, items }, plan);
                }
            }
        }
    }

    fn statements(&self) -> Vec<Item> {
        let joins = self.joins.values().take(limits::JOINS).cloned().map(Item::Join);
        let leaves = self.leaves.values().take(limits::JOINS).cloned().map(Item::Leave);
        let convictions = self.evidence.iter().take(1).cloned().map(Item::Convict);
        joins.chain(leaves).chain(convictions).collect()
    }

    /// The state after the proposed items is known: the proposal can leave.
    pub(super) fn proposal_ready(
        &mut self,
        now: Time,
        height: Height,
        attempt: Attempt,
        items: Vec<Item>,
        state: State,
    ) {
        let generation = self.state.control.generation;
        let block = Block { height, generation, parent: self.head, items, digest: state.digest() };
        self.keep_candidate(block.hash(), state);
        if self.voting.proposing == Some((height, attempt)) {
            self.voting.proposing = None;
            self.voting.consensus.value_ready(now, height, attempt, block);
        }
    }

    /// Judges waiting proposals as far as their blobs are here.
    fn check_proposals(&mut self, now: Time) {
        // An own proposal that is being computed for nothing yields to a check.
        if self.candidates.is_running() && !self.candidates.is_proposing() {
            return;
        }
        let waiting = std::mem::take(&mut self.candidates.checking);
        for block in waiting {
            if self.candidates.is_running() || !self.check_proposal(now, &block) {
                self.candidates.checking.push_back(block);
            }
        }
    }

    /// Returns whether the proposal needs no more attention here.
    fn check_proposal(&mut self, now: Time, block: &Block) -> bool {
        let hash = block.hash();
        let parent = transition::Parent { state: &self.state, hash: self.head };
        let plan = transition::continues(parent, block).and_then(|()| self.plan(&block.items));
        let plan = match plan {
            Ok(plan) => plan,
            Err(invalid) => {
                self.warn(format!("voting nil at height {}: {invalid}", block.height));
                self.voting.consensus.validity(now, hash, false);
                return true;
            }
        };
        self.note_contradictions(block);
        let closings: Vec<_> = block.closings().collect();
        if self.slots.omitted(now, &closings).is_some() {
            // Not before this voter's own deadline; the attempt's timeout votes nil meanwhile.
            return false;
        }
        let missing = self.missing_blobs(block);
        if !missing.is_empty() {
            self.fetch_all(now, missing);
            return false;
        }
        self.evaluate(Purpose::Check(block.clone()), plan);
        true
    }

    /// A block shows what its author showed to others.
    pub(super) fn note_contradictions(&mut self, block: &Block) {
        for evidence in self.slots.contradictions(self.ground(), block) {
            self.keep_evidence(evidence);
        }
    }

    pub(super) fn keep_evidence(&mut self, evidence: Evidence) {
        if self.evidence.len() >= super::MAX_PENDING || self.evidence.contains(&evidence) {
            return;
        }
        let guilty = transition::guilty(self.scope(), &evidence);
        if let Some(key) = guilty.filter(|key| self.state.control.convicted.binary_search(key).is_err()) {
            self.warn(format!("{} contradicted itself: it signed two contents for one thing", key.short()));
            self.evidence.push(evidence);
        }
    }

    /// Gossips a new block. The deciding attempt's proposer does, and the seat after it in case
    /// that one is gone: if every voter did, each peer would get every block many times.
    pub(super) fn spread(&mut self, certified: CertifiedBlock) {
        let seats = self.seats();
        let Some(mine) = seats.keys.iter().position(|key| *key == self.me) else { return };
        let first = seats.proposer_seat(certified.block.parent, certified.certificate.attempt);
        if mine == first || mine == (first + 1) % seats.keys.len() {
            self.outputs.push_back(Output::Publish(Message::Block(certified)));
        }
    }

    /// Ends this peer's votes for good.
    pub(super) fn bar(&mut self, reason: String) {
        self.voting.barred = true;
        self.warn(reason);
    }
}
