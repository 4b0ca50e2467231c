//! What comes from outside: everything is checked here before the driver sees it.

use arc_malachitebft_core_driver::Input;
use arc_malachitebft_core_types::{Round, Validity};

use super::context::driver_vote;
use super::instance::Instance;
use super::ledger::Judgement;
use super::output::ConsensusOutput;
use super::proposals::{PAST_PROPOSALS, Verdict};
use super::wal::WalRecord;
use crate::block::{Attempt, Block, Evidence, Proposal, Vote};
use crate::identity::{Domain, Hash, PeerKey, Signed};
use crate::time::Time;
use crate::wire::{self, Message};

impl Instance {
    /// Somebody's vote of this height.
    pub fn vote(&mut self, now: Time, vote: Signed<Vote>) {
        let Some(seat) = self.ledger.seat_of(&vote.by) else { return };
        let judgement = self.ledger.judge(seat, &vote.content, self.attempt(), self.proof_attempt());
        match &judgement {
            Judgement::Known | Judgement::Refused => return self.take_along(now, seat, &vote),
            Judgement::Contradicts(_) if !self.ledger.wants_evidence(seat) => return,
            Judgement::Contradicts(_) => {}
            // Of a decided height only a lie is still of interest.
            Judgement::New | Judgement::Beyond if self.decided => return,
            Judgement::New | Judgement::Beyond => {}
        }
        if !self.ledger.may_check(seat, now) || !vote.holds(Domain::Vote, self.scope) {
            return;
        }
        self.notice_own_key(&vote);
        match judgement {
            Judgement::Contradicts(known) => {
                self.ledger.count_evidence(seat);
                self.report(Evidence::Votes(Box::new([known, vote])));
            }
            Judgement::Beyond => self.ledger.park(seat, vote),
            _ => self.accept_vote(now, seat, vote),
        }
        self.release(now);
    }

    /// A voter that says again what it said in an earlier attempt missed what ended it. The last of those
    /// precommits may have been of one that told only us and is gone, and nobody else would tell it.
    fn take_along(&mut self, now: Time, seat: usize, vote: &Signed<Vote>) {
        let (current, to) = (self.attempt(), vote.by);
        let stayed = vote.content.attempt < current && self.me.is_some_and(|me| me != to);
        if !stayed || self.decided || self.replaying || !self.ledger.may_help(seat, now) {
            return;
        }
        let missed = self.ledger.all_precommits(current - 1).filter(|precommit| precommit.by != to);
        let tell = |vote: &Signed<Vote>| ConsensusOutput::Tell { to, message: Message::Vote(vote.clone()) };
        self.turn.rest.extend(missed.map(tell));
    }

    /// Gives a verified vote to the driver.
    pub fn accept_vote(&mut self, now: Time, seat: usize, vote: Signed<Vote>) {
        self.enter(now);
        self.log(WalRecord::Vote(vote.clone()));
        let input = Input::Vote(driver_vote(&vote));
        self.ledger.record(seat, vote);
        self.feed(now, [input]);
    }

    /// Gives the driver what was beyond the window and is within it now.
    pub fn release(&mut self, now: Time) {
        while let Some((seat, vote)) = self.ledger.unpark(self.attempt()) {
            let proof = self.proof_attempt();
            let judgement = self.ledger.judge(seat, &vote.content, self.attempt(), proof);
            if judgement == Judgement::New && !self.decided {
                self.accept_vote(now, seat, vote);
            }
        }
    }

    /// Somebody's proposal of this height, with the body of its block.
    pub fn proposal(&mut self, now: Time, proposal: Signed<Proposal>, block: Block) {
        let content = &proposal.content;
        let attempt = content.attempt;
        let window = self.attempt().saturating_sub(PAST_PROPOSALS)..=self.ledger.ceiling(self.attempt());
        let ordered = content.valid_attempt.is_none_or(|valid| valid < attempt);
        if !ordered || !window.contains(&attempt) || proposal.by != self.proposer(attempt) {
            return;
        }
        let Some(seat) = self.ledger.seat_of(&proposal.by) else { return };
        let standing = self.proposals.get(attempt).cloned();
        let wanted = match &standing {
            Some(standing) => standing.content != *content && self.ledger.wants_evidence(seat),
            None => !self.decided && self.proposals.has_room(self.attempt(), attempt),
        };
        if !wanted || !self.ledger.may_check(seat, now) {
            return;
        }
        let whole = || wire::check_block("proposal", &block).is_ok() && block.hash() == content.block;
        if (standing.is_none() && !whole()) || !proposal.holds(Domain::Proposal, self.scope) {
            return;
        }
        self.notice_own_proposal(&proposal);
        match standing {
            Some(standing) => {
                self.ledger.count_evidence(seat);
                self.report(Evidence::Proposals(Box::new([standing, proposal])));
            }
            None => self.accept_proposal(now, proposal, block),
        }
        self.release(now);
    }

    fn accept_proposal(&mut self, now: Time, proposal: Signed<Proposal>, block: Block) {
        self.enter(now);
        let (attempt, hash) = (proposal.content.attempt, proposal.content.block);
        self.proposals.insert(proposal);
        if !self.fits(&block) {
            return self.feed_proposal(now, attempt, false);
        }
        match self.proposals.verdict(hash) {
            Some(Verdict::Valid) => self.feed_proposal(now, attempt, true),
            Some(Verdict::Asked) => {}
            Some(Verdict::Invalid) | None => {
                self.proposals.keep(hash, block.clone(), Verdict::Asked);
                self.turn.rest.push(ConsensusOutput::CheckBlock { block });
            }
        }
    }

    /// The session's answer to `CheckBlock`.
    pub fn validity(&mut self, now: Time, block: Hash, valid: bool) {
        if self.decided || !self.proposals.answer(block, valid) {
            return;
        }
        for attempt in self.proposals.waiting_for(block) {
            if !self.decided {
                self.feed_proposal(now, attempt, valid);
            }
        }
        self.release(now);
    }

    /// Gives the proposal of `attempt` to the driver, once.
    pub fn feed_proposal(&mut self, now: Time, attempt: Attempt, valid: bool) {
        let Some(proposal) = self.proposals.get(attempt).cloned() else { return };
        self.proposals.mark_fed(attempt);
        if self.me.is_some() && !self.replaying {
            let body = valid.then(|| self.proposals.body_for_log(proposal.content.block));
            self.log(WalRecord::Proposal { proposal: proposal.clone(), valid, block: body.flatten() });
        }
        let inputs = self.driver_inputs(&proposal, Validity::from_bool(valid));
        self.feed(now, inputs);
    }

    /// The session's answer to `NeedBlock`. One that comes late serves a later attempt of ours.
    pub fn value(&mut self, now: Time, attempt: Attempt, block: Block) {
        let Some(wanted) = self.wanted.filter(|wanted| attempt <= *wanted) else { return };
        let usable = self.fits(&block) && wire::check_block("own block", &block).is_ok();
        if self.voice.is_none() || !usable {
            return;
        }
        self.propose(now, wanted, block.hash(), block);
        self.release(now);
    }

    /// Proposes a block that we evaluated ourselves.
    pub fn propose(&mut self, now: Time, attempt: Attempt, hash: Hash, block: Block) {
        self.wanted = None;
        self.proposals.keep(hash, block, Verdict::Valid);
        self.feed(now, [Input::ProposeValue(Round::new(attempt), hash)]);
    }

    fn report(&mut self, evidence: Evidence) {
        self.turn.rest.push(ConsensusOutput::Evidence(evidence));
    }

    /// A verified vote of our own key that is not ours silences us for this height.
    pub fn notice_own_key(&mut self, vote: &Signed<Vote>) {
        if self.me == Some(vote.by) && self.adopts {
            let latest = self.own.votes.entry(vote.content.step).or_insert_with(|| vote.clone());
            if latest.content.attempt < vote.content.attempt {
                *latest = vote.clone();
            }
            return;
        }
        // Older ones may be ours, sent on by others to prove a lock, and forgotten here.
        if vote.content.attempt >= self.vote_floor() {
            self.silence_if_own(vote.by, vote.content.attempt);
        }
    }

    /// The same for a proposal.
    pub fn notice_own_proposal(&mut self, proposal: &Signed<Proposal>) {
        if self.me == Some(proposal.by) && self.adopts {
            let attempt = |own: &Signed<Proposal>| own.content.attempt;
            if self.own.proposal.as_ref().is_none_or(|own| attempt(own) < attempt(proposal)) {
                self.own.proposal = Some(proposal.clone());
            }
            return;
        }
        self.silence_if_own(proposal.by, proposal.content.attempt);
    }

    fn silence_if_own(&mut self, by: PeerKey, attempt: Attempt) {
        if self.me == Some(by) && self.voice.take().is_some() {
            let height = self.height;
            self.turn.rest.push(ConsensusOutput::KeyInUseElsewhere { height, attempt });
        }
    }
}
