//! What is typed.

use std::path::PathBuf;

use clap::Parser;
use driftless_protocol::method::MethodName;
use driftless_protocol::rate::Rate;

/// Runs sessions of real processes on throttled lines, and holds the share of the time that they train
/// against the planner's.
///
/// Every peer has a network namespace of its own behind a bridge, with a token bucket in either direction. Exit code 1
/// if a method trained more, or less, of the time than was planned, by more than --allowed.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "driftless-throttled",
    after_help = "Examples (as root):\n  driftless-throttled --methods co2,streaming-diloco --period 60 --batch 1\n  \
                  driftless-throttled --methods sparse-loco --period 15 --slots 12 --json"
)]
pub struct Arguments {
    /// How the peers train together, one session after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [MethodName::StreamingDiLoCo, MethodName::Co2, MethodName::SparseLoCo])]
    pub methods: Vec<MethodName>,
    /// Peers, all of which vote.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=16))]
    pub peers: u16,
    /// What is trained: gpt:tiny, gpt:small or gpt:gpt2.
    #[arg(long, default_value = "gpt:small")]
    pub model: String,
    /// What each peer's line carries, up and down.
    #[arg(long, default_value = "2Mbit")]
    pub rate: Rate,
    /// Milliseconds that a packet may wait at the end of a line, before others are dropped.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub buffer: u64,
    /// Inner steps between two exchanges of a fragment (H): one number, or one for each method
    /// [default: the model's].
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub period: Vec<u32>,
    /// Samples of an inner step; few make a step short.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: u32,
    /// Nobody trains on without the certificate that it waits for.
    #[arg(long)]
    pub strict: bool,
    /// Periods that are measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub slots: u32,
    /// Periods before those, which are left out.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub skip: u32,
    /// How far a measured share may be from the planned one, as a share of it.
    #[arg(long, default_value_t = 0.10)]
    pub allowed: f64,
    /// Seconds after which a session has failed that is not through.
    #[arg(long, default_value_t = 1800)]
    pub limit: u64,
    /// What keys and samples are drawn from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the peers' folders and what they said are kept [default: a temporary folder].
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// The `driftless` program [default: the one beside this program].
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// Lines of JSON.
    #[arg(long)]
    pub json: bool,
}

impl Arguments {
    /// H of the method at this place, if it was typed.
    pub fn period_of(&self, index: usize) -> Option<u32> {
        self.period.get(index).or(self.period.first().filter(|_| self.period.len() == 1)).copied()
    }
}
