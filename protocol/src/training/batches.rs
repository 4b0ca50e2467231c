//! Methods whose slots are batches of steps that all take together (one byte per sample).
//!
//! Theta is never this peer's own: it is the outer parameters with the lists of the batch behind them. So there
//! is nothing to merge, to rebase or to save, and a batch begins with theta <- outer.

use crate::batch::Batch;
use crate::block::{Closing, Slot, Work as ClaimedWork};
use crate::event::Waiting;
use crate::manifest::Data;
use crate::membership::positions;
use crate::positions::Positions;
use crate::state::State;
use crate::time::Span;
use crate::worker::{Samples, Work};

use super::{Next, Training};

impl Training {
    pub(super) fn has_batches(&self) -> bool {
        self.charter.manifest.method.one_byte().is_some()
    }

    /// The batch that runs, to follow it.
    pub fn batch_mut(&mut self) -> Option<&mut Batch> {
        self.batch.as_mut()
    }

    /// The batch that runs.
    pub fn batch(&self) -> Option<&Batch> {
        self.batch.as_ref()
    }

    /// A slot opened.
    pub fn begin_batch(&mut self, batch: Batch) {
        self.batch = Some(batch);
        self.reset = true;
    }

    /// Books a step that this peer measured.
    pub fn measured(&mut self) {
        self.step += 1;
    }

    /// Books how long a batch of so many steps took.
    pub fn batch_took(&mut self, steps: u32, span: Span) {
        self.measure(steps, span);
    }

    /// Adopts the state after a block.
    pub(super) fn apply_to_batch<'a>(
        &mut self,
        state: &State,
        closings: impl Iterator<Item = (&'a Closing, bool)>,
    ) {
        for (closing, _) in closings {
            self.streams[0].in_flight.retain(|flight| flight.ordinal > closing.slot.ordinal);
        }
        self.adopt(&state.control);
        self.streams[0].base = state.outer(0).clone();
    }

    pub(super) fn next_in_batch(&mut self, state: &State) -> Next {
        let Some(batch) = &mut self.batch else { return Next::Wait(Waiting::Turn) };
        if self.finish_at.is_some() {
            batch.end();
        }
        if self.stopped {
            return Next::Wait(Waiting::Stopped);
        }
        if let Some(work) = self.next_audit(state) {
            return Next::Work(work);
        }
        let Some(batch) = &mut self.batch else { return Next::Wait(Waiting::Turn) };
        if !self.streams[0].in_flight.is_empty() {
            return Next::Wait(Waiting::Certificate);
        }
        if !self.member || !self.drawn.contains(&batch.slot.ordinal) {
            return Next::Wait(Waiting::Turn);
        }
        if batch.is_over() && !batch.log().is_empty() {
            return Next::Contribute(batch.slot);
        }
        if self.paused {
            return Next::Wait(Waiting::Paused);
        }
        match batch.due() {
            Some(step) => self.measure_step(step),
            None => Next::Wait(Waiting::Certificate),
        }
    }

    /// Whether nothing of a batch is left to be contributed before leaving.
    pub(super) fn has_no_samples(&self) -> bool {
        self.batch.as_ref().is_none_or(|batch| batch.log().is_empty())
    }

    /// Another's samples, measured again where theta is for this peer's own.
    fn next_audit(&mut self, state: &State) -> Option<Work> {
        let batch = self.batch.as_mut().filter(|_| !self.paused)?;
        let opening = batch.opening;
        std::iter::from_fn(|| batch.next_audit()).find_map(|(step, key)| {
            let leased = state.control.member(&key)?.positions();
            let samples = samples_at(&leased, step, self.charter.manifest.training.batch)?;
            Some(Work::Measure { opening, step, member: key, lists: Vec::new(), samples })
        })
    }

    fn measure_step(&mut self, step: u32) -> Next {
        let samples = self.samples_of(step);
        let Some(batch) = &mut self.batch else { return Next::Wait(Waiting::Turn) };
        let Some(samples) = samples else {
            // Its leases are used up.
            batch.end();
            return Next::Wait(Waiting::Turn);
        };
        let lists = batch.behind(step, self.given);
        self.given += lists.len() as u32;
        Next::Work(Work::Measure { opening: batch.opening, step, member: self.me, lists, samples })
    }

    /// A step's samples stand at its place in this peer's leases, whatever was listed before. Private data has
    /// an order of its own, one batch for each step that was measured.
    fn samples_of(&self, step: u32) -> Option<Samples> {
        let batch = u64::from(self.charter.manifest.training.batch);
        if matches!(self.charter.manifest.data, Data::Private { .. }) {
            return Some(Samples::Leased((self.step * batch..(self.step + 1) * batch).collect()));
        }
        samples_at(&positions(&self.leases), step, self.charter.manifest.training.batch)
    }

    /// The contribution to the batch that runs, and the work that it stands for. Samples of steps that were not
    /// listed are used up too: leases are not cut into crumbs.
    pub fn batch_contribution(&self) -> Option<(Slot, Vec<u8>, ClaimedWork)> {
        let batch = self.batch.as_ref()?;
        let log = batch.log();
        let last = log.last()?;
        let used = (u64::from(last) + 1) * u64::from(self.charter.manifest.training.batch);
        let steps = log.len() as u32;
        let work = ClaimedWork {
            steps,
            tokens: u64::from(steps) * self.tokens_per_step(),
            samples: match self.charter.manifest.data {
                Data::Private { .. } => Positions::default(),
                Data::Public { .. } => positions(&self.leases).first(used).joined(),
            },
            speed: self.speed(),
        };
        Some((batch.slot, log.encode(self.charter.manifest.method.period()), work))
    }
}

/// A step's samples among those that are leased, if there are so many.
fn samples_at(leased: &Positions, step: u32, batch: u32) -> Option<Samples> {
    let before = u64::from(step) * u64::from(batch);
    let end = before + u64::from(batch);
    let leased = leased.first(end);
    (leased.len() == end).then(|| Samples::Leased(leased.iter().skip(before as usize).collect()))
}
