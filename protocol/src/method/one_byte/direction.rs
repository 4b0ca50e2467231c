//! Directions that everybody can make, and nobody can choose.

use bincode::{Decode, Encode};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use serde::{Deserialize, Serialize};

use crate::identity::{Hash, PeerKey};

/// What a batch of steps opens with: certified, and not known before the batch before it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opening {
    /// Digest of the outer parameters that it starts from.
    pub base: Hash,
    /// The slot's ordinal.
    pub ordinal: u32,
    /// Tokens that were counted before.
    pub counted: u64,
    /// Tokens at which the rate has come down to 0.
    pub budget: u64,
    /// Tokens that one member's samples of a step stand for.
    pub tokens: u64,
    /// Members whose samples may be listed.
    pub drawn: usize,
}

/// From which distribution directions are. Either has mean 0 and variance 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Directions {
    /// -1 or 1: bit i of the stream is 1 where value i is -1.
    #[default]
    Rademacher,
    /// As good as normal: a quarter of how many more than 32 of a value's 64 bits are 1. Its making takes 64
    /// times as many random bits.
    Gaussian,
}

/// A direction's values one after the other, made from the ChaCha8 stream under its key.
#[derive(Clone)]
pub struct Direction {
    from: Directions,
    stream: ChaCha8Rng,
}

/// Values that one word of a direction tells.
pub const PER_WORD: usize = u32::BITS as usize;

impl Direction {
    /// The direction of a member's sample in a step.
    pub fn new(from: Directions, opening: &Opening, step: u32, member: PeerKey, sample: u16) -> Direction {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"driftless direction\0");
        hasher.update(&opening.base.0);
        hasher.update(&opening.ordinal.to_le_bytes());
        hasher.update(&step.to_le_bytes());
        hasher.update(&member.0);
        hasher.update(&sample.to_le_bytes());
        Direction { from, stream: ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()) }
    }

    /// Adds `by` times the next values to `to`, whose length is a multiple of [`PER_WORD`] but at the end.
    pub fn add(&mut self, by: f32, to: &mut [f32]) {
        match self.from {
            Directions::Rademacher => {
                let by = by.to_bits();
                let (whole, rest) = to.as_chunks_mut::<PER_WORD>();
                whole.iter_mut().for_each(|values| add_word(by, self.stream.next_u32(), values));
                if !rest.is_empty() {
                    add_word(by, self.stream.next_u32(), rest);
                }
            }
            Directions::Gaussian => {
                let by = f32::from_bits(by.to_bits() & SHORT);
                to.iter_mut().for_each(|value| *value += by * self.normal());
            }
        }
    }

    /// A multiple of a quarter, of 8 at most.
    fn normal(&mut self) -> f32 {
        (self.stream.next_u64().count_ones() as f32 - 32.0) / 4.0
    }
}

/// The bits of a number that leave 17 digits: its product with a multiple of a quarter below 8 is exact, so that
/// product and sum are one rounding, whether or not a machine makes them one instruction.
const SHORT: u32 = !0x7f;

#[inline]
fn add_word(by: u32, word: u32, values: &mut [f32]) {
    let signed = |lane: usize| f32::from_bits(by ^ ((word >> lane) << 31));
    values.iter_mut().enumerate().for_each(|(lane, value)| *value += signed(lane));
}
