//! CO2.
//!
//! Source: Sun et al., ICLR 2024, "CO2: efficient distributed training with full communication-computation
//! overlap", arXiv 2401.16265, algorithm 1.
//!
//! | paper | here |
//! |---|---|
//! | x_t, x_(t-1) | the replicated arrays 0 and 2 |
//! | m_t | the replicated array 1 |
//! | x_t - x_i[t,tau] | what is sent for slot t, through `codec` |
//! | tau (inner steps) | `period` |
//! | outer rate alpha, momentum beta, clipping phi | `eta`, `beta`, `phi` |
//! | staleness gap penalty Lambda_t | `penalty` |
//!
//! A peer starts round t at x_t, whatever it sent before, and trains on while round t - 1 is decided:
//! `m <- beta m + mean / Lambda; m <- clamp(m, -phi, phi); x_(t+1) = x_t - eta m` with the mean of what
//! was sent for round t - 1. Two slots are open at a time, and the first two start at the same parameters.
//! The penalty is `1 + |x_t - x_(t-1)| / |mean|`, and 1 where either norm is 0.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::norm::norm;
use super::numbers::{need, within};
use super::{MethodNumberError, StreamingDiLoCo, SyncSchedule};
use crate::codec::Codec;

/// The method's numbers.
#[derive(Clone, PartialEq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Co2 {
    /// Inner steps of a round (the paper's tau).
    pub period: u32,
    /// Outer learning rate (the paper's alpha).
    pub eta: f32,
    /// Outer momentum.
    pub beta: f32,
    /// The most that a value of the momentum may be, up or down.
    pub phi: f32,
    /// Whether what comes a round late weighs less the more the parameters moved meanwhile.
    pub penalty: bool,
    /// Encoding of the differences.
    pub codec: Codec,
}

/// Numbers with which a round's delay makes the outer step diverge, in the worst case.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error(
    "co2 with eta {eta} and beta {beta}{} diverges where the steps of a round reach the bottom of a valley: what is \
     agreed comes a round late and overshoots, further each time. {}",
    if *penalty { "" } else { " and without `penalty`" },
    match nearest {
        Some(nearest) => format!("The nearest that is stable: eta {nearest}"),
        None => "No eta is stable with this beta: take a smaller one".into(),
    }
)]
pub struct Unstable {
    eta: f32,
    beta: f32,
    penalty: bool,
    /// The largest stable eta, in whole hundredths.
    pub nearest: Option<f64>,
}

impl Co2 {
    /// Replicated arrays: the outer parameters, their momentum, the outer parameters before.
    pub const ARRAYS: usize = 3;
    /// Slots that are open at a time.
    pub const WINDOW: u32 = 2;

    /// One exchange of everything each period.
    pub fn schedule(&self) -> SyncSchedule {
        SyncSchedule { first: self.period, stagger: self.period, period: self.period }
    }

    /// Moves `[x, momentum, x before]` by the mean of a slot, or on where nothing was counted.
    pub fn step(&self, arrays: &mut [Vec<f32>], mean: Option<&[f32]>) {
        let [x, momentum, before] = arrays else { panic!("CO2 has three arrays") };
        let Some(mean) = mean else { return before.copy_from_slice(x) };
        let weight = if self.penalty { 1.0 / penalty(x, before, mean) } else { 1.0 };
        for (((x, m), before), mean) in x.iter_mut().zip(momentum).zip(before).zip(mean) {
            *m = (self.beta * *m + weight * mean).clamp(-self.phi, self.phi);
            *before = *x;
            *x -= self.eta * *m;
        }
    }

    /// Whether the outer step is stable however far the inner steps of a round go.
    ///
    /// Where those take a share c of the way to the bottom, x follows `z^2 - (1 + beta) z + beta + eta c /
    /// Lambda = 0`: without a penalty it is stable exactly if `eta c < 1 - beta`. The penalty is not constant
    /// while x oscillates, so the recursion itself is followed. The worst c is 1, where all of x moves alike.
    pub fn check_stability(&self) -> Result<(), Unstable> {
        let &Co2 { eta, beta, penalty, .. } = self;
        if self.converges(f64::from(eta)) {
            return Ok(());
        }
        let below = (eta.min(10.0) * 100.0) as u32;
        let mut hundredths = (1..=below).rev().map(|hundredths| f64::from(hundredths) / 100.0);
        let nearest = hundredths.find(|eta| self.converges(*eta));
        Err(Unstable { eta, beta, penalty, nearest })
    }

    /// Whether a value that the inner steps take to 0 in every round gets there.
    fn converges(&self, eta: f64) -> bool {
        /// Enough for a root of .999.
        const ROUNDS: usize = 20_000;
        let mut sizes = self.recursion(eta, 1.0).take(ROUNDS).map(|(x, before)| x.abs() + before.abs());
        sizes.find(|size| !(1.0e-8..=1.0e8).contains(size)).is_some_and(|size| size < 1.0)
    }

    /// Where a value is after each round, and was before, whose inner steps take it a share `c` of the way to 0.
    fn recursion(&self, eta: f64, c: f64) -> impl Iterator<Item = (f64, f64)> + use<> {
        let (beta, penalty) = (f64::from(self.beta), self.penalty);
        let (mut x, mut momentum, mut before) = (1.0f64, 0.0, 1.0f64);
        std::iter::repeat_with(move || {
            let (moved, mean) = ((x - before).abs(), c * before);
            let penalised = penalty && moved > 0.0 && mean != 0.0;
            let lambda = if penalised { 1.0 + moved / mean.abs() } else { 1.0 };
            momentum = beta * momentum + mean / lambda;
            (before, x) = (x, x - eta * momentum);
            (x, before)
        })
    }

    /// Refuses numbers that no session can run with.
    pub fn check(&self) -> Result<(), MethodNumberError> {
        let period = (1..=StreamingDiLoCo::MAX_STEPS).contains(&self.period);
        need(period, "period", self.period, "1 to 1048576")?;
        need(within(0.0, 100.0, self.eta) && self.eta > 0.0, "eta", self.eta, "above 0 and at most 100")?;
        need(within(0.0, 0.999, self.beta), "beta", self.beta, "0 to 0.999")?;
        need(within(0.0, 1.0e6, self.phi) && self.phi > 0.0, "phi", self.phi, "above 0 and at most 1000000")?;
        need(self.codec.is_possible(), "codec", self.codec, "one that can be named")?;
        let lossy = "one that leaves nothing out (f32, e3m0, stat2, int2 to int8): CO2 has no error feedback";
        need(!self.codec.wants_error_feedback(), "codec", self.codec, lossy)
    }
}

/// Lambda: how much less weighs what comes a round late.
fn penalty(x: &[f32], before: &[f32], mean: &[f32]) -> f32 {
    let moved: Vec<f32> = x.iter().zip(before).map(|(x, before)| x - before).collect();
    let (moved, update) = (norm(&moved), norm(mean));
    // A ratio that is not finite is of norms that no session has: the update then counts for nothing.
    if moved == 0.0 || update == 0.0 { 1.0 } else { 1.0 + moved / update }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CO2: Co2 = Co2 { period: 12, eta: 1.0, beta: 0.0, phi: 1.0, penalty: false, codec: Codec::F32 };

    /// C1: the largest stable eta c on a grid of hundredths.
    #[test]
    fn c1_the_largest_stable_step() {
        for (beta, largest) in [(0.0f32, 99), (0.2, 79), (0.5, 49), (0.6, 39), (0.9, 9)] {
            let stable = |hundredths: i32| {
                let mut path = Co2 { beta, ..CO2 }.recursion(1.0, f64::from(hundredths) / 100.0);
                path.nth(19_999).is_some_and(|(x, before)| x.abs().max(before.abs()) < 1.0e-6)
            };
            let found = (1..150).take_while(|hundredths| stable(*hundredths)).last();
            assert_eq!(found, Some(largest), "beta {beta}");
            let co2 = |hundredths: i32| Co2 { beta, eta: hundredths as f32 / 100.0, ..CO2 };
            assert!(co2(largest).check_stability().is_ok(), "beta {beta}");
            let refused = co2(largest + 1).check_stability().unwrap_err();
            assert_eq!(refused.nearest, Some(f64::from(largest) / 100.0), "beta {beta}");
        }
    }

    /// C1: at eta c = (1 - beta)^2 / 4 both roots are (1 + beta) / 2. Values then go as (1 + k n) r^n.
    #[test]
    fn c1_the_spectral_radius_of_the_fastest_step() {
        for beta in [0.0f32, 0.2, 0.5, 0.6, 0.9] {
            let b = f64::from(beta);
            let c = (1.0 - b) * (1.0 - b) / 4.0;
            // Three values of the sequence give the two coefficients of its recursion.
            let path: Vec<f64> = Co2 { beta, ..CO2 }.recursion(1.0, c).take(4).map(|(x, _)| x).collect();
            let [p, q, r, s] = path[..] else { unreachable!() };
            // r = u q - v p, s = u r - v q.
            let determinant = q * -q + p * r;
            let (u, v) = ((r * -q + p * s) / determinant, (q * s - r * r) / determinant);
            let discriminant = (u * u / 4.0 - v).max(0.0);
            // A double root moves with the root of an error.
            assert!((u / 2.0 - f64::midpoint(1.0, b)).abs() < 1.0e-6, "{} at beta {beta}", u / 2.0);
            assert!(discriminant < 1.0e-9, "{discriminant}");
        }
    }

    /// On many values at once, whose norms the penalty takes, each with its own phase.
    #[test]
    fn the_penalty_makes_larger_steps_stable() {
        let diverges = |eta: f64, beta: f32| {
            let co2 = Co2 { eta: eta as f32, beta, phi: 1.0e6, penalty: true, ..CO2 };
            let start: Vec<f32> = (0..64).map(|i| (i as f32 * 0.37 + 0.1).rem_euclid(2.0) - 1.0).collect();
            let mut arrays = vec![start.clone(), vec![0.0; 64], start.iter().rev().copied().collect()];
            for _ in 0..20_000 {
                let mean = arrays[2].clone();
                co2.step(&mut arrays, Some(&mean));
                match norm(&arrays[0]) {
                    size if size > 1.0e5 => return true,
                    size if size < 1.0e-5 => return false,
                    _ => {}
                }
            }
            panic!("neither at eta {eta}, beta {beta}")
        };
        // Where a recursion of 64 normal values in f64 turns, in another language.
        for (beta, turns) in [(0.0f32, 1.728), (0.2, 1.322), (0.5, 0.757), (0.9, 0.126)] {
            let refused = Co2 { eta: 3.0, beta, penalty: true, ..CO2 }.check_stability().unwrap_err();
            let nearest = refused.nearest.unwrap();
            // Just below, a value gets there too slowly to be told.
            assert!(nearest <= turns && turns < nearest + 0.015, "{nearest} at beta {beta}");
            assert!(!diverges(nearest, beta) && diverges(nearest + 0.02, beta), "beta {beta}");
        }
        Co2 { beta: 0.2, penalty: true, ..CO2 }.check_stability().unwrap();
        let dilocos = Co2 { eta: 0.7, beta: 0.9, penalty: true, ..CO2 }.check_stability().unwrap_err();
        assert!(dilocos.to_string().contains("nearest that is stable: eta 0.12"), "{dilocos}");
    }

    #[test]
    fn a_round_moves_by_the_mean_of_the_one_before() {
        let co2 = Co2 { beta: 0.5, phi: 2.0, penalty: true, ..CO2 };
        let mut arrays = vec![vec![4.0f32, 0.0], vec![0.0, 0.0], vec![4.0, 0.0]];
        // Nothing moved yet: no penalty.
        co2.step(&mut arrays, Some(&[3.0, 0.0]));
        assert_eq!(arrays, [[2.0, 0.0], [2.0, 0.0], [4.0, 0.0]], "clipped to phi");
        // It moved by 2, the update is 1: Lambda is 3.
        co2.step(&mut arrays, Some(&[0.0, 1.0]));
        let third = 1.0f32 / 3.0;
        assert_eq!(arrays, [[1.0, -third], [1.0, third], [2.0, 0.0]]);
        co2.step(&mut arrays, None);
        assert_eq!(arrays, [[1.0, -third], [1.0, third], [1.0, -third]], "an empty slot moves on");
    }
}
