//! What a peer's disk holds: snapshots, contributions since the older one, the chain, checkpoints.
//!
//! A snapshot stays for four times its download over the slowest link admitted after the next took its
//! place (`session/snapshots.rs`); how often one is written follows from the bytes that may be written in a day
//! (`schedule/writes.rs`). The texts, and contributions kept with `--keep-history`, are not counted.

use super::{Circumstances, Pace, Role, control};
use crate::manifest::Manifest;

/// Checkpoints that are kept, and one being written.
const CHECKPOINTS: u64 = 3;
/// Snapshots kept at least and at most, beside the one being written.
const SNAPSHOTS: (f64, f64) = (2.0, 32.0);
const DAY: f64 = 86_400.0;

/// Bytes on a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Disk {
    /// Snapshots of the outer state.
    pub snapshots: u64,
    /// Contributions since the older snapshot.
    pub blobs: u64,
    /// Blocks with certificates, once the budget is trained.
    pub chain: u64,
    /// Parameters, optimizer and residual.
    pub checkpoints: u64,
    /// Bytes of contributions that are written in a day.
    pub written_a_day: u64,
}

impl Disk {
    /// All that is kept.
    pub fn total(&self) -> u64 {
        let Disk { snapshots, blobs, chain, checkpoints, .. } = *self;
        [blobs, chain, checkpoints].into_iter().fold(snapshots, u64::saturating_add)
    }
}

/// What a peer of a role keeps.
pub(super) fn disk(
    manifest: &Manifest,
    around: &Circumstances,
    role: Role,
    slots: f64,
    pace: &Pace,
    drawn: u32,
    blobs: &[u64],
) -> Disk {
    let method = &manifest.method;
    let n = manifest.model.parameters();
    // As if everybody for whom there is room were there.
    let kept = method.arrays() as f64 + f64::from(method.estimates().unwrap_or(0));
    let snapshot = n as f64 * 4.0 * kept;
    let contributions = blobs.iter().sum::<u64>() as f64 / blobs.len() as f64 * f64::from(drawn);
    // A height for every slot.
    let height = pace.period / blobs.len() as f64;
    let a_day = contributions * DAY / height;
    let budget = around.writes_per_day as f64;
    let share = (budget - a_day).clamp(budget / 5.0, budget * 0.6) / 3.0;
    let apart = (f64::from(manifest.snapshot_every) * height).max(snapshot / share * DAY);
    let download = snapshot / manifest.slowest_link as f64;
    let kept = (1.0 + 4.0 * download / apart).clamp(SNAPSHOTS.0, SNAPSHOTS.1);
    let heights = (kept * apart / height).min(slots);
    let residual = if method.feedback().is_some() { 4 } else { 0 };
    Disk {
        snapshots: (snapshot * (kept + 1.0)) as u64,
        blobs: (contributions * heights) as u64,
        chain: (control::said(manifest, &around.peers, drawn).block() * slots) as u64,
        checkpoints: match role {
            _ if method.one_byte().is_some() => 0,
            Role::Contributor | Role::Voter => CHECKPOINTS * n * (12 + residual),
            Role::Follower => 0,
        },
        written_a_day: a_day as u64,
    }
}
