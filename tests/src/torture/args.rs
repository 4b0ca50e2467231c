//! What is typed.

use std::path::PathBuf;

use clap::Parser;
use driftless_protocol::method::MethodName;

/// Runs a session of real processes and injects faults from one seed; exit code 1 if a promise broke.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "driftless-torture",
    after_help = "Examples:\n  driftless-torture --seed 7 --kills 40 --double-kills 10\n  \
                  driftless-torture --seed 7 --cuts 3 --tokens 400000      (as root, or with user namespaces)"
)]
pub struct Arguments {
    /// What all faults, keys and the session are drawn from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// SIGKILL of one peer at a random instant.
    #[arg(long, default_value_t = 0)]
    pub kills: u32,
    /// SIGKILL of so many peers at once that the others have no quorum.
    #[arg(long, default_value_t = 0)]
    pub double_kills: u32,
    /// SIGSTOP of one peer for some seconds.
    #[arg(long, default_value_t = 0)]
    pub stops: u32,
    /// A disk that is full for some seconds; every second time as many as leave no quorum.
    #[arg(long, default_value_t = 0)]
    pub full_disks: u32,
    /// A network cut into two halves, neither of which has a quorum.
    #[arg(long, default_value_t = 0)]
    pub cuts: u32,
    /// A folder that is put back to an older copy of itself.
    #[arg(long, default_value_t = 0)]
    pub old_copies: u32,
    /// Peers, all of which vote.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(4..=6))]
    pub peers: u16,
    /// Go on until at least so many tokens are counted.
    #[arg(long, default_value_t = 0)]
    pub tokens: u64,
    /// Tokens that the learning rate is planned for [default: --tokens, or that of the demo].
    #[arg(long)]
    pub budget: Option<u64>,
    /// How the peers train together [default: as the demo's do].
    #[arg(long)]
    pub method: Option<MethodName>,
    /// Inner steps between two exchanges of a fragment.
    #[arg(long, default_value_t = 4)]
    pub period: u32,
    /// Samples of an inner step [default: the demo's]; fewer leave the processor to others.
    #[arg(long)]
    pub batch: Option<u32>,
    /// Text to train on [default: the first 40,000 bytes of the demo's].
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Control planes dial over TCP: the end of a process is noticed at once, not after 10 s.
    #[arg(long)]
    pub tcp: bool,
    /// Where the peers' folders are kept [default: a temporary folder, removed unless a promise broke].
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// The `driftless` program [default: the one beside this program].
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// Lines of JSON.
    #[arg(long)]
    pub json: bool,
}
