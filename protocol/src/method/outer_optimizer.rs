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
    /// Gradient descent: `outer <- outer - eta delta`.
    Descent {
        /// Outer learning rate.
        eta: f32,
    },
}

impl OuterOptimizer {
    /// Moves a fragment's arrays in place: the outer parameters, and the momentum where there is one. All
    /// are as long as `mean_delta`.
    ///
    /// Each result is rounded on its own: `b = (mu * b) + delta`, then
    /// `outer = outer - (eta * (delta + (mu * b)))`.
    pub fn step(self, arrays: &mut [Vec<f32>], mean_delta: &[f32]) {
        assert!(arrays.iter().all(|array| array.len() == mean_delta.len()));
        match (self, arrays) {
            (OuterOptimizer::Nesterov { eta, mu }, [outer, momentum]) => {
                for ((outer, b), delta) in outer.iter_mut().zip(momentum).zip(mean_delta) {
                    *b = mu * *b + delta;
                    *outer -= eta * (delta + mu * *b);
                }
            }
            (OuterOptimizer::Descent { eta }, [outer]) => {
                for (outer, delta) in outer.iter_mut().zip(mean_delta) {
                    *outer -= eta * delta;
                }
            }
            (_, arrays) => panic!("{self:?} does not move {} arrays", arrays.len()),
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
        let mut arrays = [vec![4.0f32], vec![0.0f32]];
        let mut path = Vec::new();
        for gradient in [1.0, 1.0, -2.0] {
            optimizer.step(&mut arrays, &[gradient]);
            path.push((arrays[0][0], arrays[1][0]));
        }
        assert_eq!(path, [(3.25, 1.0), (2.375, 1.5), (3.6875, -1.25)]);
    }

    #[test]
    fn no_momentum_is_plain_descent() {
        let mut arrays = [vec![1.0f32], vec![123.0f32]];
        OuterOptimizer::Nesterov { eta: 2.0, mu: 0.0 }.step(&mut arrays, &[6.0]);
        assert_eq!(arrays[0], [-11.0]);
        let mut outer = [vec![1.0f32]];
        OuterOptimizer::Descent { eta: 2.0 }.step(&mut outer, &[6.0]);
        assert_eq!(outer[0], [-11.0]);
    }
}
