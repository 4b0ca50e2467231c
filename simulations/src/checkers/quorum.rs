//! Nothing is certified without a quorum: every certificate that a peer writes down is checked, by
//! arithmetic of its own.

use std::collections::BTreeSet;

use driftless_protocol::block::{CertifiedBlock, Step, Vote};
use driftless_protocol::committee::QuorumRule;
use driftless_protocol::identity::{Domain, Hash, PeerKey, Scope};
use driftless_protocol::wire;

/// Certificates seen so far.
#[derive(Debug)]
pub struct Quorum {
    session: Hash,
    rule: QuorumRule,
    right: BTreeSet<Hash>,
}

impl Quorum {
    /// A session whose seats decide by this rule.
    #[must_use]
    pub fn new(session: Hash, rule: QuorumRule) -> Quorum {
        Quorum { session, rule, right: BTreeSet::new() }
    }

    /// A peer wrote a block down, which `seats` decided.
    ///
    /// # Errors
    /// If too few of them signed it.
    pub fn observe(&mut self, certified: &CertifiedBlock, seats: &[PeerKey]) -> Result<(), String> {
        if !self.right.insert(Hash::of(&wire::encode(certified))) {
            return Ok(());
        }
        let (block, certificate) = (&certified.block, &certified.certificate);
        let scope = Scope { session: self.session, generation: block.generation };
        let (height, attempt) = (block.height, certificate.attempt);
        let vote = Vote { height, attempt, step: Step::Precommit, block: Some(block.hash()) };
        let signed = |(seat, signature): &(u8, _)| {
            let key = seats.get(usize::from(*seat))?;
            key.verify(Domain::Vote, scope, &vote, signature).then_some(*seat)
        };
        let signers: BTreeSet<u8> = certificate.precommits.iter().filter_map(signed).collect();
        let (signers, seats) = (signers.len(), seats.len());
        // More than two thirds, or more than half.
        let enough = match self.rule {
            QuorumRule::TwoThirds => 3 * signers > 2 * seats,
            QuorumRule::Majority => 2 * signers > seats,
        };
        if enough { Ok(()) } else { Err(format!("{signers} of {seats} seats signed it")) }
    }
}
