//! `driftless-sim replay`: a real session computed again, contribution by contribution.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::CommandError;
use crate::replay::{Certificates, Options, Progress, Report, Verdict, replay};
use crate::session_folder::SessionFolder;

/// What to compute again.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A session's folder, a node's with one session, or a folder of `driftless demo --dir`
    pub session: PathBuf,
    /// Compute threads of an engine: they change no bit
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// When certificates arrive: before anything more is trained, or when they are waited for
    #[arg(long, value_enum, default_value_t)]
    pub certificates: Moment,
    /// One JSON object per line on standard output
    #[arg(long)]
    pub json: bool,
}

/// The moments as they are typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Moment {
    /// Before anything more is trained.
    #[default]
    Early,
    /// When nothing more can be trained without them.
    Late,
}

/// How often a line tells how far it is.
const TELL: Duration = Duration::from_secs(5);

/// Computes it again and prints what came of it.
///
/// # Errors
/// No session, one that cannot be computed again, or a difference.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let folder = SessionFolder::read(&arguments.session).map_err(CommandError::from_folder)?;
    let threads = usize::from(arguments.threads);
    let at_once = super::threads(None).div_ceil(threads);
    let certificates = match arguments.certificates {
        Moment::Early => Certificates::Early,
        Moment::Late => Certificates::Late,
    };
    let options = Options { threads, at_once, certificates };
    let (begun, mut told) = (Instant::now(), Instant::now());
    let report = replay(&folder, options, &mut |progress| {
        if told.elapsed() >= TELL {
            told = Instant::now();
            eprintln!("{}", line(progress, begun));
        }
    });
    let report = report.map_err(|error| CommandError::Failed(error.to_string()))?;
    let all = folder.chain.len() as u64;
    if arguments.json {
        println!("{}", object(&report, arguments, all, begun));
    } else {
        println!(
            "{} of {all} heights: {} contributions and {} digests equal, {} steps a peer, {threads} threads",
            report.heights, report.contributions, report.digests, report.steps
        );
    }
    match report.verdict {
        Verdict::Equal => Ok(()),
        Verdict::Differs(difference) => Err(CommandError::Failed(difference.to_string())),
        Verdict::Unknowable { height, reason } => Err(CommandError::Failed(format!(
            "from height {height} on the chain does not tell what the peers computed: {reason}"
        ))),
    }
}

fn line(progress: &Progress, begun: Instant) -> String {
    let Progress { height, of, steps, counted_tokens } = progress;
    let seconds = begun.elapsed().as_secs_f64();
    let left = seconds * (of - height) as f64 / *height as f64;
    let rate = *steps as f64 / seconds;
    format!(
        "height {height} of {of}, {counted_tokens} tokens, {rate:.1} steps a second of all peers, {left:.0} s left"
    )
}

fn object(report: &Report, arguments: &Arguments, all: u64, begun: Instant) -> Value {
    let (difference, unknowable) = match &report.verdict {
        Verdict::Equal => (None, None),
        Verdict::Differs(difference) => (Some(difference), None),
        Verdict::Unknowable { height, reason } => (None, Some(json!({"height": height, "reason": reason}))),
    };
    let difference = difference.map(|difference| {
        json!({"height": difference.height, "peer": difference.whose,
            "stream": difference.slot.map(|(stream, _)| stream), "slot": difference.slot.map(|(_, slot)| slot),
            "recorded": difference.recorded, "found": difference.found})
    });
    let certificates = format!("{:?}", arguments.certificates).to_lowercase();
    json!({"event": "replayed", "equal": report.verdict == Verdict::Equal, "heights": report.heights, "of": all,
        "contributions": report.contributions, "digests": report.digests, "steps": report.steps,
        "threads": arguments.threads, "certificates": certificates, "difference": difference,
        "unknowable": unknowable, "seconds": begun.elapsed().as_secs_f64()})
}
