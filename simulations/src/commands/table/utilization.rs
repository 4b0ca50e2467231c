//! `driftless-sim table streaming-diloco-4`: bandwidth for a compute utilization.

use serde_json::json;

use crate::commands::CommandError;
use crate::table::utilization::{Bits, Cell, ROWS, Row, TARGETS};

/// What to compute.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Bits per parameter in full precision
    #[arg(long, default_value_t = 16.0)]
    pub bits: f64,
    /// Bits per parameter of the last row of each size
    #[arg(long, default_value_t = 4.0)]
    pub few_bits: f64,
    /// One JSON object per line on standard output
    #[arg(long)]
    pub json: bool,
}

/// Computes the table and prints it beside the paper's.
///
/// # Errors
/// Bits that are no number of bits.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let bits = Bits { full: arguments.bits, few: arguments.few_bits };
    if ![bits.full, bits.few].iter().all(|bits| (0.01..=64.0).contains(bits)) {
        return Err(CommandError::Usage("bits per parameter are 0.01 to 64".into()));
    }
    if !arguments.json {
        let targets = TARGETS.map(|target| format!("{:>19}", format!("{:.0}%", 100.0 * target)));
        println!("Gbit/s for a compute utilization: paper, ours, (grid steps between them)");
        println!("{:<6}{:<18}{}", "size", "method", targets.concat());
    }
    let mut all = Vec::new();
    for row in &ROWS {
        let cells = row.cells(bits);
        print(arguments.json, row, &cells);
        all.extend(cells);
    }
    let within = |points| {
        let near = |cell: &&Cell| cell.distance.is_some_and(|distance| distance.unsigned_abs() <= points);
        all.iter().filter(near).count()
    };
    let (one, two) = (within(1), within(2));
    println!(
        "{}",
        json!({"table": "streaming-diloco-4", "cells": all.len(), "within_one": one, "within_two": two})
    );
    Ok(())
}

fn print(as_json: bool, row: &Row, cells: &[Cell]) {
    let (size, method) = (row.size.name, row.exchange.name());
    if !as_json {
        let cell = |cell: &Cell| match (cell.ours, cell.distance) {
            (Some(ours), Some(distance)) => format!("{:>7.1}{ours:>7.1} {distance:>+4}", cell.paper),
            _ => format!("{:>7.1}{:>7} {:>4}", cell.paper, "-", "-"),
        };
        return println!("{size:<6}{method:<18}{}", cells.iter().map(cell).collect::<String>());
    }
    for (target, cell) in TARGETS.iter().zip(cells) {
        println!(
            "{}",
            json!({"event": "cell", "size": size, "method": method, "utilization": target,
                "paper": cell.paper, "ours": cell.ours, "distance": cell.distance})
        );
    }
}
