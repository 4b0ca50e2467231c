//! After a restart: the log is fed again, so that votes and locks come back.
//!
//! Each statement that the replay leads to must be the logged one, or one that was never made; a
//! logged statement that it does not lead to means that the log is not whole. Either way the peer
//! says so and stays silent: it never contradicts itself.

use super::instance::Instance;
use super::proposals::Verdict;
use super::wal::{ReplayError, StatementKind, WalRecord};
use crate::block::{Block, Proposal, Vote};
use crate::identity::{Domain, Hash, Signed};
use crate::time::Time;

impl Instance {
    /// Feeds the log of this height; records of earlier heights and generations are passed over.
    pub fn replay(&mut self, now: Time, records: Vec<WalRecord>) -> Result<(), ReplayError> {
        if self.entered {
            return Err(ReplayError::AlreadyEntered);
        }
        let result = match self.section(&records) {
            Ok(None) => return Ok(()),
            Ok(Some(first)) => {
                self.replaying = true;
                self.run(now, first, records)
            }
            Err(error) => Err(error),
        };
        self.replaying = false;
        if let Err(error) = result {
            self.voice = None;
            self.turn = Default::default();
            self.timers.clear();
            return Err(error);
        }
        self.prune();
        self.ask_for_block();
        if !self.decided {
            // What was made durable may not have left before the crash.
            self.resend();
        }
        Ok(())
    }

    /// Where this height's records begin.
    fn section(&self, records: &[WalRecord]) -> Result<Option<usize>, ReplayError> {
        let last = records.iter().enumerate().rev().find_map(|(index, record)| match record {
            WalRecord::Entered { height, generation } => Some((index, *height, *generation)),
            _ => None,
        });
        let Some((index, height, generation)) = last else {
            return if records.is_empty() { Ok(None) } else { Err(ReplayError::Foreign { index: 0 }) };
        };
        let ours = (self.height, self.scope.generation);
        match (height, generation).cmp(&ours) {
            std::cmp::Ordering::Less => Ok(None),
            std::cmp::Ordering::Equal => Ok(Some(index)),
            std::cmp::Ordering::Greater => Err(ReplayError::Ahead { height, generation }),
        }
    }

    fn run(&mut self, now: Time, first: usize, records: Vec<WalRecord>) -> Result<(), ReplayError> {
        for (index, record) in records.iter().enumerate().skip(first) {
            self.index_own(record).map_err(|error| error.unwrap_or(ReplayError::Foreign { index }))?;
        }
        self.enter(now);
        for (index, record) in records.into_iter().enumerate().skip(first) {
            self.replay_record(now, index, record)?;
            if let Some(fault) = self.own.fault.take() {
                return Err(fault);
            }
        }
        self.own.unexplained().map_or(Ok(()), Err)
    }

    /// Remembers own statements, to compare them with what the replay leads to.
    fn index_own(&mut self, record: &WalRecord) -> Result<(), Option<ReplayError>> {
        if record.height() != self.height {
            return Err(None);
        }
        let own = |by| self.me == Some(by);
        match record {
            WalRecord::OwnVote(vote) => {
                if !own(vote.by) || !vote.holds(Domain::Vote, self.scope) {
                    return Err(None);
                }
                let (attempt, step) = (vote.content.attempt, vote.content.step);
                match self.own.logged_votes.insert((attempt, step), vote.clone()) {
                    Some(other) if other.content != vote.content => {
                        Err(Some(ReplayError::Mismatch { attempt, kind: step.into() }))
                    }
                    _ => Ok(()),
                }
            }
            WalRecord::OwnProposal { proposal, .. } => {
                if !own(proposal.by) || !proposal.holds(Domain::Proposal, self.scope) {
                    return Err(None);
                }
                let attempt = proposal.content.attempt;
                match self.own.logged_proposals.insert(attempt, proposal.clone()) {
                    Some(other) if other.content != proposal.content => {
                        Err(Some(ReplayError::Mismatch { attempt, kind: StatementKind::Proposal }))
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn replay_record(&mut self, now: Time, index: usize, record: WalRecord) -> Result<(), ReplayError> {
        match record {
            WalRecord::Entered { .. } | WalRecord::OwnVote(_) => Ok(()),
            WalRecord::Vote(vote) => self.replay_vote(now, vote).ok_or(ReplayError::Foreign { index }),
            WalRecord::Proposal { proposal, valid, block } => {
                self.replay_proposal(now, index, proposal, valid.then_some(block))
            }
            WalRecord::Timeout { attempt, timer, .. } => {
                self.timers.forget(timer, attempt);
                self.run_out(now, timer, attempt);
                Ok(())
            }
            WalRecord::OwnProposal { proposal, block } => self.replay_own(now, index, &proposal, block),
        }
    }

    fn replay_vote(&mut self, now: Time, vote: Signed<Vote>) -> Option<()> {
        let seat = self.ledger.seat_of(&vote.by)?;
        if !vote.holds(Domain::Vote, self.scope) {
            return None;
        }
        self.notice_own_key(&vote);
        self.accept_vote(now, seat, vote);
        Some(())
    }

    fn replay_proposal(
        &mut self,
        now: Time,
        index: usize,
        proposal: Signed<Proposal>,
        body: Option<Option<Block>>,
    ) -> Result<(), ReplayError> {
        let (attempt, hash) = (proposal.content.attempt, proposal.content.block);
        let right = proposal.by == self.proposer(attempt) && self.proposals.get(attempt).is_none();
        if !right || !proposal.holds(Domain::Proposal, self.scope) {
            return Err(ReplayError::Foreign { index });
        }
        let valid = body.is_some();
        if let Some(block) = body {
            self.replay_body(index, hash, block)?;
        }
        self.notice_own_proposal(&proposal);
        self.proposals.insert(proposal);
        self.feed_proposal(now, attempt, valid);
        Ok(())
    }

    /// The block of a valid proposal: in this record, or in one before it.
    fn replay_body(&mut self, index: usize, hash: Hash, block: Option<Block>) -> Result<(), ReplayError> {
        match block {
            Some(block) if block.hash() == hash && self.fits(&block) => {
                self.proposals.keep(hash, block, Verdict::Valid);
                self.proposals.body_for_log(hash);
                Ok(())
            }
            Some(_) => Err(ReplayError::Foreign { index }),
            None if self.proposals.body(hash).is_some() => Ok(()),
            None => Err(ReplayError::NoBody { index }),
        }
    }

    /// A block that the session built: proposed again at the same point of the input order.
    fn replay_own(
        &mut self,
        now: Time,
        index: usize,
        proposal: &Signed<Proposal>,
        block: Option<Block>,
    ) -> Result<(), ReplayError> {
        let (attempt, hash) = (proposal.content.attempt, proposal.content.block);
        self.replay_body(index, hash, block)?;
        if proposal.content.valid_attempt.is_none() && self.wanted == Some(attempt) {
            let Some(block) = self.proposals.body(hash).cloned() else {
                return Err(ReplayError::NoBody { index });
            };
            self.propose(now, attempt, hash, block);
        }
        Ok(())
    }
}
