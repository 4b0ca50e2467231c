//! Chance, all of it from the seed: one stream per purpose, so that adding one moves no other.

use driftless_protocol::Hash;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of random numbers.
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream of `purpose`.
    pub fn new(seed: u64, purpose: &str) -> Random {
        Random(ChaCha8Rng::from_seed(Random::key(seed, purpose)))
    }

    /// 32 bytes that follow from seed and purpose: secret keys and the like.
    pub fn key(seed: u64, purpose: &str) -> [u8; 32] {
        Hash::of(format!("driftless-torture/{seed}/{purpose}").as_bytes()).0
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias is 2^-64 x bound: nothing that anybody could see.
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// All of `items` in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// `count` different numbers below `bound`, ascending.
    pub fn choose(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..bound).collect();
        self.shuffle(&mut all);
        all.truncate(count);
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_about_as_likely() {
        let mut counts = [[0; 4]; 2];
        for fault in 0..4000 {
            let mut random = Random::new(1, &format!("fault {fault}"));
            for count in [1, 2] {
                random.choose(count, 4).into_iter().for_each(|peer| counts[count - 1][peer] += 1);
            }
        }
        // The standard deviation of 1000 of 4000 is 27, that of 2000 is 32.
        assert!(counts[0].iter().all(|count| (860..1140).contains(count)), "{counts:?}");
        assert!(counts[1].iter().all(|count| (1840..2160).contains(count)), "{counts:?}");
    }
}
