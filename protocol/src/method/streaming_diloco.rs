//! Streaming DiLoCo.
//!
//! Source: Douillard et al. 2025, "Streaming DiLoCo with overlapping communication: towards a
//! distributed free lunch", arXiv 2501.18512, algorithm 2 and equations 1 to 3.
//!
//! | paper | here |
//! |---|---|
//! | theta (local parameters) | `theta`, the engine's |
//! | theta at the last synchronization | `outer`, replicated |
//! | Delta = old minus new | [`subtract`] |
//! | OuterOpt | [`OuterOptimizer`] |
//! | H, tau, alpha | `period`, `tau`, `alpha` |
//! | fragment p of P, its offset t_p | stream of `fragments`, [`SyncSchedule`] |
//!
//! When fragment p is due, a peer publishes `delta = outer - theta` and trains on. `tau` steps
//! later the agreed mean has moved `outer`, and theta is pulled towards it:
//! `theta <- alpha theta + (1 - alpha) outer`. The difference is taken against the *outer copy*,
//! not against the local parameters H steps ago. Inner optimizer state is never sent or reset.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::numbers::{need, within};
use super::{MethodNumberError, OuterOptimizer};
use crate::codec::Codec;

/// The method's numbers.
#[derive(Clone, PartialEq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamingDiLoCo {
    /// Parts that are synchronized in turn (P).
    pub fragments: u16,
    /// Inner steps between two synchronizations of a fragment (H).
    pub period: u32,
    /// Inner steps between publishing a difference and using the agreed result.
    pub tau: u32,
    /// Share of the local parameters that a merge keeps: 0 takes the outer ones, 1 never listens.
    pub alpha: f32,
    /// Outer learning rate.
    pub eta: f32,
    /// Outer momentum.
    pub mu: f32,
    /// Encoding of the differences.
    pub codec: Codec,
    /// Error feedback: what is kept, at each contribution, of what the ones before left out (MuLoCo,
    /// arXiv 2505.23725; 1 forgets nothing). Without it nothing is kept, as in the paper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<f32>,
    /// How long a peer trains on without the result it waits for.
    pub max_overrun: Overrun,
}

/// How many steps past `tau` a peer trains while a result is missing; then it pauses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overrun {
    /// None: the paper's rule.
    Strict,
    /// One slot's steps.
    Slot,
    /// A fixed number.
    Steps(u32),
}

/// When fragments are due, in local steps: a value of its own so that tests can set it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyncSchedule {
    /// Steps before fragment 0 is due for the first time.
    pub first: u32,
    /// Steps between two neighbouring fragments.
    pub stagger: u32,
    /// Steps between two synchronizations of one fragment.
    pub period: u32,
}

impl SyncSchedule {
    /// The local step after which `fragment` is due for the `ordinal`-th time, counted from 0.
    pub fn due(&self, fragment: u16, ordinal: u32) -> u64 {
        let offset = u64::from(self.first) + u64::from(fragment) * u64::from(self.stagger);
        offset.saturating_add(u64::from(ordinal) * u64::from(self.period))
    }
}

impl StreamingDiLoCo {
    /// Replicated arrays per fragment: outer parameters, outer momentum.
    pub const ARRAYS: usize = 2;
    /// The longest period and the largest number of steps anywhere in the method.
    pub const MAX_STEPS: u32 = 1 << 20;

    /// Every fragment's first round is a whole H; their turns are spread evenly over it.
    pub fn schedule(&self) -> SyncSchedule {
        let stagger = self.period / u32::from(self.fragments.max(1));
        SyncSchedule { first: self.period, stagger, period: self.period }
    }

    /// The outer optimizer.
    pub fn outer_optimizer(&self) -> OuterOptimizer {
        OuterOptimizer::Nesterov { eta: self.eta, mu: self.mu }
    }

    /// `max_overrun` in steps.
    pub fn overrun_steps(&self) -> u32 {
        match self.max_overrun {
            Overrun::Strict => 0,
            Overrun::Slot => self.period,
            Overrun::Steps(steps) => steps,
        }
    }

    /// Refuses numbers that no session can run with.
    pub fn check(&self) -> Result<(), MethodNumberError> {
        need((1..=512).contains(&self.fragments), "fragments", self.fragments, "1 to 512")?;
        need((1..=Self::MAX_STEPS).contains(&self.period), "period", self.period, "1 to 1048576")?;
        let turns = self.period >= u32::from(self.fragments);
        need(turns, "period", self.period, "at least the number of fragments")?;
        need(self.tau < self.period, "tau", self.tau, "less than period")?;
        need(within(0.0, 1.0, self.alpha), "alpha", self.alpha, "0 to 1")?;
        need(within(0.0, 100.0, self.eta) && self.eta > 0.0, "eta", self.eta, "above 0 and at most 100")?;
        need(within(0.0, 0.999, self.mu), "mu", self.mu, "0 to 0.999")?;
        need(self.codec.is_possible(), "codec", self.codec, "one that can be named")?;
        let lossy = "one that leaves nothing out (f32, e3m0, stat2, int2 to int8) without `feedback`, which sends the rest later";
        let whole = self.feedback.is_some_and(|kept| kept > 0.0) || !self.codec.wants_error_feedback();
        need(whole, "codec", self.codec, lossy)?;
        let feedback = self.feedback.unwrap_or_default();
        need(within(0.0, 1.0, feedback), "feedback", feedback, "0 to 1")?;
        match self.max_overrun {
            Overrun::Steps(steps) => {
                need(steps <= Self::MAX_STEPS, "max_overrun.steps", steps, "at most 1048576")
            }
            Overrun::Strict | Overrun::Slot => Ok(()),
        }
    }
}

/// `outer <- outer - theta`: the difference, old minus new, which is a descent direction.
pub fn subtract(outer: &mut [f32], theta: &[f32]) {
    assert_eq!(outer.len(), theta.len());
    for (outer, theta) in outer.iter_mut().zip(theta) {
        *outer -= theta;
    }
}

/// `theta <- alpha theta + (1 - alpha) outer`; 1 leaves theta and 0 copies outer, bit for bit.
pub fn merge(theta: &mut [f32], outer: &[f32], alpha: f32) {
    assert_eq!(theta.len(), outer.len());
    if alpha == 1.0 {
        return;
    }
    if alpha == 0.0 {
        return theta.copy_from_slice(outer);
    }
    let beta = 1.0 - alpha;
    for (theta, outer) in theta.iter_mut().zip(outer) {
        *theta = alpha * *theta + beta * outer;
    }
}

/// `theta += outer_now - outer_base`: carries uncounted work over to a newer outer state, so that
/// the next difference holds all of it, once.
pub fn rebase(theta: &mut [f32], outer_now: &[f32], outer_base: &[f32]) {
    assert!(theta.len() == outer_now.len() && theta.len() == outer_base.len());
    for ((theta, now), base) in theta.iter_mut().zip(outer_now).zip(outer_base) {
        *theta += now - base;
    }
}
