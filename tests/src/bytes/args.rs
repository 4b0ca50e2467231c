//! What is typed.

use std::path::PathBuf;

use clap::Parser;

/// Counts every byte that peers send and receive while they train with one byte per sample, by certified sample.
///
/// Exit code 1 if a peer that does not order takes more than --allowed.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "driftless-bytes",
    after_help = "Example (as root):\n  driftless-bytes --peers 8 --samples 64 --batches 16"
)]
pub struct Arguments {
    /// Peers, all of which vote.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=16))]
    pub peers: u16,
    /// Samples of each peer in a step.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(2..=256))]
    pub samples: u16,
    /// Steps from one certificate to the next.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub batch_steps: u32,
    /// Rows of a step's batch.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: u32,
    /// Batches that are measured.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batches: u32,
    /// Batches before those, which are left out.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub skip: u32,
    /// Seconds for which what is said while nobody trains is counted.
    #[arg(long, default_value_t = 20)]
    pub idle: u64,
    /// Bytes that a certified sample may take.
    #[arg(long, default_value_t = 2.2)]
    pub allowed: f64,
    /// Seconds after which a session has failed that is not through.
    #[arg(long, default_value_t = 900)]
    pub limit: u64,
    /// What keys and samples are drawn from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The `driftless` program [default: the one beside this program].
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// A line of JSON.
    #[arg(long)]
    pub json: bool,
}
