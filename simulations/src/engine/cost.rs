//! A model that does not fit in memory, as what it costs.
//!
//! A small stand-in trains in its place, so that blobs, pages and digests are real; what travels has
//! the lengths that the nominal model's have, and losses are read off a curve.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use driftless_protocol::charter::Charter;
use driftless_protocol::worker::{Engine, EngineFailure, Evaluation, Samples};

use super::stand_in::{Landscape, StandIn};

/// The nominal model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostModel {
    /// Its parameters.
    pub parameters: u64,
    /// What it learns.
    pub losses: LossCurve,
}

/// Losses by counted tokens: straight lines between points, level outside. Integers, so that all
/// machines read the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossCurve(Arc<[(u64, u64)]>);

impl LossCurve {
    /// A curve through points of tokens and millionths of a nat; none, or tokens that do not grow, make
    /// no curve.
    #[must_use]
    pub fn new(points: &[(u64, u64)]) -> Option<LossCurve> {
        let grows = points.windows(2).all(|pair| pair[0].0 < pair[1].0);
        (grows && !points.is_empty()).then(|| LossCurve(points.into()))
    }

    /// Nats at this many counted tokens.
    #[must_use]
    pub fn at(&self, tokens: u64) -> f64 {
        self.millionths(tokens) as f64 / 1e6
    }

    fn millionths(&self, tokens: u64) -> u64 {
        let after = self.0.partition_point(|point| point.0 <= tokens);
        let Some(before) = after.checked_sub(1).map(|before| self.0[before]) else { return self.0[0].1 };
        let Some(next) = self.0.get(after) else { return before.1 };
        let (run, width) = (u128::from(tokens - before.0), u128::from(next.0 - before.0));
        let share = |height: u64| (u128::from(height) * run / width) as u64;
        match next.1.checked_sub(before.1) {
            Some(rise) => before.1 + share(rise),
            None => before.1 - share(before.1 - next.1),
        }
    }
}

/// Lengths of the nominal model's blobs, by those of its stand-in's.
#[derive(Debug)]
pub struct Nominal {
    /// Contributions and pages, which have lengths of their own kind.
    known: BTreeMap<u64, u64>,
    parameters: u64,
    stand_in: u64,
}

impl Nominal {
    /// What a session's blobs would be if its model had `parameters` parameters, spread over the
    /// fragments as the stand-in's are.
    #[must_use]
    pub fn new(parameters: u64, charter: &Charter) -> Nominal {
        let stand_in = charter.lengths.iter().map(|length| *length as u64).sum::<u64>().max(1);
        let mut nominal = Nominal { known: BTreeMap::new(), parameters, stand_in };
        let method = &charter.manifest.method;
        for length in &charter.lengths {
            let values = nominal.scaled(*length as u64);
            nominal.known.insert(4 * *length as u64, 4 * values);
            nominal.known.insert(method.usual_bytes(*length), method.usual_bytes(values as usize));
        }
        nominal
    }

    /// The nominal length of a blob of this length.
    #[must_use]
    pub fn length(&self, length: u64) -> u64 {
        self.known.get(&length).copied().unwrap_or_else(|| self.scaled(length))
    }

    /// The rate at which the stand-in's bytes take as long as the nominal ones at this rate.
    #[must_use]
    pub fn rate(&self, rate: u64) -> u64 {
        let scaled = u128::from(rate) * u128::from(self.stand_in) / u128::from(self.parameters.max(1));
        u64::try_from(scaled).unwrap_or(u64::MAX).max(1)
    }

    fn scaled(&self, count: u64) -> u64 {
        let scaled = u128::from(count) * u128::from(self.parameters) / u128::from(self.stand_in);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}

/// The engine: a bowl whose losses are the curve's.
#[derive(Debug)]
pub struct CostEngine {
    stand_in: StandIn,
    losses: LossCurve,
    budget: u64,
}

impl CostEngine {
    /// An engine over the session's small tensors.
    #[must_use]
    pub fn new(charter: &Charter, losses: LossCurve) -> CostEngine {
        let budget = charter.manifest.training.budget_tokens;
        CostEngine { stand_in: StandIn::new(charter, Landscape::Bowl, None), losses, budget }
    }
}

impl Engine for CostEngine {
    fn tensors(&self) -> Vec<(String, usize, usize)> {
        self.stand_in.tensors()
    }

    fn train(&mut self, samples: &Samples, progress: &[f32]) -> Result<Vec<f32>, EngineFailure> {
        self.stand_in.train(samples, progress)?;
        let tokens = |share: &f32| (f64::from(*share) * self.budget as f64) as u64;
        Ok(progress.iter().map(|share| self.losses.at(tokens(share)) as f32).collect())
    }

    fn loss(&mut self, samples: &Samples) -> Result<f32, EngineFailure> {
        self.stand_in.loss(samples)
    }

    fn gradient(&mut self, samples: &Samples, into: &mut [f32]) -> Result<f32, EngineFailure> {
        self.stand_in.gradient(samples, into)
    }

    fn read(&mut self, range: Range<usize>, into: &mut [f32]) -> Result<(), EngineFailure> {
        self.stand_in.read(range, into)
    }

    fn write(&mut self, range: Range<usize>, values: &[f32]) -> Result<(), EngineFailure> {
        self.stand_in.write(range, values)
    }

    /// The world reads it off the curve: the engine does not know what was counted.
    fn evaluate(&mut self, windows: Option<u64>) -> Result<Evaluation, EngineFailure> {
        self.stand_in.evaluate(windows)
    }

    fn save(&mut self) -> Result<Vec<u8>, EngineFailure> {
        self.stand_in.save()
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), EngineFailure> {
        self.stand_in.load(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::Setup;

    #[test]
    fn a_curve_is_straight_between_its_points_and_level_outside() {
        let curve = LossCurve::new(&[(100, 10_000_000), (200, 4_000_000), (400, 5_000_000)]).unwrap();
        let at = |tokens| curve.at(tokens).to_string();
        assert_eq!([at(0), at(100), at(150), at(200)], ["10", "10", "7", "4"]);
        assert_eq!([at(300), at(400), at(u64::MAX)], ["4.5", "5", "5"]);
        assert_eq!(LossCurve::new(&[]), None);
        assert_eq!(LossCurve::new(&[(1, 1), (1, 2)]), None);
    }

    #[test]
    fn blobs_have_the_codecs_bits_per_parameter() {
        let charter = Charter::new(Setup::small(1, 2).sealed_manifest()).unwrap();
        let nominal = Nominal::new(1_000_000_000, &charter);
        let method = &charter.manifest.method;
        let blobs = charter.lengths.iter().map(|length| nominal.length(method.usual_bytes(*length)));
        // 4 bits, and a byte of scale for 256 of them.
        let bytes: u64 = blobs.sum();
        assert!(bytes.abs_diff(515_625_000) < 10_000, "{bytes}");
        let pages: u64 = charter.lengths.iter().map(|length| nominal.length(4 * *length as u64)).sum();
        assert!(pages.abs_diff(4_000_000_000) < 10, "{pages}");
    }
}
