//! Check E4: EF21 with the step of EF21-W against EF21 with its own, on `australian` (690 raw rows, cut into as many
//! runs as there are peers), logistic regression with a regularizer that is not convex, Top-1.
//!
//! Encoding, what becomes of the g_j, their mean and the step are the product's, and so are gradients and smoothness
//! constants. No session runs: a round is one gradient of all of a peer's rows.

use driftless_compute::{
    AUSTRALIAN, Batch, Engine, EngineOptions, LogisticShape, Optimizer, Scaling, Sgd, Split, Table,
    TableOptions,
};
use driftless_protocol::codec::{Codec, TopK};
use driftless_protocol::method::ef21::step_size::Smoothness;
use driftless_protocol::method::{Ef21, Method, ef21};

use crate::random::Random;

const SHAPE: LogisticShape = LogisticShape { inputs: INPUTS, regularization: 1e-3 };
const INPUTS: usize = 14;
const ROWS: usize = 690;
/// Rounds after which a run is given up.
const MOST: u32 = 20_000;
/// How far rounds may be from the reference's.
pub const ALLOWED: f64 = 0.02;

/// One comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// Its name, as `--rows` takes it.
    pub name: &'static str,
    /// Peers, each with as many rows.
    pub peers: usize,
    /// In how many of 1000 rounds a peer takes part.
    pub participation: u32,
    /// The reference's ratio of the two steps, and how far ours may be from it.
    pub ratio: (f64, f64),
    /// The reference's rounds with EF21's step and with EF21-W's.
    pub rounds: (u32, u32),
}

/// The comparisons.
pub const CASES: [Case; 3] = [
    Case { name: "690", peers: 690, participation: 1000, ratio: (13.977, 0.03), rounds: (10_636, 760) },
    Case { name: "138", peers: 138, participation: 1000, ratio: (6.284, 0.03), rounds: (4_777, 759) },
    Case { name: "138-half", peers: 138, participation: 500, ratio: (6.385, 0.05), rounds: (9_796, 1_531) },
];

/// What came of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// The ratio of the two steps.
    pub ratio: f64,
    /// Rounds with EF21's step.
    pub plain: Option<u32>,
    /// And with EF21-W's.
    pub weighted: Option<u32>,
}

/// Whether rounds are as near to the reference's as is allowed.
#[must_use]
pub fn holds(found: Option<u32>, expected: u32) -> bool {
    let apart = |found: u32| (f64::from(found) / f64::from(expected) - 1.0).abs();
    found.is_some_and(|found| apart(found) <= ALLOWED)
}

/// The rows, and what every round needs.
#[derive(Debug)]
struct Peers<'a> {
    table: &'a Table,
    engine: Engine,
    rows: usize,
    count: usize,
}

impl Case {
    /// The two steps' ratio, and the rounds with both; those with EF21's own only if asked for.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn run(&self, plain: bool, seed: u64) -> Result<Found, String> {
        let options = TableOptions { split: Split::Whole, scaling: Scaling::Raw, ..TableOptions::default() };
        let table = Table::embedded(AUSTRALIAN, options, [0; 32]).map_err(|error| error.to_string())?;
        let sgd = Sgd { weight_decay: 0.0, clip: 1.0e6 };
        let (rows, count) = (ROWS / self.peers, self.peers);
        let options = EngineOptions { threads: 1, batch: rows, optimizer: Optimizer::Sgd(sgd) };
        let engine = Engine::new(SHAPE, options).map_err(|error| error.to_string())?;
        let mut peers = Peers { table: &table, engine, rows, count };
        let smoothness = peers.smoothness();
        let (alpha, p) = (1.0 / INPUTS as f64, f64::from(self.participation) / 1000.0);
        let [own, larger] = [smoothness.ef21_partial(alpha, p), smoothness.weighted_partial(alpha, p)];
        Ok(Found {
            ratio: larger / own,
            plain: if plain { peers.rounds(own, self.participation, seed)? } else { None },
            weighted: peers.rounds(larger, self.participation, seed)?,
        })
    }
}

impl Peers<'_> {
    fn smoothness(&self) -> Smoothness {
        let of = |batch: Batch<'_>| match batch {
            Batch::Rows { features, .. } => SHAPE.smoothness(features),
            Batch::Tokens(_) => 0.0,
        };
        let each = (0..self.count).map(|peer| of(self.of(peer))).collect();
        Smoothness { whole: of(self.table.rows(0..ROWS)), each }
    }

    fn of(&self, peer: usize) -> Batch<'_> {
        self.table.rows(peer * self.rows..(peer + 1) * self.rows)
    }

    /// Rounds until the square of the gradient of all is a hundredth of the first.
    fn rounds(&mut self, gamma: f64, participation: u32, seed: u64) -> Result<Option<u32>, String> {
        let codec = Codec::TopK(TopK { keep: 1, of: INPUTS as u32, whole: false, statistical: false });
        let method = Ef21 { batches: 1, gamma: gamma as f32, eta: 1.0, members: self.count as u16, codec };
        let step = Method::Ef21(method);
        let mut random = Random::new(seed, "who takes part");
        let mut arrays = [vec![0.0f32; INPUTS]];
        let mut known: Vec<Vec<f32>> = Vec::new();
        let mut first = 0.0;
        let mut gradient = vec![0.0f32; INPUTS];
        let mut mean = vec![0.0f32; INPUTS];
        for round in 0..MOST {
            self.engine.write(0..INPUTS, &arrays[0]);
            let mut whole = [0.0f64; INPUTS];
            for peer in 0..self.count {
                let batch = self.table.rows(peer * self.rows..(peer + 1) * self.rows);
                self.engine.gradient(batch, &mut gradient).map_err(|error| error.to_string())?;
                let share = |(sum, g): (&mut f64, &f32)| *sum += f64::from(*g) / self.count as f64;
                whole.iter_mut().zip(&gradient).for_each(share);
                let before = known.get(peer).map(Vec::as_slice);
                if before.is_some() && !random.chance(participation) {
                    continue;
                }
                let sent = ef21::encode(codec, &gradient, before, 0).map_err(|error| error.to_string())?;
                let learned = ef21::learn(codec, before.map(<[f32]>::to_vec), &sent, INPUTS);
                let learned = learned.map_err(|error| error.to_string())?;
                match known.get_mut(peer) {
                    Some(known) => *known = learned,
                    None => known.push(learned),
                }
            }
            let square: f64 = whole.iter().map(|g| g * g).sum();
            if round == 0 {
                first = square;
            }
            if square <= 1e-2 * first {
                return Ok(Some(round));
            }
            ef21::mean(&known, None, &mut mean);
            step.step(&mut arrays, Some(&mean));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The short form: everything but EF21 with its own step where every row is a peer, which takes 7 million
    /// gradients. The whole is `driftless-sim table ef21`.
    #[test]
    fn e4_the_larger_step_saves_as_many_rounds_as_it_is_larger() {
        for case in CASES {
            let whole = case.peers < ROWS;
            let found = case.run(whole, 1).unwrap();
            let (ratio, allowed) = case.ratio;
            assert!((found.ratio / ratio - 1.0).abs() <= allowed, "{}: {found:?}", case.name);
            assert!(holds(found.weighted, case.rounds.1), "{}: {found:?}", case.name);
            assert!(!whole || holds(found.plain, case.rounds.0), "{}: {found:?}", case.name);
        }
    }
}
