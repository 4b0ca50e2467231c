//! What outlives a restart.

use bincode::{Decode, Encode};

use crate::membership::positions;
use crate::positions::Positions;
use crate::state::{Array, State};

use super::{Change, Training};

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
    /// What a checkpoint keeps; theta must be settled.
    pub fn save(&self) -> SavedTraining {
        SavedTraining {
            step: self.step,
            due: self.streams.iter().map(|stream| stream.due).collect(),
            steps: self.streams.iter().map(|stream| stream.steps).collect(),
            tokens: self.streams.iter().map(|stream| stream.tokens).collect(),
            used: self.used.clone(),
            base: self.streams.iter().map(|stream| stream.base.to_vec()).collect(),
        }
    }

    /// Takes up a checkpoint in `state`, with theta and the optimizer restored by the engine.
    ///
    /// If a contribution of this peer was counted since (or nobody knows), or the lease behind the
    /// uncounted work moved on, theta <- outer and only the optimizer goes on. Otherwise theta is
    /// rebased: the next contribution carries the uncounted work, once.
    pub fn restore(&mut self, saved: SavedTraining, state: &State, counted_since: bool) {
        let goes_on = !counted_since
            && [saved.due.len(), saved.steps.len(), saved.tokens.len(), saved.base.len()]
                .iter()
                .all(|len| *len == self.streams.len())
            && saved.base.iter().enumerate().all(|(f, base)| base.len() == state.outer(f).len())
            && saved.used.are_in(&positions(&self.leases));
        self.step = saved.step;
        self.start_over(state);
        self.forget = counted_since;
        if !goes_on {
            return;
        }
        self.reset = false;
        self.used = saved.used;
        for (index, stream) in self.streams.iter_mut().enumerate() {
            stream.due = saved.due[index];
            stream.steps = saved.steps[index];
            stream.tokens = saved.tokens[index];
            let base = Array::new(&saved.base[index]);
            if base != stream.base {
                stream.changes.push_back(Change::Rebase { base, now: stream.base.clone() });
            }
        }
    }

    /// Whether theta is relative to the present outer parameters, so that it can be saved.
    pub fn is_settled(&self) -> bool {
        !self.reset && self.streams.iter().all(|stream| stream.changes.is_empty())
    }
}
