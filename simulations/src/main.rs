//! `driftless-sim`: Driftless in virtual time.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use driftless_sim::commands::{self, CommandError};

/// Driftless in virtual time: the product's protocol on simulated networks and disks.
#[derive(Debug, Parser)]
#[command(name = "driftless-sim", version)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong use.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one simulated session and check every promise at every step
    #[command(
        after_help = "Examples:\n  driftless-sim run simulations/scenarios/home-volunteers.toml\n  driftless-sim \
        run --peers 4 --seed 7 --loss 200 --crashes 5\n\nA scenario leaves a folder with events, tables and \
        report.html; docs/scenarios.md is its reference. \
        --json prints {\"event\":\"summary\",...} as its last line. The same seed and options give the \
        same trace."
    )]
    Run(commands::run::Arguments),
    /// Run a scenario with every combination of values for some of its fields
    #[command(after_help = "Example:\n  driftless-sim sweep simulations/scenarios/lan-lab.toml --vary \
        session.method.streaming-diloco.period=15,30 --vary seed=1,2,3\n\nFields are named by their path; \
        peers.0.up is that of the first group of peers. Each run has its folder; sweep.csv and index.html \
        tell of all. Started again, it goes on with the runs that are missing.")]
    Sweep(commands::sweep::Arguments),
    /// Try random worlds until one breaks a promise, and make that one small
    #[command(after_help = "Example:\n  driftless-sim search --seeds 1000 --first-seed 5000\n\nEach seed \
        makes up a committee, peers, links, faults and wishes. A finding is a broken promise, a panic, or \
        voters that do not come to the end. It is shrunk, and the command that replays it is printed.")]
    Search(commands::search::Arguments),
    /// Let one seeded protocol bug live at a time, and search until a checker catches it
    #[cfg(feature = "mutants")]
    #[command(after_help = "Example:\n  driftless-sim mutants --only SkipsLock --shrink")]
    Mutants(commands::mutants::Arguments),
    /// Write a real session down as a scenario: its terms, its peers with their speeds, who came and went
    #[command(
        after_help = "Example:\n  driftless demo --dir D && driftless-sim record D --out demo.toml && \
        driftless-sim run demo.toml\n\nBlocks carry no wall clock: times are estimated from steps and speeds."
    )]
    Record(commands::record::Arguments),
    /// Compute a real session again: every contribution and every state of its chain
    #[command(
        after_help = "Examples:\n  driftless demo --dir D && driftless-sim replay D\n  driftless-sim replay \
        D/peer-1 --threads 2 --certificates late\n\nIt names the first contribution or digest that differs. \
        Contributions are the same on machines of one type only. What peers computed is in the chain where \
        max_overrun is strict, as in a demo, and every slot counts all who were drawn."
    )]
    Replay(commands::replay::Arguments),
    /// Make a paper's table again and print it beside the paper's figures
    #[command(subcommand)]
    Table(commands::table::Table),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.command {
        Command::Run(arguments) => commands::run::run(arguments),
        Command::Sweep(arguments) => commands::sweep::run(arguments),
        Command::Search(arguments) => commands::search::run(arguments),
        #[cfg(feature = "mutants")]
        Command::Mutants(arguments) => commands::mutants::run(arguments),
        Command::Record(arguments) => commands::record::run(arguments),
        Command::Replay(arguments) => commands::replay::run(arguments),
        Command::Table(table) => commands::table::run(table),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if matches!(error, CommandError::Usage(_)) { 2 } else { 1 })
        }
    }
}
