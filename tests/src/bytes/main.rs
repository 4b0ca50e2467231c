//! `driftless-bytes`: what a certified sample costs on the wire under one byte per sample (check B4).
//!
//! Every peer is a process in a network namespace of its own, and the kernel counts what goes through its interface:
//! IP, UDP, QUIC, acknowledgements, lists, signatures, votes, blocks, gossip. The counts are read whenever a batch is
//! certified, so that the peer that ordered it is told from the others.

mod args;
mod session;

use std::process::ExitCode;

use clap::Parser;
use driftless_tests::peers::failure::{Failure, exit_code};
use serde_json::json;

use args::Arguments;
use session::Measured;

fn main() -> ExitCode {
    let args = Arguments::parse();
    exit_code(run(&args))
}

/// Whether a sample costs no more than is allowed.
fn run(args: &Arguments) -> Result<bool, Failure> {
    let place = tempfile::Builder::new().prefix("driftless-bytes-").tempdir();
    let place = place.map_err(Failure::system("a temporary folder"))?;
    let measured = session::run(args, place.path())?;
    let naive = naive(args);
    if args.json {
        println!("{}", object(args, &measured, naive));
    } else {
        let Measured { follows, orders, idle, steps_per_second, .. } = measured;
        println!(
            "{} peers x {} samples, {} steps a certificate: {steps_per_second:.1} steps a second\n\
             bytes of IP for a certified sample, sent and received:\n\
             {follows:>8.3}  at a peer that does not order\n\
             {orders:>8.3}  at the one that does\n\
             {naive:>8.1}  where every sample is a message to everybody (arithmetic)\n\
             {idle:>8.1}  bytes a second while nobody trains",
            args.peers, args.samples, args.batch_steps
        );
    }
    Ok(measured.follows <= args.allowed)
}

/// A message for each sample to every other peer: a byte, 53 of IPv4, UDP and QUIC, sent or received.
fn naive(args: &Arguments) -> f64 {
    let others = f64::from(args.peers) - 1.0;
    let (sent, received) = (others, others);
    54.0 * (sent + received) / f64::from(args.peers)
}

fn object(args: &Arguments, measured: &Measured, naive: f64) -> serde_json::Value {
    json!({"event": "measured", "check": "B4", "peers": args.peers, "samples": args.samples,
        "batch_steps": args.batch_steps, "batches": measured.batches, "certified_samples": measured.samples,
        "steps_per_second": measured.steps_per_second, "bytes_per_sample": measured.follows,
        "bytes_per_sample_ordering": measured.orders, "naive": naive, "idle_bytes_per_second": measured.idle})
}
