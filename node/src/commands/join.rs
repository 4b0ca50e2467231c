//! `driftless join`: from an invitation to a training member.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use driftless_protocol::invitation::{Invitation, InvitationError};

use super::CommandError;
use super::foreground::Foreground;
use super::kept;
use super::new::session_options;
use crate::args::JoinArguments;
use crate::config;
use crate::node::{JoinProgress, SessionOptions};
use crate::output::{Output, bytes};
use crate::settings::Settings;

/// So much of a text is shown that is not understood: an invitation is a secret.
const SHOWN: usize = 24;

/// Joins and runs until the session ends or is stopped.
pub(super) async fn run(options: &JoinArguments, dir: PathBuf, output: Output) -> Result<(), CommandError> {
    let follow = Settings { contribute: options.follow.then_some(false), ..Settings::default() };
    let typed = follow.or(config::typed(&options.network)?);
    let config = config::resolve(dir, typed.clone())?;
    let text = read_invitation(&options.invitation)?;
    let invitation = Invitation::from_text(&text)?;
    if let Some(path) = options.data.iter().find(|path| !path.is_file()) {
        return Err(CommandError::Failed(format!("{}: no such file", path.display())));
    }
    let mut foreground = Foreground::start(&config, output).await?;
    foreground.say_started();
    output.note("asking the invitation's peers for the session");
    let mut progress = |progress| match progress {
        JoinProgress::Manifest { name, parent: None } => output.note(&format!("joining {name}")),
        JoinProgress::Manifest { name, parent: Some((session, height)) } => {
            output.note(&format!("joining {name}, which was founded on height {height} of session {session}"))
        }
        JoinProgress::Fetching { name, length } => {
            output.note(&format!("fetching {name}, {}", bytes(length)));
        }
    };
    let node = foreground.node().clone();
    let session =
        foreground.before(node.join(&invitation, options.data.clone(), config.caps, &mut progress)).await??;
    kept::keep(&node.folder().session(session), &typed, Some(&text))?;
    kept::mark_left(node.folder(), session, false);
    let options = with_invitation(session_options(&config), &invitation);
    foreground.open(session, options).await?;
    foreground.run(std::future::pending()).await
}

/// The options of a session that was joined with this invitation.
pub(super) fn with_invitation(options: SessionOptions, invitation: &Invitation) -> SessionOptions {
    let addresses = invitation.addresses.iter().filter_map(|address| address.parse().ok());
    let peers = addresses.map(|address| (None, address)).collect();
    let invited = Some((invitation.height, invitation.seats.clone()));
    SessionOptions { peers, ticket: invitation.ticket.clone(), invited, ..options }
}

/// The text itself, a file that holds it, or standard input; the command in front of it may be there.
pub(super) fn read_invitation(argument: &str) -> Result<String, CommandError> {
    let text = read_text(argument)?;
    let bare = text.trim_start().strip_prefix("driftless join ").map(str::to_owned);
    Ok(bare.unwrap_or(text))
}

fn read_text(argument: &str) -> Result<String, CommandError> {
    let limit = 4 * Invitation::MAX_TEXT as u64;
    let mut text = String::new();
    let read = |from: &mut dyn Read, text: &mut String| from.take(limit).read_to_string(text);
    if argument == "-" {
        let path = PathBuf::from("standard input");
        let result = read(&mut std::io::stdin(), &mut text);
        result.map_err(|source| CommandError::File { path, source })?;
        return Ok(text);
    }
    // A text with a prefix of ours is an invitation, good or bad, whatever files there are.
    let path = Path::new(argument);
    let is_text = argument.trim_start().starts_with("driftless") && argument.contains('-') && !path.is_file();
    if is_text {
        return Ok(argument.to_owned());
    }
    match std::fs::File::open(path) {
        Ok(mut file) => {
            let result = read(&mut file, &mut text);
            result.map_err(|source| CommandError::File { path: path.to_owned(), source })?;
            Ok(text)
        }
        // What is too long for a path is a text that lost its beginning.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidFilename) => {
            Err(neither(argument))
        }
        Err(source) => Err(CommandError::File { path: path.to_owned(), source }),
    }
}

fn neither(argument: &str) -> CommandError {
    let mut shown: String = argument.chars().take(SHOWN).collect();
    if shown.len() < argument.len() {
        shown.push('…');
    }
    CommandError::Failed(format!(
        "{shown:?} is neither an invitation nor a file: {}",
        InvitationError::NotAnInvitation
    ))
}
