//! The chain moves: candidate states, their one job at a time, and the commit.

use std::collections::{BTreeMap, VecDeque};

use crate::block::{Attempt, Block, CertifiedBlock, Height, Item};
use crate::election::Sitting;
use crate::event::{Event, Output, Record};
use crate::holdings::{Tell, tell};
use crate::identity::{Hash, PeerKey};
use crate::mutant::Mutant;
use crate::state::State;
use crate::time::Time;
use crate::transition::{self, CandidateError, CandidateJob, Parent, Plan};

use super::Session;

/// Proposals that wait to be judged, at most: of each attempt whose proposal consensus keeps there is one.
pub(super) const MAX_CHECKING: usize = 32;
/// Candidate states that are kept.
const MAX_READY: usize = 4;

/// What a candidate state is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// To propose a block with these items.
    Propose { height: Height, attempt: Attempt, items: Vec<Item> },
    /// To vote on a proposal.
    Check(Proposed),
    /// To apply a certified block.
    Apply(CertifiedBlock),
}

/// A proposal that is being judged.
#[derive(Debug)]
pub(super) struct Proposed {
    pub block: Block,
    pub plan: Plan,
    /// Since when nothing but this peer's own work stands between it and a vote.
    pub since: Option<Time>,
}

/// A certified block that is being applied.
#[derive(Debug)]
pub(super) struct Applying {
    pub certified: CertifiedBlock,
    hash: Hash,
    /// Made once: checking a block costs a signature per contribution.
    plan: Option<Plan>,
    /// A blob that is on its way, without which nothing goes on.
    lacks: Option<Hash>,
}

impl Applying {
    pub fn new(certified: CertifiedBlock) -> Applying {
        Applying { hash: certified.block.hash(), certified, plan: None, lacks: None }
    }
}

/// Candidate states of the next height.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    next_id: u64,
    running: Option<(u64, Purpose)>,
    /// States whose digest matched, by block hash.
    ready: BTreeMap<Hash, State>,
    /// Proposals waiting for their blobs or their turn.
    pub checking: VecDeque<Proposed>,
    /// The certified block to apply next.
    pub applying: Option<Applying>,
}

impl Candidates {
    /// Whatever was under way rests on a state that is wrong.
    pub fn give_up(&mut self) {
        self.running = None;
        self.ready.clear();
        self.checking.clear();
        self.applying = None;
    }

    /// Whether a blob that came may be all that was missing: not if the block to apply lacks another.
    pub fn may_go_on_with(&self, root: &Hash) -> bool {
        let lacks = self.applying.as_ref().and_then(|applying| applying.lacks);
        lacks.is_none_or(|lacks| lacks == *root)
    }

    /// Lets a proposal wait to be judged; returns the one that has to go for it, if so.
    pub fn wait(&mut self, proposed: Proposed) -> Option<Proposed> {
        let gone = self.is_full().then(|| self.checking.pop_front()).flatten();
        self.checking.push_back(proposed);
        gone
    }

    /// Lets the one wait again that had waited longest; returns it if there is no room.
    fn wait_again(&mut self, proposed: Proposed) -> Option<Proposed> {
        if self.is_full() {
            return Some(proposed);
        }
        self.checking.push_front(proposed);
        None
    }

    fn is_full(&self) -> bool {
        self.checking.len() >= MAX_CHECKING
    }

    pub fn holdings(&self, to: Tell<'_>) {
        tell(to, "candidate states", self.ready.len(), MAX_READY);
        tell(to, "proposals being judged", self.checking.len(), MAX_CHECKING);
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub fn is_proposing(&self) -> bool {
        matches!(self.running, Some((_, Purpose::Propose { .. })))
    }
}

impl Session {
    fn parent(&self) -> Parent<'_> {
        Parent { state: &self.state, hash: self.head }
    }

    /// Plans a new block on the head.
    pub(super) fn compose(&self, items: &mut Vec<Item>) -> Result<Plan, transition::Invalid> {
        transition::compose(&self.charter, self.parent(), items)
    }

    /// Checks a block's place and items on the head.
    pub(super) fn plan(&self, items: &[Item]) -> Result<Plan, transition::Invalid> {
        transition::check(&self.charter, self.parent(), items)
    }

    pub(super) fn evaluate(&mut self, now: Time, purpose: Purpose, plan: Plan) {
        let id = self.candidates.next_id;
        self.candidates.next_id += 1;
        let audits = self.audits(now, &purpose, &plan);
        let job = CandidateJob::new(id, self.charter.clone(), self.state.clone(), plan).with_audits(audits);
        self.candidates.running = Some((id, purpose));
        self.outputs.push_back(Output::Evaluate(job));
    }

    /// Applies the next certified block as far as its blobs are here.
    pub(super) fn apply_next(&mut self, now: Time) {
        if self.halted.is_some() || self.repair.lacks_state() {
            return;
        }
        if self.candidates.applying.is_none() {
            self.candidates.applying = self.next_certified().map(Applying::new);
        }
        let Some(applying) = &self.candidates.applying else { return };
        if applying.lacks.is_some_and(|root| self.is_on_its_way(&root)) {
            return;
        }
        if let Some(state) = self.candidates.ready.remove(&applying.hash) {
            let certified = applying.certified.clone();
            return self.commit(now, certified, state);
        }
        if matches!(self.candidates.running, Some((_, Purpose::Apply(_)))) {
            return;
        }
        if applying.plan.is_none() && !self.plan_applying() {
            return;
        }
        let Some(Applying { certified, plan: Some(_), .. }) = &self.candidates.applying else { return };
        let block = certified.block.clone();
        self.take_listed(&block);
        let Some(Applying { certified, plan: Some(plan), .. }) = &self.candidates.applying else { return };
        let missing = self.missing_blobs(&block);
        if missing.is_empty() {
            let (certified, plan) = (certified.clone(), plan.clone());
            self.evaluate(now, Purpose::Apply(certified), plan);
        } else {
            let lacks = missing.first().map(|(root, ..)| *root);
            self.fetch_all(now, missing);
            if let Some(applying) = &mut self.candidates.applying {
                applying.lacks = lacks;
            }
        }
    }

    /// Checks the block to apply, once. Returns whether it is valid.
    fn plan_applying(&mut self) -> bool {
        let Some(Applying { certified, .. }) = &self.candidates.applying else { return false };
        let block = &certified.block;
        let checked = transition::continues(self.parent(), block).and_then(|()| self.plan(&block.items));
        match checked {
            Ok(plan) => {
                let applying = self.candidates.applying.as_mut();
                applying.into_iter().for_each(|applying| applying.plan = Some(plan.clone()));
                true
            }
            Err(invalid) => {
                let height = block.height;
                let found = format!(
                    "the certified block of height {height} is not valid on this peer's state ({invalid})"
                );
                self.state_is_wrong(height, &found);
                false
            }
        }
    }

    /// Blobs that a block counts and that are not here, with whom to ask first.
    pub(super) fn missing_blobs(&self, block: &Block) -> Vec<(Hash, u64, Vec<PeerKey>)> {
        let counted = block.closings().flat_map(|closing| &closing.counted);
        let missing = counted.filter_map(|counted| match counted.payload {
            crate::block::Payload::Blob { root, length } if !self.held.contains(&root) => {
                let author = self.state.control.members.get(usize::from(counted.member));
                Some((root, length, author.map(|member| member.key).into_iter().collect()))
            }
            _ => None,
        });
        missing.collect()
    }

    /// A candidate state was computed.
    pub(super) fn candidate_done(&mut self, now: Time, id: u64, result: Result<State, CandidateError>) {
        let Some((_, purpose)) = self.candidates.running.take_if(|(running, _)| *running == id) else {
            return;
        };
        match (purpose, result) {
            (purpose, Err(CandidateError::Missing { root, reason, .. })) => {
                self.warn(format!("blob {} could not be read ({reason}); fetching it again", root.short()));
                self.held.remove(&root);
                self.slots.blob_lost(&root);
                self.fetching.insert(root, Some(now + super::FETCH_AGAIN));
                if let Purpose::Check(proposed) = purpose
                    && let Some(gone) = self.candidates.wait_again(proposed)
                {
                    self.voting.consensus.validity(now, gone.block.hash(), false);
                }
            }
            (_, Err(error @ CandidateError::Damaged { .. })) => {
                self.state_is_wrong(self.height() + 1, &error.to_string());
            }
            (_, Err(error @ CandidateError::FloatEnvironment)) => self.halt(error.to_string()),
            (Purpose::Propose { height, attempt, items }, Ok(state)) => {
                self.proposal_ready(now, height, attempt, items, state);
            }
            (Purpose::Propose { .. }, Err(error)) => self.exclude(error),
            (Purpose::Check(Proposed { block, since, .. }), Ok(state)) => {
                self.voting.took(now, since);
                let hash = block.hash();
                let valid = state.digest() == block.digest || Mutant::BelievesProposers.lives();
                if valid {
                    self.keep_candidate(hash, state);
                } else {
                    let height = block.height;
                    self.warn(format!("the proposed digest of height {height} is not ours: voting nil"));
                }
                self.voting.consensus.validity(now, hash, valid);
            }
            (Purpose::Check(proposed), Err(error @ CandidateError::Doubted { .. })) => {
                // It waits like one that came before this voter's deadline.
                self.exclude(error);
                if let Some(gone) = self.candidates.wait_again(proposed) {
                    self.voting.consensus.validity(now, gone.block.hash(), false);
                }
            }
            (Purpose::Check(Proposed { block, .. }), Err(error)) => {
                self.warn(format!("the proposal of height {} is not valid: {error}", block.height));
                self.voting.consensus.validity(now, block.hash(), false);
            }
            (Purpose::Apply(certified), Ok(state))
                if state.digest() == certified.block.digest || Mutant::KeepsWrongState.lives() =>
            {
                self.commit(now, certified, state);
            }
            (Purpose::Apply(certified), Ok(state)) => {
                let (height, digest) = (certified.block.height, certified.block.digest);
                let found = format!(
                    "the state of this peer is wrong: height {height} has digest {} here, a quorum certified {}",
                    state.digest().short(),
                    digest.short()
                );
                self.state_is_wrong(height, &found);
            }
            (Purpose::Apply(certified), Err(error)) => {
                let height = certified.block.height;
                let found = format!(
                    "the state of this peer is wrong: the certified block of height {height} fails ({error})"
                );
                self.state_is_wrong(height, &found);
            }
        }
    }

    pub(super) fn keep_candidate(&mut self, hash: Hash, state: State) {
        if self.candidates.ready.len() >= MAX_READY {
            self.candidates.ready.pop_first();
        }
        self.candidates.ready.insert(hash, state);
    }

    /// A contribution turned out not to be usable: propose without it.
    fn exclude(&mut self, error: CandidateError) {
        self.warn(format!("left out: {error}"));
        match &error {
            CandidateError::Doubted { member, slot, step, signed } => {
                self.doubt(*slot, *member, (*step, *signed), error.to_string());
            }
            CandidateError::Contribution { member, slot, reason } => {
                self.slots.reject(*slot, member, reason.to_string());
            }
            // Each alone is finite, so nobody can tell whose fault it is.
            CandidateError::NotFinite(slot) => self.slots.reject_all(*slot, &error.to_string()),
            CandidateError::Missing { .. }
            | CandidateError::Damaged { .. }
            | CandidateError::FloatEnvironment => {}
        }
    }

    /// The outer state moves, here as everywhere.
    fn commit(&mut self, now: Time, certified: CertifiedBlock, state: State) {
        let block = certified.block.clone();
        let durable = self.restoring.as_ref().is_some_and(|restoring| restoring.covers(block.height));
        if !durable {
            let record = Record::Block(certified.clone());
            self.outputs.push_back(Output::Persist { record, sync: true });
        }
        let counted: Vec<bool> = block.closings().map(|closing| self.counts_me(closing)).collect();
        let was_member = self.is_member();
        let turn = self.turn_to_spread(now, &certified).filter(|_| !durable);
        let generation = self.state.control.generation;
        if self.is_voter() {
            self.note_contradictions(&block);
        }
        self.note_counted(block.height, &counted);
        if !durable {
            self.look_for_own(&certified, &counted);
        }
        self.spreading.applied(block.height, Sitting::of(&self.state.control));
        self.adopt(now, block.hash(), state);
        self.end_return(now);
        self.training.apply(&self.state, block.closings().zip(counted.iter().copied()));
        if !durable {
            self.keep_snapshot(now, &certified);
        }
        let may_save = self.writes.checkpoints.is_due(now);
        self.contributing.applied(now, &block, &counted, self.options.checkpoint_every, may_save);
        self.forget_statements();
        self.report(&block, was_member);
        if block.seating().is_some() {
            self.seats_changed();
        }
        if let Some(turn) = turn {
            self.spread(now, turn, certified);
        }
        if self.state.control.generation != generation {
            self.renew_signatures(now);
        }
        self.begin_height(now);
        self.end_restoring(now);
        self.check_completion(now);
    }

    /// Makes `state` the head; whatever was under way for the old one is void.
    pub(super) fn adopt(&mut self, now: Time, head: Hash, state: State) {
        self.state = state;
        self.head = head;
        self.head_at = now;
        self.candidates.give_up();
        self.catch_up.advanced(self.state.control.height);
        self.recall.progressed(now);
        let height = self.height();
        self.resets.said.retain(|vote| vote.height > height);
        self.compare_with_suspect();
    }

    fn counts_me(&self, closing: &crate::block::Closing) -> bool {
        let me = self.state.control.index_of(&self.me);
        closing.counted.iter().any(|counted| Some(usize::from(counted.member)) == me)
    }

    /// Slots and consensus of the height after the head.
    pub(super) fn begin_height(&mut self, now: Time) {
        let ground = super::Ground { charter: &self.charter, state: &self.state, head: self.head };
        let early = self.slots.refresh(now, ground);
        self.set_draws();
        self.begin_batch(now);
        for announcement in early {
            self.announcement_received(now, announcement, Vec::new(), false);
        }
        self.begin_voting(now);
    }

    /// Tells training which open slots take a contribution of this peer.
    pub(super) fn set_draws(&mut self) {
        let mut draws = self.ground().draws();
        for (ordinal, drawn) in &mut draws {
            if !self.recall.may_contribute_to(*ordinal) {
                drawn.retain(|key| *key != self.me);
            }
        }
        self.training.set_draws(&draws);
    }

    /// Drops statements that the new head made true or stale.
    fn forget_statements(&mut self) {
        let control = &self.state.control;
        let (charter, scope) = (&self.charter, self.ground().scope());
        let joins = std::mem::take(&mut self.joins);
        let leaves = std::mem::take(&mut self.leaves);
        let evidence = std::mem::take(&mut self.evidence);
        let joins = joins
            .into_iter()
            .filter(|(_, join)| {
                transition::check_join(charter, scope, control, control.height + 1, join).is_ok()
            })
            .collect();
        let leaves = leaves
            .into_iter()
            .filter(|(_, leave)| transition::check_leave(scope, control, control.height + 1, leave).is_ok())
            .collect();
        let open = |evidence: &crate::block::Evidence| {
            transition::guilty(scope, evidence)
                .is_some_and(|key| control.convicted.binary_search(&key).is_err())
        };
        let evidence = evidence.into_iter().filter(open).collect();
        (self.joins, self.leaves, self.evidence) = (joins, leaves, evidence);
        self.forget_stands();
        let referenced = self.slots.roots();
        self.held.retain(|root| referenced.contains(root));
        let wanted = |root: &Hash| referenced.contains(root) || self.catch_up.wants_page(root);
        let mut given_up: Vec<Hash> = self.fetching.keys().copied().filter(|root| !wanted(root)).collect();
        self.fetching.retain(|root, _| wanted(root));
        given_up.extend(self.contributing.take_dropped());
        if !given_up.is_empty() {
            self.outputs.push_back(Output::Cancel(given_up));
        }
    }

    fn report(&mut self, block: &Block, was_member: bool) {
        let closed: Vec<_> = block.closings().map(|closing| (closing.slot, closing.counted.len())).collect();
        let counted_bytes = counted_bytes(block);
        self.event(Event::Block {
            height: block.height,
            digest: block.digest,
            closed,
            tokens: self.state.control.counted_tokens,
            counted_bytes,
            last: self.is_complete(),
        });
        match (was_member, self.is_member()) {
            (false, true) => self.event(Event::Joined { height: block.height }),
            (true, false) => self.event(Event::Removed { height: block.height }),
            _ => {}
        }
    }
}

/// Bytes of all contributions that a block counts.
pub(super) fn counted_bytes(block: &Block) -> u64 {
    let counted = block.closings().flat_map(|closing| &closing.counted);
    let lengths = counted.map(|counted| match &counted.payload {
        crate::block::Payload::Blob { length, .. } => *length,
        crate::block::Payload::Inline(bytes) => bytes.len() as u64,
    });
    lengths.fold(0, u64::saturating_add)
}
