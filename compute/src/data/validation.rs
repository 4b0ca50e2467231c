//! The number that runs are compared by.

use super::Corpus;
use crate::engine::{Engine, EngineError};

/// Windows that one call of the engine evaluates.
const GROUP: u64 = 64;

/// Mean nats per predicted token (byte, for bytes) of the engine's parameters over the validation windows, or over
/// `max_windows` of them, evenly spread.
///
/// # Errors
/// A corpus whose context differs from the model's, tokens outside of the model's vocabulary, or a loss that is not
/// finite.
pub fn validation_loss(
    engine: &mut Engine,
    corpus: &Corpus,
    max_windows: Option<u64>,
) -> Result<f64, EngineError> {
    let context = engine.shape().context;
    if corpus.context() != context {
        let expected = format!("a corpus with windows of {context}");
        return Err(EngineError::TokenCount { expected, got: corpus.context() });
    }
    let all = corpus.validation_windows();
    let count = max_windows.map_or(all, |most| most.clamp(1, all));
    let mut tokens = vec![0; GROUP as usize * (context + 1)];
    let (mut nats, mut done) = (0.0, 0);
    while done < count {
        let group = GROUP.min(count - done);
        let tokens = &mut tokens[..group as usize * (context + 1)];
        for (i, row) in tokens.chunks_exact_mut(context + 1).enumerate() {
            let window = u128::from(done + i as u64) * u128::from(all) / u128::from(count);
            corpus.fill_validation(window as u64, row);
        }
        nats += engine.loss(tokens)?;
        done += group;
    }
    Ok(nats / (count as f64 * context as f64))
}
