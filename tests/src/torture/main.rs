//! `driftless-torture`: a session of real processes, faults from one printed seed, promises checked.
//!
//! | file | idea |
//! |---|---|
//! | `args` | what is typed |
//! | `random`, `plan` | every fault's kind, time and target, from the seed |
//! | `terms` | which session is founded |
//! | `faults/` | one file per kind of fault: inject it, see the others, see the recovery |
//! | `tmpfs` | disks that can be full, where they are permitted |
//! | `checks` | the folders in the end: one chain, nothing signed twice, nothing lost |
//! | `report` | lines for people or programs; the last one is the summary |
//!
//! How processes are founded, started, listened to and cut off: `tests/src/peers/`.

mod args;
mod checks;
mod faults;
mod plan;
mod report;
mod terms;
mod tmpfs;
mod torture;

use std::process::ExitCode;

use clap::Parser;
use driftless_tests::peers::{cast, failure, founding, ledger, netns, random};

fn main() -> ExitCode {
    let args = args::Arguments::parse();
    let mut report = report::Report::new(&args);
    match torture::run(&args, &mut report) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report.failed(&failure);
            ExitCode::FAILURE
        }
    }
}
