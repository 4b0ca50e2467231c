//! `driftless run`: resumes every session of a folder.

use std::path::PathBuf;

use super::CommandError;
use super::foreground::{Foreground, has_left};
use super::join::{kept_invitation, with_invitation};
use super::new::session_options;
use crate::args::RunArguments;
use crate::config;
use crate::output::Output;
use crate::report::{Line, Report};
use crate::store::Folder;

/// Runs all sessions until they end or are stopped.
pub(super) async fn run(options: &RunArguments, dir: PathBuf, output: Output) -> Result<(), CommandError> {
    let config = config::resolve(dir, &options.network)?;
    let folder = Folder::create(&config.node.dir)?;
    let mut sessions = folder.sessions()?;
    sessions.retain(|session| !has_left(session));
    if sessions.is_empty() {
        return Err(CommandError::Failed(format!(
            "there is no session to resume in {}: `driftless new` founds one, `driftless join` joins one",
            folder.path().display()
        )));
    }
    let mut foreground = Foreground::start(&config, output).await?;
    foreground.say_started();
    let mut opened = 0;
    let mut failed = None;
    for session in sessions {
        // One damaged session does not keep the others from running.
        let result = match session.manifest() {
            Err(error) => Err(error.into()),
            Ok(manifest) => {
                let id = manifest.id();
                let plain = session_options(&config);
                let options = match kept_invitation(&folder, id) {
                    Some(invitation) => with_invitation(plain, &invitation),
                    None => plain,
                };
                foreground.open(id, options).await.map(|_| ()).map_err(CommandError::from)
            }
        };
        match result {
            Ok(()) => opened += 1,
            Err(error) => {
                let text = error.to_string();
                let prefix = session.prefix().map(str::to_owned);
                foreground.say(Line { session: prefix, ..Line::new(Report::Error { text }) });
                failed = failed.or(Some(error));
            }
        }
    }
    match (opened, failed) {
        (0, Some(error)) => Err(error),
        (_, failed) => {
            foreground.run(std::future::pending()).await?;
            failed.map_or(Ok(()), Err)
        }
    }
}
