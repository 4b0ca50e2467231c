//! Messages of the next height that come before we are there.
//!
//! They cannot be verified yet, so what is kept per key is little and the newest wins; a message
//! lost here is sent again by its author.

use std::collections::BTreeMap;

use crate::block::{Block, Height, Proposal, Step, Vote};
use crate::committee::MAX_SEATS;
use crate::holdings::{Tell, tell};
use crate::identity::{PeerKey, Signed};
use crate::wire;

/// What one key said too early.
#[derive(Debug, Default)]
struct Kept {
    proposal: Option<(Signed<Proposal>, Block)>,
    votes: BTreeMap<Step, Signed<Vote>>,
}

/// The buffer: at most one proposal and one vote per step of at most 16 keys.
#[derive(Debug, Default)]
pub(super) struct Early {
    kept: BTreeMap<PeerKey, Kept>,
}

/// What the buffer held for a height.
#[derive(Debug, Default)]
pub(super) struct Released {
    pub proposals: Vec<(Signed<Proposal>, Block)>,
    pub votes: Vec<Signed<Vote>>,
}

impl Early {
    /// Keeps a proposal.
    pub fn keep_proposal(&mut self, proposal: Signed<Proposal>, block: Block) {
        if wire::check_block("proposal", &block).is_err() {
            return;
        }
        if let Some(kept) = self.of(proposal.by) {
            kept.proposal = Some((proposal, block));
        }
    }

    /// Keeps a vote.
    pub fn keep_vote(&mut self, vote: Signed<Vote>) {
        if let Some(kept) = self.of(vote.by) {
            kept.votes.insert(vote.content.step, vote);
        }
    }

    /// Empties the buffer and returns what is of `height`.
    pub fn take(&mut self, height: Height) -> Released {
        let mut released = Released::default();
        for kept in std::mem::take(&mut self.kept).into_values() {
            released.proposals.extend(kept.proposal.filter(|(p, _)| p.content.height == height));
            released.votes.extend(kept.votes.into_values().filter(|vote| vote.content.height == height));
        }
        released
    }

    pub fn holdings(&self, to: Tell<'_>) {
        tell(to, "voters heard early", self.kept.len(), MAX_SEATS);
    }

    /// Proposals and votes kept, for tests of the bounds.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.kept.values().map(|kept| kept.votes.len() + usize::from(kept.proposal.is_some())).sum()
    }

    fn of(&mut self, key: PeerKey) -> Option<&mut Kept> {
        if self.kept.len() >= MAX_SEATS && !self.kept.contains_key(&key) {
            return None;
        }
        Some(self.kept.entry(key).or_default())
    }
}
