//! Batches of steps: one peer orders the samples of each step, the others measure, send and follow.
//!
//! Of the voters in reach one orders a batch, another one the next. It lists a step once all whom it waits for
//! sent their samples, or some others' waited long enough; it does not wait again for whoever was left out,
//! until something of it comes. Where no list comes, a batch ends early: what was listed is signed and counted.

mod auditing;
mod following;
mod ordering;

use std::collections::BTreeMap;

use crate::batch::Batch;
use crate::block::Slot;
use crate::holdings::{Tell, tell};
use crate::identity::PeerKey;
use crate::method::OneByte;
use crate::time::{Span, Time};

use super::Session;
use auditing::Doubts;

/// Lists that one answer tells, ...
const TOLD: u32 = 64;
/// ... and how often a member gets an answer.
const TELL_AGAIN: Span = Span::millis(250);
/// Samples whose list does not come are sent again after as long as a step took lately, but not sooner than this, ...
const SEND_AGAIN: Span = Span::millis(500);
/// ... or later than this.
const SEND_AGAIN_MOST: Span = Span::seconds(5);
/// A batch in which this peer waits for a list for so long, or eight times as long as one took lately, ends, ...
const STALLED: Span = Span::seconds(10);
/// ... but it waits no longer than this.
const STALLED_MOST: Span = Span::seconds(120);
/// Lists that come sooner after the one before were not waited for.
const BURST: Span = Span::millis(5);
/// So many steps in a row without a finite loss stop training.
const UNSOUND: u32 = 3;
/// Two lists are so far apart at least: no peer takes more than 200 messages a second of another
/// (`node`: `control/rate`).
const SHORTEST_STEP: Span = Span::millis(10);
/// Samples wait for others four times as long as a step took lately, ...
const PATIENCE: u64 = 4;
/// ... but at least so long, ...
const SHORTEST: Span = Span::millis(200);
/// ... at most so long, ...
const LONGEST: Span = Span::seconds(2);
/// ... and so much longer in a batch's first step: blocks do not come to all at once.
const OPENING: Span = Span::seconds(1);

/// This peer's part in ordering and following.
#[derive(Debug, Default)]
pub(super) struct Stepping {
    /// How often another was chosen in this batch, because none came from the one before.
    passed_over: usize,
    /// Samples that are not listed yet, by step and place among those drawn.
    waiting: BTreeMap<(u32, usize), Vec<u8>>,
    /// Since when the first of the next step's wait.
    since: Option<Time>,
    /// When members that asked for lists were last answered, by their place.
    told: BTreeMap<usize, Time>,
    /// Of whom this peer, which orders and does not know all lists, asked for them.
    asked: Option<PeerKey>,
    /// Who was left out of a list, a bit for each place, and sent nothing since.
    left_out: u64,
    /// When own samples were sent last, and of which step.
    sent: Option<(u32, Time)>,
    /// When the last list came.
    progress: Option<Time>,
    /// Since when this peer can measure nothing before a list comes.
    waits: Option<Time>,
    /// Steps in a row in which a loss was not finite.
    unsound: u32,
    /// When this peer made its last list.
    last: Option<Time>,
    opened: Time,
    /// How long a step took lately.
    step_time: Option<Span>,
    /// Whose list came last, or was made.
    lists_by: Option<PeerKey>,
    /// Whose samples were found to be made up.
    doubts: Doubts,
}

impl Stepping {
    /// Another batch runs.
    pub fn begin(&mut self, now: Time) {
        let (step_time, unsound) = (self.step_time, self.unsound);
        let doubts = std::mem::take(&mut self.doubts);
        *self = Stepping { opened: now, step_time, unsound, doubts, ..Stepping::default() };
    }

    pub fn holdings(&self, method: Option<&OneByte>, drawn: usize, to: Tell<'_>) {
        self.doubts.holdings(to);
        tell(to, "members told of lists", self.told.len(), drawn);
        let ahead = |method: &OneByte| drawn * (method.staleness + 1) as usize;
        let most = method.map_or(0, ahead);
        tell(to, "samples that are not listed", self.waiting.len(), most);
    }

    /// A list of the step before the `next` came, or was made.
    fn listed(&mut self, now: Time, next: u32) {
        if next > 1
            && let Some(last) = self.progress
        {
            // A wait for one that does not come is not the others' pace.
            let most = self.step_time.map_or(STALLED_MOST, |time| time.times(2).max(SHORTEST_STEP));
            let took = now.since(last).min(most);
            if took < BURST {
                return self.next_step(now, next);
            }
            self.step_time = Some(self.step_time.map_or(took, |time| Span((time.0 * 7 + took.0) / 8)));
        }
        self.next_step(now, next);
    }

    fn next_step(&mut self, now: Time, next: u32) {
        self.progress = Some(now);
        self.since = None;
        self.waiting.retain(|(step, _), _| *step >= next);
    }

    /// When the next list may follow.
    fn next_list(&self) -> Option<Time> {
        self.last.map(|last| last + SHORTEST_STEP)
    }

    fn patience(&self, step: u32) -> Span {
        let some = self.step_time.map_or(LONGEST, |time| time.times(PATIENCE).clamp(SHORTEST, LONGEST));
        if step == 0 { some + OPENING } else { some }
    }

    fn send_again(&self) -> Span {
        self.step_time.map_or(SEND_AGAIN, |time| time.clamp(SEND_AGAIN, SEND_AGAIN_MOST))
    }

    fn stalled_after(&self) -> Span {
        self.step_time.map_or(STALLED, |time| time.times(2 * PATIENCE).clamp(STALLED, STALLED_MOST))
    }
}

impl Session {
    /// Begins the batch of the open slot, where the method has batches.
    pub(super) fn begin_batch(&mut self, now: Time) {
        let Some(method) = self.charter.manifest.method.one_byte().cloned() else { return };
        let slot = Slot { stream: 0, ordinal: self.state.control.closed[0] };
        let drawn = self.ground().drawn(slot.ordinal);
        if let Some(batch) = self.training.batch_mut().filter(|batch| batch.slot == slot) {
            if batch.drawn() != drawn {
                // Somebody left: for whoever comes back now, places in lists mean others.
                batch.end();
            }
            return;
        }
        self.note_unfinished(now);
        let opening = self.charter.opening(&self.state, slot, drawn.len());
        let audits = self.begin_audits(slot, &method);
        let batch = Batch::new(slot, opening, method, drawn, self.me, audits);
        self.training.begin_batch(batch);
        self.stepping.begin(now);
        self.dispute_distrusted(slot);
    }

    /// A list came or was made: how long a batch takes at this pace, voters have to know before it is over.
    fn listed(&mut self, now: Time, next: u32) {
        self.stepping.listed(now, next);
        let steps = u64::from(self.charter.manifest.method.period());
        let due = self.training.batch().is_some_and(|batch| batch.due().is_some());
        self.stepping.waits = if due { None } else { Some(now) };
        let batch = self.stepping.step_time.map(|step| step.times(steps));
        batch.into_iter().for_each(|span| self.slots.set_own_slot_time(span));
    }

    /// The last batch's slot closed before it was over: it takes longer than that.
    fn note_unfinished(&mut self, now: Time) {
        let Some(batch) = self.training.batch().filter(|batch| !batch.is_over()) else { return };
        let steps = u64::from(self.charter.manifest.method.period());
        let took = now.since(self.stepping.opened).times(steps);
        let span = match batch.listed() {
            0 => now.since(self.stepping.opened).times(2),
            listed => Span(took.0 / u64::from(listed)),
        };
        self.slots.set_own_slot_time(span);
    }

    /// Somebody is there: if it orders, it may not know what was sent to it.
    pub(super) fn sends_again(&mut self, peer: &PeerKey) {
        let orders = self.training.batch().is_some_and(|batch| self.orderer(batch) == Some(*peer));
        self.stepping.sent.take_if(|_| orders);
    }

    /// Who orders the batch, as far as this peer can tell.
    fn orderer(&self, batch: &Batch) -> Option<PeerKey> {
        let voters = self.voters();
        let first = batch.slot.ordinal as usize % voters.len().max(1);
        let turns = voters.iter().cycle().skip(first).take(voters.len());
        let in_reach = turns.filter(|key| **key == self.me || self.connected.contains(key));
        let in_reach: Vec<PeerKey> = in_reach.copied().collect();
        in_reach.get(self.stepping.passed_over % in_reach.len().max(1)).copied()
    }

    /// Whether this peer orders: it is its turn, or it takes no part itself, no list comes, and somebody asks it to.
    fn orders(&self, now: Time, batch: &Batch) -> bool {
        let apart = batch.drawn().binary_search(&self.me).is_err();
        let last = self.stepping.progress.unwrap_or(self.stepping.opened);
        let asked = apart && now >= last + self.stepping.stalled_after();
        self.is_voter() && (asked || self.orderer(batch) == Some(self.me))
    }

    /// Everything about the batch that has become possible, or due.
    pub(super) fn go_on_stepping(&mut self, now: Time) {
        while let Some(batch) = self.training.batch() {
            if self.orders(now, batch)
                && !batch.is_full()
                && self.is_step_ready(now, batch)
                && self.slots.is_open(batch.slot)
            {
                self.list_step(now);
            } else {
                break;
            }
        }
        self.end_stalled(now);
        self.send_samples(now);
    }

    /// No list comes: what was listed is signed, or another peer orders.
    fn end_stalled(&mut self, now: Time) {
        let Some(at) = self.stall() else { return };
        if now < at {
            return;
        }
        let Some(batch) = self.training.batch_mut() else { return };
        if batch.log().is_empty() {
            self.stepping.passed_over = self.stepping.passed_over.saturating_add(1);
            self.stepping.sent = None;
        } else {
            batch.end();
        }
        self.stepping.waits = Some(now);
    }

    /// When the batch is held to be stalled, if this peer waits for a list.
    fn stall(&self) -> Option<Time> {
        let batch = self.training.batch().filter(|batch| !batch.is_over())?;
        batch.drawn().binary_search(&self.me).ok()?;
        Some(self.stepping.waits? + self.stepping.stalled_after())
    }

    /// When something about the batch is due.
    pub(super) fn stepping_timeouts(&self) -> impl Iterator<Item = Time> {
        let batch = self.training.batch().filter(|batch| !batch.is_full());
        let patience = batch.and_then(|batch| self.waits_until(batch));
        let unlisted = batch.is_some_and(|batch| batch.unlisted().next().is_some());
        let again = self.stepping.sent.filter(|_| unlisted).map(|(_, at)| at + self.stepping.send_again());
        let next = self.stepping.next_list().filter(|_| batch.is_some());
        patience.into_iter().chain(next).chain(again).chain(self.stall())
    }

    /// How long this peer's batch took so far, and how many steps it has.
    pub(super) fn batch_took(&self, now: Time) -> Option<(u32, Span)> {
        let listed = self.training.batch()?.listed();
        (listed > 0).then(|| (listed, now.since(self.stepping.opened)))
    }
}
