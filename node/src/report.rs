//! What a node reports, as lines of JSON and as text for people.
//!
//! `run`, `new`, `join` and the peers of `demo` write one [`Line`] per event; `demo` reads its
//! peers' lines with the same type and adds the peer's number to each.

use driftless_protocol::event::{Ending, Event, Waiting};
use driftless_protocol::{Hash, PeerKey};
use serde::{Deserialize, Serialize};

use crate::disk_use::DiskUse;
use crate::node::SessionEvent;

/// One line: an event and what goes with every event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What happened.
    #[serde(flatten)]
    pub report: Report,
    /// In `demo`: which peer, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<usize>,
    /// The session's first 16 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Seconds since the node started.
    #[serde(default)]
    pub at: f64,
    /// Bytes that both planes sent since the node started.
    #[serde(default)]
    pub bytes_sent: u64,
    /// Bytes that both planes received since the node started.
    #[serde(default)]
    pub bytes_received: u64,
    /// What writing to the disk cost since the session was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_use: Option<DiskUse>,
}

/// The state that a session was founded on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentState {
    /// The session that it was in.
    pub session: Hash,
    /// Its height.
    pub height: u64,
    /// Its certified digest.
    pub digest: Hash,
    /// Tokens counted until then.
    pub tokens: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Report {
    /// The node listens.
    Started {
        /// Its key.
        key: PeerKey,
        /// Where others reach its control plane.
        addresses: Vec<String>,
        /// Its data folder.
        dir: String,
    },
    /// A session was founded here; others join with this.
    Founded {
        /// The session's name.
        name: String,
        /// The invitation's text.
        invitation: String,
        /// The state of another session that it goes on from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        founded_on: Option<ParentState>,
    },
    /// This peer became a member.
    Joined {
        /// The height that admitted it.
        height: u64,
    },
    /// This peer is no member any more.
    Removed {
        /// The height that removed it.
        height: u64,
    },
    /// Inner steps were done.
    Trained {
        /// Inner steps so far.
        step: u64,
        /// Mean loss of the last ones, nats per token.
        loss: f32,
        /// Steps per second.
        steps_per_second: f64,
    },
    /// A contribution was announced.
    Announced {
        /// Its stream.
        stream: u16,
        /// Its place in the stream.
        ordinal: u32,
        /// Its blob.
        root: Hash,
        /// The blob's length in bytes.
        length: u64,
    },
    /// A certified block was applied.
    Block {
        /// Its height.
        height: u64,
        /// Digest of the state after it.
        digest: Hash,
        /// The slots it closed.
        closed: Vec<ClosedSlot>,
        /// Contributions counted, all slots together.
        counted: usize,
        /// Tokens counted so far.
        tokens: u64,
        /// Encoded bytes of the contributions counted.
        counted_bytes: u64,
        /// Whether the session ends with it.
        last: bool,
    },
    /// The outer parameters were evaluated.
    Evaluated {
        /// Their height.
        height: u64,
        /// Nats per predicted byte or token, or per row.
        loss: f64,
        /// Share of the rows whose class is told, where there are classes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        accuracy: Option<f64>,
    },
    /// Training waits.
    Paused {
        /// For what.
        reason: String,
    },
    /// Training goes on.
    Resumed,
    /// Others vote from the next height on.
    Seats {
        /// The height that changed them.
        height: u64,
        /// How many there are.
        seats: usize,
        /// Whether this peer has one.
        seated: bool,
    },
    /// The founder starts the committee anew.
    Reset {
        /// The new generation.
        generation: u32,
        /// The height that it goes on from.
        height: u64,
        /// The new seats.
        seats: usize,
    },
    /// Blocks or pages are being fetched.
    CatchingUp {
        /// Our height.
        height: u64,
        /// The height known of.
        target: u64,
    },
    /// The session ended here.
    Ended {
        /// `complete`, `left` or `stopped`.
        ending: String,
    },
    /// Something is wrong that the session survives.
    Warning {
        /// What.
        text: String,
    },
    /// Something failed.
    Error {
        /// What, and what to do.
        text: String,
    },
}

/// A slot that a block closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedSlot {
    /// Its stream.
    pub stream: u16,
    /// Its place in the stream.
    pub ordinal: u32,
    /// Contributions counted.
    pub counted: usize,
}

impl Line {
    /// A line of no session.
    pub fn new(report: Report) -> Line {
        Line { report, peer: None, session: None, at: 0.0, bytes_sent: 0, bytes_received: 0, disk_use: None }
    }

    /// The line of a session's event.
    pub fn of(session: Hash, event: SessionEvent) -> Line {
        Line {
            report: Report::from(event.event),
            peer: None,
            session: Some(short(session)),
            at: (event.at.as_secs_f64() * 1e6).round() / 1e6,
            bytes_sent: event.bytes_sent,
            bytes_received: event.bytes_received,
            disk_use: Some(event.disk_use),
        }
    }
}

impl From<Event> for Report {
    fn from(event: Event) -> Report {
        match event {
            Event::Joined { height } => Report::Joined { height },
            Event::Removed { height } => Report::Removed { height },
            Event::Trained { step, loss, speed } => {
                Report::Trained { step, loss, steps_per_second: f64::from(speed) / 1000.0 }
            }
            Event::Announced { slot, root, length } => {
                Report::Announced { stream: slot.stream, ordinal: slot.ordinal, root, length }
            }
            Event::Block { height, digest, closed, tokens, counted_bytes, last } => {
                let counted = closed.iter().map(|(_, counted)| counted).sum();
                let closed = closed.into_iter().map(|(slot, counted)| ClosedSlot {
                    stream: slot.stream,
                    ordinal: slot.ordinal,
                    counted,
                });
                let closed = closed.collect();
                Report::Block { height, digest, closed, counted, tokens, counted_bytes, last }
            }
            Event::Evaluated { height, loss, accuracy } => Report::Evaluated { height, loss, accuracy },
            Event::Waiting(Waiting::No) => Report::Resumed,
            Event::Waiting(waiting) => Report::Paused { reason: waiting_for(waiting).into() },
            Event::Seats { height, seats, seated } => Report::Seats { height, seats, seated },
            Event::Reset { generation, height, seats } => Report::Reset { generation, height, seats },
            Event::CatchingUp { height, target } => Report::CatchingUp { height, target },
            Event::Warning(text) => Report::Warning { text },
        }
    }
}

impl ParentState {
    fn text(&self) -> String {
        let ParentState { session, height, digest, tokens } = self;
        format!(" on session {session} height {height} digest {digest}, after {tokens} tokens")
    }
}

impl Report {
    /// What a person is told; nothing of what a status line shows anyway.
    pub fn text(&self) -> Option<String> {
        let text = match self {
            Report::Trained { .. } | Report::Announced { .. } => return None,
            Report::Started { key, addresses, .. } => match addresses.first() {
                Some(address) if addresses.len() > 1 => {
                    format!("peer {} listens on {address} and {} others", key.short(), addresses.len() - 1)
                }
                Some(address) => format!("peer {} listens on {address}", key.short()),
                None => format!("peer {} listens", key.short()),
            },
            Report::Founded { name, invitation, founded_on } => {
                let on = founded_on.as_ref().map(ParentState::text).unwrap_or_default();
                format!("founded {name}{on}. Others join with:\n\n  driftless join {invitation}\n")
            }
            Report::Joined { height } => format!("became a member at height {height}"),
            Report::Removed { height } => {
                format!("is no member any more since height {height}")
            }
            Report::Block { height, digest, counted, tokens, last, .. } => {
                let end = if *last { ", the last" } else { "" };
                let digest = digest.short();
                format!("block {height}: {counted} counted, {tokens} tokens so far, state {digest}{end}")
            }
            Report::Evaluated { height, loss, accuracy } => {
                let told = accuracy.map(|share| format!(", {:.1}% told right", 100.0 * share));
                format!("validation loss at height {height}: {loss:.4} nats{}", told.unwrap_or_default())
            }
            Report::Seats { height, seats, seated } => {
                let own = if *seated { "this peer is one of them" } else { "this peer is not one of them" };
                format!("since height {height} {seats} peers vote; {own}")
            }
            Report::Reset { generation, height, seats } => {
                format!(
                    "the founder starts the committee anew after height {height}: {seats} peers vote in \
                     generation {generation}, unless somebody shows a later block within ten seconds"
                )
            }
            Report::Paused { reason } => format!("training waits: {reason}"),
            Report::Resumed => "training goes on".into(),
            Report::CatchingUp { height, target } => format!("catching up: block {height} of {target}"),
            Report::Ended { ending } => match ending.as_str() {
                "complete" => "the session is complete".into(),
                "left" => "left the session".into(),
                _ => "stopped; `driftless run` goes on".into(),
            },
            Report::Warning { text } => format!("warning: {text}"),
            Report::Error { text } => format!("error: {text}"),
        };
        Some(text)
    }
}

/// Why training waits, in words.
pub fn waiting_for(waiting: Waiting) -> &'static str {
    match waiting {
        Waiting::No => "nothing",
        Waiting::Certificate => "the certificate of the slot in flight",
        Waiting::Turn => "membership, a lease, or to be drawn",
        Waiting::Paused => "paused by its user: `driftless resume` goes on",
        Waiting::Stopped => "the loss or the parameters are not finite",
        Waiting::Quorum => "too few voters answer",
        Waiting::CatchUp => "this peer's chain is behind the others'",
        Waiting::Repair => "this peer's state was wrong and is rebuilt",
        Waiting::Barred => "this key signs nothing: its folder seems to be an older copy",
    }
}

/// An ending, in one word.
pub fn ending_word(ending: Ending) -> &'static str {
    match ending {
        Ending::Complete => "complete",
        Ending::Left => "left",
        Ending::Stopped => "stopped",
    }
}

/// The 16 hex digits that name a session's folder.
pub fn short(session: Hash) -> String {
    let mut text = session.to_string();
    text.truncate(16);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_flat_objects_and_read_back() {
        let report = Report::Block {
            height: 3,
            digest: Hash::of(b"state"),
            closed: vec![ClosedSlot { stream: 1, ordinal: 2, counted: 4 }],
            counted: 4,
            tokens: 46_080,
            counted_bytes: 1000,
            last: false,
        };
        let line = Line { peer: Some(2), bytes_sent: 7, session: Some("ab".into()), ..Line::new(report) };
        let text = serde_json::to_string(&line).unwrap();
        assert!(text.starts_with(r#"{"event":"block","height":3,"digest":""#), "{text}");
        assert!(text.contains(r#""peer":2"#) && !text.contains('\n'));
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
        let text = serde_json::to_string(&Line::new(Report::Resumed)).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), Line::new(Report::Resumed));
    }
}
