//! `driftless-sim table streaming-diloco-learning`: real runs on real text.

use std::collections::BTreeMap;

use serde_json::json;

use super::cells::{self, Choice};
use crate::commands::CommandError;
use crate::table::Progress;
use crate::table::learning::{REQUIRED, ROWS, Row, TOKENS, Terms};
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
    /// Share of the tokens over which the inner rate warms up
    #[arg(long, default_value_t = 0.1)]
    pub warm_up: f32,
}

type Cell = (&'static Row, u64);
type Outcomes = BTreeMap<(&'static str, u64), Outcome>;

/// Runs the table and prints it.
///
/// # Errors
/// An unknown row, or a run that failed.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    arguments.choice.check()?;
    let rows = cells::rows(&ROWS, |row| row.name, &arguments.choice.rows)?;
    let cells: Vec<Cell> =
        rows.iter().flat_map(|row| arguments.choice.seeds.iter().map(move |seed| (*row, *seed))).collect();
    if !(0.0..=1.0).contains(&arguments.warm_up) {
        return Err(CommandError::Usage("the warm-up is a share: 0 to 1".into()));
    }
    if arguments.tokens == 0 {
        return Err(CommandError::Usage("tokens must not be nothing".into()));
    }
    let outcomes = run_all(arguments, &cells)?;
    print(arguments, &rows, &outcomes);
    Ok(())
}

fn run_all(arguments: &Arguments, cells: &[Cell]) -> Result<Outcomes, CommandError> {
    let terms = Terms { tokens: arguments.tokens, warm_up: arguments.warm_up };
    let progress = Progress::new(arguments.tokens * cells.len() as u64);
    let mut outcomes = Outcomes::new();
    let run = |(row, seed): Cell| {
        row.run(terms, seed, &progress).map_err(|error| format!("{} seed {seed}: {error}", row.name))
    };
    cells::run_all(cells, arguments.choice.threads, &progress, run, |(row, seed), outcome| {
        tell_cell(arguments, row, seed, outcome);
        outcomes.insert((row.name, seed), outcome);
    })?;
    Ok(outcomes)
}

fn tell_cell(arguments: &Arguments, row: &Row, seed: u64, outcome: Outcome) {
    let Outcome { loss, tokens, .. } = outcome;
    eprintln!("{} seed {seed}: {loss:.3} nats per byte after {tokens} counted tokens", row.name);
    if arguments.choice.json {
        println!(
            "{}",
            json!({"event": "cell", "row": row.name, "seed": seed, "loss": loss, "tokens": tokens})
        );
    }
}

/// Rows with a reference: all, within the required distance, within twice that.
fn print(arguments: &Arguments, rows: &[&Row], outcomes: &Outcomes) {
    let (mut cells, mut one, mut two) = (0, 0, 0);
    if !arguments.choice.json {
        println!("{:<22} {:>7}  {:<24} {:>9} {:>9}", "row", "mean", "seeds", "reference", "distance");
    }
    for row in rows {
        let losses: Vec<f64> = arguments
            .choice
            .seeds
            .iter()
            .filter_map(|seed| outcomes.get(&(row.name, *seed)).map(|outcome| outcome.loss))
            .collect();
        let mean = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
        let distance = row.reference_mean().map(|reference| mean - reference);
        if let Some(distance) = distance {
            cells += 1;
            one += u32::from(distance.abs() <= REQUIRED);
            two += u32::from(distance.abs() <= 2.0 * REQUIRED);
        }
        print_row(arguments.choice.json, row, mean, &losses, distance);
    }
    for row in rows {
        print_pair(arguments, row, outcomes);
    }
    println!(
        "{}",
        json!({"table": "streaming-diloco-learning", "cells": cells, "within_one": one, "within_two": two})
    );
}

/// What four bits cost beside 32, over the seeds that both rows have.
fn print_pair(arguments: &Arguments, row: &Row, outcomes: &Outcomes) {
    let Some(exact) = row.name.strip_suffix("-e3m0").map(|stem| format!("{stem}-f32")) else { return };
    let Some(exact) = Row::named(&exact) else { return };
    let difference = |seed: &u64| {
        let loss = |row: &Row| outcomes.get(&(row.name, *seed)).map(|outcome| outcome.loss);
        Some(loss(row)? - loss(exact)?)
    };
    let differences: Vec<f64> = arguments.choice.seeds.iter().filter_map(difference).collect();
    if differences.is_empty() {
        return;
    }
    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
    match arguments.choice.json {
        true => {
            println!("{}", json!({"event": "codec", "row": row.name, "beside": exact.name, "mean": mean}))
        }
        false => println!("{:<22} {mean:>+7.3}  beside {}", row.name, exact.name),
    }
}

fn print_row(as_json: bool, row: &Row, mean: f64, losses: &[f64], distance: Option<f64>) {
    let reference = row.reference_mean();
    if as_json {
        let line = json!({"event": "row", "row": row.name, "mean": mean, "losses": losses,
            "reference": reference, "distance": distance});
        return println!("{line}");
    }
    let losses: Vec<String> = losses.iter().map(|loss| format!("{loss:.3}")).collect();
    let shown = |value: Option<f64>, sign: bool| match value {
        Some(value) if sign => format!("{value:+.3}"),
        Some(value) => format!("{value:.3}"),
        None => "-".into(),
    };
    println!(
        "{:<22} {mean:>7.3}  {:<24} {:>9} {:>9}",
        row.name,
        losses.join(" / "),
        shown(reference, false),
        shown(distance, true)
    );
}
