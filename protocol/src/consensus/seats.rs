//! Who votes at a height, and who proposes in which attempt.

use arc_malachitebft_core_types::{ThresholdParam, ThresholdParams};

use crate::block::{Attempt, Height};
use crate::committee::{MAX_SEATS, QuorumRule};
use crate::identity::PeerKey;
use crate::mutant::Mutant;

/// The voters of a height.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seats {
    /// 1 to 16 distinct keys in seat order, the order of a certificate's seat numbers.
    pub keys: Vec<PeerKey>,
    /// How many of them decide.
    pub quorum: QuorumRule,
    /// Those who left or were convicted of contradicting themselves: not heard any more, and never a
    /// proposer. They still count towards the quorum.
    pub unheard: Vec<PeerKey>,
    /// Those who were not there lately: heard if they come, but not waited for as proposers.
    pub silent: Vec<PeerKey>,
}

impl Seats {
    /// Whether these seats can decide anything: 1 to 16 distinct keys.
    pub fn are_usable(&self) -> bool {
        let mut keys = self.keys.clone();
        keys.sort_unstable();
        (1..=MAX_SEATS).contains(&keys.len()) && keys.windows(2).all(|pair| pair[0] != pair[1])
    }

    /// Votes needed for a decision.
    pub fn needed(&self) -> usize {
        self.quorum.needed(self.keys.len())
    }

    /// The seat that proposes in `attempt` of `height`: one after the other, from the first on. (A
    /// rotation that starts at the parent's hash could be steered by whoever composes the parent.)
    /// Meaningful for usable seats.
    pub fn proposer_seat(&self, height: Height, attempt: Attempt) -> usize {
        let turn = height.saturating_sub(1).wrapping_add(u64::from(attempt));
        let there = |seat: &usize| !self.silent.contains(&self.keys[*seat]);
        let heard: Vec<usize> = (0..self.keys.len()).filter(|seat| self.hears(&self.keys[*seat])).collect();
        let there: Vec<usize> = heard.iter().copied().filter(there).collect();
        match if there.is_empty() { heard } else { there } {
            none if none.is_empty() => (turn % self.keys.len().max(1) as u64) as usize,
            seats => seats[(turn % seats.len() as u64) as usize],
        }
    }

    /// Whether what `key` says counts.
    pub fn hears(&self, key: &PeerKey) -> bool {
        self.keys.contains(key) && !self.unheard.contains(key)
    }

    /// The smallest group that surely includes a seat that does not lie.
    pub(super) fn honest(&self) -> usize {
        match self.quorum {
            QuorumRule::TwoThirds => self.keys.len() / 3 + 1,
            QuorumRule::Majority => 1,
        }
    }

    /// The same for the driver, where "met" is strictly more than the fraction.
    pub(super) fn thresholds(&self) -> ThresholdParams {
        let (quorum, honest) = match self.quorum {
            QuorumRule::TwoThirds if Mutant::HalfDecides.lives() => {
                (ThresholdParam::new(1, 2), ThresholdParam::F_PLUS_ONE)
            }
            QuorumRule::TwoThirds => (ThresholdParam::TWO_F_PLUS_ONE, ThresholdParam::F_PLUS_ONE),
            QuorumRule::Majority => (ThresholdParam::new(1, 2), ThresholdParam::new(0, 1)),
        };
        ThresholdParams { quorum, honest }
    }
}
