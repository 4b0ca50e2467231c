//! The outer parameters that every session starts from: a pure function of its seed.
//!
//! Each tensor has a ChaCha8 stream of its own: the key is the seed, the stream number the first
//! 8 bytes (little-endian) of BLAKE3 of its name. Value i takes words 12i to 12i + 11 and keeps
//! their upper 24 bits: `(sum of the twelve / 2^24 - 6) * scale` has mean 0 and variance 1 before
//! the scale and is near enough to a normal distribution. The sum is an integer, so the only
//! roundings are its conversion to f32 and the product with the scale: nothing transcendental.
//!
//! Residual projections are scaled by 1 / sqrt(2 x layers) on top; biases are 0, gains 1.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::layout::{Fragment, Layout};
use crate::model::{Init, Placement, Tensor};

/// Words that make one value.
const WORDS: usize = 12;
/// Values drawn at a time.
const BATCH: usize = 256;

/// The outer parameters of every fragment.
pub fn genesis_outer(seed: [u8; 32], scale: f32, tensors: &[Tensor], layout: &Layout) -> Vec<Vec<f32>> {
    let fragments = layout.fragments.iter();
    fragments.map(|fragment| genesis_fragment(seed, scale, tensors, fragment)).collect()
}

/// The outer parameters of one fragment, for models that are not held in memory at once.
pub fn genesis_fragment(seed: [u8; 32], scale: f32, tensors: &[Tensor], fragment: &Fragment) -> Vec<f32> {
    let residual = scale / ((2 * layers(tensors)) as f32).sqrt();
    let mut values = Vec::with_capacity(fragment.len as usize);
    for piece in &fragment.pieces {
        let tensor = &tensors[piece.tensor];
        let count = (piece.range.end - piece.range.start) as usize;
        let end = values.len() + count;
        match tensor.init {
            Init::Zero => values.resize(end, 0.0),
            Init::One => values.resize(end, 1.0),
            Init::Normal => draw(seed, &tensor.name, piece.range.start, count, scale, &mut values),
            Init::Residual => draw(seed, &tensor.name, piece.range.start, count, residual, &mut values),
        }
    }
    values
}

/// The number of blocks; at least 1.
fn layers(tensors: &[Tensor]) -> u32 {
    let blocks = tensors.iter().filter_map(|tensor| match tensor.placement {
        Placement::Block(block) => Some(u32::from(block) + 1),
        Placement::Split | Placement::Last => None,
    });
    blocks.max().unwrap_or(1)
}

/// Appends `count` values of a tensor from index `start` on.
fn draw(seed: [u8; 32], name: &str, start: u64, count: usize, scale: f32, out: &mut Vec<f32>) {
    let mut rng = ChaCha8Rng::from_seed(seed);
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(name.as_bytes()).as_bytes();
    rng.set_stream(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    rng.set_word_pos(u128::from(start) * WORDS as u128);
    let mut bytes = [0u8; 4 * WORDS * BATCH];
    let mut left = count;
    while left > 0 {
        let batch = &mut bytes[..4 * WORDS * left.min(BATCH)];
        rng.fill_bytes(batch);
        out.extend(batch.as_chunks::<{ 4 * WORDS }>().0.iter().map(|words| normal(words) * scale));
        left -= batch.len() / (4 * WORDS);
    }
}

/// Twelve 24-bit uniforms, summed and centred.
fn normal(words: &[u8; 4 * WORDS]) -> f32 {
    let words = words.as_chunks::<4>().0.iter();
    let sum: u32 = words.map(|word| u32::from_le_bytes(*word) >> 8).sum();
    (sum as i32 - (6 << 24)) as f32 * (1.0 / 16_777_216.0)
}
