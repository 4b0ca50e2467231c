//! `driftless-sim table methods`: all methods on one task.

use std::collections::BTreeMap;

use driftless_protocol::manifest::Manifest;
use serde_json::json;

use super::cells::{self, Choice};
use crate::commands::CommandError;
use crate::table::Progress;
use crate::table::methods::{ALLOWED, Kind, PEERS, ROWS, Row, TOKENS};
use crate::table::runs::Outcome;

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Seeds, rows, threads.
    #[command(flatten)]
    pub choice: Choice,
    /// Tokens of every run
    #[arg(long, default_value_t = TOKENS)]
    pub tokens: u64,
    /// Every rate of the row's grid, not only the best known
    #[arg(long)]
    pub grid: bool,
}

/// A row, which of its rates, a seed.
type Cell = (&'static Row, usize, u64);

/// Runs the table and prints it.
///
/// # Errors
/// An unknown row, or a run that failed.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    arguments.choice.check()?;
    if arguments.tokens == 0 {
        return Err(CommandError::Usage("tokens must not be nothing".into()));
    }
    let rows = cells::rows(&ROWS, |row| row.name, &arguments.choice.rows)?;
    let rates = |row: &Row| if arguments.grid { row.rates.len() } else { 1 };
    let mut cells: Vec<Cell> = Vec::new();
    for row in &rows {
        for rate in 0..rates(row) {
            cells.extend(arguments.choice.seeds.iter().map(|seed| (*row, rate, *seed)));
        }
    }
    let progress = Progress::new(arguments.tokens * cells.len() as u64);
    let mut results: BTreeMap<&str, BTreeMap<usize, Vec<Outcome>>> = BTreeMap::new();
    let run = |(row, rate, seed): Cell| {
        let found = row.run(arguments.tokens, row.rates[rate], seed, &progress);
        found.map_err(|error| format!("{} seed {seed}: {error}", row.name))
    };
    cells::run_all(&cells, arguments.choice.threads, &progress, run, |(row, rate, seed), outcome| {
        tell_cell(arguments, row, row.rates[rate], seed, outcome);
        results.entry(row.name).or_default().entry(rate).or_default().push(outcome);
    })?;
    print(arguments, &rows, &results)
}

fn tell_cell(arguments: &Arguments, row: &Row, rate: f32, seed: u64, outcome: Outcome) {
    let (loss, tokens) = (outcome.loss, outcome.tokens);
    eprintln!("{} at {rate}, seed {seed}: {loss:.3} nats per byte after {tokens} tokens", row.name);
    if arguments.choice.json {
        println!(
            "{}",
            json!({"event": "cell", "row": row.name, "rate": rate, "seed": seed, "loss": loss, "tokens": tokens})
        );
    }
}

/// What a row's runs at its best rate say.
struct Best {
    rate: f32,
    losses: Vec<f64>,
    mean: f64,
    /// Bits per parameter that a contribution takes.
    bits: f64,
    /// Bytes that a contributor sends, once, per token that it trains on.
    per_token: f64,
    /// How many times as much synchronous data parallelism sends, with f32 gradients.
    factor: f64,
}

fn best(row: &Row, by_rate: &BTreeMap<usize, Vec<Outcome>>) -> Result<Option<Best>, CommandError> {
    let failed = |error: String| CommandError::Failed(error);
    let preset = Manifest::preset("gpt:tiny").map_err(|error| failed(error.to_string()))?;
    let parameters = preset.model.parameters() as f64;
    let per_step = f64::from(preset.training.batch) * f64::from(preset.model.context());
    let mean = |outcomes: &[Outcome]| {
        outcomes.iter().map(|outcome| outcome.loss).sum::<f64>() / outcomes.len() as f64
    };
    let means = by_rate.iter().map(|(rate, outcomes)| (*rate, mean(outcomes), outcomes));
    let Some((rate, mean, outcomes)) = means.min_by(|a, b| a.1.total_cmp(&b.1)) else { return Ok(None) };
    let synchronous = 4.0 * parameters / per_step;
    let (bits, per_token) = match row.kind {
        Kind::Synchronous { .. } => (32.0, synchronous),
        Kind::Session { .. } => {
            let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>() as f64;
            let streams =
                f64::from(row.setup(TOKENS, row.rates[rate], 0).map_err(failed)?.manifest.method.streams());
            let bytes = sum(|outcome| outcome.bytes);
            (
                8.0 * bytes / (sum(|outcome| outcome.contributions) * parameters / streams),
                bytes / sum(|outcome| outcome.tokens),
            )
        }
    };
    let losses = outcomes.iter().map(|outcome| outcome.loss).collect();
    Ok(Some(Best { rate: row.rates[rate], losses, mean, bits, per_token, factor: synchronous / per_token }))
}

/// What one row has to be beside another.
struct Check {
    name: &'static str,
    row: &'static str,
    beside: &'static str,
    /// How much lower its loss has to be, ...
    lower: f64,
    /// ... or the most that it may be of the other's.
    share: Option<f64>,
}

/// The specs' relations, and the aim: two bits at most 3% above synchronous Muon.
const CHECKS: [Check; 4] = [
    Check { name: "M2", row: "synchronous-muon", beside: "synchronous-adamw", lower: 0.1, share: None },
    Check { name: "M3", row: "muloco-h15-f32", beside: "streaming-h15", lower: 0.15, share: None },
    Check { name: "M3", row: "muloco-h15", beside: "muloco-h15-f32", lower: 0.0, share: Some(1.02) },
    Check { name: "aim", row: "muloco-h5-tuned", beside: "synchronous-muon", lower: 0.0, share: Some(1.03) },
];

impl Check {
    /// Where both rows were run.
    fn print(&self, as_json: bool, means: &BTreeMap<&str, f64>) {
        let (Some(found), Some(other)) = (means.get(self.row), means.get(self.beside)) else { return };
        let most = self.share.map_or(other - self.lower, |share| share * other);
        let holds = *found <= most;
        if as_json {
            let line = json!({"event": "check", "check": self.name, "row": self.row, "beside": self.beside,
                "loss": found, "most": most, "holds": holds});
            return println!("{line}");
        }
        let verdict = if holds { "holds" } else { "DOES NOT HOLD" };
        println!(
            "{:<4} {} {found:.3}, at most {most:.3} beside {} ({other:.3}): {verdict}",
            self.name, self.row, self.beside
        );
    }
}

/// Rows with a reference, and how many of them are as good as they have to be.
fn print(
    arguments: &Arguments,
    rows: &[&Row],
    results: &BTreeMap<&str, BTreeMap<usize, Vec<Outcome>>>,
) -> Result<(), CommandError> {
    if !arguments.choice.json {
        println!(
            "gpt:tiny, {PEERS} peers, {} tokens in all; bits per parameter and exchange",
            arguments.tokens
        );
        println!(
            "{:<22}{:>7}{:>7}  {:<22}{:>10}{:>9}{:>13}{:>9}",
            "row", "rate", "mean", "seeds", "reference", "bits", "bytes/token", "factor"
        );
    }
    let (mut referenced, mut reached, mut means) = (0, 0, BTreeMap::new());
    for row in rows {
        let Some(best) = results.get(row.name).map(|by_rate| best(row, by_rate)).transpose()?.flatten()
        else {
            continue;
        };
        if let Some(reference) = row.reference {
            referenced += 1;
            reached += u32::from(best.mean <= reference + ALLOWED);
        }
        means.insert(row.name, best.mean);
        print_row(arguments.choice.json, row, &best);
    }
    CHECKS.iter().for_each(|check| check.print(arguments.choice.json, &means));
    println!("{}", json!({"table": "methods", "cells": referenced, "reached": reached}));
    Ok(())
}

fn print_row(as_json: bool, row: &Row, best: &Best) {
    let Best { rate, losses, mean, bits, per_token, factor } = best;
    if as_json {
        let line = json!({"event": "row", "row": row.name, "rate": rate, "mean": mean, "losses": losses,
            "reference": row.reference, "bits": bits, "bytes_per_token": per_token, "factor": factor});
        return println!("{line}");
    }
    let losses: Vec<String> = losses.iter().map(|loss| format!("{loss:.3}")).collect();
    let reference = row.reference.map_or("-".into(), |reference| format!("{reference:.3}"));
    println!(
        "{:<22}{rate:>7}{mean:>7.3}  {:<22}{reference:>10}{bits:>9.4}{per_token:>13.2}{factor:>9.1}",
        row.name,
        losses.join(" / "),
    );
}
