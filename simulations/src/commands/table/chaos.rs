//! `driftless-sim table chaos`: goodput of sessions whose peers keep failing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use driftless_protocol::time::Span;
use serde_json::json;

use crate::commands::{CommandError, threads};
use crate::table::chaos::{Cell, FAILURES, Outcome, PEERS, REQUIRED, Terms};

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// One JSON object per line on standard output
    #[arg(long)]
    pub json: bool,
    /// Peers; all voters up to 16
    #[arg(long, value_delimiter = ',', default_values_t = PEERS)]
    pub peers: Vec<usize>,
    /// Minutes between two failures of one peer
    #[arg(long, value_delimiter = ',', default_values_t = FAILURES.map(|span| span.0 / 60_000_000))]
    pub minutes: Vec<u64>,
    /// Decides when who fails
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Virtual minutes of every run
    #[arg(long, default_value_t = 60)]
    pub lasting: u64,
    /// With decoupled pacing: a slot closes soon after half of those drawn contributed
    #[arg(long)]
    pub decoupled: bool,
    /// Runs at a time [default: the machine's cores]
    #[arg(long)]
    pub threads: Option<usize>,
}

/// What others report of heavy failures: resilient DiLoCo with a synchronizer in the middle, and
/// synchronous training.
const PUBLISHED: (f64, f64) = (0.88, 0.27);

/// Runs the table and prints it.
///
/// # Errors
/// Senseless numbers, or a broken promise.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let wrong = |what: &str| Err(CommandError::Usage(what.into()));
    if !arguments.peers.iter().all(|peers| (1..=2_000).contains(peers)) {
        return wrong("1 to 2000 peers");
    }
    if !arguments.minutes.iter().chain([&arguments.lasting]).all(|minutes| (1..=10_000).contains(minutes)) {
        return wrong("1 to 10000 minutes");
    }
    let (seed, decoupled) = (arguments.seed, arguments.decoupled);
    let terms = Terms { seed, lasting: Span::seconds(60 * arguments.lasting), decoupled };
    let failures: Vec<Span> = arguments.minutes.iter().map(|minutes| Span::seconds(60 * minutes)).collect();
    let outcomes = run_all(arguments, terms, Cell::all(&arguments.peers, &failures))?;
    print(arguments, terms, &outcomes);
    Ok(())
}

/// Independent worlds, the largest first, on a few threads.
fn run_all(
    arguments: &Arguments,
    terms: Terms,
    mut cells: Vec<Cell>,
) -> Result<BTreeMap<Cell, Outcome>, CommandError> {
    cells.sort_unstable();
    let count = threads(arguments.threads).clamp(1, cells.len().max(1));
    let (left, outcomes) = (Mutex::new(cells), Mutex::new(BTreeMap::new()));
    let work = || {
        loop {
            let cell = left.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(cell) = cell else { return Ok(()) };
            let outcome = cell.run(terms).map_err(CommandError::Failed)?;
            eprintln!("{}: {} tokens at height {}", name(cell), outcome.tokens, outcome.heights);
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(cell, outcome);
        }
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        running.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(CommandError::Failed("a run panicked".into())))
        })
    })?;
    Ok(outcomes.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn name(cell: Cell) -> String {
    match cell.failures {
        Some(mean) => format!("{} peers, a failure in {} min", cell.peers, mean.0 / 60_000_000),
        None => format!("{} peers, undisturbed", cell.peers),
    }
}

/// Rows with failures; at the end how many are as good as they have to be.
fn print(arguments: &Arguments, terms: Terms, outcomes: &BTreeMap<Cell, Outcome>) {
    if !arguments.json {
        println!("goodput: counted tokens, of those that a session without failures counts in the same time");
        println!(
            "{:>6}{:>12}{:>10}{:>9}{:>9}{:>14}",
            "peers", "failure in", "failures", "heights", "ours", "synchronous"
        );
    }
    let (mut required, mut reached) = (0, 0);
    for (cell, outcome) in outcomes {
        let Some(mean) = cell.failures else { continue };
        let undisturbed = outcomes.get(&Cell { failures: None, ..*cell }).map_or(0, |whole| whole.tokens);
        let goodput = outcome.tokens as f64 / undisturbed.max(1) as f64;
        let synchronous = cell.synchronous(terms);
        if mean == REQUIRED.1 {
            required += 1;
            reached += u32::from(goodput >= REQUIRED.0);
        }
        let (peers, minutes, heights, failures) =
            (cell.peers, mean.0 / 60_000_000, outcome.heights, outcome.crashes);
        if arguments.json {
            println!(
                "{}",
                json!({"event": "cell", "peers": peers, "minutes": minutes, "failures": failures,
                    "heights": heights, "tokens": outcome.tokens, "undisturbed": undisturbed,
                    "goodput": goodput, "synchronous": synchronous, "trace": outcome.trace.to_string()})
            );
        } else {
            println!(
                "{peers:>6}{:>12}{failures:>10}{heights:>9}{:>9}{:>14}",
                format!("{minutes} min"),
                percent(goodput),
                percent(synchronous)
            );
        }
    }
    if !arguments.json {
        let (resilient, synchronous) = (percent(PUBLISHED.0), percent(PUBLISHED.1));
        println!(
            "published, under heavy failures: resilient DiLoCo with a synchronizer in the middle {resilient}, \
             synchronous {synchronous}; ours has none in the middle"
        );
    }
    println!("{}", json!({"table": "chaos", "cells": required, "reached": reached, "goal": REQUIRED.0}));
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}
