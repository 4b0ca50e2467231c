//! Gradients of one byte on handwritten digits (check B2): a perceptron of 64-32-10, batches of 64, eps 1e-3, a rate
//! that falls in a line, 20,000 forward passes.
//!
//! What is sent as bytes are sessions of the product with one peer. What it is compared with, slopes in full precision
//! and their signs alone, is a plain loop over the product's engine and directions.

use driftless_protocol::charter::Charter;
use driftless_protocol::identity::{Hash, PeerKey};
use driftless_protocol::method::one_byte::{Direction, Directions, Estimator, Opening, byte};
use driftless_protocol::method::{Method, OneByte};
use driftless_protocol::state::Array;
use driftless_protocol::worker::{Engine, Samples, Work, Worker};

use super::Progress;
use super::runs::{self, Outcome};
use crate::engine::{EngineKind, SimEngine};
use crate::setup::Setup;

/// Forward passes of every run.
pub const PASSES: u64 = 20_000;
/// Rows of a batch.
const BATCH: u32 = 64;
const EPSILON: f32 = 1e-3;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its name, as `--rows` takes it.
    pub name: &'static str,
    kind: Kind,
    /// Rates, the best known first.
    pub rates: &'static [f32],
    /// The least accuracy, where the check asks for one.
    pub least: Option<f64>,
    /// The reference's accuracy.
    pub reference: &'static str,
}

/// What a slope becomes on its way.
#[derive(Debug, Clone, Copy)]
enum Sent {
    Exact,
    Byte,
    Sign,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Session { estimator: Estimator, directions: Directions, samples: u16 },
    Plain(Sent),
}

const fn session(estimator: Estimator, directions: Directions, samples: u16) -> Kind {
    Kind::Session { estimator, directions, samples }
}

/// The rows.
pub const ROWS: [Row; 6] = [
    Row {
        name: "spsa",
        kind: session(Estimator::Spsa, Directions::Rademacher, 1),
        rates: &[8e-3],
        least: Some(0.94),
        reference: ".953",
    },
    Row {
        name: "spsa-gaussian",
        kind: session(Estimator::Spsa, Directions::Gaussian, 1),
        rates: &[8e-3],
        least: None,
        reference: "as spsa, along normal directions",
    },
    Row {
        name: "spsa-plain",
        kind: Kind::Plain(Sent::Byte),
        rates: &[8e-3],
        least: None,
        reference: "as spsa, without a session",
    },
    Row {
        name: "spsa-f32",
        kind: Kind::Plain(Sent::Exact),
        rates: &[8e-3],
        least: None,
        reference: "loss within 2% of spsa-plain",
    },
    Row {
        name: "spsa-signs",
        kind: Kind::Plain(Sent::Sign),
        rates: &[6e-3, 4e-3, 8e-3],
        least: None,
        reference: ".941",
    },
    Row {
        name: "fzoo",
        kind: session(Estimator::Fzoo, Directions::Rademacher, 8),
        rates: &[2.4e-2, 1.6e-2, 3.2e-2],
        least: Some(0.95),
        reference: ".958 to .968",
    },
];

impl Row {
    /// Steps of a run.
    #[must_use]
    pub fn steps(&self) -> u64 {
        match self.kind {
            Kind::Session { estimator: Estimator::Fzoo, samples, .. } => PASSES / (u64::from(samples) + 1),
            _ => PASSES / 2,
        }
    }

    /// Runs it at a rate.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn run(&self, rate: f32, seed: u64, progress: &Progress) -> Result<Outcome, String> {
        let rows = self.steps() * u64::from(BATCH);
        let mut setup = Setup::real(seed, 1, "mlp:64-32-10", rows)?;
        setup.manifest.training.batch = BATCH;
        let (estimator, directions, samples) = match self.kind {
            Kind::Session { estimator, directions, samples } => (estimator, directions, samples),
            Kind::Plain(_) => (Estimator::Spsa, Directions::default(), 1),
        };
        setup.manifest.method = Method::OneByte(OneByte {
            directions,
            samples,
            staleness: 0,
            audit: 0.0,
            ..OneByte::of(estimator, rate)
        });
        match self.kind {
            Kind::Session { .. } => runs::session(setup, progress),
            Kind::Plain(sent) => plain(&setup, self.steps(), rate, sent, progress),
        }
    }
}

/// `theta <- theta - rate p z`, with p as it is sent.
fn plain(setup: &Setup, steps: u64, rate: f32, sent: Sent, progress: &Progress) -> Result<Outcome, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let charter = Charter::new(setup.sealed_manifest()).map_err(|error| text(&error))?;
    let engine = SimEngine::new(&EngineKind::Cpu, &charter).map_err(|error| text(&error))?;
    let mut worker = Worker::new(engine, &charter).map_err(|error| text(&error))?;
    let mut theta = charter.genesis_state().outer(0).to_vec();
    for step in 0..steps {
        let opening = Opening {
            base: Hash::of(&step.to_le_bytes()),
            ordinal: 0,
            counted: 0,
            budget: 1,
            tokens: 1,
            drawn: 1,
        };
        let direction = || Direction::new(Directions::default(), &opening, 0, PeerKey::default(), 0);
        let samples = Samples::Leased((step * u64::from(BATCH)..(step + 1) * u64::from(BATCH)).collect());
        let mut losses = [0.0f32; 2];
        for (loss, by) in losses.iter_mut().zip([EPSILON, -EPSILON]) {
            let mut moved = theta.clone();
            direction().add(by, &mut moved);
            worker.execute(Work::Reset { outer: vec![Array::new(&moved)], forget: true });
            *loss = worker.engine().loss(&samples).map_err(|error| text(&error))?;
        }
        let slope = (losses[0] - losses[1]) / (2.0 * EPSILON);
        let slope = match sent {
            Sent::Exact => slope,
            Sent::Byte => byte::decode(byte::encode(f64::from(slope))),
            Sent::Sign => slope.signum(),
        };
        let left = 1.0 - step as f32 / steps as f32;
        direction().add(-rate * left * slope, &mut theta);
        progress.add(u64::from(BATCH));
    }
    worker.execute(Work::Reset { outer: vec![Array::new(&theta)], forget: true });
    let found = worker.engine().evaluate(None).map_err(|error| text(&error))?;
    let tokens = steps * u64::from(BATCH);
    Ok(Outcome { loss: found.loss, accuracy: found.accuracy, tokens, contributions: 0, bytes: 0 })
}
