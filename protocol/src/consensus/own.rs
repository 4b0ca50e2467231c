//! Our own statements: signed once, logged, sent, fed back, and sent again until decided.

use std::collections::{BTreeMap, VecDeque};

use arc_malachitebft_core_driver::Input;
use arc_malachitebft_core_types::Validity;

use super::context::{Ballot, Offer, Rules, driver_vote};
use super::instance::Instance;
use super::wal::{ReplayError, StatementKind, WalRecord};
use crate::block::{Attempt, Proposal, Step, Vote};
use crate::identity::{Domain, Signed};
use crate::mutant::Mutant;
use crate::time::Time;
use crate::wire::Message;

/// What this key said at this height.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// The latest proposal.
    pub proposal: Option<Signed<Proposal>>,
    /// The latest vote of each step.
    pub votes: BTreeMap<Step, Signed<Vote>>,
    /// Proposals that the log holds and the replay has not reached yet.
    pub logged_proposals: BTreeMap<Attempt, Signed<Proposal>>,
    /// Votes that the log holds and the replay has not reached yet.
    pub logged_votes: BTreeMap<(Attempt, Step), Signed<Vote>>,
    /// The first contradiction between the log and its replay.
    pub fault: Option<ReplayError>,
}

impl Own {
    /// The highest attempt of a vote; 0 without any.
    pub fn last_attempt(&self) -> Attempt {
        self.votes.values().map(|vote| vote.content.attempt).max().unwrap_or(0)
    }

    /// A logged statement that the replay did not lead to.
    pub fn unexplained(&self) -> Option<ReplayError> {
        let proposal = self.logged_proposals.keys().map(|attempt| (*attempt, StatementKind::Proposal));
        let votes = self.logged_votes.keys().map(|(attempt, step)| (*attempt, (*step).into()));
        proposal.chain(votes).next().map(|(attempt, kind)| ReplayError::Unexplained { attempt, kind })
    }
}

impl Instance {
    /// States a proposal of ours and queues it for the driver.
    pub(super) fn state_proposal(&mut self, now: Time, offer: Offer, queue: &mut VecDeque<Input<Rules>>) {
        let content = offer.statement();
        let attempt = content.attempt;
        let repeated = self.own.proposal.as_ref().is_some_and(|p| p.content.attempt >= attempt);
        // A proposal that nobody heard may have been made in the attempts that this key took part in.
        let risky = self.adopts && attempt <= self.own.last_attempt();
        let Some(signer) = self.voice.as_ref().filter(|_| !repeated && !risky) else { return };
        if self.proposals.body(content.block).is_none() {
            return;
        }
        let proposal = match self.own.logged_proposals.remove(&attempt) {
            Some(logged) if logged.content == content => logged,
            Some(_) => return self.contradicted(attempt, StatementKind::Proposal),
            None => {
                let proposal = signer.seal(Domain::Proposal, self.scope, content);
                let block = self.proposals.body_for_log(proposal.content.block);
                if !Mutant::ForgetsProposals.lives() {
                    self.turn.records.push(WalRecord::OwnProposal { proposal: proposal.clone(), block });
                }
                self.send_proposal(&proposal);
                self.turn.stated = true;
                proposal
            }
        };
        self.own.proposal = Some(proposal.clone());
        self.timers.restart_resend(now, &self.timeouts);
        self.proposals.insert(proposal.clone());
        self.proposals.mark_fed(attempt);
        queue.extend(self.driver_inputs(&proposal, Validity::Valid));
    }

    /// States a vote of ours and queues it for the driver.
    pub(super) fn state_vote(&mut self, now: Time, ballot: Ballot, queue: &mut VecDeque<Input<Rules>>) {
        let mut content = ballot.statement();
        if Mutant::SkipsLock.lives() && content.step == Step::Prevote && content.block.is_none() {
            content.block = self.proposals.get(content.attempt).map(|proposal| proposal.content.block);
        }
        let (attempt, step) = (content.attempt, content.step);
        let repeated = self.own.votes.get(&step).is_some_and(|vote| vote.content.attempt >= attempt);
        let risky = self.adopts && self.may_contradict(&content);
        let Some(signer) = self.voice.as_ref().filter(|_| !repeated && !risky) else { return };
        let Some(seat) = self.ledger.seat_of(&signer.key()) else { return };
        let vote = match self.own.logged_votes.remove(&(attempt, step)) {
            Some(logged) if logged.content == content => logged,
            Some(_) => return self.contradicted(attempt, step.into()),
            None => {
                let vote = signer.seal(Domain::Vote, self.scope, content);
                self.turn.records.push(WalRecord::OwnVote(vote.clone()));
                self.turn.sends.push(Message::Vote(vote.clone()));
                self.turn.stated = true;
                vote
            }
        };
        self.own.votes.insert(step, vote.clone());
        self.timers.restart_resend(now, &self.timeouts);
        queue.push_back(Input::Vote(driver_vote(&vote)));
        self.ledger.record(seat, vote);
    }

    /// Whether a vote might contradict what this key said elsewhere: only its last votes are known, and
    /// with them the lock that its last precommit was made under.
    fn may_contradict(&self, vote: &Vote) -> bool {
        let place = |vote: &Vote| (vote.attempt, vote.step);
        let last = self.own.votes.values().map(|own| place(&own.content)).max();
        let lock =
            self.own.votes.get(&Step::Precommit).map(|own| &own.content).filter(|own| own.block.is_some());
        let unlocks = |attempt| {
            let proposal = self.proposals.get(vote.attempt);
            proposal.and_then(|proposal| proposal.content.valid_attempt).is_some_and(|valid| valid >= attempt)
        };
        let against_lock = lock.is_some_and(|lock| {
            vote.step == Step::Prevote
                && vote.block.is_some()
                && vote.block != lock.block
                && !unlocks(lock.attempt)
        });
        last.is_some_and(|last| place(vote) <= last) || against_lock
    }

    /// Sends our latest statements again: the network does not repeat anything by itself.
    pub(super) fn resend(&mut self) {
        if Mutant::SaysOnce.lives() {
            return;
        }
        let current = self.attempt();
        if let Some(proposal) = self.own.proposal.clone().filter(|p| p.content.attempt == current) {
            self.send_proposal(&proposal);
        }
        self.turn.sends.extend(self.own.votes.values().cloned().map(Message::Vote));
    }

    /// A proposal with its body and, for a block proposed again, the prevotes that allow it:
    /// who missed them could neither accept it nor ever unlock the others.
    fn send_proposal(&mut self, proposal: &Signed<Proposal>) {
        let Some(block) = self.proposals.body(proposal.content.block).cloned() else { return };
        self.turn.sends.push(Message::Propose { proposal: proposal.clone(), block });
        if let Some(valid) = proposal.content.valid_attempt {
            let proof = self.ledger.prevotes(valid, proposal.content.block);
            self.turn.sends.extend(proof.into_iter().map(Message::Vote));
        }
    }

    fn contradicted(&mut self, attempt: Attempt, kind: StatementKind) {
        self.voice = None;
        self.own.fault.get_or_insert(ReplayError::Mismatch { attempt, kind });
    }
}
