//! The optimizer's pass over the parameters.

use super::{CHUNK, Engine};
use crate::optimizer::muon::{self, Block, MuonStep, MuonValues};
use crate::optimizer::{AdamW, Coefficients, Moments, Optimizer, Sgd, SgdStep, descend};

impl Engine {
    /// One optimizer step with the summed gradient, whose norm is given.
    pub(super) fn update(&mut self, learning_rate: f32, gradient_norm: f64) {
        self.steps += 1;
        let ramp = if self.ramp == 0 { 1.0 } else { (self.steps as f32 / self.ramp as f32).min(1.0) };
        let learning_rate = learning_rate * ramp;
        match self.options.optimizer {
            Optimizer::AdamW(adamw) => {
                self.update_adamw(&adamw, learning_rate, gradient_norm);
            }
            Optimizer::Muon { muon, adamw } => {
                let scale = self.update_adamw(&adamw, learning_rate, gradient_norm);
                let rate = muon.rate * learning_rate;
                let keep = 1.0 - rate * adamw.weight_decay;
                self.update_blocks(MuonStep { momentum: muon.momentum, rate, keep, scale });
            }
            Optimizer::Sgd(sgd) => self.update_sgd(&sgd, learning_rate, gradient_norm),
        }
    }

    /// AdamW's pass, over fixed chunks; returns what clipping leaves of the gradient.
    fn update_adamw(&mut self, adamw: &AdamW, learning_rate: f32, gradient_norm: f64) -> f32 {
        let coefficients = Coefficients::new(adamw, self.steps, learning_rate, gradient_norm);
        let Engine { shards, parameters, first, second, pool, decay, .. } = self;
        let gradients: &[f32] = &shards[0].gradients;
        let values = parameters
            .chunks_mut(CHUNK)
            .zip(first.chunks_mut(CHUNK))
            .zip(second.chunks_mut(CHUNK))
            .zip(gradients.chunks(CHUNK));
        pool.run(values.enumerate(), |(index, (((parameters, first), second), gradients))| {
            let values = Moments { parameters, first, second, gradients };
            decay.update(&coefficients, index * CHUNK, values);
        });
        coefficients.scale
    }

    /// Muon's pass: a matrix is one thread's.
    fn update_blocks(&mut self, step: MuonStep) {
        let Engine { shards, parameters, first, blocks, workers, pool, .. } = self;
        let gradients: &[f32] = &shards[0].gradients;
        let mut shares: Vec<Vec<(&Block, MuonValues<'_>)>> = workers.iter().map(|_| Vec::new()).collect();
        let (mut parameters, mut first, mut at): (&mut [f32], &mut [f32], usize) = (parameters, first, 0);
        for (index, block) in blocks.iter().enumerate() {
            let (skip, len) = (block.range.start - at, block.range.len());
            let (values, rest) = std::mem::take(&mut parameters)[skip..].split_at_mut(len);
            let (momentum, behind) = std::mem::take(&mut first)[skip..].split_at_mut(len);
            (parameters, first, at) = (rest, behind, block.range.end);
            let gradients = &gradients[block.range.clone()];
            let share = index % shares.len();
            shares[share].push((block, MuonValues { parameters: values, momentum, gradients }));
        }
        pool.run(workers.iter_mut().zip(shares), |(worker, share)| {
            for (block, values) in share {
                muon::update(step, block, values, &mut worker.scratch);
            }
        });
    }

    /// Gradient descent's pass: little work, so one thread's.
    fn update_sgd(&mut self, sgd: &Sgd, learning_rate: f32, gradient_norm: f64) {
        let step = SgdStep::new(sgd, learning_rate, gradient_norm);
        let Engine { shards, parameters, decay, .. } = self;
        let gradients: &[f32] = &shards[0].gradients;
        for (range, decays) in decay.ranges() {
            let keep = if *decays { step.keep } else { 1.0 };
            descend(&mut parameters[range.clone()], &gradients[range.clone()], step, keep);
        }
    }
}
