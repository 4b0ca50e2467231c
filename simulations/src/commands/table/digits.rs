//! `driftless-sim table digits`: CO2 and error feedback on handwritten digits.

use std::collections::BTreeMap;

use serde_json::json;

use super::cells::{self, Choice};
use crate::commands::CommandError;
use crate::table::Progress;
use crate::table::digits::{Expected, PERIODS, ROWS, Row, rows};
use crate::table::runs::Outcome;

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Seeds, rows, threads.
    #[command(flatten)]
    pub choice: Choice,
    /// Inner steps between two exchanges: 6, 12, 24, 48
    #[arg(long, value_delimiter = ',', default_values_t = PERIODS)]
    pub periods: Vec<u32>,
}

/// A row, its steps between two exchanges, a seed.
type Cell = (&'static Row, u32, Expected, u64);

/// Runs the table and prints it.
///
/// # Errors
/// An unknown row, or a run that failed.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    arguments.choice.check()?;
    let chosen = cells::rows(&ROWS, |row| row.name, &arguments.choice.rows)?;
    let mut all: Vec<Cell> = Vec::new();
    for row in &chosen {
        for (period, expected) in
            row.reference.iter().filter(|(period, _)| arguments.periods.contains(period))
        {
            all.extend(arguments.choice.seeds.iter().map(|seed| (*row, *period, *expected, *seed)));
        }
    }
    let progress = Progress::new(rows() * all.len() as u64);
    let mut accuracies: BTreeMap<(&str, u32), Vec<f64>> = BTreeMap::new();
    let run = |(row, period, _, seed): Cell| {
        let found = row.run(period, seed, &progress);
        found.map_err(|error| format!("{} every {period} steps, seed {seed}: {error}", row.name))
    };
    cells::run_all(
        &all,
        arguments.choice.threads,
        &progress,
        run,
        |(row, period, _, _), outcome: Outcome| {
            accuracies.entry((row.name, period)).or_default().push(outcome.accuracy.unwrap_or_default());
        },
    )?;
    print(arguments, &chosen, &accuracies);
    Ok(())
}

fn print(arguments: &Arguments, chosen: &[&Row], accuracies: &BTreeMap<(&str, u32), Vec<f64>>) {
    if !arguments.choice.json {
        println!("check row                  steps  accuracy    expected  seeds");
    }
    let (mut cells, mut reached) = (0, 0);
    for row in chosen {
        for (period, expected) in row.reference {
            let Some(found) = accuracies.get(&(row.name, *period)) else { continue };
            let mean = found.iter().sum::<f64>() / found.len() as f64;
            cells += 1;
            reached += u32::from(expected.holds(mean));
            print_cell(arguments.choice.json, row, *period, *expected, mean, found);
        }
    }
    println!("{}", json!({"table": "digits", "cells": cells, "reached": reached}));
}

fn print_cell(as_json: bool, row: &Row, period: u32, expected: Expected, mean: f64, found: &[f64]) {
    let holds = expected.holds(mean);
    let wanted = match expected {
        Expected::Near(reference) => format!("{reference:.3}"),
        Expected::Below(bound) => format!("< {bound:.2}"),
    };
    if as_json {
        let line = json!({"event": "cell", "check": row.check, "row": row.name, "period": period,
            "accuracy": mean, "accuracies": found, "expected": wanted, "holds": holds});
        return println!("{line}");
    }
    let seeds: Vec<String> = found.iter().map(|accuracy| format!("{accuracy:.3}")).collect();
    let verdict = if holds { "" } else { "  DOES NOT HOLD" };
    println!(
        "{:<5}{:<20}{period:>6}{mean:>10.3}{wanted:>12}  {}{verdict}",
        row.check,
        row.name,
        seeds.join(" / ")
    );
}
