//! The numbers that runs are compared by.

use super::Data;
use crate::cpu::Score;
use crate::engine::{Engine, EngineError};

/// Samples that one call of the engine evaluates.
const GROUP: u64 = 64;

/// What a model makes of validation samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean nats per predicted token (byte, for bytes) or row, regularizer included.
    pub loss: f64,
    /// The share of rows whose label the model finds likeliest; of models of rows only.
    pub accuracy: Option<f64>,
    /// Samples evaluated.
    pub samples: u64,
}

/// The engine's parameters over the validation samples, or over `most` of them, evenly spread.
///
/// # Errors
/// Data that does not fit the model, or a loss that is not finite.
pub fn evaluate(engine: &mut Engine, data: &Data, most: Option<u64>) -> Result<Evaluation, EngineError> {
    data.check(engine.shape())?;
    let all = data.validation_samples();
    let count = most.map_or(all, |most| most.clamp(1, all));
    let mut room = data.room();
    let (mut total, mut done) = (Score::default(), 0);
    while done < count {
        let group = GROUP.min(count - done);
        let place = |index: u64| (u128::from(index) * u128::from(all) / u128::from(count)) as u64;
        data.gather_validation((done..done + group).map(place), &mut room);
        total = total + engine.score(room.batch())?;
        done += group;
    }
    let is_classifier = engine.shape().rows().is_some();
    Ok(Evaluation {
        loss: engine.mean_loss(total.nats, count as usize),
        accuracy: is_classifier.then(|| total.correct as f64 / count as f64),
        samples: count,
    })
}
