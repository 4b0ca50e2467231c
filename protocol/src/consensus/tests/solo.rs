//! One peer under test; the tests speak for all the others.

use super::super::*;
use crate::block::{CertifiedBlock, Evidence, Step};
use crate::committee::QuorumRule;
use crate::identity::Domain;
use crate::wire::Message;

/// The session of the tests.
pub fn session() -> Hash {
    Hash::of(b"session of the tests")
}

/// A parent after which seat 0 proposes first.
pub fn parent() -> Hash {
    Hash([0; 32])
}

/// `n` signers in the order of their keys.
pub fn signers(n: u8) -> Vec<Signer> {
    let mut signers: Vec<Signer> = (0..n).map(|i| Signer::from_seed([i + 1; 32])).collect();
    signers.sort_by_key(Signer::key);
    signers
}

pub fn seats(signers: &[Signer], quorum: QuorumRule) -> Seats {
    Seats { keys: signers.iter().map(Signer::key).collect(), quorum, unheard: Vec::new(), silent: Vec::new() }
}

pub struct Solo {
    pub consensus: Consensus,
    pub signers: Vec<Signer>,
    pub me: usize,
    pub now: Time,
    pub height: Height,
    pub generation: u32,
}

impl Solo {
    /// Peer `me` of `n` at height 1.
    pub fn new(n: u8, me: usize) -> Solo {
        let signers = signers(n);
        let consensus = Consensus::new(Some(signers[me].clone()), session(), Timeouts::default());
        let mut solo = Solo { consensus, signers, me, now: Time(0), height: 1, generation: 0 };
        solo.start();
        solo
    }

    pub fn start(&mut self) {
        let seats = seats(&self.signers, QuorumRule::TwoThirds);
        self.consensus.start_height(self.now, self.height, self.generation, parent(), seats);
    }

    /// The same peer after a restart that found `records`.
    pub fn restarted(&self, records: Vec<WalRecord>) -> (Solo, Result<(), ReplayError>) {
        let mut solo = Solo::new(self.signers.len() as u8, self.me);
        (solo.now, solo.height, solo.generation) = (self.now, self.height, self.generation);
        solo.start();
        let result = solo.consensus.replay(solo.now, records);
        (solo, result)
    }

    pub fn scope(&self) -> Scope {
        Scope { session: session(), generation: self.generation }
    }

    pub fn block(&self, digest: &[u8]) -> Block {
        Block {
            height: self.height,
            generation: self.generation,
            parent: parent(),
            items: vec![],
            digest: Hash::of(digest),
        }
    }

    pub fn signed_vote(
        &self,
        seat: usize,
        attempt: Attempt,
        step: Step,
        block: Option<Hash>,
    ) -> Signed<Vote> {
        let vote = Vote { height: self.height, attempt, step, block };
        self.signers[seat].seal(Domain::Vote, self.scope(), vote)
    }

    pub fn vote(&mut self, seat: usize, attempt: Attempt, step: Step, block: Option<Hash>) {
        let vote = self.signed_vote(seat, attempt, step, block);
        self.consensus.vote_received(self.now, vote);
    }

    pub fn signed_proposal(
        &self,
        seat: usize,
        attempt: Attempt,
        valid_attempt: Option<Attempt>,
        block: &Block,
    ) -> Signed<Proposal> {
        let proposal = Proposal { height: self.height, attempt, valid_attempt, block: block.hash() };
        self.signers[seat].seal(Domain::Proposal, self.scope(), proposal)
    }

    /// A proposal by the right proposer.
    pub fn propose(&mut self, attempt: Attempt, valid_attempt: Option<Attempt>, block: &Block) {
        let seat = (self.height as usize - 1 + attempt as usize) % self.signers.len();
        let proposal = self.signed_proposal(seat, attempt, valid_attempt, block);
        self.consensus.proposal_received(self.now, proposal, block.clone());
    }

    pub fn answer(&mut self, block: &Block, valid: bool) {
        self.consensus.validity(self.now, block.hash(), valid);
    }

    /// Lets time pass, timer by timer.
    pub fn wait(&mut self, span: Span) {
        let until = self.now + span;
        while let Some(at) = self.consensus.next_timeout().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.consensus.handle_timeout(self.now);
        }
        self.now = until;
    }

    pub fn outputs(&mut self) -> Vec<ConsensusOutput> {
        std::iter::from_fn(|| self.consensus.poll_output()).collect()
    }

    /// The statements of ours among the outputs.
    pub fn votes(&mut self) -> Vec<Vote> {
        votes(&self.outputs(), self.signers[self.me].key())
    }
}

pub fn votes(outputs: &[ConsensusOutput], by: PeerKey) -> Vec<Vote> {
    let vote = |output: &ConsensusOutput| match output {
        ConsensusOutput::Broadcast(Message::Vote(vote)) if vote.by == by => Some(vote.content.clone()),
        _ => None,
    };
    outputs.iter().filter_map(vote).collect()
}

pub fn records(outputs: &[ConsensusOutput]) -> Vec<WalRecord> {
    let record = |output: &ConsensusOutput| match output {
        ConsensusOutput::Persist { record, .. } => Some(record.clone()),
        _ => None,
    };
    outputs.iter().filter_map(record).collect()
}

pub fn decision(outputs: &[ConsensusOutput]) -> Option<CertifiedBlock> {
    outputs.iter().find_map(|output| match output {
        ConsensusOutput::Decided(certified) => Some(certified.clone()),
        _ => None,
    })
}

pub fn evidence(outputs: &[ConsensusOutput]) -> Vec<Evidence> {
    let evidence = |output: &ConsensusOutput| match output {
        ConsensusOutput::Evidence(evidence) => Some(evidence.clone()),
        _ => None,
    };
    outputs.iter().filter_map(evidence).collect()
}

pub fn checks(outputs: &[ConsensusOutput]) -> usize {
    outputs.iter().filter(|output| matches!(output, ConsensusOutput::CheckBlock { .. })).count()
}
