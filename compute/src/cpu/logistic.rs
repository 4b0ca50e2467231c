//! Logistic regression: ln(1 + e^-m) with the margin m = y x.w, and the regularizer sum of w^2 / (1 + w^2).

use super::math::{dot, exp, fused, ln};
use super::{Score, Values};

/// Logistic regression needs no buffers.
pub(crate) struct Logistic;

/// y of a label.
fn sign(label: u32) -> f32 {
    if label == 0 { -1.0 } else { 1.0 }
}

/// ln(1 + e^-m), and the share 1 / (1 + e^m) that is its slope, negated: without overflow on either side.
fn loss_and_share(margin: f32) -> (f32, f32) {
    let small = exp::<false>(-margin.abs());
    let (above, share) = if margin < 0.0 { (-margin, 1.0) } else { (0.0, small) };
    (above + ln(1.0 + small), share / (1.0 + small))
}

impl Logistic {
    /// What the rows cost; a margin of zero counts as label 0.
    pub(crate) fn score(&self, values: Values<'_>, features: &[f32], labels: &[u32]) -> Score {
        let mut score = Score::default();
        for (row, label) in features.chunks_exact(values.parameters.len()).zip(labels) {
            let product = product(row, values.parameters);
            score.nats += f64::from(loss_and_share(sign(*label) * product).0);
            score.correct += u64::from((product > 0.0) == (*label != 0));
        }
        score
    }

    /// Overwrites `gradients` by those of the summed loss times `scale`; returns the sum.
    pub(crate) fn gradient(
        &self,
        values: Values<'_>,
        features: &[f32],
        labels: &[u32],
        scale: f32,
        gradients: &mut [f32],
    ) -> f64 {
        gradients.fill(0.0);
        let mut nats = 0.0;
        for (row, label) in features.chunks_exact(values.parameters.len()).zip(labels) {
            let sign = sign(*label);
            let (loss, share) = loss_and_share(sign * product(row, values.parameters));
            nats += f64::from(loss);
            add_scaled(gradients, row, -sign * share * scale);
        }
        nats
    }
}

/// `factor` times the sum of w^2 / (1 + w^2).
pub(crate) fn penalty(factor: f32, parameters: &[f32]) -> f64 {
    let of = |w: &f32| {
        let square = f64::from(*w) * f64::from(*w);
        square / (1.0 + square)
    };
    f64::from(factor) * parameters.iter().map(of).sum::<f64>()
}

/// Adds the gradient of [`penalty`].
pub(crate) fn add_penalty_gradient(factor: f32, parameters: &[f32], gradients: &mut [f32]) {
    for (gradient, w) in gradients.iter_mut().zip(parameters) {
        let rest = 1.0 + w * w;
        *gradient += 2.0 * factor * w / (rest * rest);
    }
}

vectorised! {
    fn product(row: &[f32], weights: &[f32]) -> f32 {
        dot::<FMA>(row, weights)
    }
}

vectorised! {
    /// `into` += `factor` times `row`.
    fn add_scaled(into: &mut [f32], row: &[f32], factor: f32) {
        for (into, value) in into.iter_mut().zip(row) {
            *into = fused::<FMA>(factor, *value, *into);
        }
    }
}
