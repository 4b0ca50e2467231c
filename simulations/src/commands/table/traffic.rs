//! `driftless-sim table streaming-diloco-traffic`: what a whole training sends.

use serde_json::json;

use crate::table::traffic::ROWS;

/// How to print it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// One JSON object per line on standard output
    #[arg(long)]
    pub json: bool,
}

/// Computes the table and prints it beside the paper's.
pub fn run(arguments: &Arguments) {
    if !arguments.json {
        println!("2^40 units, paper and ours, of a model with 1.27e9 parameters; one peer's blobs in GB");
        println!(
            "{:>12}{:>22}{:>26}{:>8}{:>10}",
            "tokens", "data parallel", "Streaming DiLoCo, H=100", "ratio", "blobs"
        );
    }
    let mut near = 0;
    for row in &ROWS {
        let (ours, gigabytes) = (row.ours(), row.blobs() / 1e9);
        let ratio = ours.0 / ours.1;
        near += usize::from((ours.0 - row.paper.0).abs() < 0.005);
        near += usize::from((ours.1 - row.paper.1).abs() < 0.000_05);
        if arguments.json {
            println!(
                "{}",
                json!({"event": "row", "tokens": row.tokens, "data_parallel": ours.0,
                    "data_parallel_paper": row.paper.0, "streaming": ours.1,
                    "streaming_paper": row.paper.1, "ratio": ratio, "blob_bytes": row.blobs()})
            );
        } else {
            println!(
                "{:>11.0}B{:>11.2}{:>11.2}{:>13.4}{:>13.4}{ratio:>8.0}{gigabytes:>10.1}",
                row.tokens / 1e9,
                row.paper.0,
                ours.0,
                row.paper.1,
                ours.1
            );
        }
    }
    let cells = 2 * ROWS.len();
    println!("{}", json!({"table": "streaming-diloco-traffic", "cells": cells, "equal": near}));
}
