//! What was done and what became of it: steps, claims, announcements, and the state after a block.

use crate::block::{Closing, Slot, Work as ClaimedWork};
use crate::manifest::Pacing;
use crate::membership::{ControlPage, MISSED_LIMIT, positions};
use crate::method::SyncSchedule;
use crate::positions::Positions;
use crate::state::State;
use crate::time::Span;

use super::{Change, InFlight, Training};

impl Training {
    /// Books steps that the engine did in `span`.
    pub fn trained(&mut self, steps: u32, span: Span) {
        self.measure(steps, span);
        let in_use = std::mem::take(&mut self.in_use);
        if self.reset {
            // A block voided these steps while they ran: theta is about to be replaced.
            return;
        }
        self.step += u64::from(steps);
        let tokens = u64::from(steps) * self.tokens_per_step();
        for stream in &mut self.streams {
            stream.steps = stream.steps.saturating_add(steps);
            stream.tokens += tokens;
        }
        let samples = u64::from(steps) * u64::from(self.charter.manifest.training.batch);
        self.used.extend(in_use.first(samples).pieces().iter().copied());
    }

    pub(super) fn measure(&mut self, steps: u32, span: Span) {
        let sample = (span.0 / u64::from(steps.max(1))).max(1);
        self.step_time = match self.step_time {
            0 => sample,
            smoothed => (smoothed * 7 + sample) / 8,
        };
    }

    /// The work that an encoded contribution to `slot` stands for.
    pub fn claim(&self, slot: Slot) -> ClaimedWork {
        let stream = &self.streams[usize::from(slot.stream)];
        ClaimedWork {
            steps: stream.steps,
            tokens: stream.tokens,
            samples: if slot.stream == 0 { self.used.joined() } else { Positions::default() },
            speed: self.speed(),
        }
    }

    /// The contribution to `slot` is signed; the next one is a slot's steps away.
    pub fn announced(&mut self, slot: Slot, work: ClaimedWork) {
        let steps = u64::from(self.charter.steps_for(self.speed()));
        self.adrift = false;
        if slot.stream == 0 {
            self.used = self.used.without(&work.samples);
        }
        let rounds = self.has_rounds();
        let stream = &mut self.streams[usize::from(slot.stream)];
        stream.steps = stream.steps.saturating_sub(work.steps);
        stream.tokens = stream.tokens.saturating_sub(work.tokens);
        stream.sent = rounds;
        stream.in_flight.push_back(InFlight { ordinal: slot.ordinal, at: self.step, work, restored: false });
        stream.due = stream.due.max(self.step.saturating_sub(steps)) + steps;
    }

    /// Takes over a contribution that was signed before a restart and not decided yet.
    pub fn restore_announced(&mut self, slot: Slot, work: ClaimedWork) {
        let steps = u64::from(self.charter.steps_for(self.speed()));
        let rounds = self.has_rounds();
        let stream = &mut self.streams[usize::from(slot.stream)];
        let restored = InFlight { ordinal: slot.ordinal, at: self.step, work, restored: true };
        // It may be known already, from before the state was rebuilt.
        stream.in_flight.retain(|flight| flight.ordinal != slot.ordinal);
        stream.in_flight.push_back(restored);
        stream.in_flight.make_contiguous().sort_unstable_by_key(|flight| flight.ordinal);
        if stream.due <= self.step {
            stream.due = self.step + steps;
        }
        if rounds {
            // The checkpoint may hold the same work.
            self.drop_work();
        }
    }

    /// Theta is to be replaced, and with it all work that is not under way.
    fn drop_work(&mut self) {
        self.reset = true;
        self.used = Positions::default();
        let rounds = self.has_rounds();
        for stream in &mut self.streams {
            (stream.steps, stream.tokens, stream.sent) = (0, 0, rounds);
            stream.changes.clear();
            stream.uncounted.clear();
        }
    }

    /// The slot closed before the contribution was signed, or it may not be signed: try the next.
    pub fn not_announced(&mut self, slot: Slot) {
        let stream = &mut self.streams[usize::from(slot.stream)];
        stream.due = stream.due.max(self.step);
    }

    /// Adopts the state after a block. `counted` tells whether a closing counts this peer.
    pub fn apply<'a>(&mut self, state: &State, closings: impl Iterator<Item = (&'a Closing, bool)>) {
        if self.has_batches() {
            return self.apply_to_batch(state, closings);
        }
        let mut closed = Vec::new();
        for (closing, counted) in closings {
            self.apply_closing(state, closing, counted);
            closed.push(closing.slot);
        }
        let was_member = self.member;
        self.adopt(&state.control);
        let leased = positions(&self.leases);
        let under_way = self.streams[0].own_flights().map(|flight| &flight.work.samples);
        let kept = under_way.chain([&self.used, &self.in_use]).all(|samples| samples.are_in(&leased));
        if !was_member && self.member {
            self.start_over(state);
        } else if self.member && !kept {
            // The lease behind the uncounted work is gone: somebody else gets those samples.
            self.start_over(state);
        }
        if self.adrift {
            closed.into_iter().for_each(|slot| self.join_in(slot, &state.control.closed));
        }
        self.keep_membership(&state.control);
    }

    /// Where slots do not wait for the slow, or what these have is void at each closing, they contribute what there is
    /// before they are shown out.
    fn keep_membership(&mut self, control: &ControlPage) {
        /// Slots that it may still miss then.
        const SPARE: u16 = 2;
        let decoupled = matches!(self.charter.manifest.pacing, Pacing::Decoupled { .. });
        if !decoupled && !self.stays_at_outer() {
            return;
        }
        let Some(member) = control.member(&self.me) else { return };
        for (stream, missed) in self.streams.iter_mut().zip(&member.missed) {
            if *missed + SPARE >= MISSED_LIMIT && stream.in_flight.is_empty() {
                stream.due = stream.due.min(self.step);
            }
        }
    }

    fn apply_closing(&mut self, state: &State, closing: &Closing, counted: bool) {
        let index = usize::from(closing.slot.stream);
        let stream = &mut self.streams[index];
        let at = stream.in_flight.iter().position(|flight| flight.ordinal == closing.slot.ordinal);
        let flight = at.and_then(|at| stream.in_flight.remove(at));
        stream.in_flight.retain(|flight| flight.ordinal > closing.slot.ordinal);
        if let Some(flight) = flight.as_ref().filter(|flight| !counted && !flight.restored) {
            self.take_back(index, flight);
        }
        if self.stays_at_outer() && !counted {
            return self.start_over(state);
        }
        match self.has_rounds() {
            true => self.close_round(closing.slot, flight.filter(|_| counted), &state.control.closed),
            false => self.move_outer(state, closing.slot, flight, counted),
        }
    }

    /// Too late for its slot: the work is there, so the next one gets it at once.
    fn take_back(&mut self, index: usize, flight: &InFlight) {
        if index == 0 {
            let mut used = flight.work.samples.clone();
            used.extend(self.used.pieces().iter().copied());
            self.used = used;
        }
        let step = self.step;
        let rounds = self.has_rounds();
        let stream = &mut self.streams[index];
        stream.steps = stream.steps.saturating_add(flight.work.steps);
        stream.tokens = stream.tokens.saturating_add(flight.work.tokens);
        stream.due = step;
        if rounds {
            stream.uncounted.push(flight.ordinal);
        }
    }

    /// What was counted was not in theta any more.
    fn close_round(&mut self, slot: Slot, counted: Option<InFlight>, closed: &[u32]) {
        if let Some(flight) = counted.filter(|flight| !flight.restored) {
            self.fall_into_step(slot, flight.at, closed);
        }
    }

    /// Theta follows the outer parameters, with what was not counted.
    fn move_outer(&mut self, state: &State, slot: Slot, flight: Option<InFlight>, counted: bool) {
        let index = usize::from(slot.stream);
        let tau = u64::from(self.charter.manifest.method.tau());
        let now = state.outer(index).clone();
        let stream = &mut self.streams[index];
        let base = std::mem::replace(&mut stream.base, now.clone());
        match flight.filter(|_| counted) {
            Some(flight) => {
                stream.changes.push_back(Change::Merge { outer: now, not_before: flight.at + tau });
                if flight.restored {
                    self.forget_and_start_over(state);
                } else {
                    self.fall_into_step(slot, flight.at, &state.control.closed);
                }
            }
            None if counted => self.forget_and_start_over(state),
            None if base == now => {}
            None => match stream.changes.back_mut() {
                Some(Change::Rebase { now: latest, .. }) => *latest = now,
                _ => stream.changes.push_back(Change::Rebase { base, now }),
            },
        }
    }

    /// The others announced `slot` just now: this peer's next contributions come with theirs, however
    /// little is in them, or they would wait for it, slot after slot.
    pub(super) fn join_in(&mut self, slot: Slot, closed: &[u32]) {
        let schedule = self.own_schedule();
        if self.finish_at.is_none() && self.streams.iter().all(|stream| stream.steps < schedule.stagger) {
            // Blocks that it missed come late, all at once: the last one tells best.
            self.streams.iter_mut().for_each(|stream| stream.due = u64::MAX);
        }
        self.fall_into_step(slot, self.step, closed);
        for (index, stream) in self.streams.iter_mut().enumerate() {
            stream.due = stream.due.min(self.step + schedule.due(index as u16, 0));
        }
    }

    /// The other streams' next contributions come as they do at peers that are in step and announced
    /// `slot` at the same time, if that is sooner.
    pub(super) fn fall_into_step(&mut self, slot: Slot, at: u64, closed: &[u32]) {
        let schedule = self.own_schedule();
        let here = schedule.due(slot.stream, slot.ordinal);
        for (index, closed) in closed.iter().enumerate() {
            // Its own slot may close in the same block.
            let flight = self.streams[index].in_flight.back();
            let next = flight.map_or(*closed, |flight| flight.ordinal.saturating_add(1).max(*closed));
            // What comes before `slot` is left to its own time: this peer may just be slow.
            if let Some(ahead) = schedule.due(index as u16, next).checked_sub(here) {
                self.bring_forward(index, at + ahead);
            }
        }
    }

    /// The schedule in this peer's own steps.
    fn own_schedule(&self) -> SyncSchedule {
        let steps = self.charter.steps_for(self.speed());
        let schedule = self.charter.manifest.method.schedule();
        match steps == schedule.period {
            true => schedule,
            false => SyncSchedule { first: steps, stagger: steps / self.streams.len() as u32, period: steps },
        }
    }

    pub(super) fn adopt(&mut self, control: &ControlPage) {
        let member = control.member(&self.me);
        self.member = member.is_some();
        self.leases = member.map(|member| member.leases.clone()).unwrap_or_default();
        self.counted_tokens = control.counted_tokens;
    }

    /// Adopts `state` without history: at the start, after a snapshot, after joining. What was in flight may
    /// have been counted on the way.
    pub fn align(&mut self, state: &State) {
        self.adopt(&state.control);
        self.forget_and_start_over(state);
    }

    /// The same where a contribution was counted that this engine did not make, or does not remember: nobody
    /// knows what it left out.
    fn forget_and_start_over(&mut self, state: &State) {
        self.forget = true;
        self.start_over(state);
    }

    /// theta <- outer, everywhere; all uncounted work is dropped. The residual, which is of counted work,
    /// stays.
    ///
    /// What was announced stays announced: its slot takes no second contribution, and if it is
    /// counted after all, theta starts over once more.
    pub fn start_over(&mut self, state: &State) {
        self.adrift = true;
        self.drop_work();
        let schedule = self.own_schedule();
        for (index, stream) in self.streams.iter_mut().enumerate() {
            stream.in_flight.retain(|flight| flight.ordinal >= state.control.closed[index]);
            stream.in_flight.iter_mut().for_each(|flight| flight.restored = true);
            stream.due = self.step + schedule.due(index as u16, 0);
            stream.base = state.outer(index).clone();
        }
    }
}
