//! Step sizes with which EF21 provably descends.
//!
//! Source: Richtarik et al. 2024, arXiv 2402.10774, theorems 1 (EF21), 3 and 4 (EF21-W, whose larger step holds
//! for EF21 too where scaling commutes with the compressor, as with Top-K) and 9 and 10 (partial participation).
//!
//! | paper | here |
//! |---|---|
//! | L, L_i | `whole`, `each` |
//! | L_QM, L_AM | [`Smoothness::quadratic_mean`], [`Smoothness::arithmetic_mean`] |
//! | alpha, of the compressor | `alpha`: k / n for the k largest of n |
//! | xi(alpha) | [`xi`] |
//! | p | `participation`: of how many slots a member is counted in one |

/// Shares of their largest possible values at which s and rho are tried.
const GRID: u32 = 400;

/// How fast the members' gradients change.
#[derive(Clone, Debug, PartialEq)]
pub struct Smoothness {
    /// Of the mean of all members' losses.
    pub whole: f64,
    /// Of each member's loss.
    pub each: Vec<f64>,
}

/// By how much a compressor slows descent down.
pub fn xi(alpha: f64) -> f64 {
    (1.0 + (1.0 - alpha).sqrt()) / alpha - 1.0
}

impl Smoothness {
    fn members(&self) -> f64 {
        self.each.len().max(1) as f64
    }

    /// The root of the mean square of the members' constants.
    pub fn quadratic_mean(&self) -> f64 {
        (self.each.iter().map(|l| l * l).sum::<f64>() / self.members()).sqrt()
    }

    /// Their mean.
    pub fn arithmetic_mean(&self) -> f64 {
        self.each.iter().sum::<f64>() / self.members()
    }

    /// EF21's.
    pub fn ef21(&self, alpha: f64) -> f64 {
        1.0 / (self.whole + self.quadratic_mean() * xi(alpha))
    }

    /// EF21-W's.
    pub fn weighted(&self, alpha: f64) -> f64 {
        1.0 / (self.whole + self.arithmetic_mean() * xi(alpha))
    }

    /// EF21's where a member is counted with probability `participation`.
    pub fn ef21_partial(&self, alpha: f64, participation: f64) -> f64 {
        1.0 / (self.whole + self.quadratic_mean() * partial_xi(alpha, participation))
    }

    /// EF21-W's where a member is counted with probability `participation`.
    pub fn weighted_partial(&self, alpha: f64, participation: f64) -> f64 {
        1.0 / (self.whole + self.arithmetic_mean() * partial_xi(alpha, participation))
    }
}

/// The least of the bound's factor over its two free numbers, s and rho.
fn partial_xi(alpha: f64, p: f64) -> f64 {
    if p >= 1.0 || alpha >= 1.0 {
        return xi(alpha);
    }
    let shares = || (1..GRID).map(|share| f64::from(share) / f64::from(GRID));
    let mut least = f64::INFINITY;
    for share in shares() {
        // Theta is positive up to here.
        let s = share * alpha / (1.0 - alpha);
        let theta = 1.0 - (1.0 + s) * (1.0 - alpha);
        let beta = (1.0 + 1.0 / s) * (1.0 - alpha);
        for share in shares() {
            // And theta_p up to here.
            let rho = share * p * theta / (1.0 - p);
            let theta_p = p * (rho + theta) - rho;
            let square = (beta * p + (1.0 + 1.0 / rho) * (1.0 - p)) / theta_p;
            least = least.min(square.sqrt());
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e1_xi() {
        for (alpha, expected) in [(0.5, 2.414_214), (0.1, 18.486_833), (0.01, 198.498_744)] {
            assert!((xi(alpha) - expected).abs() < 1e-6, "{alpha}: {}", xi(alpha));
        }
        assert_eq!(xi(1.0), 0.0);
    }

    #[test]
    fn a_member_that_takes_part_always_takes_part() {
        let smoothness = Smoothness { whole: 2.0, each: vec![1.0, 3.0] };
        assert_eq!(smoothness.arithmetic_mean(), 2.0);
        assert_eq!(smoothness.quadratic_mean(), 5.0f64.sqrt());
        assert_eq!(smoothness.ef21_partial(0.25, 1.0), smoothness.ef21(0.25));
        let (always, nearly) = (smoothness.weighted(0.25), smoothness.weighted_partial(0.25, 0.999_999));
        assert!((nearly / always - 1.0).abs() < 0.01, "{nearly} {always}");
        assert!(smoothness.ef21_partial(0.25, 0.5) < smoothness.ef21(0.25));
    }
}
