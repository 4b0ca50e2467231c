//! Nobody sends, receives or writes more than its user allows.
//!
//! - **Lines.** A peer's access line carries at most its rate, in each direction: of the transfers that
//!   began and ended within a window, none is left out, so there is no burst to allow for. Every window is
//!   looked at that begins with one of the last [`WINDOWS`] transfers that ended there.
//! - **Pushes.** A contribution is offered to others until two hold it, and each is named once.
//! - **Once.** No blob reaches a peer that has it already, unless that peer gave up an earlier fetch of it,
//!   which may arrive all the same (so may one that a partition or a power cut of the last 30 s came between),
//!   or it was made twice: by two peers, or by one for two slots. Where nothing is left to learn, the next
//!   contribution is the same to the bit, and is on its way while the last one is asked for.
//! - **Writes.** Snapshots and checkpoints keep to `writes-per-day`: at most one and two fifths of it by
//!   rate, a quarter of a day of that ahead, and one write on top. What is not by choice is left out:
//!   contributions, what is written at the end or when a user stops a peer, and a snapshot taken from
//!   others. A life begins with a quarter of a day ahead, as the schedule does.
//!
//! Left out, because only `node` has them: the bucket that holds back a user's `up` and `down` on real
//! sockets, and that uploads serve some peers before others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use driftless_protocol::Hash;
use driftless_protocol::identity::PeerKey;
use driftless_protocol::time::{Span, Time};

/// Transfers of a line that are remembered.
const WINDOWS: usize = 32;
/// Others that hold a contribution before it is announced.
const COPIES: usize = 2;
/// So long after a failure blobs may come twice.
const AGAIN: Span = Span::seconds(30);
/// A day, and how much of one may be written ahead.
const DAY: u64 = Span::seconds(24 * 3600).0;
const AHEAD: u64 = DAY / 4;

/// A direction of a peer's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the peer.
    Up,
    /// To the peer.
    Down,
}

/// What is written at an occasion that a schedule chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Write {
    /// The state.
    Snapshot,
    /// Local training state.
    Checkpoint,
}

/// What every peer sent, received and wrote lately.
#[derive(Debug, Default)]
pub struct Caps {
    /// By line: transfers that ended, with their beginnings and bytes.
    lines: BTreeMap<(usize, Way), VecDeque<(Time, u64)>>,
    /// By receiver: blobs whose fetch it gave up.
    given_up: BTreeMap<usize, BTreeSet<Hash>>,
    /// Blobs that were made, and those that were made again.
    made: BTreeSet<Hash>,
    made_again: BTreeSet<Hash>,
    /// When something failed last: what was on its way then may be asked for again and come twice.
    failed: Option<Time>,
    /// Peers whose users stop them: a checkpoint is written then, whatever the schedule says.
    stopping: BTreeSet<usize>,
    /// When the share of a day has caught up with what was written.
    paid: BTreeMap<(usize, Write), u64>,
}

impl Caps {
    /// A transfer over a line of this rate, in bytes per second, ends.
    ///
    /// # Errors
    /// If the line carried more than it can.
    pub fn carried(
        &mut self,
        line: (usize, Way),
        rate: u64,
        (began, now): (Time, Time),
        bytes: u64,
    ) -> Result<(), String> {
        let ended = self.lines.entry(line).or_default();
        if ended.len() == WINDOWS {
            ended.pop_front();
        }
        ended.push_back((began, bytes));
        let mut latest: Vec<(Time, u64)> = ended.iter().copied().collect();
        latest.sort_unstable_by(|a, b| b.cmp(a));
        let mut sum = 0;
        for (began, bytes) in latest {
            sum += u128::from(bytes);
            let span = now.since(began).0;
            if sum * 1_000_000 > u128::from(rate) * u128::from(span) {
                return Err(format!("{sum} bytes in {span} us ({:?}) at {rate} bytes a second", line.1));
            }
        }
        Ok(())
    }

    /// A peer offers a blob to others, until so many hold it.
    ///
    /// # Errors
    /// If those are too many, or one of them is named twice or is itself.
    pub fn offered(by: PeerKey, to: &[PeerKey], copies: usize) -> Result<(), String> {
        let distinct: BTreeSet<&PeerKey> = to.iter().collect();
        if copies > COPIES {
            return Err(format!("a contribution is pushed to {copies} peers"));
        }
        if distinct.len() != to.len() || distinct.contains(&by) {
            return Err("a contribution is pushed to one peer twice, or to its author".into());
        }
        Ok(())
    }

    /// A blob arrives at a peer that has it already.
    ///
    /// # Errors
    /// If it did not give up a fetch of it.
    pub fn arrived_again(&self, now: Time, from: usize, to: usize, root: Hash) -> Result<(), String> {
        let given_up = self.given_up.get(&to).is_some_and(|given_up| given_up.contains(&root));
        let twins = self.made_again.contains(&root);
        match given_up || twins || self.failed.is_some_and(|failed| now.since(failed) < AGAIN) {
            true => Ok(()),
            false => Err(format!("peer {from} sent blob {}, which was here already", root.short())),
        }
    }

    /// A blob was made.
    pub fn made(&mut self, root: Hash) {
        if !self.made.insert(root) {
            self.made_again.insert(root);
        }
    }

    /// A peer lost power, or some do not reach each other.
    pub fn failed(&mut self, now: Time) {
        self.failed = Some(now);
    }

    /// A peer gives up fetches.
    pub fn gave_up(&mut self, peer: usize, roots: &[Hash]) {
        self.given_up.entry(peer).or_default().extend(roots);
    }

    /// A peer begins another life.
    pub fn begins(&mut self, peer: usize, now: Time) {
        self.given_up.remove(&peer);
        self.stopping.remove(&peer);
        for write in [Write::Snapshot, Write::Checkpoint] {
            self.paid.insert((peer, write), now.0);
        }
    }

    /// A peer's user stops it.
    pub fn stops(&mut self, peer: usize) {
        self.stopping.insert(peer);
    }

    /// A peer writes what its schedule chose, of so many bytes that may be written in a day.
    ///
    /// # Errors
    /// If it should have waited.
    pub fn wrote(
        &mut self,
        peer: usize,
        write: Write,
        per_day: u64,
        now: Time,
        bytes: u64,
    ) -> Result<(), String> {
        let fifths = match write {
            Write::Snapshot => 1,
            Write::Checkpoint => 2,
        };
        let share = u128::from((per_day / 5 * fifths).max(1));
        let paid = self.paid.entry((peer, write)).or_default();
        *paid = (*paid).max(now.0);
        if *paid - now.0 > AHEAD && !self.stopping.contains(&peer) {
            let hours = (*paid - now.0) / (DAY / 24);
            return Err(format!(
                "a {write:?} {hours} hours before its share of {per_day} bytes a day allows it"
            ));
        }
        let cost = u128::from(bytes) * u128::from(DAY) / share;
        *paid = paid.saturating_add(u64::try_from(cost).unwrap_or(u64::MAX));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time(Span::seconds(seconds).0)
    }

    #[test]
    fn a_line_carries_what_it_can_in_every_window() {
        let mut caps = Caps::default();
        let line = (0, Way::Up);
        // Two share 100 bytes a second for 2 s.
        assert_eq!(caps.carried(line, 100, (at(0), at(2)), 100), Ok(()));
        assert_eq!(caps.carried(line, 100, (at(0), at(2)), 100), Ok(()));
        // A third that began later is too much for its own window, another for that of all.
        assert!(Caps::default().carried(line, 100, (at(1), at(2)), 101).is_err());
        assert!(caps.carried(line, 100, (at(1), at(2)), 1).unwrap_err().contains("201 bytes"));
        assert_eq!(caps.carried((0, Way::Down), 100, (at(1), at(2)), 100), Ok(()));
    }

    #[test]
    fn a_push_is_for_two_others() {
        let keys: Vec<PeerKey> = (0..4).map(|n| PeerKey([n; 32])).collect();
        assert_eq!(Caps::offered(keys[0], &keys[1..], 2), Ok(()));
        assert!(Caps::offered(keys[0], &keys[1..], 3).is_err());
        assert!(Caps::offered(keys[0], &keys, 2).is_err());
        assert!(Caps::offered(keys[0], &[keys[1], keys[1]], 2).is_err());
    }

    #[test]
    fn a_blob_comes_once_unless_its_fetch_was_given_up() {
        let (mut caps, root) = (Caps::default(), Hash::of(b"blob"));
        assert!(caps.arrived_again(at(0), 1, 0, root).is_err());
        caps.gave_up(0, &[root]);
        assert_eq!(caps.arrived_again(at(0), 1, 0, root), Ok(()));
        caps.made(root);
        assert!(caps.arrived_again(at(0), 3, 4, root).is_err());
        let twin = Hash::of(b"twin");
        (0..2).for_each(|_| caps.made(twin));
        assert_eq!(caps.arrived_again(at(0), 3, 4, twin), Ok(()));
        caps.failed(at(1));
        assert_eq!(caps.arrived_again(at(30), 3, 4, root), Ok(()));
        assert!(caps.arrived_again(at(31), 3, 4, root).is_err());
        // What another life asked for does not arrive in this one.
        caps.begins(0, at(31));
        assert!(caps.arrived_again(at(31), 1, 0, root).is_err());
    }

    #[test]
    fn writes_keep_to_the_days_share() {
        let mut caps = Caps::default();
        caps.begins(0, at(100));
        let mut snapshot = |now| caps.wrote(0, Write::Snapshot, 500, at(now), 20);
        // 100 bytes a day, 25 ahead: two of 20 are written at once, the third has to wait.
        assert_eq!(snapshot(100), Ok(()));
        assert_eq!(snapshot(100), Ok(()));
        assert!(snapshot(100).is_err());
        // After 15% of a day, what is ahead is a quarter.
        assert!(snapshot(100 + 24 * 360 * 14 / 10).is_err());
        assert_eq!(snapshot(100 + 24 * 36 * 15), Ok(()));
    }
}
