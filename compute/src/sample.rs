//! Text from a model: one token after another, by temperature and top-k.

use crate::cpu::math::exp;
use crate::engine::{Engine, EngineError};
use crate::rng;
use rand_chacha::ChaCha8Rng;
use thiserror::Error;

/// How the next token is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 always takes the likeliest token.
    pub temperature: f32,
    /// Only this many of the likeliest tokens are drawn from; `None` for all.
    pub top_k: Option<usize>,
    /// The same seed, model and prompt give the same text on one machine.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling { temperature: 0.8, top_k: Some(40), seed: 0 }
    }
}

/// Why no text came out.
#[derive(Debug, Error)]
pub enum SampleError {
    /// The temperature is negative or not finite.
    #[error("temperature {0} is not a finite number of at least zero")]
    Temperature(f32),
    /// Top-k leaves no token.
    #[error("top-k must be at least 1")]
    TopK,
    /// The prompt holds no token.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// The model could not run.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Draws `count` tokens after `prompt`, telling each to `each` as it comes. The model sees the last T tokens.
///
/// # Errors
/// An empty prompt, a token outside of the vocabulary, a broken number, or logits that are not finite.
pub fn generate(
    engine: &mut Engine,
    prompt: &[u32],
    count: usize,
    sampling: &Sampling,
    mut each: impl FnMut(u32),
) -> Result<Vec<u32>, SampleError> {
    if !sampling.temperature.is_finite() || sampling.temperature < 0.0 {
        return Err(SampleError::Temperature(sampling.temperature));
    }
    if sampling.top_k == Some(0) {
        return Err(SampleError::TopK);
    }
    if prompt.is_empty() {
        return Err(SampleError::EmptyPrompt);
    }
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&sampling.seed.to_le_bytes());
    let mut random = rng::stream(seed, 0);
    let Some(context) = engine.shape().gpt().map(|shape| shape.context) else {
        return Err(EngineError::Kind { model: engine.shape().name() }.into());
    };
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        let seen = &tokens[tokens.len().saturating_sub(context)..];
        let logits = engine.logits_last(seen)?;
        let token = draw(&logits, sampling, &mut random);
        each(token);
        tokens.push(token);
    }
    Ok(tokens.split_off(prompt.len()))
}

/// One token from finite logits.
fn draw(logits: &[f32], sampling: &Sampling, random: &mut ChaCha8Rng) -> u32 {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    // Likeliest first; equal ones by number, so that the order is one.
    let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let kept = if sampling.temperature == 0.0 { 1 } else { sampling.top_k.unwrap_or(logits.len()) };
    if kept < order.len() {
        order.select_nth_unstable_by(kept, by_logit);
        order.truncate(kept);
    }
    order.sort_unstable_by(by_logit);
    let largest = logits[order[0] as usize];
    let inverse = if sampling.temperature == 0.0 { 0.0 } else { 1.0 / sampling.temperature };
    let weights: Vec<f32> =
        order.iter().map(|token| exp::<false>((logits[*token as usize] - largest) * inverse)).collect();
    let mut left = rng::uniform(random) * weights.iter().sum::<f32>();
    for (token, weight) in order.iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return *token;
        }
    }
    order[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_temperature_and_top_k() {
        let logits = [0.0, 2.0, 1.0, -50.0];
        let count = |temperature, top_k| {
            let mut random = rng::stream([5; 32], 0);
            let mut counts = [0_u32; 4];
            for _ in 0..20_000 {
                counts[draw(&logits, &Sampling { temperature, top_k, seed: 0 }, &mut random) as usize] += 1;
            }
            counts
        };
        assert_eq!(count(0.0, None), [0, 20_000, 0, 0]);
        assert_eq!(count(1.0, Some(1)), [0, 20_000, 0, 0]);
        let two = count(1.0, Some(2));
        assert_eq!((two[0], two[3]), (0, 0));
        // e / (1 + e) = .731
        assert!((f64::from(two[1]) / 20_000.0 - 0.731).abs() < 0.015);
        let all = count(1.0, Some(99));
        // Softmax of 0, 2, 1: .090, .665, .245.
        for (got, expected) in all.iter().zip([0.090, 0.665, 0.245, 0.0]) {
            assert!((f64::from(*got) / 20_000.0 - expected).abs() < 0.015);
        }
    }
}
