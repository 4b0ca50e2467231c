//! `driftless`: reads what was typed, sets up the log, runs the command.

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use driftless::args::Arguments;
use driftless::commands;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Wrong use ends here with exit code 2, `--help` with 0.
    let arguments = Arguments::parse();
    start_log(arguments.verbose);
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        // The main task stays on this thread: children that `demo` starts die with the thread that
        // started them.
        Ok(runtime) => {
            let code = runtime.block_on(commands::run(arguments));
            // Whatever still blocks a thread is of no use to anybody.
            runtime.shutdown_timeout(Duration::from_secs(2));
            code
        }
        Err(error) => {
            eprintln!("error: the async runtime did not start: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Logs go to standard error: warnings, or more with `-v`.
fn start_log(verbose: u8) {
    let filter = match verbose {
        0 => "off,driftless=warn",
        1 => "warn,driftless=info",
        2 => "info,driftless=debug",
        _ => "debug,driftless=trace",
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_target(verbose > 1)
        .init();
}
