//! What a session costs before it runs: bytes, time, memory and disk of each role, and whether that fits.
//!
//! Advice only: no clock, no files, and nothing here touches replicated state. It asks a method for its
//! numbers (period, streams, window, codec, arrays, feedback, tau, overrun), never for its name, so a method
//! that is added is planned too. Its bytes are held against those of simulated sessions
//! (`simulations/tests/worlds/planned.rs`); docs/plan.md tells what is counted and what is not.
//!
//! | file | idea |
//! |---|---|
//! | `mod.rs` | the question and the answer |
//! | `deliveries.rs` | who gives a slot's blobs to whom |
//! | `control.rs` | what is said about a slot |
//! | `pace.rs` | how long an exchange takes, and how much of it training waits for |
//! | `memory.rs`, `disk.rs` | what a peer holds |
//! | `fit.rs` | what does not fit, and the nearest thing that does |
//! | `advice.rs` | which method to take |

mod advice;
mod control;
mod deliveries;
mod disk;
mod fit;
mod memory;
mod pace;
#[cfg(test)]
mod tests;

pub use advice::{Advice, MEASURED, measured_loss, recommend};
pub use disk::Disk;
pub use fit::{Limits, Misfit, Nearest, misfits, nearest};
pub use memory::{Memory, memory};
pub use pace::Pace;

use crate::manifest::{Manifest, Pacing};
use crate::rate::Rate;
use crate::time::Span;

/// What a peer does in a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Trains, and has no seat.
    Contributor,
    /// Trains and votes.
    Voter,
    /// Applies blocks and contributes nothing.
    Follower,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::Contributor, Role::Voter, Role::Follower];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Contributor => "contributor",
            Role::Voter => "voter",
            Role::Follower => "follower",
        }
    }
}

/// One value for each role.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ByRole<T> {
    /// Of a contributor without a seat.
    pub contributor: T,
    /// Of a voter, which contributes too.
    pub voter: T,
    /// Of a follower.
    pub follower: T,
}

impl<T> ByRole<T> {
    /// The values that `value` gives.
    pub fn new(mut value: impl FnMut(Role) -> T) -> ByRole<T> {
        ByRole {
            contributor: value(Role::Contributor),
            voter: value(Role::Voter),
            follower: value(Role::Follower),
        }
    }

    /// The value of a role.
    pub fn of(&self, role: Role) -> &T {
        match role {
            Role::Contributor => &self.contributor,
            Role::Voter => &self.voter,
            Role::Follower => &self.follower,
        }
    }
}

/// How many there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peers {
    /// Who trains, voters included; at least 1.
    pub contributors: u32,
    /// Who votes; 1 to `contributors`.
    pub voters: u32,
    /// Who only follows.
    pub followers: u32,
}

impl Peers {
    /// So many contributors of whom as many as possible vote.
    pub fn all_voting(contributors: u32) -> Peers {
        let most = crate::committee::MAX_SEATS as u32;
        Peers { contributors, voters: contributors.min(most), followers: 0 }
    }

    /// All of them.
    pub fn count(&self) -> u32 {
        self.contributors.saturating_add(self.followers)
    }

    /// How many peers have a role.
    pub fn with_role(&self, role: Role) -> u32 {
        match role {
            Role::Contributor => self.contributors - self.voters,
            Role::Voter => self.voters,
            Role::Follower => self.followers,
        }
    }
}

/// A peer's line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Line {
    /// What it sends.
    pub up: Rate,
    /// What it receives.
    pub down: Rate,
}

/// Under what a session runs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Circumstances {
    /// Who takes part.
    pub peers: Peers,
    /// Their lines.
    pub lines: ByRole<Line>,
    /// One way between two of them.
    pub latency: Span,
    /// Inner steps that a contributor takes in a second while it waits for nothing.
    pub steps_per_second: f64,
    /// Compute threads of each.
    pub threads: u32,
    /// Tokens to count.
    pub tokens: u64,
    /// Bytes that each may write in a day.
    pub writes_per_day: u64,
}

/// Bytes of one slot, on average over slots and peers.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Bytes {
    /// Blobs that leave, as their encodings' bytes.
    pub blobs_sent: f64,
    /// Blobs that arrive.
    pub blobs_received: f64,
    /// Messages that leave, as their encodings' bytes.
    pub control_sent: f64,
    /// Messages that arrive.
    pub control_received: f64,
}

/// What a peer of one role needs.
#[derive(Clone, PartialEq, Debug)]
pub struct Needs {
    /// Bytes of a slot.
    pub bytes: Bytes,
    /// Bytes of memory.
    pub memory: Memory,
    /// Bytes on the disk once the budget is trained.
    pub disk: Disk,
}

/// The answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The model's parameters.
    pub parameters: u64,
    /// Inner steps between two exchanges of a fragment.
    pub steps: u32,
    /// Encoded bytes of one contribution to each stream.
    pub blobs: Vec<u64>,
    /// Contributors that are drawn for a slot.
    pub drawn: u32,
    /// What each role needs.
    pub roles: ByRole<Needs>,
    /// Times.
    pub pace: Pace,
    /// Slots until the tokens are counted, all streams together.
    pub slots: f64,
}

impl Plan {
    /// The longest contribution to a stream.
    pub fn largest_blob(&self) -> u64 {
        self.blobs.iter().copied().max().unwrap_or(0)
    }

    /// Bytes that a peer of a role sends and receives until the tokens are counted, on the wire.
    pub fn total(&self, role: Role) -> (f64, f64) {
        let bytes = &self.roles.of(role).bytes;
        let sum = |blobs: f64, control: f64| self.slots * (blobs * pace::WIRE + control);
        (sum(bytes.blobs_sent, bytes.control_sent), sum(bytes.blobs_received, bytes.control_received))
    }
}

/// Plans a session by its terms.
///
/// # Panics
/// If there are no voters, or more than contributors.
pub fn plan(manifest: &Manifest, around: &Circumstances) -> Plan {
    let Peers { contributors, voters, .. } = around.peers;
    assert!((1..=contributors).contains(&voters), "1 to all contributors vote");
    let steps = steps(manifest, around.steps_per_second);
    let lengths = manifest.layout().fragments.into_iter().map(|fragment| fragment.len);
    let blobs: Vec<u64> = lengths.map(|values| manifest.method.usual_bytes(values as usize)).collect();
    let drawn = contributors.min(u32::from(manifest.max_contributors));
    let tokens = f64::from(manifest.training.batch) * f64::from(manifest.model.context());
    let round = f64::from(steps) * tokens * f64::from(drawn);
    let slots = around.tokens as f64 / round * blobs.len() as f64;
    let mean = blobs.iter().sum::<u64>() as f64 / blobs.len() as f64;

    let deliveries = match manifest.method.one_byte() {
        Some(_) => deliveries::deliveries_beside_lists(&around.peers, drawn),
        None => deliveries::deliveries(&around.peers, drawn),
    };
    let said = control::said(manifest, &around.peers, drawn);
    let once = pace::pace(manifest, around, steps, &blobs, &deliveries, &said.bytes(&around.peers, false));
    let again = once.exchange > control::RESENT_AFTER;
    let said = said.bytes(&around.peers, again);
    let pace = pace::pace(manifest, around, steps, &blobs, &deliveries, &said);
    let roles = ByRole::new(|role| {
        let (blob, words) = (deliveries.per_peer.of(role), said.of(role));
        let bytes = Bytes {
            blobs_sent: blob.sent * mean,
            blobs_received: blob.received * mean,
            control_sent: words.sent,
            control_received: words.received,
        };
        let memory = memory(manifest, drawn, around.threads);
        let disk = disk::disk(manifest, around, role, slots, &pace, drawn, &blobs);
        Needs { bytes, memory, disk }
    });
    Plan { parameters: manifest.model.parameters(), steps, blobs, drawn, roles, pace, slots }
}

/// Inner steps between two contributions of a peer of this speed to a stream.
fn steps(manifest: &Manifest, per_second: f64) -> u32 {
    match manifest.pacing {
        Pacing::Uniform | Pacing::Decoupled { .. } => manifest.method.period(),
        Pacing::Proportional { slot_time, minimum, maximum } => {
            let steps = per_second * slot_time.0 as f64 / 1e6;
            (steps as u32).clamp(minimum, maximum)
        }
    }
}
