//! `driftless-torture`: a session of real processes, faults from one printed seed, promises checked.
//!
//! | file | idea |
//! |---|---|
//! | `args` | what is typed |
//! | `random`, `plan` | every fault's kind, time and target, from the seed |
//! | `founding` | keys, manifest and folders of a session whose peers all vote |
//! | `cast` | the processes: started, killed, listened to |
//! | `ledger` | what they said, and what they may never say |
//! | `faults/` | one file per kind of fault: inject it, see the others, see the recovery |
//! | `netns`, `tmpfs` | a network that can be cut, disks that can be full; where they are permitted |
//! | `checks` | the folders in the end: one chain, nothing signed twice, nothing lost |
//! | `report` | lines for people or programs; the last one is the summary |

mod args;
mod cast;
mod checks;
mod failure;
mod faults;
mod founding;
mod ledger;
mod netns;
mod plan;
mod random;
mod report;
mod tmpfs;
mod torture;

use std::process::ExitCode;

use clap::Parser;

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
