//! Voting: enters heights, proposes, checks proposals.

use crate::block::{Attempt, Block, Closing, Counted, Evidence, Height, Item};
use crate::charter::Charter;
use crate::consensus::{Consensus, ConsensusOutput, Seats, Timeouts};
use crate::event::{Output, Record};
use crate::identity::{PeerKey, Signer};
use crate::state::State;
use crate::time::{Span, Time};
use crate::transition;
use crate::wire::{self, limits};

use super::Session;
use super::chain::{Applying, Proposed, Purpose};

/// Joins, leaves and convictions alone make a height only this long after the one before.
const STATEMENTS_WAIT: Span = Span::seconds(1);
/// The most that measured work adds to the wait for a proposal.
const MAX_EXTRA: Span = Span::seconds(60);

/// This peer's part in the committee.
pub(super) struct Voting {
    pub consensus: Consensus,
    /// The attempt for which this peer owes a proposal, and since when.
    proposing: Option<(Height, Attempt, Time)>,
    /// How long fetching and aggregating lately took, for a proposal or a check of one.
    work: Span,
}

impl Voting {
    pub fn new(charter: &Charter, signer: &Signer) -> Voting {
        let consensus = Consensus::new(Some(signer.clone()), charter.session, Timeouts::default());
        Voting { consensus, proposing: None, work: Span::ZERO }
    }

    /// Notes what a proposal or its check took: a maximum that fades.
    pub fn took(&mut self, now: Time, since: Option<Time>) {
        let Some(since) = since else { return };
        let faded = Span(self.work.0 - self.work.0 / 8);
        self.work = now.since(since).max(faded);
    }

    /// What the wait for a proposal needs on top: the proposer's work, then this voter's.
    fn propose_extra(&self) -> Span {
        self.work.times(2).min(MAX_EXTRA)
    }
}

impl Session {
    /// Whether this peer takes part in consensus now.
    pub(super) fn can_vote(&self) -> bool {
        self.is_voter()
            && self.recall.may_vote_at(self.height() + 1)
            && self.halted.is_none()
            && self.restoring.is_none()
            && !self.repair.is_going_on()
            && !self.is_complete()
    }

    pub(super) fn begin_voting(&mut self, now: Time) {
        self.voting.proposing = None;
        if !self.can_vote() {
            return;
        }
        let (height, generation) = (self.height() + 1, self.generation());
        let seats = self.seats();
        self.begin_presence();
        self.voting.consensus.set_propose_extra(self.voting.propose_extra());
        self.voting.consensus.start_height(now, height, generation, self.head, seats);
        self.drain_consensus(now);
    }

    pub(super) fn seats(&self) -> Seats {
        let quorum = self.charter.manifest.committee.quorum_rule();
        let control = &self.state.control;
        let keys = self.voters().to_vec();
        if self.adopted_reset().is_some() {
            return Seats { keys, quorum, unheard: control.convicted.clone(), silent: Vec::new() };
        }
        let left = keys.iter().filter(|key| control.seat_of(key).is_none());
        let unheard = control.convicted.iter().chain(left).copied().collect();
        let silent = self.silent_voters();
        Seats { keys, quorum, unheard, silent }
    }

    /// When this voter looks again at what it waits for, beside the timers of consensus.
    pub(super) fn voting_timeouts(&self) -> Vec<Time> {
        let entered = self.voting.consensus.is_entered();
        let mut times = Vec::new();
        if !entered || self.has_deferred() {
            times = self.slots.deadlines(self.ground()).collect();
            times.extend(self.slots.ends_of_objections(self.ground()));
        }
        if !entered {
            times.extend(self.reset_due());
            times.push(self.head_at + self.charter.manifest.heartbeat);
            if self.has_statements() {
                times.push(self.head_at + STATEMENTS_WAIT);
            }
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
        if let Some(due) = self.reset_due() {
            return now >= due;
        }
        (self.has_statements() && now >= self.head_at + STATEMENTS_WAIT)
            || self.slots.wants_height(now, self.ground())
            || now >= self.head_at + self.charter.manifest.heartbeat
    }

    fn has_statements(&self) -> bool {
        let stands = self.elections.stands.is_empty();
        !(self.joins.is_empty() && self.leaves.is_empty() && self.evidence.is_empty() && stands)
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
                ConsensusOutput::Tell { to, message } => self.send(vec![to], message),
                ConsensusOutput::NeedBlock { height, attempt } => {
                    self.voting.proposing = Some((height, attempt, now));
                }
                ConsensusOutput::CheckBlock { block } => self.proposal_to_check(now, block),
                ConsensusOutput::Decided(certified) => {
                    // If another route already applies this height, that is the same block.
                    if certified.block.height == self.height() + 1 {
                        self.candidates.applying = Some(Applying::new(certified));
                        return self.apply_next(now);
                    }
                }
                ConsensusOutput::Evidence(evidence) => self.keep_evidence(evidence),
                ConsensusOutput::Entered => {}
                ConsensusOutput::KeyInUseElsewhere { height, .. } => {
                    return self.met_own(&format!("something at height {height}"));
                }
            }
        }
    }

    /// Proposes, if it is this peer's turn and what can be closed is here.
    fn propose(&mut self, now: Time) {
        let Some((height, attempt, _)) = self.voting.proposing else { return };
        if height != self.height() + 1 || self.candidates.is_running() {
            return;
        }
        let closings = self.slots.closable(now, self.ground());
        let reset = self.adopted_reset().cloned();
        let nothing = closings.is_empty() && !self.has_statements() && reset.is_none();
        if nothing && now < self.head_at + self.charter.manifest.heartbeat {
            // A blob is still on its way, or others know more: a block of nothing would only hold them up.
            return;
        }
        let mut items = match reset {
            Some(reset) => vec![Item::Reset(reset)],
            None => within_limits(closings.into_iter().map(Item::Close), self.statements()),
        };
        loop {
            match self.compose(&mut items) {
                Ok(plan) => return self.evaluate(now, Purpose::Propose { height, attempt, items }, plan),
                // Statements were checked one by one; together they may collide (a full session).
                Err(transition::Invalid::Statement { item, reason }) => {
                    self.warn(format!("own proposal leaves out a statement: {reason}"));
                    items.remove(item);
                }
                Err(invalid) => return self.warn(format!("no proposal: {invalid}")),
            }
        }
    }

    fn statements(&self) -> Vec<Item> {
        let joins = self.joins.values().take(limits::JOINS).cloned().map(Item::Join);
        let leaves = self.leaves.values().take(limits::JOINS).cloned().map(Item::Leave);
        let convictions = self.evidence.iter().take(1).cloned().map(Item::Convict);
        let stands = self.elections.stands.values().take(limits::JOINS).cloned().map(Item::Stand);
        joins.chain(leaves).chain(convictions).chain(stands).chain(self.roll()).collect()
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
        let generation = self.generation();
        let block = Block { height, generation, parent: self.head, items, digest: state.digest() };
        self.keep_candidate(block.hash(), state);
        if let Some((.., since)) = self.voting.proposing.take_if(|owed| (owed.0, owed.1) == (height, attempt))
        {
            self.voting.took(now, Some(since));
            self.voting.consensus.value_ready(now, height, attempt, block);
        }
    }

    /// A proposal came: what can be said at once is said, the rest waits for blobs or deadlines.
    fn proposal_to_check(&mut self, now: Time, block: Block) {
        let parent = transition::Parent { state: &self.state, hash: self.head };
        match transition::continues(parent, &block).and_then(|()| self.plan(&block.items)) {
            // The founder's other word, if this is one, is not what this voter goes by.
            Ok(_) if block.reset() != self.adopted_reset() => {
                self.voting.consensus.validity(now, block.hash(), false);
            }
            Ok(plan) => {
                self.note_contradictions(&block);
                // What waited longest is asked about again if it is proposed again.
                if let Some(gone) = self.candidates.wait(Proposed { block, plan, since: None }) {
                    self.voting.consensus.validity(now, gone.block.hash(), false);
                }
            }
            Err(invalid) => {
                self.warn(format!("voting nil at height {}: {invalid}", block.height));
                self.voting.consensus.validity(now, block.hash(), false);
            }
        }
    }

    /// Judges waiting proposals as far as their blobs are here.
    fn check_proposals(&mut self, now: Time) {
        for proposed in std::mem::take(&mut self.candidates.checking) {
            if let Some(proposed) = self.check_proposal(now, proposed) {
                self.candidates.checking.push_back(proposed);
            }
        }
    }

    /// Starts the evaluation of a proposal, or returns it because it has to wait.
    fn check_proposal(&mut self, now: Time, mut proposed: Proposed) -> Option<Proposed> {
        let closings: Vec<_> = proposed.block.closings().collect();
        let objects = self.slots.objects(now, self.ground(), &closings);
        if objects || self.slots.omitted(now, &closings).is_some() {
            // Not before this voter's own deadline; the attempt's timeout votes nil meanwhile.
            return Some(proposed);
        }
        proposed.since.get_or_insert(now);
        let missing = self.missing_blobs(&proposed.block);
        if !missing.is_empty() {
            self.fetch_all(now, missing);
            return Some(proposed);
        }
        // An own proposal that is being computed for nothing yields to a check.
        if self.candidates.is_running() && !self.candidates.is_proposing() {
            return Some(proposed);
        }
        let plan = proposed.plan.clone();
        self.evaluate(now, Purpose::Check(proposed), plan);
        None
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
        let control = &self.state.control;
        let open = |key: &PeerKey| control.has_part(key) && control.convicted.binary_search(key).is_err();
        if let Some(key) = transition::guilty(self.scope(), &evidence).filter(open) {
            self.warn(format!("{} contradicted itself: it signed two contents for one thing", key.short()));
            self.evidence.push(evidence);
        }
    }
}

/// Leaves out the longest claims of a slot that no block would hold: whoever sends such may not hold up the others.
fn trim(closing: &mut Closing, most: usize) {
    while wire::encode(closing).len() > most && !closing.counted.is_empty() {
        let length = |counted: &Counted| wire::encode(counted).len();
        let longest = (0..closing.counted.len()).max_by_key(|index| length(&closing.counted[*index]));
        longest.into_iter().for_each(|index| drop(closing.counted.remove(index)));
    }
}

/// As many of the items as a block holds, closings first: what is left over goes into the next.
fn within_limits(closings: impl Iterator<Item = Item>, statements: Vec<Item>) -> Vec<Item> {
    /// What a block holds beside its items, generously.
    const REST: usize = 2048;
    let mut left = limits::BLOCK - REST;
    let mut items = Vec::new();
    for mut item in closings.chain(statements) {
        if let Item::Close(closing) = &mut item {
            trim(closing, left);
        }
        let length = wire::encode(&item).len();
        if length <= left && items.len() < limits::ITEMS {
            left -= length;
            items.push(item);
        }
    }
    items
}
