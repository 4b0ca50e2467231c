//! Which snapshots are written, and how long they and the blobs after them stay.
//!
//! A peer that takes a snapshot needs its pages and then the blobs of all blocks after it. So a
//! snapshot stays, after the next one took its place, for four times as long as the slowest link
//! that the manifest admits takes to download it.

use std::collections::{BTreeMap, VecDeque};

use crate::block::{CertifiedBlock, Height};
use crate::event::{Output, Record, Snapshot};
use crate::holdings::{Tell, tell};
use crate::identity::Hash;
use crate::time::{Span, Time};
use crate::transition::blob_root;

use super::Session;
use super::chain::counted_bytes;

/// Snapshots that are kept in any case.
const ALWAYS: usize = 2;
/// Snapshots that are kept at most.
const AT_MOST: usize = 32;

/// This peer's snapshots.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// Height and time of those on disk, ascending.
    kept: VecDeque<(Height, Time)>,
    /// Blobs by the height whose block counted them.
    counted: BTreeMap<Height, Vec<Hash>>,
}

impl Snapshots {
    /// What a restart found; when they were made is not known.
    pub fn found(&mut self, now: Time, heights: &[Height]) {
        let latest = heights.len().saturating_sub(AT_MOST);
        self.kept = heights.iter().skip(latest).map(|height| (*height, now)).collect();
    }

    pub fn holdings(&self, to: Tell<'_>) {
        tell(to, "snapshots", self.kept.len(), AT_MOST);
    }

    /// Drops those that nobody can be downloading any more; returns the oldest that stays, 0 while
    /// there is no older one than the newest to go back to.
    fn retain(&mut self, now: Time, grace: Span) -> Height {
        while self.kept.len() > ALWAYS {
            let replaced = self.kept[1].1;
            if now < replaced + grace && self.kept.len() <= AT_MOST {
                break;
            }
            self.kept.pop_front();
        }
        let oldest = self.kept.front().filter(|_| self.kept.len() >= ALWAYS);
        oldest.map_or(0, |(height, _)| *height)
    }
}

impl Session {
    /// A block was applied: what it counted was written, and a snapshot may be due.
    pub(super) fn keep_snapshot(&mut self, now: Time, certified: &CertifiedBlock) {
        let height = certified.block.height;
        self.writes.contributed(now, counted_bytes(&certified.block));
        if let Some(bytes) = self.writes.excess(now) {
            let (day, budget) = (bytes / 1_000_000_000, self.options.writes_per_day / 1_000_000_000);
            self.warn(format!(
                "contributions alone are {day} GB of writing a day, too much for the {budget} GB of \
                 --writes-per-day: snapshots and checkpoints are as rare as they may be, contributions \
                 cannot be left out. Allow more, or train in a session with a longer period (H)"
            ));
        }
        let counted = certified.block.closings().flat_map(|closing| &closing.counted);
        let roots = counted.filter_map(|counted| blob_root(&counted.payload)).collect();
        self.snapshots.counted.insert(height, roots);
        let every = u64::from(self.charter.manifest.snapshot_every);
        let occasion = height.is_multiple_of(every);
        if self.is_complete() || (occasion && self.writes.snapshots.is_due_at(now, height / every)) {
            let snapshot = Snapshot { block: Some(certified.clone()), state: self.state.clone() };
            self.store_snapshot(now, snapshot);
        }
    }

    /// Writes a snapshot, and lets go of what nobody needs any more.
    pub(super) fn store_snapshot(&mut self, now: Time, snapshot: Snapshot) {
        let bytes: u64 = snapshot.pages().map(|page| page.bytes().len() as u64).sum();
        let seconds = bytes / self.charter.manifest.slowest_link.max(1) + 1;
        self.writes.snapshots.spent(now, bytes);
        self.snapshots.kept.push_back((snapshot.height(), now));
        let from = self.snapshots.retain(now, Span::seconds(seconds).times(4));
        self.outputs.push_back(Output::Retain { from });
        self.outputs.push_back(Output::Persist { record: Record::Snapshot(snapshot), sync: true });
        self.forget_blobs(from);
    }

    /// Blobs that only blocks up to this height name are not needed.
    fn forget_blobs(&mut self, from: Height) {
        let kept = self.snapshots.counted.split_off(&(from + 1));
        let gone = std::mem::replace(&mut self.snapshots.counted, kept);
        if self.options.keep_history {
            return;
        }
        // A blob may have been announced again: what an open slot or a later block names stays.
        let mut needed = self.slots.roots();
        needed.extend(self.snapshots.counted.values().flatten());
        let gone = gone.into_values().flatten().filter(|root| !needed.contains(root));
        let roots: Vec<Hash> = gone.collect();
        if !roots.is_empty() {
            self.outputs.push_back(Output::Forget(roots));
        }
    }
}
