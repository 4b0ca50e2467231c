//! Spot checks: whose samples this peer measures again, and what it found.
//!
//! Right after its own samples of a step theta is where everybody measured them, so a check costs forward passes
//! and nothing else. Whom it checks nobody else can know.

use crate::holdings::{Tell, tell};
use crate::identity::{Hash, PeerKey};
use crate::method::one_byte::{Audit, OneByte};

/// The checks of one peer in one batch.
#[derive(Debug, Default)]
pub struct Audits {
    /// Draws whom to check; without it nobody is.
    secret: Option<Hash>,
    /// How often, of 2^32.
    share: u64,
    /// The step that theta is at, ...
    step: u32,
    /// ... and who is to be checked in it.
    due: Vec<PeerKey>,
    done: Vec<Audit>,
    /// Nobody is checked any more.
    ended: bool,
}

impl Audits {
    /// Checks by a secret that is another one in every batch.
    pub fn new(method: &OneByte, secret: Hash) -> Audits {
        let share = f64::from(method.audit) * (1u64 << 32) as f64;
        Audits { secret: Some(secret), share: share as u64, ..Audits::default() }
    }

    /// Theta is where `others` measure this step.
    pub fn reached<'a>(&mut self, step: u32, others: impl Iterator<Item = &'a PeerKey>) {
        let Some(secret) = self.secret.filter(|_| !self.ended) else { return };
        self.step = step;
        self.due = others.filter(|key| self.share > u64::from(drawn(secret, step, key))).copied().collect();
    }

    /// Whom to check now, and in which step; once each.
    pub fn take(&mut self) -> Option<(u32, PeerKey)> {
        self.due.pop().map(|key| (self.step, key))
    }

    /// Theta is not where it was.
    pub fn moved(&mut self) {
        self.due.clear();
    }

    /// From now on theta need not be where the others have it: nothing is checked any more, and what was found counts only
    /// for steps before `known`.
    pub fn end(&mut self, known: u32) {
        self.ended = true;
        self.due.clear();
        self.done.retain(|audit| audit.step < known);
    }

    /// Notes what was found.
    pub fn push(&mut self, audit: Audit) {
        if !self.ended {
            self.done.push(audit);
        }
    }

    /// What was found so far.
    pub fn done(&self) -> &[Audit] {
        &self.done
    }

    /// Tells how much is held, in a batch of `steps` steps of `drawn` members.
    pub fn holdings(&self, steps: usize, drawn: usize, to: Tell<'_>) {
        tell(to, "samples measured again", self.done.len(), steps * drawn);
        tell(to, "members to be checked", self.due.len(), drawn);
    }
}

fn drawn(secret: Hash, step: u32, key: &PeerKey) -> u32 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&secret.0).update(&step.to_le_bytes()).update(&key.0);
    let [a, b, c, d, ..] = *hasher.finalize().as_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::one_byte::Estimator;

    fn checked(audit: f32) -> usize {
        let method = OneByte { batch_steps: 1000, audit, ..OneByte::of(Estimator::Spsa, 1.0) };
        let mut audits = Audits::new(&method, Hash([3; 32]));
        let others = [PeerKey([1; 32]), PeerKey([2; 32])];
        let mut checked = 0;
        for step in 0..1000 {
            audits.reached(step, others.iter());
            while let Some((of, key)) = audits.take() {
                assert!(of == step && others.contains(&key));
                checked += 1;
            }
        }
        checked
    }

    #[test]
    fn the_share_of_the_others_is_checked_that_the_session_says() {
        assert_eq!((checked(0.0), checked(1.0)), (0, 2000));
        // 500 +- 5 deviations.
        assert!((403..598).contains(&checked(0.25)), "{}", checked(0.25));
    }
}
