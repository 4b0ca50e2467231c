//! Who votes: a pure function of the certified state.

use bincode::{Decode, Encode};

use crate::identity::PeerKey;
use crate::mutant::Mutant;

/// The most seats a committee has.
pub const MAX_SEATS: usize = 16;

/// How a manifest chooses the voters.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Committee {
    /// One named key, the coordinator.
    Steward {
        /// The only voter.
        key: PeerKey,
    },
    /// A fixed list.
    Named {
        /// The voters, ascending.
        keys: Vec<PeerKey>,
        /// How many of them decide.
        quorum: QuorumRule,
    },
    /// Starts as the founder alone and grows from those who contribute (`election.rs`).
    Elected {
        /// The first voter, who may reset the committee if it cannot decide any more.
        founder: PeerKey,
    },
}

/// Which share of the seats decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum QuorumRule {
    /// floor(2n/3) + 1: safe while fewer than a third of the seats lie.
    TwoThirds,
    /// floor(n/2) + 1: safe while no seat lies; fewer than half may be down.
    Majority,
}

impl QuorumRule {
    /// Seats needed out of `seats`.
    pub fn needed(self, seats: usize) -> usize {
        match self {
            QuorumRule::TwoThirds if Mutant::HalfDecides.lives() => seats / 2 + 1,
            QuorumRule::TwoThirds => 2 * seats / 3 + 1,
            QuorumRule::Majority => seats / 2 + 1,
        }
    }
}

/// Why a committee cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommitteeError {
    /// A named list is empty or has more than 16 keys.
    #[error("a named committee has 1 to {MAX_SEATS} keys, this one has {0}")]
    Size(usize),
    /// A named list is not sorted or names a key twice.
    #[error("a named committee lists its keys in ascending order, each once")]
    Order,
}

impl Committee {
    /// Refuses committees that no session can run with.
    pub fn check(&self) -> Result<(), CommitteeError> {
        match self {
            Committee::Steward { .. } | Committee::Elected { .. } => Ok(()),
            Committee::Named { keys, .. } if keys.is_empty() || keys.len() > MAX_SEATS => {
                Err(CommitteeError::Size(keys.len()))
            }
            Committee::Named { keys, .. } if keys.windows(2).any(|pair| pair[0] >= pair[1]) => {
                Err(CommitteeError::Order)
            }
            Committee::Named { .. } => Ok(()),
        }
    }

    /// The seats that the manifest names, in seat order.
    pub fn founding_seats(&self) -> Vec<PeerKey> {
        match self {
            Committee::Steward { key } | Committee::Elected { founder: key } => vec![*key],
            Committee::Named { keys, .. } => keys.clone(),
        }
    }

    /// Whether nothing is decided while any one seat is away.
    pub fn needs_every_seat(&self) -> bool {
        let seats = self.founding_seats().len();
        self.quorum_rule().needed(seats) == seats
    }

    /// The quorum rule.
    pub fn quorum_rule(&self) -> QuorumRule {
        match self {
            Committee::Named { quorum, .. } => *quorum,
            Committee::Steward { .. } | Committee::Elected { .. } => QuorumRule::TwoThirds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorums_are_those_of_the_design() {
        let two_thirds: Vec<usize> = [1, 2, 3, 4, 16].map(|n| QuorumRule::TwoThirds.needed(n)).to_vec();
        assert_eq!(two_thirds, [1, 2, 3, 3, 11]);
        let majority: Vec<usize> = [3, 4, 5].map(|n| QuorumRule::Majority.needed(n)).to_vec();
        assert_eq!(majority, [2, 3, 3]);
    }

    #[test]
    fn named_lists_are_checked() {
        let key = |n| PeerKey([n; 32]);
        let named = |keys| Committee::Named { keys, quorum: QuorumRule::TwoThirds }.check();
        assert_eq!(named(vec![]), Err(CommitteeError::Size(0)));
        assert_eq!(named(vec![key(2), key(1)]), Err(CommitteeError::Order));
        assert_eq!(named(vec![key(1), key(1)]), Err(CommitteeError::Order));
        assert_eq!(named(vec![key(1), key(2)]), Ok(()));
    }
}
