//! Streaming DiLoCo's learning table (spec S4): `gpt:tiny` on the embedded text, 1.536M tokens in
//! all, against an independent PyTorch reference.
//!
//! Streaming rows run through the real session in virtual time: `strict`, and links so fast that
//! every result is there within the tau = 1 step that follows its difference. One-engine rows
//! (one peer, and synchronous data parallelism as one engine with the peers' whole batch) train
//! without a session, on the same samples from the same start.

use driftless_protocol::codec::Codec;
use driftless_protocol::method::Overrun;

use super::Progress;
use super::runs::{self, Outcome};
use crate::setup::Setup;

/// Tokens of every run.
pub const TOKENS: u64 = 1_536_000;
/// The distance from the reference that is required, in nats per byte.
pub const REQUIRED: f64 = 0.03;

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Its name, as `--rows` takes it.
    pub name: &'static str,
    /// What is run.
    pub kind: Kind,
    /// The reference's seeds.
    pub reference: &'static [f64],
}

/// What a row runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// One engine with the batch of so many peers.
    OneEngine {
        /// Peers whose batches it takes.
        peers: u32,
        /// Peak inner rate.
        rate: f32,
    },
    /// A session of so many peers.
    Streaming {
        /// Peers.
        peers: usize,
        /// H.
        period: u32,
        /// Encoding of the exchange.
        codec: Codec,
    },
}

const fn streaming(peers: usize, period: u32, codec: Codec) -> Kind {
    Kind::Streaming { peers, period, codec }
}

/// The rows; f32 rows without numbers of their own are held against E3M0's.
pub const ROWS: [Row; 11] = [
    Row { name: "one-peer", kind: Kind::OneEngine { peers: 1, rate: 4e-3 }, reference: &[1.750, 1.756] },
    Row { name: "synchronous-2", kind: Kind::OneEngine { peers: 2, rate: 8e-3 }, reference: &[1.774, 1.782] },
    Row {
        name: "synchronous-4",
        kind: Kind::OneEngine { peers: 4, rate: 8e-3 },
        reference: &[1.840, 1.860, 1.835],
    },
    Row { name: "streaming-2-h30-e3m0", kind: streaming(2, 30, Codec::E3M0), reference: &[1.865, 1.849] },
    Row { name: "streaming-2-h30-f32", kind: streaming(2, 30, Codec::F32), reference: &[1.865, 1.849] },
    Row { name: "streaming-2-h15-e3m0", kind: streaming(2, 15, Codec::E3M0), reference: &[] },
    Row { name: "streaming-2-h15-f32", kind: streaming(2, 15, Codec::F32), reference: &[] },
    Row { name: "streaming-4-h30-e3m0", kind: streaming(4, 30, Codec::E3M0), reference: &[2.043, 2.044] },
    Row { name: "streaming-4-h30-f32", kind: streaming(4, 30, Codec::F32), reference: &[2.053] },
    Row {
        name: "streaming-4-h15-e3m0",
        kind: streaming(4, 15, Codec::E3M0),
        reference: &[1.999, 2.004, 2.007],
    },
    Row {
        name: "streaming-4-h15-f32",
        kind: streaming(4, 15, Codec::F32),
        reference: &[1.999, 2.004, 2.007],
    },
];

/// What all runs of a table share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// Tokens of every run.
    pub tokens: u64,
    /// Share of them over which the inner rate warms up.
    pub warm_up: f32,
}

impl Terms {
    fn setup(&self, seed: u64, peers: usize) -> Result<Setup, String> {
        let mut setup = Setup::real(seed, peers, "gpt:tiny", self.tokens)?;
        setup.manifest.training.warmup = self.warm_up;
        Ok(setup)
    }
}

impl Row {
    /// The row of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Row> {
        ROWS.iter().find(|row| row.name == name)
    }

    /// The reference's mean.
    #[must_use]
    pub fn reference_mean(&self) -> Option<f64> {
        let count = self.reference.len();
        (count > 0).then(|| self.reference.iter().sum::<f64>() / count as f64)
    }

    /// Runs one cell.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn run(&self, terms: Terms, seed: u64, progress: &Progress) -> Result<Outcome, String> {
        match self.kind {
            Kind::OneEngine { peers, rate } => {
                let mut setup = terms.setup(seed, 1)?;
                setup.manifest.training.batch *= peers;
                setup.manifest.training.learning_rate = rate;
                runs::one_engine(&setup, terms.tokens, progress)
            }
            Kind::Streaming { peers, period, codec } => {
                let mut setup = terms.setup(seed, peers)?;
                let method = setup.method();
                method.period = period;
                method.codec = codec;
                method.max_overrun = Overrun::Strict;
                runs::session(setup, progress)
            }
        }
    }
}
