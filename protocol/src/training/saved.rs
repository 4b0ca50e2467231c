//! What outlives a restart.

use bincode::{Decode, Encode};

use crate::block::Work as ClaimedWork;
use crate::membership::positions;
use crate::positions::Positions;
use crate::state::{Array, State};

use super::{Change, Stream, Training};

/// What a checkpoint keeps of the schedule.
#[derive(Debug, Clone, Encode, Decode)]
pub struct SavedTraining {
    step: u64,
    due: Vec<u64>,
    steps: Vec<u32>,
    tokens: Vec<u64>,
    used: Positions,
    /// The outer parameters that theta is relative to, by fragment.
    base: Vec<Vec<f32>>,
}

impl Training {
    /// What a checkpoint keeps; theta must be settled. What is under way is in theta too, unless slots start
    /// at parameters of their own.
    pub fn save(&self) -> SavedTraining {
        let flights = |stream: &Stream| {
            let flights = stream.own_flights().filter(|_| !self.has_rounds());
            flights.map(|flight| flight.work.clone()).collect::<Vec<ClaimedWork>>()
        };
        // What is to be put back is not in theta yet, and may have to wait for a slot: it is given up.
        let is_whole = |stream: &Stream| !stream.sent && stream.uncounted.is_empty();
        let in_theta = |stream: &Stream, own: u64, of: fn(&ClaimedWork) -> u64| {
            let own = if is_whole(stream) { own } else { 0 };
            flights(stream).iter().fold(own, |sum, work| sum + of(work))
        };
        let steps = |stream: &Stream| {
            in_theta(stream, stream.steps.into(), |work| work.steps.into()).try_into().unwrap_or(u32::MAX)
        };
        let tokens = |stream: &Stream| in_theta(stream, stream.tokens, |work| work.tokens);
        let mut used = Positions::default();
        flights(&self.streams[0]).iter().for_each(|work| used.extend(work.samples.pieces().iter().copied()));
        if is_whole(&self.streams[0]) {
            used.extend(self.used.pieces().iter().copied());
        }
        SavedTraining {
            step: self.step,
            due: self.streams.iter().map(|stream| stream.due).collect(),
            steps: self.streams.iter().map(steps).collect(),
            tokens: self.streams.iter().map(tokens).collect(),
            used,
            base: self.streams.iter().map(|stream| stream.base.to_vec()).collect(),
        }
    }

    /// Takes up a checkpoint in `state`, with theta and the optimizer restored by the engine.
    ///
    /// If a contribution of this peer was counted since (or nobody knows), or the lease behind the
    /// uncounted work moved on, theta <- outer and only the optimizer goes on. Otherwise theta is
    /// rebased: the next contribution carries the uncounted work, once.
    pub fn restore(&mut self, saved: SavedTraining, state: &State, counted_since: bool) {
        // Where all of it was sent, theta holds nothing that is not known otherwise; nor where it stays at the
        // outer parameters.
        let all_sent = self.has_rounds() && saved.steps.iter().all(|steps| *steps == 0);
        let holds_work = !all_sent && !self.stays_at_outer();
        let goes_on = !counted_since
            && holds_work
            && [saved.due.len(), saved.steps.len(), saved.tokens.len(), saved.base.len()]
                .iter()
                .all(|len| *len == self.streams.len())
            && saved.base.iter().enumerate().all(|(f, base)| base.len() == state.outer(f).len())
            && saved.used.are_in(&positions(&self.leases));
        self.step = saved.step;
        self.start_over(state);
        self.forget = counted_since;
        if !goes_on || self.has_batches() {
            return;
        }
        let rounds = self.has_rounds();
        self.reset = false;
        self.used = saved.used;
        for (index, stream) in self.streams.iter_mut().enumerate() {
            stream.due = saved.due[index];
            stream.steps = saved.steps[index];
            stream.tokens = saved.tokens[index];
            let base = Array::new(&saved.base[index]);
            if rounds {
                (stream.base, stream.sent) = (base, false);
            } else if base != stream.base {
                stream.changes.push_back(Change::Rebase { base, now: stream.base.clone() });
            }
        }
    }

    /// Whether theta is relative to the present outer parameters, so that it can be saved.
    pub fn is_settled(&self) -> bool {
        !self.reset && self.streams.iter().all(|stream| stream.changes.is_empty())
    }
}
