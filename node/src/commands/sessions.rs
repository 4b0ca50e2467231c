//! `status`, `pause`, `resume`, `finish`, `leave`, `invite`: questions to a running node.

use std::path::Path;

use serde_json::{Map, Value};

use super::CommandError;
use super::kept::{has_left, mark_left};
use crate::args::{EndArguments, SessionArgument};
use crate::local_socket::{AskError, Question, Verb, ask};
use crate::offline::{self, Offline};
use crate::output::{Output, bytes};
use crate::store::{Folder, FolderLock, SessionFolder};

/// Shows the running sessions.
pub(super) async fn status(dir: &Path, which: &SessionArgument, output: Output) -> Result<(), CommandError> {
    let folder = Folder::open(dir)?;
    let objects = match ask(&folder, about(Verb::Status, which)).await {
        Err(AskError::NotRunning { .. }) => return Err(not_running(&folder)),
        result => result?,
    };
    for object in &objects {
        output.result(object, || status_text(object));
    }
    Ok(())
}

/// A question about what was typed.
pub(super) fn about(verb: Verb, which: &SessionArgument) -> Question {
    Question::new(verb, which.session.clone())
}

/// Asks for something and says that it was asked.
pub(super) async fn tell(dir: &Path, question: Question, output: Output) -> Result<(), CommandError> {
    let folder = Folder::open(dir)?;
    let verb = question.command;
    let objects = match ask(&folder, question).await {
        Err(AskError::NotRunning { .. }) => return Err(not_running(&folder)),
        result => result?,
    };
    let done = match verb {
        Verb::Pause => "stops computing; it keeps following and voting",
        Verb::Resume => "computes again",
        Verb::Vote => "takes part again, from the next height on",
        Verb::Finish => "completes the slot in flight, then leaves",
        Verb::Leave => "leaves; its folder stays",
        Verb::Reset => "asks for a new committee: `driftless status` tells what came of it",
        Verb::Status | Verb::Invite => "answered",
    };
    for object in &objects {
        output.result(object, || format!("session {} {done}", text_of(object, "session")));
    }
    Ok(())
}

/// Asks a session's founder to start the committee anew.
pub(super) async fn reset(dir: &Path, options: &EndArguments, output: Output) -> Result<(), CommandError> {
    if !options.yes {
        return Err(CommandError::Usage(
            "a reset gives the seats to those who can be reached now. Peers that are out of reach and hold \
             later blocks would have to join again: wait for them, or say --yes"
                .into(),
        ));
    }
    tell(dir, about(Verb::Reset, &options.which).meant(true), output).await
}

/// Asks a session to end here.
pub(super) async fn end(
    dir: &Path,
    verb: Verb,
    options: &EndArguments,
    output: Output,
) -> Result<(), CommandError> {
    tell(dir, about(verb, &options.which).meant(options.yes), output).await
}

/// Leaves, also without a running node: then nobody is told, and `run` does not resume the session.
pub(super) async fn leave(dir: &Path, options: &EndArguments, output: Output) -> Result<(), CommandError> {
    let folder = Folder::open(dir)?;
    match end(dir, Verb::Leave, options, output).await {
        Err(CommandError::Failed(_)) => {}
        result => return result,
    }
    let _lock: FolderLock = folder.lock()?;
    let session = offline::pick(&folder, options.which.session.as_deref())?;
    let manifest = session.manifest()?;
    if has_left(&session) {
        return Err(CommandError::Failed(format!("this peer left {} before", manifest.manifest().name)));
    }
    if !options.yes
        && let Some(others) = needed_by(&folder, &session)?
    {
        return Err(CommandError::Failed(needs_yes(others)));
    }
    mark_left(&folder, manifest.id(), true);
    let prefix = session.prefix().unwrap_or_default();
    let object = serde_json::json!({ "session": prefix, "command": "leave", "told": false });
    output.result(&object, || {
        format!(
            "left {} here. No node is running, so the others were not told: they notice when this peer \
             missed 8 slots. `run` does not resume the session; `join` comes back. Its folder stays: {}",
            manifest.manifest().name,
            session.path().display()
        )
    });
    Ok(())
}

/// Prints an invitation.
pub(super) async fn invite(dir: &Path, which: &SessionArgument, output: Output) -> Result<(), CommandError> {
    let folder = Folder::open(dir)?;
    for object in &ask(&folder, about(Verb::Invite, which)).await? {
        output.result(object, || text_of(object, "invitation"));
    }
    Ok(())
}

/// The other members of a session that cannot go on without this folder's peer; as its files say.
fn needed_by(folder: &Folder, session: &SessionFolder) -> Result<Option<usize>, CommandError> {
    let Some(key) = folder.identity()?.map(|signer| signer.key()) else { return Ok(None) };
    let failed = |error| {
        CommandError::Failed(format!(
            "whether the session can go on without this peer cannot be read ({error}): --yes leaves all the same"
        ))
    };
    let offline = Offline::load(session.clone()).map_err(failed)?;
    let (manifest, control) = (&offline.charter.manifest, &offline.state.control);
    let over = manifest.stop_at.is_some_and(|stop_at| control.counted_tokens >= stop_at);
    let seats = control.seats.len();
    let all_needed = offline.charter.quorum(seats) == seats;
    let needed = all_needed && control.seat_of(&key).is_some() && !over;
    let others = control.members.iter().filter(|member| member.key != key).count();
    Ok((needed && others > 0).then_some(others))
}

/// Why `finish` and `leave` ask for `--yes`.
pub(super) fn needs_yes(others: usize) -> String {
    format!(
        "without this peer's vote nothing is decided: the session ends for its {others} other members as well. \
         --yes does it all the same; Ctrl-C only stops, and `driftless run` goes on"
    )
}

/// What could be asked if a node were running.
fn not_running(folder: &Folder) -> CommandError {
    let sessions = folder.sessions().map_or(0, |sessions| sessions.len());
    let what = match sessions {
        0 => "`driftless new` or `driftless join` starts one".to_string(),
        1 => "`driftless run` resumes its session".to_string(),
        several => format!("`driftless run` resumes its {several} sessions"),
    };
    CommandError::Failed(format!("no node is running in {}: {what}", folder.path().display()))
}

fn text_of(object: &Map<String, Value>, field: &str) -> String {
    match object.get(field) {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn status_text(object: &Map<String, Value>) -> String {
    let text = |field: &str| text_of(object, field);
    let number = |field: &str| object.get(field).and_then(Value::as_f64).unwrap_or(0.0);
    let is = |field: &str| object.get(field).and_then(Value::as_bool).unwrap_or(false);
    let count = |field: &str| bytes(number(field) as u64);
    let role = match (is("member"), is("voter")) {
        (true, true) => "member and voter",
        (true, false) => "member",
        (false, true) => "voter",
        (false, false) => "follower",
    };
    let goal =
        object.get("stop_at").and_then(Value::as_u64).map_or(String::new(), |goal| format!(" of {goal}"));
    let digest = text("digest");
    let mut lines = vec![
        format!("{}  {}", text("name"), text("session")),
        format!("  state    {} ({role})", text("state")),
        format!("  height   {}, digest {}", text("height"), digest.get(..8).unwrap_or(&digest)),
        format!("  tokens   {}{goal}", text("tokens")),
        format!("  members  {}, {} connected", text("members"), text("connected")),
        format!(
            "  training step {}, loss {:.3}, {:.1} steps/s, {:.0} tokens/s",
            text("step"),
            number("loss"),
            number("steps_per_second"),
            number("tokens_per_second")
        ),
        format!("  traffic  {} sent, {} received", count("bytes_sent"), count("bytes_received")),
    ];
    for (field, label) in [("disk", "disk"), ("barred", "barred"), ("warning", "warning")] {
        if object.get(field).is_some_and(Value::is_string) {
            lines.push(format!("  {label:<8} {}", text(field)));
        }
    }
    lines.join("\n")
}
