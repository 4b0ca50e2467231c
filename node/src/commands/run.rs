//! `driftless run`: resumes every session of a folder.

use std::path::PathBuf;

use super::CommandError;
use super::foreground::Foreground;
use super::join::with_invitation;
use super::kept;
use super::new::session_options;
use crate::args::RunArguments;
use crate::config::{self, Config};
use crate::output::Output;
use crate::report::{Line, Report};
use crate::settings::Settings;
use crate::store::{Folder, SessionFolder};

/// Runs all sessions until they end or are stopped, each as it was founded or joined.
pub(super) async fn run(options: &RunArguments, dir: PathBuf, output: Output) -> Result<(), CommandError> {
    let typed = config::typed(&options.network)?;
    let folder = Folder::open(dir)?;
    let mut sessions = folder.sessions()?;
    sessions.retain(|session| !kept::has_left(session));
    if sessions.is_empty() {
        return Err(CommandError::Failed(format!(
            "there is no session to resume in {}: `driftless new` founds one, `driftless join` joins one",
            folder.path().display()
        )));
    }
    let addresses = typed.clone().or(kept_addresses(&sessions));
    let config = config::resolve(folder.path().to_owned(), addresses)?;
    let mut foreground = Foreground::start(&config, output).await?;
    foreground.say_started();
    let mut opened = 0;
    let mut failed = None;
    for session in sessions {
        // One damaged session does not keep the others from running.
        match open(&mut foreground, &session, &typed).await {
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

async fn open(
    foreground: &mut Foreground,
    session: &SessionFolder,
    typed: &Settings,
) -> Result<(), CommandError> {
    let id = session.manifest()?.id();
    let dir = foreground.node().folder().path().to_owned();
    let config: Config = config::resolve(dir, typed.clone().or(kept::settings(session)?))?;
    let plain = session_options(&config);
    let options = match kept::invitation(session) {
        Some(invitation) => with_invitation(plain, &invitation),
        None => plain,
    };
    let status = foreground.open(id, options).await?;
    foreground.say_if_complete(&status);
    Ok(())
}

/// Where the sessions were told to listen: one node listens for all of them.
fn kept_addresses(sessions: &[SessionFolder]) -> Settings {
    let mut all = Settings::default();
    // A session whose settings are damaged says so when it is opened.
    for kept in sessions.iter().filter_map(|session| kept::settings(session).ok()) {
        for (list, more) in [(&mut all.listen, kept.listen), (&mut all.advertise, kept.advertise)] {
            more.into_iter().for_each(|text| {
                if !list.contains(&text) {
                    list.push(text);
                }
            });
        }
    }
    all
}
