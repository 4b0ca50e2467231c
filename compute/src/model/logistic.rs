//! Logistic regression without a bias, plain or with a regularizer that is not convex.

use super::error::check_bounds;
use super::tensors::Builder;
use super::{ShapeError, Tensor};

/// The numbers of a logistic regression of labels y = -1 (label 0) and y = 1 (label 1):
/// mean of ln(1 + e^(-y x.w)), plus `regularization` times the sum of w^2 / (1 + w^2).
///
/// Its one tensor is that of PyTorch's `Linear(inputs, 1, bias=False)`: `weight` (1, inputs). It starts at zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogisticShape {
    /// Features of a row.
    pub inputs: usize,
    /// The regularizer's factor (lambda); 0 for none.
    pub regularization: f32,
}

impl LogisticShape {
    /// Checks every number.
    ///
    /// # Errors
    /// [`ShapeError`] names the first that is wrong.
    pub fn check(&self) -> Result<(), ShapeError> {
        check_bounds(&[("inputs", self.inputs, 1, 1 << 20)])?;
        if !self.regularization.is_finite() || self.regularization < 0.0 {
            return Err(ShapeError::Regularization(self.regularization));
        }
        Ok(())
    }

    /// All parameters: one for each feature.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.inputs
    }

    /// The tensor table.
    #[must_use]
    pub fn tensors(&self) -> Vec<Tensor> {
        let mut builder = Builder::default();
        builder.push("weight".into(), &[1, self.inputs]);
        builder.finish()
    }
}
