//! A stand-in for a model, where a test is about the protocol: microseconds a step, plain f32.
//!
//! In a *bowl* every parameter has a target of its own: loss = mean of (theta - target)^2 / 2,
//! gradient = theta - target + noise of the samples. It learns, and depends on every sample. On a
//! *slope* every step subtracts exactly 1 from every parameter: a contribution's values then say
//! how many steps are in it.

use std::ops::Range;

use driftless_protocol::charter::Charter;
use driftless_protocol::worker::{Engine, EngineFailure, Evaluation, Samples};

const RATE: f32 = 0.05;
const NOISE: f32 = 0.01;

/// What a stand-in descends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landscape {
    /// A quadratic bowl.
    Bowl,
    /// A slope without end.
    Slope,
}

/// The stand-in engine.
#[derive(Debug, Clone)]
pub struct StandIn {
    landscape: Landscape,
    tensors: Vec<(String, usize, usize)>,
    theta: Vec<f32>,
    targets: Vec<f32>,
    batch: usize,
    steps: u64,
    breaks_at: Option<u64>,
}

impl StandIn {
    /// An engine over the session's tensors; at step `breaks_at` its loss is NaN.
    #[must_use]
    pub fn new(charter: &Charter, landscape: Landscape, breaks_at: Option<u64>) -> StandIn {
        let mut end = 0;
        let tensors = charter.manifest.model.tensors().into_iter().map(|tensor| {
            let (offset, len) = (end, tensor.len() as usize);
            end += len;
            (tensor.name, offset, len)
        });
        let tensors = tensors.collect();
        let batch = charter.manifest.training.batch as usize;
        let targets = (0..end).map(target).collect();
        StandIn { landscape, tensors, theta: vec![0.0; end], targets, batch, steps: 0, breaks_at }
    }

    /// The parameters.
    #[must_use]
    pub fn parameters(&self) -> &[f32] {
        &self.theta
    }

    /// The first sample of a step of an order, unless the engine breaks there.
    fn next_sample(&mut self, samples: &Samples, step: usize) -> Result<u64, EngineFailure> {
        if self.breaks_at == Some(self.steps) {
            // Once: after `resume` it goes on.
            self.breaks_at = None;
            return Err(EngineFailure::NotFinite("the loss".into()));
        }
        match samples {
            Samples::Leased(positions) => Ok(positions[step * self.batch]),
            Samples::Own => Ok(self.steps),
        }
    }

    fn height(&self) -> f32 {
        let apart = self.theta.iter().zip(&self.targets).map(|(theta, target)| theta - target);
        let sum: f32 = apart.map(|apart| apart * apart).sum();
        0.5 * sum / self.theta.len() as f32
    }
}

fn target(index: usize) -> f32 {
    (index % 17) as f32 * 0.1 - 0.8
}

/// Between -1 and 1, from the sample and the parameter.
fn noise(sample: u64, index: usize) -> f32 {
    let mixed = (sample.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index as u64);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed >> 40) as f32) * (1.0 / 8_388_608.0) - 1.0
}

impl Engine for StandIn {
    fn tensors(&self) -> Vec<(String, usize, usize)> {
        self.tensors.clone()
    }

    fn train(&mut self, samples: &Samples, progress: &[f32]) -> Result<Vec<f32>, EngineFailure> {
        let mut losses = Vec::with_capacity(progress.len());
        for step in 0..progress.len() {
            let sample = self.next_sample(samples, step)?;
            losses.push(self.height());
            match self.landscape {
                Landscape::Bowl => {
                    for (index, (theta, target)) in self.theta.iter_mut().zip(&self.targets).enumerate() {
                        *theta -= RATE * (*theta - target + NOISE * noise(sample, index));
                    }
                }
                Landscape::Slope => self.theta.iter_mut().for_each(|theta| *theta -= 1.0),
            }
            self.steps += 1;
        }
        Ok(losses)
    }

    fn loss(&mut self, samples: &Samples) -> Result<f32, EngineFailure> {
        let sample = match samples {
            Samples::Leased(positions) => positions[0],
            Samples::Own => 0,
        };
        let tilt = self.theta.iter().enumerate().map(|(index, theta)| NOISE * noise(sample, index) * theta);
        Ok(self.height() + tilt.sum::<f32>() / self.theta.len() as f32)
    }

    fn gradient(&mut self, samples: &Samples, into: &mut [f32]) -> Result<f32, EngineFailure> {
        let sample = self.next_sample(samples, 0)?;
        match self.landscape {
            Landscape::Bowl => {
                let at = into.iter_mut().zip(self.theta.iter().zip(&self.targets)).enumerate();
                at.for_each(|(index, (g, (theta, target)))| {
                    *g = theta - target + NOISE * noise(sample, index)
                });
            }
            Landscape::Slope => into.fill(1.0),
        }
        self.steps += 1;
        Ok(self.height())
    }

    fn read(&mut self, range: Range<usize>, into: &mut [f32]) -> Result<(), EngineFailure> {
        into.copy_from_slice(&self.theta[range]);
        Ok(())
    }

    fn write(&mut self, range: Range<usize>, values: &[f32]) -> Result<(), EngineFailure> {
        self.theta[range].copy_from_slice(values);
        Ok(())
    }

    fn evaluate(&mut self, _windows: Option<u64>) -> Result<Evaluation, EngineFailure> {
        Ok(Evaluation { loss: f64::from(self.height()), accuracy: None })
    }

    fn save(&mut self) -> Result<Vec<u8>, EngineFailure> {
        let mut bytes = self.steps.to_le_bytes().to_vec();
        self.theta.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        Ok(bytes)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), EngineFailure> {
        let wrong = || EngineFailure::Other("the checkpoint has another length".into());
        let (steps, values) = bytes.split_first_chunk().ok_or_else(wrong)?;
        let (values, []) = values.as_chunks::<4>() else { return Err(wrong()) };
        if values.len() != self.theta.len() {
            return Err(wrong());
        }
        self.steps = u64::from_le_bytes(*steps);
        self.theta.iter_mut().zip(values).for_each(|(theta, value)| *theta = f32::from_le_bytes(*value));
        Ok(())
    }
}
