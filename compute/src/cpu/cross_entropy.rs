//! Softmax and cross-entropy in one pass over the logits, with their gradient.

use super::math::{LANES, exp, ln, max, sum_lanes};

/// The target's logit, or NaN for a target that is no column (the engine has checked them).
#[inline(always)]
fn target_of(logits: &[f32], target: u32) -> f32 {
    logits.get(target as usize).copied().unwrap_or(f32::NAN)
}

vectorised! {
    /// Replaces `logits` (R, V) by the gradient of the summed loss times `scale`; returns the sum of nats over the rows.
    pub(crate) fn loss_and_gradient(logits: &mut [f32], vocabulary: usize, targets: &[u32], scale: f32) -> f64 {
        let mut total = 0.0;
        for (row, &target) in logits.chunks_exact_mut(vocabulary).zip(targets) {
            let largest = max(row);
            let shifted = target_of(row, target) - largest;
            let (chunks, rest) = row.as_chunks_mut::<LANES>();
            let mut lanes = [0.0; LANES];
            for chunk in chunks {
                for i in 0..LANES {
                    chunk[i] = exp::<FMA>(chunk[i] - largest);
                    lanes[i] += chunk[i];
                }
            }
            let mut sum = sum_lanes(lanes);
            for value in rest {
                *value = exp::<FMA>(*value - largest);
                sum += *value;
            }
            total += f64::from(ln(sum) - shifted);
            let factor = scale / sum;
            for value in row.iter_mut() {
                *value *= factor;
            }
            if let Some(value) = row.get_mut(target as usize) {
                *value -= scale;
            }
        }
        total
    }
}

vectorised! {
    /// The sum of nats over the rows of `logits` (R, V).
    pub(crate) fn loss_only(logits: &[f32], vocabulary: usize, targets: &[u32]) -> f64 {
        let mut total = 0.0;
        for (row, &target) in logits.chunks_exact(vocabulary).zip(targets) {
            let largest = max(row);
            let (chunks, rest) = row.as_chunks::<LANES>();
            let mut lanes = [0.0; LANES];
            for chunk in chunks {
                for i in 0..LANES {
                    lanes[i] += exp::<FMA>(chunk[i] - largest);
                }
            }
            let sum = rest.iter().fold(sum_lanes(lanes), |sum, value| sum + exp::<FMA>(*value - largest));
            total += f64::from(ln(sum) - (target_of(row, target) - largest));
        }
        total
    }
}
