//! `driftless-sim table one-byte`: gradients of one byte on handwritten digits.

use std::collections::BTreeMap;

use serde_json::json;

use super::cells::{self, Choice};
use crate::commands::CommandError;
use crate::table::Progress;
use crate::table::one_byte::{ROWS, Row};
use crate::table::runs::Outcome;

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Seeds, rows, threads.
    #[command(flatten)]
    pub choice: Choice,
    /// Every rate of a row, not only the best known
    #[arg(long)]
    pub grid: bool,
}

/// A row, the place of its rate, a seed.
type Cell = (&'static Row, usize, u64);

/// Runs the table and prints it.
///
/// # Errors
/// An unknown row, or a run that failed.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    arguments.choice.check()?;
    let chosen = cells::rows(&ROWS, |row| row.name, &arguments.choice.rows)?;
    let mut all: Vec<Cell> = Vec::new();
    for row in &chosen {
        let rates = if arguments.grid { row.rates.len() } else { 1 };
        all.extend(
            (0..rates).flat_map(|rate| arguments.choice.seeds.iter().map(move |seed| (*row, rate, *seed))),
        );
    }
    let progress = Progress::new(all.iter().map(|(row, ..)| row.steps() * 64).sum());
    let mut outcomes: BTreeMap<(&str, usize), Vec<Outcome>> = BTreeMap::new();
    let run = |(row, rate, seed): Cell| {
        let found = row.run(row.rates[rate], seed, &progress);
        found.map_err(|error| format!("{}, seed {seed}: {error}", row.name))
    };
    cells::run_all(&all, arguments.choice.threads, &progress, run, |(row, rate, _), outcome| {
        outcomes.entry((row.name, rate)).or_default().push(outcome);
    })?;
    print(arguments, &chosen, &outcomes);
    Ok(())
}

fn print(arguments: &Arguments, chosen: &[&Row], outcomes: &BTreeMap<(&str, usize), Vec<Outcome>>) {
    if !arguments.choice.json {
        println!("row            rate  accuracy    loss   reference");
    }
    let (mut cells, mut reached) = (0, 0);
    for row in chosen {
        let found = (0..row.rates.len()).filter_map(|rate| Some((rate, outcomes.get(&(row.name, rate))?)));
        let mut best: f64 = 0.0;
        for (rate, found) in found {
            let mean = |of: fn(&Outcome) -> f64| found.iter().map(of).sum::<f64>() / found.len() as f64;
            let accuracy = mean(|outcome| outcome.accuracy.unwrap_or_default());
            let (loss, rate) = (mean(|outcome| outcome.loss), row.rates[rate]);
            best = best.max(accuracy);
            if arguments.choice.json {
                let each: Vec<_> = found.iter().map(|outcome| (outcome.loss, outcome.accuracy)).collect();
                let line = json!({"event": "cell", "check": "B2", "row": row.name, "rate": rate,
                    "accuracy": accuracy, "loss": loss, "runs": each, "reference": row.reference});
                println!("{line}");
            } else {
                let reference = row.reference;
                println!("{:<12}{rate:>7}{accuracy:>10.3}{loss:>8.3}   {reference}", row.name);
            }
        }
        cells += u32::from(row.least.is_some());
        reached += u32::from(row.least.is_some_and(|least| best >= least));
    }
    println!("{}", json!({"table": "one-byte", "cells": cells, "reached": reached}));
}
