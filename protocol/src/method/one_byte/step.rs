//! What a step's list does to the parameters.

use crate::identity::PeerKey;

use super::direction::{Direction, Opening};
use super::{Estimator, Log, OneByte, byte};

/// Values that all samples of a step are added to before the next ones: they stay in the nearest cache.
const BLOCK: usize = 4096;
/// Slopes above so many medians of their step count as that.
const CLIP: f32 = 3.0;

impl OneByte {
    /// Moves the parameters by a whole batch of steps: the logs of its contributors, in the order of their keys.
    pub fn replay(&self, theta: &mut [f32], opening: &Opening, logs: &[(PeerKey, Log)]) {
        let mut done = 0;
        for step in 0..self.batch_steps {
            let listed = logs.iter().filter_map(|(key, log)| Some((*key, log.at(step)?)));
            let listed: Vec<_> = listed.collect();
            self.step(theta, opening, step, done, &listed);
            done += listed.len() as u64;
        }
    }

    /// Moves the parameters by one step: `listed` are members, in the order of their keys, with the bytes of
    /// their samples; `done` is how many such there were in the batch's steps before. Fewer than half of those drawn move
    /// nothing: whoever orders a step could list itself alone, and what all others sent is what bounds it.
    pub fn step(
        &self,
        theta: &mut [f32],
        opening: &Opening,
        step: u32,
        done: u64,
        listed: &[(PeerKey, &[u8])],
    ) {
        if listed.is_empty() || 2 * listed.len() < opening.drawn {
            return;
        }
        let slopes: Vec<f32> = clipped(listed.iter().flat_map(|(_, bytes)| bytes.iter()));
        let samples =
            listed.iter().flat_map(|(key, bytes)| (0..bytes.len()).map(move |at| (*key, at as u16)));
        let directions = samples.map(|(key, sample)| self.direction(opening, step, key, sample));
        let mut terms: Vec<(f32, Direction)> = slopes.into_iter().zip(directions).collect();
        let count = terms.len() as f32;
        let share = match self.estimator {
            Estimator::Spsa => self.rate_at(opening, done) / count.sqrt(),
            Estimator::Fzoo => self.rate_at(opening, done) / count,
        };
        terms.retain(|(slope, _)| *slope != 0.0);
        let mut sum = [0.0; BLOCK];
        for block in theta.chunks_mut(BLOCK) {
            let sum = &mut sum[..block.len()];
            sum.fill(0.0);
            terms.iter_mut().for_each(|(slope, direction)| direction.add(*slope, sum));
            block.iter_mut().zip(sum).for_each(|(theta, sum)| *theta -= share * *sum);
        }
    }

    /// The rate falls in a line.
    fn rate_at(&self, opening: &Opening, done: u64) -> f32 {
        let tokens = opening.counted.saturating_add(done.saturating_mul(opening.tokens));
        let left = opening.budget.saturating_sub(tokens) as f64 / opening.budget.max(1) as f64;
        self.rate * left as f32
    }
}

/// What the bytes say, none of it above [`CLIP`] times the median of what is not 0.
fn clipped<'a>(bytes: impl Iterator<Item = &'a u8>) -> Vec<f32> {
    let mut slopes: Vec<f32> = bytes.map(|byte| byte::decode(*byte)).collect();
    let mut sizes: Vec<f32> = slopes.iter().map(|slope| slope.abs()).filter(|size| *size > 0.0).collect();
    sizes.sort_unstable_by(f32::total_cmp);
    // The lower of two in the middle: half of all do not say how large the others may be.
    if let Some(median) = sizes.len().checked_sub(1).and_then(|last| sizes.get(last / 2)) {
        let most = CLIP * median;
        slopes.iter_mut().for_each(|slope| *slope = slope.clamp(-most, most));
    }
    slopes
}
