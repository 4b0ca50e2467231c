//! EF21's step size for a logistic regression, from the rows that it is trained on.
//!
//! Peers are leased rows by chance: contiguous runs of the shuffled table, each as long as one gradient, stand for
//! them. Other models have no known smoothness; their step sizes are presets, or the founder's.

use std::path::PathBuf;

use driftless_compute::{Batch, Data, DataError, Shape};
use driftless_protocol::manifest::Preset;
use driftless_protocol::method::ef21::step_size::Smoothness;
use driftless_protocol::method::{Ef21, Method};

use crate::engine::shape_of;

/// A step with which EF21 provably descends, where `preset` is of EF21 and a logistic regression and its codec has
/// a known contraction.
///
/// # Errors
/// What is wrong with a file.
pub fn of_data(preset: &Preset, files: &[PathBuf]) -> Result<Option<f32>, DataError> {
    let (Method::Ef21(method), shape) = (&preset.method, shape_of(&preset.model)) else { return Ok(None) };
    let (Shape::Logistic(logistic), Some(alpha)) = (shape, method.codec.contraction()) else {
        return Ok(None);
    };
    let Data::Rows(table) = Data::open(files, &shape, [0; 32])? else { return Ok(None) };
    if table.shape().inputs != logistic.inputs {
        // It is refused, with the reason, where the session is founded.
        return Ok(None);
    }
    let count = usize::try_from(table.samples()).unwrap_or(usize::MAX);
    let of = |rows: std::ops::Range<usize>| match table.rows(rows) {
        Batch::Rows { features, .. } => logistic.smoothness(features),
        Batch::Tokens(_) => 0.0,
    };
    let run = gradient_rows(method, preset.training.batch).clamp(1, count);
    let each = (0..count / run).map(|index| of(index * run..(index + 1) * run)).collect();
    let gamma = Smoothness { whole: of(0..count), each }.weighted(alpha) as f32;
    Ok((gamma.is_finite() && gamma > 0.0).then_some(gamma))
}

/// Rows of one contribution.
fn gradient_rows(method: &Ef21, batch: u32) -> usize {
    (method.batches as usize).saturating_mul(batch as usize)
}

#[cfg(test)]
mod tests {
    use driftless_compute::AUSTRALIAN;
    use driftless_protocol::manifest::Manifest;
    use driftless_protocol::method::MethodName;

    use super::*;

    #[test]
    fn a_logistic_regression_has_a_stable_step_and_other_models_a_preset() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("australian");
        std::fs::write(&file, AUSTRALIAN).unwrap();
        let preset = |model| Manifest::preset(model).unwrap().with_method(MethodName::Ef21);
        let gamma = of_data(&preset("logistic:14-0.001"), std::slice::from_ref(&file)).unwrap().unwrap();
        // Of all rows, each column by its largest value, 1 / L is 1.409 and 1 / (L + 126.5 L) .0111 (computed apart).
        // A tenth of the rows is for validation.
        assert!((0.8 * 0.0111..1.1 * 0.0111).contains(&gamma), "{gamma}");
        let mut dense = preset("logistic:14-0.001");
        dense.method.set_codec(driftless_protocol::codec::Codec::F32);
        let whole = of_data(&dense, std::slice::from_ref(&file)).unwrap().unwrap();
        assert!((0.9 * 1.409..1.1 * 1.409).contains(&whole), "{whole}");
        assert_eq!(of_data(&preset("mlp:14-8-2"), &[file]).unwrap(), None);
    }
}
