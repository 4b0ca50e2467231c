//! `driftless-sim record`: a real session as a scenario.

use std::path::PathBuf;

use serde_json::json;

use super::CommandError;
use crate::record::record;
use crate::session_folder::SessionFolder;

/// What to write down.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A session's folder, a node's with one session, or a folder of `driftless demo --dir`
    pub session: PathBuf,
    /// Where the scenario goes [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long, requires = "out")]
    pub json: bool,
}

/// Writes the scenario.
///
/// # Errors
/// No session, or one that the simulator cannot have.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let folder = SessionFolder::read(&arguments.session).map_err(CommandError::from_folder)?;
    let recorded = record(&folder).map_err(|error| CommandError::Failed(error.to_string()))?;
    let Some(out) = &arguments.out else {
        print!("{}", recorded.text);
        return Ok(());
    };
    let failed = |error: std::io::Error| CommandError::Failed(format!("{}: {error}", out.display()));
    std::fs::write(out, &recorded.text).map_err(failed)?;
    let (heights, peers, tokens) = (recorded.heights, recorded.peers, recorded.tokens);
    let seconds = recorded.span.0 as f64 / 1e6;
    if arguments.json {
        let object = json!({"event": "recorded", "file": out, "heights": heights, "peers": peers,
            "tokens": tokens, "seconds": seconds});
        println!("{object}");
    } else {
        println!(
            "{heights} heights of {peers} peers, {tokens} tokens in about {seconds:.0} seconds: \
             `driftless-sim run {}` runs them",
            out.display()
        );
    }
    Ok(())
}
