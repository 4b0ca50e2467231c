//! Measuring samples of a batch of steps: theta stays here, and the engine's parameters are moved along directions.

use crate::batch::Step;
use crate::identity::PeerKey;
use crate::method::one_byte::Opening;
use crate::state::Array;

use super::{Engine, EngineFailure, Samples, WorkDone, Worker};

/// Theta of a method whose steps all peers take: the outer parameters, with the batch's lists behind them.
#[derive(Default)]
pub(super) struct Speculation {
    theta: Vec<f32>,
    /// Steps behind it.
    steps: u32,
    /// Members' samples in them.
    done: u64,
    /// Theta moved along a direction.
    moved: Vec<f32>,
}

impl<E: Engine> Worker<E> {
    pub(super) fn begin_speculation(&mut self, outer: &[Array]) {
        if self.method.one_byte().is_some() {
            let theta = outer.first().map(Array::to_vec).unwrap_or_default();
            self.speculation = Speculation { moved: vec![0.0; theta.len()], theta, steps: 0, done: 0 };
        }
    }

    pub(super) fn apply_lists(&mut self, opening: &Opening, lists: &[Step]) {
        let Some(method) = self.method.one_byte() else { return };
        let ahead = &mut self.speculation;
        for list in lists {
            let listed: Vec<(PeerKey, &[u8])> = list.iter().map(|(key, bytes)| (*key, &bytes[..])).collect();
            method.step(&mut ahead.theta, opening, ahead.steps, ahead.done, &listed);
            ahead.steps += 1;
            ahead.done += listed.len() as u64;
        }
    }

    /// A member's samples of a step at theta.
    pub(super) fn measure(
        &mut self,
        opening: &Opening,
        step: u32,
        member: PeerKey,
        samples: &Samples,
    ) -> Result<WorkDone, EngineFailure> {
        let method = self.method.one_byte().cloned();
        let method =
            method.ok_or_else(|| EngineFailure::Other("this method has no steps to measure".into()))?;
        let mut moved = std::mem::take(&mut self.speculation.moved);
        let loss = |sample: u16, by: f32| {
            moved.copy_from_slice(&self.speculation.theta);
            if by != 0.0 {
                method.direction(opening, step, member, sample).add(by, &mut moved);
            }
            self.write(0, &moved)?;
            match self.engine.loss(samples) {
                // A step that leads nowhere is one sample less, not the end of training.
                Err(EngineFailure::NotFinite(_)) => Ok(f32::NAN),
                loss => loss,
            }
        };
        let found = method.estimator.measure(method.samples, method.epsilon, loss);
        self.speculation.moved = moved;
        Ok(WorkDone::Measured { step, member, found: found? })
    }
}
