//! What a model costs that is too large for a simulation.

use serde::Deserialize;

use super::{ScenarioError, wrong};
use crate::engine::{CostModel, LossCurve};

/// The nominal model as a person writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct CostForm {
    parameters: u64,
    /// Points of the loss curve: counted tokens and nats.
    loss: Vec<(u64, f64)>,
}

/// The largest nominal model: lengths stay far from the ends of their types.
const MAX_PARAMETERS: u64 = 100_000_000_000_000;
/// No loss is larger.
const MAX_LOSS: f64 = 1_000.0;

impl CostForm {
    pub fn model(&self) -> Result<CostModel, ScenarioError> {
        if !(1..=MAX_PARAMETERS).contains(&self.parameters) {
            return Err(wrong("cost-model.parameters", format!("1 to {MAX_PARAMETERS}")));
        }
        if !self.loss.iter().all(|(_, loss)| (0.0..=MAX_LOSS).contains(loss)) {
            return Err(wrong("cost-model.loss", format!("nats: 0 to {MAX_LOSS}")));
        }
        let points: Vec<(u64, u64)> =
            self.loss.iter().map(|(tokens, loss)| (*tokens, (loss * 1e6).round() as u64)).collect();
        let losses = LossCurve::new(&points).ok_or_else(|| {
            wrong(
                "cost-model.loss",
                "points [tokens, nats], at least one, with more tokens from one to the next",
            )
        })?;
        Ok(CostModel { parameters: self.parameters, losses })
    }
}
