//! A history as the text of a scenario.

use std::fmt::Write;

use driftless_protocol::charter::Charter;
use driftless_protocol::committee::{Committee, QuorumRule};
use driftless_protocol::manifest::{Data, Manifest};
use driftless_protocol::model::Model;
use driftless_protocol::time::Span;

use super::{End, History, Stay, median, time_of};

/// Fields of a manifest that a scenario says in its own way, or that belong to the real session alone: its
/// files, its keys, and digests of what follows from these.
const NOT_TERMS: [&str; 7] = ["name", "genesis", "origin", "tokenizer", "committee", "admission", "stop_at"];
/// A step of a session in which nobody measured one.
const UNKNOWN_STEP: Span = Span::millis(100);

/// The whole text.
pub(super) fn write(charter: &Charter, history: &History) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = head(&mut text, charter, history);
    text.push('\n');
    text.push_str(&terms(&charter.manifest));
    let usual = median(history.stays.iter().filter_map(Stay::speed).collect());
    for (index, stay) in history.stays.iter().enumerate() {
        let _ = peer(&mut text, index, stay, usual);
    }
    for (index, stay) in history.stays.iter().enumerate() {
        let _ = silences(&mut text, index, stay);
    }
    text
}

fn head(text: &mut String, charter: &Charter, history: &History) -> std::fmt::Result {
    let manifest = &charter.manifest;
    // What another session counted before is not of this run.
    let begun = manifest.origin.progress().tokens;
    let (height, counted) = (history.control.height, history.control.counted_tokens.saturating_sub(begun));
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let session = charter.session.short();
    writeln!(text, "# Written by `driftless-sim record` from session {session}, heights 1 to {height}.")?;
    writeln!(text, "#")?;
    writeln!(
        text,
        "# Blocks carry no wall clock. Times are estimated from steps and certified speeds: a slot of"
    )?;
    writeln!(
        text,
        "# stream 0 takes what the slowest peer that it counts needed for its steps; nothing else"
    )?;
    writeln!(
        text,
        "# takes time. Followers, links and restarts leave no trace in the chain: they are not here."
    )?;
    writeln!(
        text,
        "# Peers have other keys than the real ones, and train on the simulator's embedded text."
    )?;
    if matches!(manifest.committee, Committee::Elected { .. }) {
        writeln!(text, "# The committee was elected; here the founder votes from the beginning to the end.")?;
    }
    let about = format!(
        "Recorded from a real session: {} peers, {height} heights, about {} seconds.",
        history.stays.len(),
        history.now.0 / 1_000_000
    );
    writeln!(text, "name = {}", quoted(&manifest.name))?;
    writeln!(text, "about = {}", quoted(&about))?;
    writeln!(text, "model = {}", quoted(named(&manifest.model).unwrap_or(Model::NAMES[0])))?;
    match manifest.stop_at.map(|stop_at| stop_at.saturating_sub(begun)) {
        Some(tokens) if tokens <= counted => writeln!(text, "tokens = {tokens}")?,
        _ => {
            writeln!(text, "# The session was not at its end: this is how far it came.")?;
            writeln!(text, "tokens = {}", counted.max(1))?;
        }
    }
    if manifest.committee.quorum_rule() == QuorumRule::Majority {
        writeln!(text, "quorum = \"majority\"")?;
    }
    let hours = (history.now.0 / 3_600_000_000 + 1) * 4;
    writeln!(text, "limit = \"{hours}h\"")
}

fn named(model: &Model) -> Option<&'static str> {
    Model::NAMES.into_iter().find(|name| Model::named(name).as_ref() == Ok(model))
}

/// The manifest's terms as the `[session]` of a scenario.
fn terms(manifest: &Manifest) -> String {
    // A manifest that was signed is one that can be written.
    let text = manifest.to_toml().unwrap_or_default();
    let mut table: toml::Table = toml::from_str(&text).unwrap_or_default();
    NOT_TERMS.iter().for_each(|field| drop(table.remove(*field)));
    if named(&manifest.model).is_some() {
        table.remove("model");
    }
    if matches!(manifest.data, Data::Public { .. }) {
        table.remove("data");
    }
    let session = toml::Table::from_iter([("session".to_owned(), toml::Value::Table(table))]);
    toml::to_string(&session).unwrap_or_default()
}

fn peer(text: &mut String, index: usize, stay: &Stay, usual: Option<u32>) -> std::fmt::Result {
    writeln!(text, "\n[[peers]]")?;
    let key = stay.key.to_string();
    let key = key.get(..8).unwrap_or(&key);
    match (stay.speeds.iter().min(), stay.speeds.iter().max()) {
        (Some(least), Some(most)) => {
            let [least, most] = [least, most].map(|speed| f64::from(*speed) / 1000.0);
            let count = stay.speeds.len();
            writeln!(
                text,
                "# Peer {index} was {key}: {least:.2} to {most:.2} steps a second in {count} slots."
            )?;
        }
        _ => writeln!(text, "# Peer {index} was {key}: its speed was never certified.")?,
    }
    writeln!(text, "role = \"{}\"", if stay.votes { "voter" } else { "contributor" })?;
    let step = stay.speed().or(usual).and_then(|speed| time_of(1, speed)).unwrap_or(UNKNOWN_STEP);
    writeln!(text, "step = \"{}us\"", step.0.max(1))?;
    let (height, start) = stay.joined;
    if height > 0 {
        writeln!(text, "# It joined at height {height}.")?;
        writeln!(text, "start = \"{}\"", moment(start))?;
    }
    match stay.end {
        Some((height, at, End::Left)) => {
            writeln!(text, "# It left at height {height}.")?;
            writeln!(text, "leave = \"{}\"", moment(at))
        }
        Some((height, at, End::Convicted)) => {
            writeln!(text, "# It contradicted itself and was expelled at height {height}; here it leaves.")?;
            writeln!(text, "leave = \"{}\"", moment(at))
        }
        // Of a voter that never comes back, the simulator would wait for the end.
        Some((height, _, End::Silent)) if stay.votes => {
            writeln!(text, "# It fell silent and was a member until height {height}; here it leaves.")?;
            writeln!(text, "leave = \"{}\"", moment(stay.counted))
        }
        Some((_, _, End::Silent)) | None => Ok(()),
    }
}

/// Silences of a peer as power cuts.
fn silences(text: &mut String, index: usize, stay: &Stay) -> std::fmt::Result {
    for (from, until) in &stay.silences {
        writeln!(text, "\n# It was silent until it joined again.\n[[faults]]\nkind = \"power-cut\"")?;
        writeln!(text, "at = \"{}\"\npeers = [{index}]", moment(*from))?;
        writeln!(text, "down = \"{}\"", moment(Span(until.0.saturating_sub(from.0).max(1000))))?;
    }
    match stay.end {
        Some((height, _, End::Silent)) if !stay.votes => {
            writeln!(text, "\n# It fell silent and was a member until height {height}.")?;
            writeln!(text, "[[faults]]\nkind = \"power-cut\"")?;
            writeln!(text, "at = \"{}\"\npeers = [{index}]", moment(stay.counted))
        }
        _ => Ok(()),
    }
}

/// An estimated moment: more than milliseconds would say too much.
fn moment(span: Span) -> String {
    format!("{}ms", span.0 / 1000)
}
