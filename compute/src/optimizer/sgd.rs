//! Plain stochastic gradient descent, without momentum: `w <- (1 - rate decay) w - rate g`.

use crate::cpu::math::fused;

/// The numbers of gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Decay per unit of learning rate, of matrices; 0, the default, for none.
    pub weight_decay: f32,
    /// The largest 2-norm of the whole gradient; a longer one is scaled down to it. Infinity, the default, turns clipping
    /// off.
    pub clip: f32,
}

impl Default for Sgd {
    fn default() -> Sgd {
        Sgd { weight_decay: 0.0, clip: f32::INFINITY }
    }
}

impl Sgd {
    /// Whether every number is in its range.
    pub(crate) fn is_valid(&self) -> bool {
        (0.0..=1.0).contains(&self.weight_decay) && self.clip > 0.0
    }
}

/// The numbers of one step.
#[derive(Clone, Copy)]
pub(crate) struct SgdStep {
    /// Learning rate times what clipping leaves.
    rate: f32,
    /// What weight decay leaves of a decayed value.
    pub keep: f32,
}

impl SgdStep {
    /// With a gradient of the given norm.
    pub(crate) fn new(sgd: &Sgd, learning_rate: f32, gradient_norm: f64) -> SgdStep {
        let clip = f64::from(sgd.clip);
        let scale = if gradient_norm > clip { clip / gradient_norm } else { 1.0 };
        let rate = (f64::from(learning_rate) * scale) as f32;
        SgdStep { rate, keep: 1.0 - learning_rate * sgd.weight_decay }
    }
}

vectorised! {
    /// One step on some values.
    pub(crate) fn descend(parameters: &mut [f32], gradients: &[f32], step: SgdStep, keep: f32) {
        for (parameter, gradient) in parameters.iter_mut().zip(gradients) {
            *parameter = fused::<FMA>(keep, *parameter, -(step.rate * gradient));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_formula() {
        // Powers of two: every operation is exact.
        let run = |sgd: Sgd, decays: bool| {
            let mut parameters = [1.0, -2.0, 0.5];
            let step = SgdStep::new(&sgd, 0.25, 8.0);
            let keep = if decays { step.keep } else { 1.0 };
            descend(&mut parameters, &[4.0, 0.0, -1.0], step, keep);
            parameters
        };
        let plain = Sgd::default();
        assert_eq!(run(plain, true), [0.0, -2.0, 0.75]);
        let decaying = Sgd { weight_decay: 0.5, ..plain };
        assert_eq!(run(decaying, true), [-0.125, -1.75, 0.6875]);
        assert_eq!(run(decaying, false), [0.0, -2.0, 0.75]);
        assert_eq!(run(Sgd { clip: 4.0, ..plain }, true), [0.5, -2.0, 0.625]);
        assert_eq!(run(Sgd { clip: 16.0, ..plain }, true), [0.0, -2.0, 0.75]);
    }

    #[test]
    fn ranges_are_checked() {
        assert!(Sgd::default().is_valid());
        assert!(!Sgd { weight_decay: -0.1, ..Sgd::default() }.is_valid());
        assert!(!Sgd { weight_decay: f32::NAN, ..Sgd::default() }.is_valid());
        assert!(!Sgd { clip: 0.0, ..Sgd::default() }.is_valid());
    }
}
