//! One byte per sample: gradients estimated with forward passes alone, along directions that everybody can make.
//!
//! Source: Zelikman et al. 2023, "Just one byte (per gradient)", arXiv 2306.10015, on MeZO (Malladi et al. 2023,
//! arXiv 2305.17333); the estimator `fzoo` is Dang et al. 2025, arXiv 2506.09034.
//!
//! | paper | here |
//! |---|---|
//! | z | [`Direction`]: ±1 (or normal), keyed by what the batch of steps opened with, step, member and sample |
//! | `p = (loss(theta + eps z) - loss(theta - eps z)) / 2 eps` | [`Estimator::Spsa`] |
//! | `(l_i - l_0) / std(l)` | [`Estimator::Fzoo`] |
//! | byte(p) | [`byte`] |
//! | a step's list | the members that a [`Log`] each says were listed |
//!
//! A slot is a batch of steps. While it runs, its steps are ordered by one peer and applied to copies
//! ([`batch`](crate::batch)); in the end every contributor signs its own bytes, and the outer parameters move by
//! what was signed: `theta <- theta - rate / sqrt(N) * sum decode(byte) z` in every step, over its N samples in
//! the order of members' keys and samples (`fzoo`: `rate / N`). Bytes above three medians of the step count as
//! three medians. The rate falls in a line to 0 at the session's budget.
//!
//! Every term is one f32 addition, so all machines come to the same bits.

mod audit;
pub mod byte;
mod direction;
mod estimate;
mod log;
mod step;
#[cfg(test)]
mod tests;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

pub use audit::Audit;
pub use direction::{Direction, Directions, Opening};
pub use estimate::{Estimator, Measurement};
pub use log::{Log, LogError};

use crate::identity::PeerKey;

use super::numbers::{need, within};
use super::{MethodNumberError, SyncSchedule};

/// The method's numbers.
#[derive(Clone, PartialEq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneByte {
    /// What a sample's byte says.
    pub estimator: Estimator,
    /// From which distribution the directions are.
    #[serde(default)]
    pub directions: Directions,
    /// Samples of a member in a step (S), all on one batch of data.
    pub samples: u16,
    /// Steps from one certificate to the next.
    pub batch_steps: u32,
    /// Steps that a sample may be behind the lists of its step: 0 waits for each list.
    pub staleness: u32,
    /// How far the parameters are moved to measure a loss (eps).
    pub epsilon: f32,
    /// Learning rate at the beginning.
    pub rate: f32,
    /// Share of the others' samples that each voter measures again: 0 believes everybody.
    pub audit: f32,
}

impl OneByte {
    /// Replicated arrays: the outer parameters.
    pub const ARRAYS: usize = 1;
    /// The most samples of a step, all members together: each costs every peer a pass over the parameters.
    pub const MAX_SAMPLES: u32 = 512;
    /// The most members of a step's list, each a bit of a word.
    pub const MAX_LISTED: u16 = 64;
    const MAX_STEPS: u32 = 1024;
    const MAX_STALENESS: u32 = 8;

    /// The usual numbers, beside a rate that suits the task.
    pub fn of(estimator: Estimator, rate: f32) -> OneByte {
        let (directions, samples, batch_steps, staleness) = (Directions::Rademacher, 8, 64, 1);
        let (epsilon, audit) = (1e-3, 1.0 / 64.0);
        OneByte { estimator, directions, samples, batch_steps, staleness, epsilon, rate, audit }
    }

    /// One exchange of everything each batch of steps.
    pub fn schedule(&self) -> SyncSchedule {
        SyncSchedule { first: self.batch_steps, stagger: self.batch_steps, period: self.batch_steps }
    }

    /// The direction of a member's sample in a step.
    pub fn direction(&self, opening: &Opening, step: u32, member: PeerKey, sample: u16) -> Direction {
        Direction::new(self.directions, opening, step, member, sample)
    }

    /// The most bytes of a contribution: those of all steps, and which they are.
    pub fn blob_bytes(&self) -> u64 {
        let samples = u64::from(self.batch_steps) * u64::from(self.samples);
        u64::from(self.batch_steps.div_ceil(8)) + samples
    }

    /// Steps that a contribution of so many bytes was listed in, if there can be such a one.
    pub fn steps_of(&self, bytes: u64) -> Option<u32> {
        let samples = bytes.checked_sub(u64::from(self.batch_steps.div_ceil(8)))?;
        let whole = samples.is_multiple_of(u64::from(self.samples));
        let steps = u32::try_from(samples / u64::from(self.samples)).ok()?;
        (whole && steps <= self.batch_steps).then_some(steps)
    }

    /// Refuses numbers that no session can run with.
    pub fn check(&self) -> Result<(), MethodNumberError> {
        let Self { estimator, directions: _, samples, batch_steps, staleness, epsilon, rate, audit } = self;
        let fewest = if *estimator == Estimator::Fzoo { 2 } else { 1 };
        let some = (fewest..=Self::MAX_SAMPLES).contains(&u32::from(*samples));
        need(some, "samples", samples, "1 (fzoo: 2) to 512")?;
        need((1..=Self::MAX_STEPS).contains(batch_steps), "batch_steps", batch_steps, "1 to 1024")?;
        need(*staleness <= Self::MAX_STALENESS, "staleness", staleness, "0 to 8")?;
        need(within(1.0e-6, 1.0, *epsilon), "epsilon", epsilon, "0.000001 to 1")?;
        need(within(0.0, 100.0, *rate) && *rate > 0.0, "rate", rate, "above 0 and at most 100")?;
        need(within(0.0, 1.0, *audit), "audit", audit, "0 to 1")
    }

    /// The most members that one step lists.
    pub fn most_contributors(&self) -> u16 {
        let most = Self::MAX_SAMPLES / u32::from(self.samples.max(1));
        (most as u16).min(Self::MAX_LISTED)
    }
}
