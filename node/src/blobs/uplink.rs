//! Whose bytes leave first: an upload of an earlier slot goes before one of a later slot.
//!
//! All connections share one line, and everybody waits for the slot that closes first: what the line gives to
//! a later one is lost to all. So uploads take turns by the batch. An upload of a later slot waits while one of an
//! earlier slot moves; whatever does not move (its receiver is slow, or gone) holds nobody back, so that the line
//! is not idle for it and nobody starves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use driftless_protocol::Hash;
use quinn::Connection;
use tokio::sync::Notify;

use super::transport::SEND_WINDOW;
use crate::bandwidth::Caps;

/// An upload that moved no batch for so long holds nobody back.
const MOVES: Duration = Duration::from_millis(500);
/// Least bytes that a connection may buffer. Twice what is on the way keeps the line full, and more would leave
/// before what comes after it, whatever its slot.
const LEAST_WINDOW: u64 = 64 << 10;
/// Bytes that an upload hands over at a turn.
const BATCH: std::ops::RangeInclusive<u64> = 32 << 10..=256 << 10;

/// When an upload's turn comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Turn {
    /// A contribution to no open slot: whoever asks for it is behind, and applies nothing without it.
    Closed,
    /// A contribution to a slot that is due after this step.
    Open(u64),
    /// Pages, and what those want who are not in the session.
    Last,
}

/// What is uploaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A contribution, to a mirror or to whoever asked for it.
    Contribution,
    /// A page, or anything for somebody who is not in the session.
    Page,
}

/// The uploads of a plane.
pub(crate) struct Uplink {
    /// Most bytes that a connection may buffer: a quarter second of the cap, since no packet is lost to it and what is on
    /// the way grows and grows.
    most: u64,
    state: Mutex<State>,
    /// Something moved or ended, or the slots are others.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// The steps after which open slots are due, by their contributions.
    open: BTreeMap<Hash, u64>,
    running: BTreeMap<u64, Running>,
    next: u64,
}

#[derive(Debug)]
struct Running {
    root: Hash,
    kind: Kind,
    /// When it moved a batch, or began.
    moved: Instant,
}

impl State {
    fn turn(&self, of: &Running) -> Turn {
        match (of.kind, self.open.get(&of.root)) {
            (Kind::Page, _) => Turn::Last,
            (Kind::Contribution, Some(due)) => Turn::Open(*due),
            (Kind::Contribution, None) => Turn::Closed,
        }
    }

    /// Until when an upload has to wait, unless an earlier one moves again or ends; None if it may go on.
    fn waits(&self, number: u64, now: Instant) -> Option<Instant> {
        let turn = self.turn(self.running.get(&number)?);
        let earlier = self.running.values().filter(|other| self.turn(other) < turn);
        let until = earlier.map(|other| other.moved + MOVES).max()?;
        (until > now).then_some(until)
    }
}

impl Uplink {
    pub(crate) fn new(caps: Caps) -> Uplink {
        let limit = caps.up.limit();
        let most = limit.map_or(SEND_WINDOW, |rate| (rate / 4).clamp(LEAST_WINDOW, SEND_WINDOW));
        Uplink { most, state: Mutex::default(), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The contributions to open slots, with the step after which each slot is due.
    pub(crate) fn order(&self, open: BTreeMap<Hash, u64>) {
        let mut state = self.lock();
        if state.open != open {
            state.open = open;
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// An upload of `root` over a connection begins.
    pub(crate) fn begin(self: &Arc<Self>, root: Hash, kind: Kind, connection: Connection) -> Upload {
        let mut state = self.lock();
        state.next += 1;
        let number = state.next;
        state.running.insert(number, Running { root, kind, moved: Instant::now() });
        Upload { uplink: self.clone(), number, connection }
    }
}

/// An upload, until it is dropped.
pub(crate) struct Upload {
    uplink: Arc<Uplink>,
    number: u64,
    connection: Connection,
}

impl Upload {
    /// Waits until no upload of an earlier slot moves; returns how many bytes may leave then.
    pub(crate) async fn turn(&self) -> usize {
        loop {
            let changed = self.uplink.changed.notified();
            let waits = self.uplink.lock().waits(self.number, Instant::now());
            let Some(until) = waits else { break };
            let _ = tokio::time::timeout_at(until.into(), changed).await;
        }
        let on_the_way = self.connection.stats().path.cwnd;
        let most = self.uplink.most;
        self.connection.set_send_window((2 * on_the_way).clamp(LEAST_WINDOW, most));
        on_the_way.min(most / 2).clamp(*BATCH.start(), *BATCH.end()) as usize
    }

    /// A batch was handed over.
    pub(crate) fn moved(&self) {
        if let Some(running) = self.uplink.lock().running.get_mut(&self.number) {
            running.moved = Instant::now();
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.uplink.lock().running.remove(&self.number);
        self.uplink.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use Kind::{Contribution, Page};

    fn state(now: Instant, running: &[(u8, Kind)]) -> State {
        let open = [(Hash([1; 32]), 100), (Hash([2; 32]), 150)].into();
        let running =
            running.iter().map(|(root, kind)| Running { root: Hash([*root; 32]), kind: *kind, moved: now });
        State { open, running: (0..).zip(running).collect(), next: 0 }
    }

    #[test]
    fn an_upload_waits_while_one_of_an_earlier_slot_moves() {
        let now = Instant::now();
        let both = state(now, &[(2, Contribution), (1, Contribution)]);
        assert_eq!(both.waits(0, now), Some(now + MOVES));
        assert_eq!(both.waits(1, now), None);
        assert_eq!(both.waits(0, now + MOVES), None, "the earlier one hangs");
        let same = state(now, &[(2, Contribution), (2, Contribution)]);
        assert_eq!((same.waits(0, now), same.waits(1, now)), (None, None));
    }

    #[test]
    fn who_is_behind_goes_first_and_pages_last() {
        let now = Instant::now();
        let all = state(now, &[(9, Contribution), (1, Contribution), (9, Page), (1, Page)]);
        let waits = |number| all.waits(number, now).is_some();
        assert_eq!([0, 1, 2, 3].map(waits), [false, true, true, true]);
        assert!(all.turn(&all.running[&1]) < all.turn(&all.running[&2]));
    }
}
