//! One peer's local schedule: what its engine does next.
//!
//! Decides from the local step, the streams' due steps and the certified state; never looks at a
//! clock except to measure its own speed. Local state is never replicated and never trusted.

mod batches;
mod books;
mod rounds;
mod saved;
#[cfg(test)]
mod tests;

pub use saved::SavedTraining;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::batch::Batch;
use crate::block::{Slot, Work as ClaimedWork};
use crate::charter::Charter;
use crate::event::Waiting;
use crate::holdings::{Tell, tell};
use crate::identity::{Hash, PeerKey};
use crate::manifest::Data;
use crate::membership::{Lease, MAX_LEASE_PIECES, positions};
use crate::positions::Positions;
use crate::state::{Array, State};
use crate::time::Span;
use crate::worker::{Samples, Work};

/// One order trains about this long, so that a certificate is merged soon after it comes.
const CHUNK: Span = Span::millis(100);

/// Changes that wait for one fragment: what was counted is merged before the next contribution is taken,
/// and what is not counted before and after is one rebase each. With two slots open, theta is taken to the
/// next, and what was sent for the two before may come back.
const MAX_CHANGES: usize = 3;

/// A contribution that was announced and not yet decided.
#[derive(Debug, Clone, Encode, Decode)]
struct InFlight {
    ordinal: u32,
    /// The local step at which it was taken.
    at: u64,
    work: ClaimedWork,
    /// Taken from disk after a restart: theta may be older than it.
    restored: bool,
}

/// A change to a fragment of theta that waits for its step.
#[derive(Debug, Clone)]
enum Change {
    Merge { outer: Array, not_before: u64 },
    Rebase { base: Array, now: Array },
    Begin { outer: Array },
    PutBack { slot: Slot },
}

#[derive(Debug, Clone)]
struct Stream {
    /// Local step of the next contribution.
    due: u64,
    /// Steps and tokens that are in theta, were not counted and are not under way.
    steps: u32,
    tokens: u64,
    /// What is under way, oldest first.
    in_flight: VecDeque<InFlight>,
    changes: VecDeque<Change>,
    /// The outer parameters that theta is, or after `changes` will be, relative to.
    base: Array,
    /// Where slots start at parameters of their own: all that is in theta was sent.
    sent: bool,
    /// And slots that closed without what was sent for them, which is put back.
    uncounted: Vec<u32>,
}

impl Stream {
    /// What is under way and was made by this engine since it started.
    fn own_flights(&self) -> impl Iterator<Item = &InFlight> {
        self.in_flight.iter().filter(|flight| !flight.restored)
    }

    /// Tokens since it was last counted.
    fn uncounted_tokens(&self) -> u64 {
        self.tokens + self.own_flights().map(|flight| flight.work.tokens).sum::<u64>()
    }
}

/// The local side of the method.
#[derive(Debug)]
pub struct Training {
    charter: Arc<Charter>,
    me: PeerKey,
    step: u64,
    streams: Vec<Stream>,
    /// Samples used for what was not counted and is not under way.
    used: Positions,
    /// Samples that the engine trains on now.
    in_use: Positions,
    leases: Vec<Lease>,
    member: bool,
    /// Open ordinals that this peer is drawn for.
    drawn: BTreeSet<u32>,
    contributors: u32,
    counted_tokens: u64,
    /// Theta must be replaced by the outer parameters before anything else.
    reset: bool,
    /// And the residual is not what the last counted contribution left out.
    forget: bool,
    /// It began anew in a session that runs and contributed nothing since: its steps are not those of
    /// the others.
    adrift: bool,
    paused: bool,
    /// The local step of the last contribution before leaving.
    finish_at: Option<u64>,
    /// Why training stopped itself.
    stopped: bool,
    /// Microseconds per step, smoothed; 0 before the first measurement.
    step_time: u64,
    /// The batch that runs, where slots are batches of steps.
    batch: Option<Batch>,
    /// How many of its lists theta has behind it.
    given: u32,
}

/// What the engine should do next.
#[derive(Debug)]
pub enum Next {
    /// This order.
    Work(Work),
    /// The batch of steps is over: nothing has to be computed for the contribution to its slot.
    Contribute(Slot),
    /// Nothing, because of this.
    Wait(Waiting),
}

impl Training {
    /// A peer whose theta is not set yet: its first order is a reset to the outer parameters.
    pub fn new(charter: Arc<Charter>, me: PeerKey, state: &State) -> Training {
        let streams = (0..usize::from(charter.manifest.method.streams())).map(|stream| Stream {
            due: 0,
            steps: 0,
            tokens: 0,
            in_flight: VecDeque::new(),
            changes: VecDeque::new(),
            base: state.outer(stream).clone(),
            sent: false,
            uncounted: Vec::new(),
        });
        let mut training = Training {
            streams: streams.collect(),
            charter,
            me,
            step: 0,
            used: Positions::default(),
            in_use: Positions::default(),
            leases: Vec::new(),
            member: false,
            drawn: BTreeSet::new(),
            contributors: 1,
            counted_tokens: 0,
            reset: true,
            forget: true,
            adrift: false,
            paused: false,
            finish_at: None,
            stopped: false,
            step_time: 0,
            batch: None,
            given: 0,
        };
        training.align(state);
        training.adrift = false;
        training
    }

    /// Tells how much is held.
    pub fn holdings(&self, to: Tell<'_>) {
        let changes = self.streams.iter().map(|stream| stream.changes.len()).max().unwrap_or(0);
        tell(to, "changes of theta", changes, MAX_CHANGES);
        tell(to, "own leases", self.leases.len(), MAX_LEASE_PIECES);
        let open = self.streams.len() * self.charter.manifest.method.window() as usize;
        tell(to, "draws of this peer", self.drawn.len(), open);
    }

    /// Whether theta is never anything but the outer parameters: what was computed at some is of no use once
    /// they moved.
    fn stays_at_outer(&self) -> bool {
        self.charter.manifest.method.estimates().is_some()
    }

    /// Local steps so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Steps in 1000 seconds; 0 before the first measurement.
    pub fn speed(&self) -> u32 {
        match self.step_time {
            0 => 0,
            micros => u32::try_from(1_000_000_000 / micros).unwrap_or(u32::MAX),
        }
    }

    /// How long this peer works on a slot, once it knows.
    pub fn slot_time(&self) -> Option<Span> {
        let steps = u64::from(self.charter.steps_for(self.speed()));
        (self.step_time > 0).then(|| Span(self.step_time).times(steps))
    }

    /// It is back in a session that ran on without it.
    pub fn come_back(&mut self) {
        self.adrift = true;
    }

    /// Stops or resumes computing on the user's wish.
    ///
    /// Training that stopped itself begins again from the outer parameters: theta is not to be
    /// trusted.
    pub fn set_paused(&mut self, paused: bool, state: &State) {
        self.paused = paused;
        if !paused && std::mem::take(&mut self.stopped) {
            self.start_over(state);
        }
    }

    /// Complete the stream-0 slot being worked on, then start no other.
    pub fn finish(&mut self) {
        // Who has not begun a slot has none to complete.
        let begun = self.streams[0].steps > 0 && !self.has_batches();
        self.finish_at = Some(if begun { self.streams[0].due } else { self.step });
    }

    /// Whether `finish` is complete: nothing more is trained and nothing waits for a block.
    pub fn is_finished(&self) -> bool {
        let active = self.member && !self.drawn.is_empty() && !self.stopped && !self.paused;
        let idle = !active || self.is_past_finish();
        self.finish_at.is_some() && idle && !self.is_in_flight()
    }

    fn is_past_finish(&self) -> bool {
        if self.has_batches() {
            return self.finish_at.is_some() && self.has_no_samples();
        }
        self.finish_at.is_some_and(|at| self.step >= at && self.streams[0].due > self.step)
    }

    /// Whether a contribution waits for its block.
    pub fn is_in_flight(&self) -> bool {
        self.streams.iter().any(|stream| !stream.in_flight.is_empty())
    }

    /// Training stopped itself: nothing of it may leave the peer.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Notes who is drawn for each open slot, stream 0 first.
    pub fn set_draws(&mut self, draws: &[(u32, Vec<PeerKey>)]) {
        self.contributors = draws.first().map_or(1, |(_, drawn)| drawn.len().max(1) as u32);
        let mine = draws.iter().filter(|(_, drawn)| drawn.binary_search(&self.me).is_ok());
        self.drawn = mine.map(|(ordinal, _)| *ordinal).collect();
    }

    /// What theta still needs before it can be saved for good, however early it comes.
    pub fn settle(&mut self, state: &State) -> Option<Work> {
        if self.reset {
            return Some(self.reset_to(state));
        }
        self.begin_rounds(state);
        let changes = self.streams.iter_mut().enumerate();
        let mut changes = changes.filter_map(|(fragment, s)| Some((fragment, s.changes.pop_front()?)));
        let (fragment, change) = changes.next()?;
        Some(self.carry_out(fragment, change))
    }

    /// What the engine should do now; nothing else is in progress.
    pub fn next(&mut self, state: &State) -> Next {
        if self.reset {
            return Next::Work(self.reset_to(state));
        }
        if self.has_batches() {
            return self.next_in_batch(state);
        }
        self.begin_rounds(state);
        if let Some(work) = self.due_change() {
            return Next::Work(work);
        }
        if let Some(waiting) = self.why_wait() {
            return Next::Wait(waiting);
        }
        let limit = self.overrun_limit(state);
        let waiting = match self.due_stream(state) {
            Some(due) if let Some(slot) = self.open_slot(due, state) => return self.contribute(slot, state),
            None if self.step < limit => match self.train(limit) {
                Some(work) => return Next::Work(work),
                None => Waiting::Turn,
            },
            _ => Waiting::Certificate,
        };
        match self.owed_stream(state, waiting) {
            Some(owed) => {
                self.bring_forward(owed, self.step);
                self.next(state)
            }
            None => Next::Wait(waiting),
        }
    }

    /// A stream is contributed to at `step`, if it was to be later.
    fn bring_forward(&mut self, index: usize, step: u64) {
        let due = self.streams[index].due;
        self.streams[index].due = due.min(step);
        if index == 0 && self.finish_at == Some(due) {
            // That contribution was to be the last.
            self.finish_at = Some(due.min(step));
        }
    }

    /// The newest outer parameters: whatever waited for a fragment is in them.
    fn reset_to(&mut self, state: &State) -> Work {
        (self.reset, self.given) = (false, 0);
        self.batch.iter_mut().for_each(Batch::was_reset);
        self.streams.iter_mut().for_each(|stream| stream.changes.clear());
        Work::Reset { outer: state.arrays[0].clone(), forget: std::mem::take(&mut self.forget) }
    }

    fn due_change(&mut self) -> Option<Work> {
        for (fragment, stream) in self.streams.iter_mut().enumerate() {
            let ready = match stream.changes.front() {
                // A contribution that is due needs theta merged, however early.
                Some(Change::Merge { not_before, .. }) => *not_before <= self.step || stream.due <= self.step,
                Some(Change::Rebase { .. } | Change::Begin { .. } | Change::PutBack { .. }) => true,
                None => false,
            };
            if ready && let Some(change) = stream.changes.pop_front() {
                return Some(self.carry_out(fragment, change));
            }
        }
        None
    }

    fn carry_out(&self, fragment: usize, change: Change) -> Work {
        let alpha = self.charter.manifest.method.alpha();
        match change {
            Change::Merge { outer, .. } => Work::Merge { fragment, outer, alpha },
            Change::Rebase { base, now } => Work::Rebase { fragment, base, now },
            Change::Begin { outer } => Work::Begin { fragment, outer },
            Change::PutBack { slot } => Work::PutBack { slot },
        }
    }

    fn why_wait(&self) -> Option<Waiting> {
        if self.stopped {
            return Some(Waiting::Stopped);
        }
        if self.paused {
            return Some(Waiting::Paused);
        }
        (!self.member || self.drawn.is_empty() || self.is_past_finish()).then_some(Waiting::Turn)
    }

    /// The local step at which training waits for a certificate.
    fn overrun_limit(&self, state: &State) -> u64 {
        if self.has_rounds() {
            // The next slot's parameters come with the certificate.
            let open = (0..self.streams.len()).any(|index| self.open_slot(index, state).is_some());
            return if open { u64::MAX } else { self.step };
        }
        let method = &self.charter.manifest.method;
        let slack = u64::from(method.tau()) + u64::from(method.overrun_steps());
        let in_flight = self.streams.iter().flat_map(|stream| &stream.in_flight);
        in_flight.map(|flight| flight.at + slack).min().unwrap_or(u64::MAX)
    }

    /// Of the streams that are due the one whose slot comes first; one that can be contributed to, if
    /// there is any.
    fn due_stream(&self, state: &State) -> Option<usize> {
        let is_due = |index: &usize| {
            let stream = &self.streams[*index];
            stream.due <= self.step && stream.steps > 0 && !self.is_undrawn(*index, state)
        };
        let first = |index: &usize| (self.open_slot(*index, state).is_none(), self.turn(*index, state));
        (0..self.streams.len()).filter(is_due).min_by_key(first)
    }

    /// What others may be waiting for while this peer waits: a slot before the one that it announced
    /// and may not train past; any slot if it has no samples left to train on.
    ///
    /// Peers can be out of step, after a restart or a slot that closed without them. Then those who
    /// wait for the first of two slots to close and those who wait for the second would wait in a
    /// circle until the deadline, and in the same way at the next slots.
    fn owed_stream(&self, state: &State, waiting: Waiting) -> Option<usize> {
        let schedule = self.charter.manifest.method.schedule();
        let streams = self.streams.iter().enumerate();
        let flights = streams.flat_map(|(index, s)| s.in_flight.iter().map(move |flight| (index, flight)));
        let last = match waiting {
            Waiting::Turn => u64::MAX,
            _ => flights.map(|(index, flight)| schedule.due(index as u16, flight.ordinal)).max()?,
        };
        let owed = |index: &usize| {
            let open = self.open_slot(*index, state).is_some();
            self.turn(*index, state) < last && self.streams[*index].steps > 0 && open
        };
        (0..self.streams.len()).filter(owed).min_by_key(|index| self.turn(*index, state))
    }

    /// Where a stream's open slot stands in the order that is the same for all peers.
    fn turn(&self, index: usize, state: &State) -> u64 {
        self.charter.manifest.method.schedule().due(index as u16, state.control.closed[index])
    }

    /// Changes of theta that came before are carried out: `due_change` does not let one wait here.
    fn contribute(&self, slot: Slot, state: &State) -> Next {
        let outer = self.streams[usize::from(slot.stream)].base.clone();
        let estimate = state.estimates.get(&self.me).cloned();
        Next::Work(Work::Encode { slot, outer, estimate, noise: self.noise(slot) })
    }

    /// The same again whenever this peer encodes for this slot, and another for every other peer.
    fn noise(&self, slot: Slot) -> u64 {
        let mut place = self.me.0.to_vec();
        place.extend_from_slice(&slot.stream.to_le_bytes());
        place.extend_from_slice(&slot.ordinal.to_le_bytes());
        Hash::of(&place).0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// The next inner steps, up to local step `limit`; `None` if the leases are used up.
    fn train(&mut self, limit: u64) -> Option<Work> {
        let next_due = self.streams.iter().map(|stream| stream.due).filter(|due| *due > self.step).min();
        let merges = self.streams.iter().filter_map(|stream| match stream.changes.front() {
            Some(Change::Merge { not_before, .. }) => Some(*not_before),
            _ => None,
        });
        let limit = merges.chain(next_due).min().unwrap_or(u64::MAX).min(limit);
        let chunk = match self.step_time {
            0 => 1,
            micros => (CHUNK.0 / micros).clamp(1, 1024),
        };
        let steps = chunk.min(limit.saturating_sub(self.step)) as u32;
        let samples = match &self.charter.manifest.data {
            Data::Private { .. } => Samples::Own,
            Data::Public { .. } => Samples::Leased(self.leased_samples(steps)?),
        };
        let steps = match &samples {
            Samples::Own => steps,
            Samples::Leased(samples) => samples.len() as u32 / self.charter.manifest.training.batch,
        };
        let progress = (0..steps).map(|ahead| self.progress(ahead)).collect();
        Some(Work::Train { samples, progress })
    }

    /// Samples for up to `steps` steps from the unused part of the leases; at least one step's.
    fn leased_samples(&mut self, steps: u32) -> Option<Vec<u64>> {
        let batch = u64::from(self.charter.manifest.training.batch);
        let flights = self.streams[0].in_flight.iter();
        let unused = positions(&self.leases).without(&self.used);
        let unused = flights.fold(unused, |unused, flight| unused.without(&flight.work.samples));
        let whole = (unused.len() / batch * batch).min(u64::from(steps) * batch);
        self.in_use = unused.first(whole);
        (whole > 0).then(|| self.in_use.iter().collect())
    }

    /// Share of the budget: counted tokens, and own ones since, times the contributors drawn.
    fn progress(&self, ahead: u32) -> f32 {
        let per_step = self.tokens_per_step();
        let own = self.streams[0].uncounted_tokens() + u64::from(ahead) * per_step;
        let tokens = self.counted_tokens + own * u64::from(self.contributors);
        (tokens as f64 / self.charter.manifest.training.budget_tokens.max(1) as f64).min(1.0) as f32
    }

    fn tokens_per_step(&self) -> u64 {
        u64::from(self.charter.manifest.training.batch) * self.charter.tokens_per_sample()
    }
}
