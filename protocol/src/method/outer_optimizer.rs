//! How the outer parameters move along the agreed mean difference.
//!
//! Source: Douillard et al. 2025, arXiv 2501.18512, section 2 and algorithm 2 (OuterOpt); the
//! form of Nesterov's momentum is torch's and optax's:
//! `b <- mu b + delta; outer <- outer - eta (delta + mu b)`.
//!
//! | paper | here |
//! |---|---|
//! | outer gradient (Delta, old minus new) | `mean_delta` |
//! | outer momentum | `momentum` (b) |
//! | outer learning rate, momentum | `eta`, `mu` |

/// An outer optimizer with its numbers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum OuterOptimizer {
    /// Gradient descent with Nesterov's momentum; `mu` = 0 is plain descent.
    Nesterov {
        /// Outer learning rate.
        eta: f32,
        /// Outer momentum.
        mu: f32,
    },
}

impl OuterOptimizer {
    /// Moves `outer` and `momentum` in place; the three slices are as long as each other.
    ///
    /// Each result is rounded on its own: `b = (mu * b) + delta`, then
    /// `outer = outer - (eta * (delta + (mu * b)))`.
    pub fn step(self, outer: &mut [f32], momentum: &mut [f32], mean_delta: &[f32]) {
        assert!(outer.len() == momentum.len() && outer.len() == mean_delta.len());
        match self {
            OuterOptimizer::Nesterov { eta, mu } => {
                for ((outer, b), delta) in outer.iter_mut().zip(momentum).zip(mean_delta) {
                    *b = mu * *b + delta;
                    *outer -= eta * (delta + mu * *b);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesterov_is_torchs() {
        // torch.optim.SGD(lr=0.5, momentum=0.5, nesterov=True), gradients 1, 1, -2 from 4.0;
        // every number is exact in f32.
        let optimizer = OuterOptimizer::Nesterov { eta: 0.5, mu: 0.5 };
        let (mut outer, mut momentum) = ([4.0f32], [0.0f32]);
        let mut path = Vec::new();
        for gradient in [1.0, 1.0, -2.0] {
            optimizer.step(&mut outer, &mut momentum, &[gradient]);
            path.push((outer[0], momentum[0]));
        }
        assert_eq!(path, [(3.25, 1.0), (2.375, 1.5), (3.6875, -1.25)]);
    }

    #[test]
    fn no_momentum_is_plain_descent() {
        let optimizer = OuterOptimizer::Nesterov { eta: 2.0, mu: 0.0 };
        let (mut outer, mut momentum) = ([1.0f32], [123.0f32]);
        optimizer.step(&mut outer, &mut momentum, &[6.0]);
        assert_eq!(outer, [-11.0]);
    }
}
