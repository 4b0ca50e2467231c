//! What trains in a simulated peer: the product's CPU engine, a small stand-in where a test is about
//! the protocol and not about learning, or what a large model costs.

mod cost;
mod cpu;
mod stand_in;

use std::ops::Range;

use driftless_protocol::charter::Charter;
use driftless_protocol::worker::{Engine, EngineFailure, Evaluation, Samples};

pub use cost::{CostEngine, CostModel, LossCurve, Nominal};
pub use cpu::{CpuEngine, shape_of};
pub use stand_in::{Landscape, StandIn};

/// Which engine a peer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineKind {
    /// The product's CPU engine on the embedded text.
    Cpu,
    /// A stand-in for tests of the protocol.
    StandIn {
        /// What it descends.
        landscape: Landscape,
        /// The step at which its loss stops being finite, if ever.
        breaks_at: Option<u64>,
    },
    /// What a model costs that is too large for a simulation; all peers of a world have the same.
    Cost(CostModel),
}

impl EngineKind {
    /// The stand-in that learns and never breaks.
    pub const BOWL: EngineKind = EngineKind::StandIn { landscape: Landscape::Bowl, breaks_at: None };
    /// The stand-in that counts steps.
    pub const SLOPE: EngineKind = EngineKind::StandIn { landscape: Landscape::Slope, breaks_at: None };
}

/// A peer's engine.
#[derive(Debug)]
pub enum SimEngine {
    /// The product's.
    Cpu(Box<CpuEngine>),
    /// The stand-in.
    StandIn(StandIn),
    /// The stand-in of a nominal model.
    Cost(CostEngine),
}

impl SimEngine {
    /// A fresh engine for a session.
    pub fn new(kind: &EngineKind, charter: &Charter) -> Result<SimEngine, EngineFailure> {
        Ok(match kind {
            EngineKind::Cpu => SimEngine::Cpu(Box::new(CpuEngine::new(charter)?)),
            EngineKind::StandIn { landscape, breaks_at } => {
                SimEngine::StandIn(StandIn::new(charter, *landscape, *breaks_at))
            }
            EngineKind::Cost(model) => SimEngine::Cost(CostEngine::new(charter, model.losses.clone())),
        })
    }

    fn inner(&mut self) -> &mut dyn Engine {
        match self {
            SimEngine::Cpu(engine) => engine.as_mut(),
            SimEngine::StandIn(engine) => engine,
            SimEngine::Cost(engine) => engine,
        }
    }
}

impl Engine for SimEngine {
    fn tensors(&self) -> Vec<(String, usize, usize)> {
        match self {
            SimEngine::Cpu(engine) => engine.tensors(),
            SimEngine::StandIn(engine) => engine.tensors(),
            SimEngine::Cost(engine) => engine.tensors(),
        }
    }

    fn train(&mut self, samples: &Samples, progress: &[f32]) -> Result<Vec<f32>, EngineFailure> {
        self.inner().train(samples, progress)
    }

    fn loss(&mut self, samples: &Samples) -> Result<f32, EngineFailure> {
        self.inner().loss(samples)
    }

    fn gradient(&mut self, samples: &Samples, into: &mut [f32]) -> Result<f32, EngineFailure> {
        self.inner().gradient(samples, into)
    }

    fn read(&mut self, range: Range<usize>, into: &mut [f32]) -> Result<(), EngineFailure> {
        self.inner().read(range, into)
    }

    fn write(&mut self, range: Range<usize>, values: &[f32]) -> Result<(), EngineFailure> {
        self.inner().write(range, values)
    }

    fn evaluate(&mut self, windows: Option<u64>) -> Result<Evaluation, EngineFailure> {
        self.inner().evaluate(windows)
    }

    fn save(&mut self) -> Result<Vec<u8>, EngineFailure> {
        self.inner().save()
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), EngineFailure> {
        self.inner().load(bytes)
    }
}
