//! The order of an epoch: a permutation of its samples that costs no memory.
//!
//! A Feistel network (Luby and Rackoff 1988) over the smallest even number of bits that holds all samples, keyed by
//! ChaCha words of (seed, epoch); a value beyond the samples is encrypted again until it falls among them (cycle
//! walking, Black and Rogaway 2002), at most four times on average.

use crate::rng;
use rand_chacha::rand_core::Rng;

const ROUNDS: usize = 6;

/// The permutation and the window offset of one epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epoch {
    keys: [u64; ROUNDS],
    /// Shifts all windows; below the context.
    pub offset: u64,
    samples: u64,
    half_bits: u32,
}

impl Epoch {
    /// The order of epoch `epoch` of `samples` samples whose windows start every `context` tokens.
    pub(super) fn new(seed: [u8; 32], epoch: u64, samples: u64, context: u64) -> Epoch {
        let mut words = rng::stream(seed, epoch);
        let keys = std::array::from_fn(|_| words.next_u64());
        let offset = words.next_u64() % context.max(1);
        let bits = u64::BITS - samples.saturating_sub(1).leading_zeros();
        Epoch { keys, offset, samples, half_bits: bits.div_ceil(2).max(1) }
    }

    /// The sample at `place` (below the number of samples) of this epoch's order.
    pub(super) fn sample(&self, place: u64) -> u64 {
        debug_assert!(place < self.samples);
        let mut value = self.encrypt(place);
        while value >= self.samples {
            value = self.encrypt(value);
        }
        value
    }

    fn encrypt(&self, value: u64) -> u64 {
        let mask = (1_u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

/// SplitMix64's finaliser (Steele, Lea and Flood 2014): every bit depends on every bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_epoch_is_a_permutation(seed: [u8; 32], epoch: u64, samples in 1_u64..3000) {
            let order = Epoch::new(seed, epoch, samples, 64);
            let mut seen = vec![false; samples as usize];
            for place in 0..samples {
                let sample = order.sample(place) as usize;
                prop_assert!(!seen[sample]);
                seen[sample] = true;
            }
            prop_assert!(order.offset < 64);
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let order = |seed: u8, epoch| {
            let epoch = Epoch::new([seed; 32], epoch, 1000, 64);
            (0..1000).map(|place| epoch.sample(place)).collect::<Vec<_>>()
        };
        let first = order(1, 0);
        assert_eq!(first, order(1, 0));
        assert!(first != order(1, 1) && first != order(2, 0));
        // About one fixed point is expected of a random permutation.
        assert!(first.iter().enumerate().filter(|(place, sample)| *place as u64 == **sample).count() < 8);
    }

    #[test]
    fn a_large_domain_stays_in_range() {
        let order = Epoch::new([7; 32], 3, (1 << 40) + 1, 64);
        assert!((0..1000).all(|place| order.sample(place * 1_000_003) <= 1 << 40));
    }
}
