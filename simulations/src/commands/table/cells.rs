//! The cells of a table about learning: independent runs on a few threads.

use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::commands::CommandError;
use crate::table::Progress;
use crate::table::runs::Outcome;

/// What every table about learning takes.
#[derive(Debug, clap::Args)]
pub struct Choice {
    /// One JSON object per line on standard output
    #[arg(long)]
    pub json: bool,
    /// Seeds, each a run of every cell
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    pub seeds: Vec<u64>,
    /// Rows by name; all if not given
    #[arg(long, value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Runs at a time
    #[arg(long, default_value_t = 2)]
    pub threads: usize,
}

impl Choice {
    /// # Errors
    /// There is nothing to run, or nobody to run it.
    pub fn check(&self) -> Result<(), CommandError> {
        match self.seeds.is_empty() || self.threads == 0 {
            true => Err(CommandError::Usage("seeds and threads must not be nothing".into())),
            false => Ok(()),
        }
    }
}

/// How often a line tells how far it is.
const TELL: Duration = Duration::from_secs(10);

/// The rows of these names; all if none is given.
///
/// # Errors
/// An unknown name.
pub(super) fn rows<R>(
    all: &'static [R],
    name: impl Fn(&R) -> &'static str,
    names: &[String],
) -> Result<Vec<&'static R>, CommandError> {
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    let unknown = |wanted: &String| {
        let known: Vec<&str> = all.iter().map(&name).collect();
        CommandError::Usage(format!("there is no row {wanted:?}, there are: {}", known.join(", ")))
    };
    let named = |wanted: &String| all.iter().find(|row| name(row) == wanted).ok_or_else(|| unknown(wanted));
    names.iter().map(named).collect()
}

/// Runs every cell; `came` hears of each result. This thread tells how far they are.
///
/// # Errors
/// The first run that failed.
pub(super) fn run_all<C: Copy + Sync + Send>(
    cells: &[C],
    threads: usize,
    progress: &Progress,
    run: impl Fn(C) -> Result<Outcome, String> + Sync,
    mut came: impl FnMut(C, Outcome),
) -> Result<(), CommandError> {
    let next = Mutex::new(cells.iter());
    let (sender, results) = mpsc::sync_channel(cells.len());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(cells.len()) {
            let (sender, next, run) = (sender.clone(), &next, &run);
            scope.spawn(move || {
                loop {
                    let cell = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(cell) = cell else { break };
                    if sender.send((*cell, run(*cell))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        loop {
            match results.recv_timeout(TELL) {
                Ok((cell, Ok(outcome))) => came(cell, outcome),
                // Dropping the receiver ends the other threads after their present run.
                Ok((_, Err(error))) => return Err(CommandError::Failed(error)),
                Err(mpsc::RecvTimeoutError::Timeout) => eprintln!("{}", progress.line()),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    })
}
