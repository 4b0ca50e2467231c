//! All methods on one task: `gpt:tiny` on the embedded text, equal tokens, four peers, against an
//! independent PyTorch reference (one seed a row, untuned).

use driftless_protocol::codec::Codec;
use driftless_protocol::manifest::{Optimizer, Preset};
use driftless_protocol::method::{Method, MethodName};

use super::Progress;
use super::runs::{self, Outcome};
use crate::setup::Setup;

/// Peers of every session.
pub const PEERS: u32 = 4;
/// Tokens of every run.
pub const TOKENS: u64 = 1_536_000;
/// How much worse than the reference a row may be, in nats per byte.
pub const ALLOWED: f64 = 0.07;

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Its name, as `--rows` takes it.
    pub name: &'static str,
    /// What is run.
    pub kind: Kind,
    /// Peaks of the rate that is tuned, the best known first: Muon's where there is Muon, EF21's gamma, else AdamW's.
    pub rates: &'static [f32],
    /// The reference's loss.
    pub reference: Option<f64>,
}

/// What a row runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// One engine with the batch of all peers.
    Synchronous {
        /// With Muon.
        muon: bool,
    },
    /// A session.
    Session {
        /// Its method.
        method: MethodName,
        /// H.
        period: u32,
        /// The encoding, if it is not the method's own.
        codec: Option<Codec>,
        /// Whether what is left out is sent later, where the method leaves that open.
        feedback: bool,
        /// The outer step, where it is not the preset's.
        outer: Option<Outer>,
    },
}

/// An outer step of Streaming DiLoCo on all parameters at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outer {
    eta: f32,
    mu: f32,
    alpha: f32,
}

const fn session(method: MethodName, period: u32, codec: Option<Codec>, feedback: bool) -> Kind {
    Kind::Session { method, period, codec, feedback, outer: None }
}

/// MuLoCo at 2 bits with another outer step.
const fn tuned(period: u32, eta: f32, mu: f32, alpha: f32) -> Kind {
    let outer = Some(Outer { eta, mu, alpha });
    Kind::Session { method: MethodName::MuLoCo, period, codec: None, feedback: false, outer }
}

const ADAMW: &[f32] = &[4e-3, 8e-3, 2e-3];
const MUON: &[f32] = &[0.02, 0.04, 0.01];
const GAMMA: &[f32] = &[0.1, 0.05, 0.2];

/// The rows.
pub const ROWS: [Row; 15] = [
    Row {
        name: "synchronous-adamw",
        kind: Kind::Synchronous { muon: false },
        rates: &[8e-3, 4e-3, 1.6e-2],
        reference: Some(1.84),
    },
    Row {
        name: "synchronous-muon",
        kind: Kind::Synchronous { muon: true },
        rates: MUON,
        reference: Some(1.63),
    },
    Row {
        name: "streaming-h15",
        kind: session(MethodName::StreamingDiLoCo, 15, None, false),
        rates: ADAMW,
        reference: Some(2.00),
    },
    Row {
        name: "sparse-loco-h15",
        kind: session(MethodName::SparseLoCo, 15, None, false),
        rates: &[8e-3, 4e-3, 2e-3],
        reference: Some(2.25),
    },
    Row {
        name: "sparse-loco-h30",
        kind: session(MethodName::SparseLoCo, 30, None, false),
        rates: ADAMW,
        reference: Some(2.358),
    },
    Row {
        name: "muloco-h15-f32",
        kind: session(MethodName::MuLoCo, 15, Some(Codec::F32), false),
        rates: MUON,
        reference: Some(1.73),
    },
    Row {
        name: "muloco-h15",
        kind: session(MethodName::MuLoCo, 15, None, false),
        rates: MUON,
        reference: Some(1.76),
    },
    Row {
        name: "muloco-h15-feedback",
        kind: session(MethodName::MuLoCo, 15, None, true),
        rates: MUON,
        reference: Some(1.757),
    },
    Row {
        name: "muloco-h15-e3m0",
        kind: session(MethodName::MuLoCo, 15, Some(Codec::E3M0), false),
        rates: MUON,
        reference: None,
    },
    Row {
        name: "muloco-h30",
        kind: session(MethodName::MuLoCo, 30, None, false),
        rates: MUON,
        reference: None,
    },
    Row { name: "muloco-h15-tuned", kind: tuned(15, 1.0, 0.5, 0.25), rates: MUON, reference: None },
    Row { name: "muloco-h5-tuned", kind: tuned(5, 1.0, 0.0, 0.0), rates: MUON, reference: None },
    Row {
        name: "co2-h15-f32",
        kind: session(MethodName::Co2, 15, Some(Codec::F32), false),
        rates: ADAMW,
        reference: Some(2.25),
    },
    Row {
        name: "co2-h15",
        kind: session(MethodName::Co2, 15, None, false),
        rates: ADAMW,
        reference: Some(2.25),
    },
    Row { name: "ef21-h8", kind: session(MethodName::Ef21, 8, None, false), rates: GAMMA, reference: None },
];

impl Row {
    /// Runs it with one peak rate.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn run(&self, tokens: u64, rate: f32, seed: u64, progress: &Progress) -> Result<Outcome, String> {
        let setup = self.setup(tokens, rate, seed)?;
        match self.kind {
            Kind::Synchronous { .. } => runs::one_engine(&setup, tokens, progress),
            Kind::Session { .. } => runs::session(setup, progress),
        }
    }

    /// The session, or the one engine as a session's peer.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn setup(&self, tokens: u64, rate: f32, seed: u64) -> Result<Setup, String> {
        let peers = match self.kind {
            Kind::Synchronous { .. } => 1,
            Kind::Session { .. } => PEERS as usize,
        };
        let mut setup = Setup::real(seed, peers, "gpt:tiny", tokens)?;
        match self.kind {
            Kind::Synchronous { muon } => {
                setup.manifest.training.batch *= PEERS;
                if muon {
                    setup.manifest.training.optimizer = Optimizer::Muon { learning_rate: rate };
                }
            }
            Kind::Session { method, period, codec, feedback, outer } => {
                let manifest = &mut setup.manifest;
                let preset = Preset {
                    model: manifest.model,
                    method: manifest.method.clone(),
                    training: manifest.training.clone(),
                };
                let Preset { method, training, .. } = preset.with_method(method);
                (manifest.method, manifest.training) = (method, training);
                manifest.method.set_period(period);
                manifest.method.set_strict();
                codec.into_iter().for_each(|codec| manifest.method.set_codec(codec));
                if let (true, Method::StreamingDiLoCo(method)) = (feedback, &mut manifest.method) {
                    method.feedback = Some(1.0);
                }
                if let (Some(outer), Method::StreamingDiLoCo(method)) = (outer, &mut manifest.method) {
                    (method.eta, method.mu, method.alpha) = (outer.eta, outer.mu, outer.alpha);
                    method.fragments = 1;
                }
            }
        }
        if let Method::Ef21(method) = &mut setup.manifest.method {
            method.gamma = rate;
            return Ok(setup);
        }
        let training = &mut setup.manifest.training;
        match &mut training.optimizer {
            Optimizer::Muon { learning_rate } => *learning_rate = rate,
            Optimizer::AdamW | Optimizer::Sgd => training.learning_rate = rate,
        }
        Ok(setup)
    }
}
