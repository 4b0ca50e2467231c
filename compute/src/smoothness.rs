//! How fast the gradient of a logistic regression can turn: what step sizes of error feedback are made of.

use crate::model::LogisticShape;

/// What is left of the second largest eigenvalue, and of all smaller ones, when the search ends.
const TOLERANCE: f64 = 1e-13;

impl LogisticShape {
    /// The smoothness constant L of the regression over some rows, `features` (m, inputs), to a relative 1e-9:
    /// the largest eigenvalue of X^T X / 4m, plus twice the regularization.
    ///
    /// It takes time in the cube of m or of the inputs, whichever is less.
    ///
    /// # Panics
    /// If the features are no whole number of rows, or none: that is the caller's own number.
    #[must_use]
    pub fn smoothness(&self, features: &[f32]) -> f64 {
        assert!(
            !features.is_empty() && features.len().is_multiple_of(self.inputs),
            "smoothness of no rows, or of a part of one"
        );
        let rows = features.len() / self.inputs;
        largest_eigenvalue(gram(features, self.inputs)) / (4.0 * rows as f64)
            + 2.0 * f64::from(self.regularization)
    }
}

/// A square matrix, row-major.
struct Square {
    values: Vec<f64>,
    side: usize,
}

/// X^T X, or X X^T if it is smaller: both have the same eigenvalues but for zeros.
fn gram(features: &[f32], inputs: usize) -> Square {
    let rows = features.len() / inputs;
    let side = rows.min(inputs);
    // Vector i of the smaller kind: a row, or a column.
    let value = |vector: usize, place: usize| {
        let (row, column) = if rows < inputs { (vector, place) } else { (place, vector) };
        f64::from(features[row * inputs + column])
    };
    let product = |i: usize, j: usize| (0..rows.max(inputs)).map(|k| value(i, k) * value(j, k)).sum::<f64>();
    Square { values: (0..side * side).map(|place| product(place / side, place % side)).collect(), side }
}

/// By squaring a matrix whose eigenvalues are not negative over and over, scaled to a trace of 1: with t_k the trace
/// before the k-th scaling, the largest eigenvalue is the product of all t_k^(1 / 2^k). Once the trace of a square stays 1,
/// one eigenvalue is left, and all further factors are 1. Rounding errors of the k-th square count 1 / 2^k.
fn largest_eigenvalue(mut matrix: Square) -> f64 {
    let (mut logarithm, mut share) = (0.0, 1.0);
    // Of eigenvalues that are equal no one ever remains; 60 squares leave less than a rounding error of the factors.
    for _ in 0..60 {
        let trace: f64 = matrix.values.iter().step_by(matrix.side + 1).sum();
        if trace == 0.0 {
            return 0.0;
        }
        logarithm += share * trace.ln();
        share *= 0.5;
        if share < 0.5 && (trace - 1.0).abs() < TOLERANCE {
            break;
        }
        matrix.values.iter_mut().for_each(|value| *value /= trace);
        matrix = square(&matrix);
    }
    logarithm.exp()
}

/// A symmetric matrix times itself.
fn square(matrix: &Square) -> Square {
    let side = matrix.side;
    let mut values = vec![0.0; side * side];
    for (row, into) in matrix.values.chunks_exact(side).zip(values.chunks_exact_mut(side)) {
        for (factor, other) in row.iter().zip(matrix.values.chunks_exact(side)) {
            into.iter_mut().zip(other).for_each(|(into, value)| *into += factor * value);
        }
    }
    Square { values, side }
}
