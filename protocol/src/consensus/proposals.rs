//! Proposals by attempt, and the bodies of their blocks with what is known about them.
//!
//! The driver must never see two proposals of one attempt, so the first that is signed by the
//! right proposer stands; another one is evidence.

use std::collections::BTreeMap;

use crate::block::{Attempt, Block, Proposal};
use crate::holdings::{Tell, tell};
use crate::identity::{Hash, PeerKey, Signed};

use super::ledger::AHEAD_PER_SEAT;

/// Attempts behind the current one whose proposals are kept.
pub(super) const PAST_PROPOSALS: Attempt = 8;

/// What the session says about a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Asked, not answered.
    Asked,
    /// Valid: stays so.
    Valid,
    /// Invalid when asked; asked again with the next proposal, since a refusal may depend on time.
    Invalid,
}

#[derive(Debug)]
struct Entry {
    proposal: Signed<Proposal>,
    fed: bool,
}

#[derive(Debug)]
struct Body {
    block: Block,
    verdict: Verdict,
    logged: bool,
}

/// The proposals and bodies of one height.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    entries: BTreeMap<Attempt, Entry>,
    bodies: BTreeMap<Hash, Body>,
}

impl Proposals {
    /// The proposal that stands for `attempt`.
    pub fn get(&self, attempt: Attempt) -> Option<&Signed<Proposal>> {
        self.entries.get(&attempt).map(|entry| &entry.proposal)
    }

    /// The latest proposal of a key.
    pub fn last_of(&self, key: &PeerKey) -> Option<&Signed<Proposal>> {
        self.entries.values().rev().map(|entry| &entry.proposal).find(|proposal| proposal.by == *key)
    }

    /// Lets a verified proposal stand for its attempt.
    pub fn insert(&mut self, proposal: Signed<Proposal>) {
        self.entries.insert(proposal.content.attempt, Entry { proposal, fed: false });
    }

    /// Marks the proposal of `attempt` as given to the driver.
    pub fn mark_fed(&mut self, attempt: Attempt) {
        if let Some(entry) = self.entries.get_mut(&attempt) {
            entry.fed = true;
        }
    }

    /// Attempts that wait for a verdict over `block`, ascending.
    pub fn waiting_for(&self, block: Hash) -> Vec<Attempt> {
        let waiting = self.entries.iter().filter(|(_, e)| !e.fed && e.proposal.content.block == block);
        waiting.map(|(attempt, _)| *attempt).collect()
    }

    /// Keeps a body; one that is known keeps its log mark, and its verdict if that is "valid".
    pub fn keep(&mut self, hash: Hash, block: Block, verdict: Verdict) {
        let body = self.bodies.entry(hash).or_insert(Body { block, verdict, logged: false });
        if body.verdict != Verdict::Valid {
            body.verdict = verdict;
        }
    }

    /// The verdict over a block whose body is kept.
    pub fn verdict(&self, hash: Hash) -> Option<Verdict> {
        self.bodies.get(&hash).map(|body| body.verdict)
    }

    /// Records the answer to a question; `false` if none was open.
    pub fn answer(&mut self, hash: Hash, valid: bool) -> bool {
        match self.bodies.get_mut(&hash) {
            Some(body) if body.verdict == Verdict::Asked => {
                body.verdict = if valid { Verdict::Valid } else { Verdict::Invalid };
                true
            }
            _ => false,
        }
    }

    /// A block's body.
    pub fn body(&self, hash: Hash) -> Option<&Block> {
        self.bodies.get(&hash).map(|body| &body.block)
    }

    /// The body, the first time the log needs it.
    pub fn body_for_log(&mut self, hash: Hash) -> Option<Block> {
        let body = self.bodies.get_mut(&hash)?;
        let first = !std::mem::replace(&mut body.logged, true);
        first.then(|| body.block.clone())
    }

    /// Drops proposals of attempts below `floor`, and bodies that nothing refers to.
    pub fn prune(&mut self, floor: Attempt, needed: &[Hash]) {
        self.entries.retain(|attempt, _| *attempt >= floor);
        let entries = &self.entries;
        let named = |hash| entries.values().any(|entry| entry.proposal.content.block == hash);
        self.bodies.retain(|hash, _| needed.contains(hash) || named(*hash));
    }

    /// Whether there is room for a proposal of this attempt: not for many attempts that nobody reached.
    pub fn has_room(&self, current: Attempt, attempt: Attempt) -> bool {
        attempt <= current || self.entries.range(current.saturating_add(1)..).count() < AHEAD_PER_SEAT
    }

    pub fn holdings(&self, to: Tell<'_>) {
        let entries = PAST_PROPOSALS as usize + 1 + AHEAD_PER_SEAT;
        tell(to, "proposals", self.entries.len(), entries);
        // The valid and the locked one, and one that this peer made and nobody wanted any more.
        tell(to, "proposed blocks", self.bodies.len(), entries + 3);
    }

    /// Proposals and bodies kept, for tests of the bounds.
    #[cfg(test)]
    pub fn len(&self) -> (usize, usize) {
        (self.entries.len(), self.bodies.len())
    }
}
