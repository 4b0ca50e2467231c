//! The outer parameters that every session starts from: a pure function of its seed.
//!
//! Each tensor has a ChaCha8 stream of its own: the key is the seed, the stream number the first
//! 8 bytes (little-endian) of BLAKE3 of its name. Value i takes words 12i to 12i + 11 and keeps
//! their upper 24 bits: `(sum of the twelve / 2^24 - 6) * scale` has mean 0 and variance 1 before
//! the scale and is near enough to a normal distribution. The sum is an integer, so the only
//! roundings are its conversion to f32 and the product with the scale: nothing transcendental.
//!
//! Residual projections are scaled by 1 / sqrt(2 x layers) on top; biases are 0, gains 1. The scale of models of
//! tables is sqrt(2 / inputs of the layer): a quotient and a root, rounded alike on every machine.

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
            Init::He { inputs } => {
                let scale = (2.0 / inputs.max(1) as f32).sqrt();
                draw(seed, &tensor.name, piece.range.start, count, scale, &mut values);
            }
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

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "an ignored test measures speed")]
mod tests {
    use super::*;
    use crate::model::Model;

    fn tiny(fragments: usize) -> (Vec<Tensor>, Layout, Vec<Vec<f32>>) {
        let tensors = Model::named("gpt:tiny").unwrap().tensors();
        let layout = Layout::new(&tensors, fragments);
        let outer = genesis_outer([7; 32], 0.02, &tensors, &layout);
        (tensors, layout, outer)
    }

    /// The values of a tensor, put together again.
    fn tensor(name: &str, (tensors, layout, outer): &(Vec<Tensor>, Layout, Vec<Vec<f32>>)) -> Vec<f32> {
        let mut values = Vec::new();
        for (fragment, outer) in layout.fragments.iter().zip(outer) {
            let mut at = 0;
            for piece in &fragment.pieces {
                let len = (piece.range.end - piece.range.start) as usize;
                if tensors[piece.tensor].name == name {
                    values.extend_from_slice(&outer[at..at + len]);
                }
                at += len;
            }
        }
        values
    }

    #[test]
    fn golden_values() {
        // The first values agree with an independent implementation of ChaCha8 and BLAKE3.
        let genesis = tiny(2);
        let wte = tensor("wte.weight", &genesis);
        let projection = tensor("h.3.mlp.c_proj.weight", &genesis);
        assert_eq!(wte[..3], [0.017_882_027, -0.005_901_89, -0.022_172_792]);
        assert_eq!(projection[..3], [-0.007_604_738_7, 0.011_022_872, -0.001_018_946]);
        let mut hasher = blake3::Hasher::new();
        for value in genesis.2.iter().flatten() {
            hasher.update(&value.to_le_bytes());
        }
        assert_eq!(hasher.finalize().to_hex()[..16], *"b2fbf3a86cc068eb");
    }

    #[test]
    fn the_cut_does_not_change_a_tensor() {
        let (whole, cut) = (tiny(1), tiny(3));
        for name in ["wte.weight", "wpe.weight", "h.2.attn.c_attn.weight", "ln_f.weight"] {
            assert_eq!(tensor(name, &whole), tensor(name, &cut), "{name}");
        }
    }

    #[test]
    fn weights_are_near_normal_biases_zero_and_gains_one() {
        let genesis = tiny(2);
        let moments = |name: &str| {
            let values = tensor(name, &genesis);
            let mean = |power: i32| {
                values.iter().map(|v| f64::from(*v).powi(power)).sum::<f64>() / values.len() as f64
            };
            (mean(1), mean(2).sqrt(), mean(4) / mean(2).powi(2))
        };
        let (mean, deviation, kurtosis) = moments("h.0.mlp.c_fc.weight");
        assert!(mean.abs() < 3e-4 && (deviation - 0.02).abs() < 2e-4, "{mean} {deviation}");
        // Of a sum of 12 uniforms: 3 - 6/5/12 = 2.9.
        assert!((kurtosis - 2.9).abs() < 0.05, "{kurtosis}");
        let (_, deviation, _) = moments("h.0.mlp.c_proj.weight");
        assert!((deviation - 0.02 / 8f64.sqrt()).abs() < 1e-4, "{deviation}");
        assert!(tensor("h.1.attn.c_attn.bias", &genesis).iter().all(|value| *value == 0.0));
        assert!(tensor("h.1.ln_2.weight", &genesis).iter().all(|value| *value == 1.0));
        assert_ne!(tensor("h.0.mlp.c_fc.weight", &genesis), tensor("h.1.mlp.c_fc.weight", &genesis));
    }

    /// `cargo test -p driftless-protocol genesis_speed -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn genesis_speed() {
        let tensors = Model::named("gpt:gpt2").unwrap().tensors();
        let layout = Layout::new(&tensors, 4);
        let start = std::time::Instant::now();
        let outer = genesis_outer([7; 32], 0.02, &tensors, &layout);
        println!("{} values in {:?}", outer.iter().map(Vec::len).sum::<usize>(), start.elapsed());
    }
}
