//! One peer of a recorded session: the product's schedule and worker on the product's CPU engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use driftless_protocol::block::{Block, Slot, Work as ClaimedWork};
use driftless_protocol::charter::Charter;
use driftless_protocol::event::Waiting;
use driftless_protocol::identity::{Hash, PeerKey};
use driftless_protocol::slot::Ground;
use driftless_protocol::state::State;
use driftless_protocol::time::Span;
use driftless_protocol::training::{Next, Training};
use driftless_protocol::worker::{Work, WorkDone, Worker};

use super::Certificates;
use crate::engine::CpuEngine;

/// What a step is said to take: an order is then as many steps as the schedule allows, and the numbers are
/// the same however they are cut into orders.
const STEP: Span = Span::millis(1);

/// What a peer announces.
#[derive(Debug, Clone)]
pub struct Contribution {
    /// Its blob.
    pub bytes: Vec<u8>,
    /// The blob's name.
    pub root: Hash,
    /// What it claims; the speed is not comparable.
    pub work: ClaimedWork,
}

/// A peer that trains again as it did.
pub struct Peer {
    /// Its key.
    pub key: PeerKey,
    training: Training,
    worker: Worker<CpuEngine>,
    /// Announced for slots that are open.
    announced: BTreeMap<Slot, Contribution>,
    /// Inner steps so far.
    pub steps: u64,
}

impl Peer {
    /// A founding member at genesis.
    ///
    /// # Errors
    /// An engine that does not fit the session's layout.
    pub fn new(
        charter: &Arc<Charter>,
        key: PeerKey,
        engine: CpuEngine,
        ground: Ground<'_>,
    ) -> Result<Peer, String> {
        let worker = Worker::new(engine, charter).map_err(|error| error.to_string())?;
        let training = Training::new(charter.clone(), key, ground.state);
        let mut peer = Peer { key, training, worker, announced: BTreeMap::new(), steps: 0 };
        peer.set_draws(ground);
        Ok(peer)
    }

    /// Trains until the contributions to `slots` are announced and, where certificates come `Late`, until
    /// nothing more can be trained without them.
    ///
    /// # Errors
    /// The schedule waits before, or the engine fails.
    pub fn advance(
        &mut self,
        state: &State,
        slots: &[Slot],
        certificates: Certificates,
    ) -> Result<(), String> {
        loop {
            let announced = slots.iter().all(|slot| self.announced.contains_key(slot));
            if announced && certificates == Certificates::Early {
                return Ok(());
            }
            match self.training.next(state) {
                Next::Work(work) => self.execute(work)?,
                Next::Contribute(_) => return Err("a batch of steps is ordered by others".into()),
                Next::Wait(_) if announced => return Ok(()),
                Next::Wait(waiting) => return Err(self.stuck(waiting)),
            }
        }
    }

    fn stuck(&self, waiting: Waiting) -> String {
        format!("its schedule waits at step {} ({waiting:?}) and contributes nothing", self.training.step())
    }

    fn execute(&mut self, work: Work) -> Result<(), String> {
        match self.worker.execute(work) {
            WorkDone::Trained(losses) => {
                let steps = losses.len() as u32;
                self.training.trained(steps, STEP.times(u64::from(steps)));
                self.steps += u64::from(steps);
            }
            WorkDone::Encoded { slot, bytes } => {
                let work = self.training.claim(slot);
                self.training.announced(slot, work.clone());
                let root = Hash::of(&bytes);
                self.announced.insert(slot, Contribution { bytes, root, work });
            }
            WorkDone::Failed(failure) => return Err(failure.to_string()),
            _ => {}
        }
        Ok(())
    }

    /// What it announced for an open slot.
    #[must_use]
    pub fn contribution(&self, slot: Slot) -> Option<&Contribution> {
        self.announced.get(&slot)
    }

    /// The certificate of `block`, which led to `ground`, arrives.
    pub fn apply(&mut self, block: &Block, ground: Ground<'_>) {
        let me = ground.state.control.index_of(&self.key);
        let closings = block.closings().map(|closing| {
            let mine = closing.counted.iter().any(|counted| Some(usize::from(counted.member)) == me);
            (closing, mine)
        });
        self.training.apply(ground.state, closings);
        self.set_draws(ground);
        let closed = &ground.state.control.closed;
        self.announced.retain(|slot, _| slot.ordinal >= closed[usize::from(slot.stream)]);
    }

    fn set_draws(&mut self, ground: Ground<'_>) {
        self.training.set_draws(&ground.draws());
    }
}
