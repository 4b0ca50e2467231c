//! What can be typed after `plan`.

use clap::Args;
use driftless_protocol::method::MethodName;

use super::{size, threads};
use crate::bandwidth::Rate;

/// Options of `plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanArguments {
    /// What is trained: gpt:tiny, gpt:small or gpt:gpt2.
    #[arg(long, default_value = "gpt:tiny")]
    pub model: String,
    /// How the peers train together, as often as wanted [default: all methods, compared].
    #[arg(long, value_name = "METHOD")]
    pub method: Vec<MethodName>,
    /// Peers that train.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub peers: u32,
    /// How many of them vote [default: all, at most 16].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub voters: Option<u32>,
    /// Peers that only follow.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=4096))]
    pub followers: u32,
    /// What each peer's line sends.
    #[arg(long, value_name = "RATE", default_value = "20Mbit")]
    pub up: Rate,
    /// What it receives.
    #[arg(long, value_name = "RATE", default_value = "100Mbit")]
    pub down: Rate,
    /// What a voter's line sends, if that differs.
    #[arg(long, value_name = "RATE")]
    pub voter_up: Option<Rate>,
    /// What a voter's line receives, if that differs.
    #[arg(long, value_name = "RATE")]
    pub voter_down: Option<Rate>,
    /// Milliseconds from one peer to another.
    #[arg(long, value_name = "MS", default_value_t = 25, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub latency: u64,
    /// Inner steps of a peer in a second while it waits for nothing: what `bench` measures, by batch and context.
    #[arg(long, value_name = "STEPS", default_value_t = 1.0)]
    pub steps_per_second: f64,
    /// Tokens to count, such as 10G [default: the model's].
    #[arg(long, value_parser = tokens)]
    pub tokens: Option<u64>,
    /// Inner steps between two exchanges of a fragment (H) [default: the model's].
    #[arg(long, value_name = "H")]
    pub period: Option<u32>,
    /// Samples of an inner step [default: the model's].
    #[arg(long)]
    pub batch: Option<u32>,
    /// Compute threads of a peer: each has activations of its own.
    #[arg(long, default_value = "1", value_parser = threads)]
    pub threads: usize,
    /// Memory of each peer, such as 16GB [default: as much as it takes].
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub memory: Option<u64>,
    /// Disk of each peer [default: as much as it takes].
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub disk: Option<u64>,
}

/// A number of tokens: `500k`, `1.5M`, `10G`, `1T` or a plain number.
fn tokens(text: &str) -> Result<u64, String> {
    const UNITS: [(char, f64); 4] = [('k', 1e3), ('M', 1e6), ('G', 1e9), ('T', 1e12)];
    let unit = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(*name)?, *unit)));
    let (number, unit) = unit.unwrap_or((text, 1.0));
    let tokens = number.trim().parse::<f64>().ok().map(|number| number * unit);
    let tokens = tokens.filter(|tokens| (1.0..=1e18).contains(tokens));
    tokens
        .map(|tokens| tokens as u64)
        .ok_or_else(|| "a number of tokens is such as 1500000, 500k, 1.5M or 10G".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_units() {
        assert_eq!(
            (tokens("10G"), tokens("1.5M"), tokens("12")),
            (Ok(10_000_000_000), Ok(1_500_000), Ok(12))
        );
        for wrong in ["", "G", "-1", "0", "NaN", "1e30"] {
            assert!(tokens(wrong).is_err(), "{wrong}");
        }
    }
}
