//! Streams of ChaCha8 words, and an initialiser for experiments.

use crate::model::Shape;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The stream of random words number `stream` of a seed.
pub(crate) fn stream(seed: [u8; 32], stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::from_seed(seed);
    rng.set_stream(stream);
    rng
}

/// Uniform in \[0, 1), with 24 bits.
pub(crate) fn uniform(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1 << 24) as f32
}

/// Starting parameters for tests, benchmarks and experiments on one machine; one stream a tensor. Normals are sums of 12
/// uniforms, less 6. A GPT's matrices are normals x 0.02, those that end in the residual stream divided by sqrt(2 L),
/// gains 1, biases 0. Weights of an MLP or CNN are normals x sqrt(2 / values that an output is the sum of), biases 0. A
/// logistic regression starts at 0.
///
/// A session's genesis is not made here: the protocol pins its own.
#[must_use]
pub fn initialise(shape: impl Into<Shape>, seed: u64) -> Vec<f32> {
    let shape = shape.into();
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut parameters = vec![0.0; shape.parameter_count()];
    for (index, tensor) in shape.tensors().iter().enumerate() {
        let values = &mut parameters[tensor.range()];
        if tensor.is_matrix() {
            let scale = match &shape {
                Shape::Gpt(shape) if tensor.name.ends_with("c_proj.weight") => {
                    0.02 / (2.0 * shape.layers as f32).sqrt()
                }
                Shape::Gpt(_) => 0.02,
                Shape::Mlp(_) | Shape::Cnn(_) => {
                    (2.0 / tensor.shape[1..].iter().product::<usize>() as f32).sqrt()
                }
                Shape::Logistic(_) => 0.0,
            };
            let mut rng = stream(key, index as u64);
            for value in values {
                *value = ((0..12).map(|_| uniform(&mut rng)).sum::<f32>() - 6.0) * scale;
            }
        } else if tensor.name.ends_with("weight") {
            values.fill(1.0);
        }
    }
    parameters
}
