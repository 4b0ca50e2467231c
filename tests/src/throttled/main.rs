//! `driftless-throttled`: sessions of real processes on slow lines, beside what the planner foretells.
//!
//! | file | idea |
//! |---|---|
//! | `args` | what is typed |
//! | `session` | one session: a line for each peer, the processes, what they said |
//! | `measure` | steps, waits and bytes of the periods that count |
//! | `compare` | the plan for the same circumstances |
//! | `report` | a table for people, objects for programs |

mod args;
mod compare;
mod measure;
mod report;
mod session;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::Parser;
use driftless_protocol::method::MethodName;
use driftless_tests::peers::failure::{Failure, exit_code};

use args::Arguments;
use compare::Compared;
use session::INTERRUPTED;

fn main() -> ExitCode {
    let args = Arguments::parse();
    if args.period.len() > 1 && args.period.len() != args.methods.len() {
        eprintln!("error: --period takes one number, or one for each of --methods");
        return ExitCode::from(2);
    }
    // Else the temporary folder would stay; the processes end with this one in any case, and the
    // namespaces with them.
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler stores into an atomic and does nothing else.
        unsafe { libc::signal(signal, interrupted as *const () as libc::sighandler_t) };
    }
    exit_code(run(&args))
}

extern "C" fn interrupted(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Whether all methods are as near to their plans as is allowed.
fn run(args: &Arguments) -> Result<bool, Failure> {
    if !args.json {
        println!("{}", report::HEADER);
    }
    let mut near = true;
    for (index, name) in args.methods.iter().enumerate() {
        let made = tempfile::Builder::new().prefix("driftless-throttled-").tempdir();
        let temporary = made.map_err(Failure::system("a temporary folder"))?;
        let place = args.dir.as_ref().map_or(temporary.path().to_owned(), |dir| dir.join(name.as_str()));
        std::fs::create_dir_all(&place).map_err(Failure::system(place.display().to_string()))?;
        let compared = compared(args, index, *name, &place)?;
        match args.json {
            true => println!("{}", report::object(&compared)),
            false => println!("{}", report::row(&compared)),
        }
        near &= compared.difference().abs() <= args.allowed;
    }
    Ok(near)
}

fn compared(args: &Arguments, index: usize, name: MethodName, place: &Path) -> Result<Compared, Failure> {
    let session = session::run(args, name, args.period_of(index), place)?;
    let steps = session.manifest.method.period();
    let measured: Option<Vec<_>> =
        session.said.iter().map(|lines| measure::measure(lines, steps, args.skip, args.slots)).collect();
    let compared = measured.and_then(|peers| {
        Compared::new(name.to_string(), &session.manifest, args.rate, &peers, &session.carried)
    });
    compared.ok_or_else(|| Failure::setup("the peers did not say enough to measure"))
}
