//! `driftless-sim table ef21`: check E4, EF21's two steps.

use serde_json::json;

use super::cells;
use crate::commands::CommandError;
use crate::table::ef21::{CASES, holds};

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// One JSON object per line on standard output
    #[arg(long)]
    pub json: bool,
    /// Rows by name; all if not given
    #[arg(long, value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Chooses who takes part where not all do
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs the table and prints it.
///
/// # Errors
/// An unknown row, or a run that failed.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let cases = cells::rows(&CASES, |case| case.name, &arguments.rows)?;
    if !arguments.json {
        println!("peers     step ratio  expected    EF21  expected  EF21-W  expected");
    }
    let (mut cells, mut reached) = (0, 0);
    for case in cases {
        let found = case.run(true, arguments.seed).map_err(CommandError::Failed)?;
        let ((ratio, allowed), (plain, weighted)) = (case.ratio, case.rounds);
        let near = (found.ratio / ratio - 1.0).abs() <= allowed;
        let verdicts = [near, holds(found.plain, plain), holds(found.weighted, weighted)];
        cells += verdicts.len();
        reached += verdicts.iter().filter(|holds| **holds).count();
        if arguments.json {
            let line = json!({"event": "case", "row": case.name, "ratio": found.ratio, "expected_ratio": ratio,
                "rounds": [found.plain, found.weighted], "expected": [plain, weighted], "holds": verdicts});
            println!("{line}");
        } else {
            let rounds = |found: Option<u32>| found.map_or("none".to_owned(), |rounds| rounds.to_string());
            let verdict = if verdicts.contains(&false) { "  DOES NOT HOLD" } else { "" };
            println!(
                "{:<10}{:>10.3}{ratio:>10.3}{:>8}{plain:>10}{:>8}{weighted:>10}{verdict}",
                case.name,
                found.ratio,
                rounds(found.plain),
                rounds(found.weighted)
            );
        }
    }
    println!("{}", json!({"table": "ef21", "cells": cells, "reached": reached}));
    Ok(())
}
