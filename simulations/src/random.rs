//! Chance, all of it from the world's seed: one stream per purpose, so that adding a purpose
//! does not move the others.

use driftless_protocol::Hash;
use driftless_protocol::time::Span;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream of `purpose` in the world of `seed`.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Random {
        Random(ChaCha8Rng::from_seed(Random::key(seed, purpose)))
    }

    /// 32 bytes that follow from seed and purpose: secret keys and the like.
    #[must_use]
    pub fn key(seed: u64, purpose: &str) -> [u8; 32] {
        Hash::of(format!("driftless-sim/{seed}/{purpose}").as_bytes()).0
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias of the product is 2^-64 x bound: nothing that a test could see.
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True in `per_mille` of 1000 cases.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// A span of this mean, exponentially distributed up to its thousandths: the first of many equally
    /// likely moments that is hit. (A logarithm would differ between machines.)
    pub fn exponential(&mut self, mean: Span) -> Span {
        const STEPS: u64 = 1_000;
        let step = (mean.0 / STEPS).max(1);
        let mut steps = 0;
        while self.below(STEPS) != 0 {
            steps += 1;
        }
        Span(steps * step + self.below(step))
    }

    /// The numbers below `count` in a random order.
    pub fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        (1..count).rev().for_each(|last| order.swap(last, self.below(last as u64 + 1) as usize));
        order
    }

    /// A span that is longer or shorter by up to so many thousandths.
    pub fn around(&mut self, span: Span, per_mille: u32) -> Span {
        let most = span.0.saturating_mul(per_mille.into()) / 1000;
        Span(span.0.saturating_sub(most) + self.below(2 * most + 1))
    }

    /// A span between two, the upper one excluded.
    pub fn span(&mut self, from: Span, to: Span) -> Span {
        from + Span(self.below(to.0.saturating_sub(from.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jitter_goes_both_ways_and_leaves_the_mean() {
        let mut random = Random::new(1, "test");
        let spans: Vec<u64> = (0..10_000).map(|_| random.around(Span(1_000), 300).0).collect();
        assert_eq!((spans.iter().min(), spans.iter().max()), (Some(&700), Some(&1_300)));
        let mean = spans.iter().sum::<u64>() / 10_000;
        assert!((990..=1_010).contains(&mean), "{mean}");
        assert_eq!(random.around(Span(77), 0), Span(77));
    }
}
