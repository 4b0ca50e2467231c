//! From losses to the number that a byte says.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::byte;

/// By how much two machines' forward passes may differ, for a loss of 1 on top of what logits round to.
const ROUNDING: f64 = 16.0 * f32::EPSILON as f64;

/// What was measured in a step.
#[derive(Clone, PartialEq, Debug)]
pub struct Measurement {
    /// A byte for each sample; none where a loss is not finite, which is never encoded.
    pub bytes: Vec<u8>,
    /// The mean of the losses.
    pub loss: f32,
    /// By how much a slope may differ between machines, as a byte says it.
    pub noise: f32,
}

/// What a sample's byte says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Estimator {
    /// The slope between two points: two forward passes for each sample.
    Spsa,
    /// The rise to one point, in units of how much the rises of a step differ: one forward pass for each
    /// sample and one for all. It needs no rate that suits the scale of the loss.
    Fzoo,
}

impl Estimator {
    /// The bytes of a step's samples. `loss` measures at the parameters moved by so much along the direction
    /// of a sample, which is of no matter where that is 0.
    pub fn measure<E>(
        self,
        samples: u16,
        epsilon: f32,
        mut loss: impl FnMut(u16, f32) -> Result<f32, E>,
    ) -> Result<Measurement, E> {
        let mut here = 0.0;
        let mut slopes = Vec::with_capacity(usize::from(samples));
        // What a slope of 1 is in losses.
        let unit = match self {
            Estimator::Spsa => {
                for sample in 0..samples {
                    let (up, down) = (f64::from(loss(sample, epsilon)?), f64::from(loss(sample, -epsilon)?));
                    here += 0.5 * (up + down) / f64::from(samples);
                    slopes.push((up - down) / (2.0 * f64::from(epsilon)));
                }
                2.0 * f64::from(epsilon)
            }
            Estimator::Fzoo => {
                here = f64::from(loss(0, 0.0)?);
                for sample in 0..samples {
                    slopes.push(f64::from(loss(sample, epsilon)?) - here);
                }
                scale(&mut slopes)
            }
        };
        let sound = slopes.iter().all(|slope| slope.is_finite());
        let bytes = slopes.iter().filter(|_| sound).map(|slope| byte::encode(*slope)).collect();
        Ok(Measurement { bytes, loss: here as f32, noise: (ROUNDING * (1.0 + here.abs()) / unit) as f32 })
    }
}

/// In units of their standard deviation, which is returned; all 0 where they do not differ.
fn scale(slopes: &mut [f64]) -> f64 {
    let count = slopes.len() as f64;
    let mean = slopes.iter().sum::<f64>() / count;
    let variance = slopes.iter().map(|slope| (slope - mean) * (slope - mean)).sum::<f64>() / count;
    let deviation = variance.sqrt();
    slopes
        .iter_mut()
        .for_each(|slope| *slope = if deviation > 0.0 { *slope / deviation } else { 0.0 * *slope });
    deviation
}
