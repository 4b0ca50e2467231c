//! Muon (Jordan et al. 2024) with the scaling of Liu et al. 2025 (arXiv 2502.16982): momentum, orthogonalised by five
//! Newton-Schulz iterations, for the matrices of the blocks. Everything else is AdamW's.
//!
//! ```text
//! m <- mu m + g;  u = g + mu m;  O = NS5(u);  W <- (1 - rate decay) W - rate 0.2 sqrt(max(rows, columns)) O
//! NS5: X = u / |u|;  five times  A = X X^T;  X <- 3.4445 X + (-4.7750 A + 2.0315 A A) X
//! ```
//!
//! The fused matrix of queries, keys and values is three matrices. A matrix with more rows than columns is turned, so
//! that A is the smaller of the two products.

use crate::cpu::matmul::{Matrix, Write, multiply};
use crate::cpu::reduce::sum_of_squares;
use crate::cpu::transpose::transpose;
use crate::model::GptShape;
use std::ops::Range;

/// Newton-Schulz iterations, and the coefficients of X, A X and A A X.
const ITERATIONS: usize = 5;
const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];
/// The root mean square of an update's values, per unit of rate: about AdamW's.
const SCALE: f32 = 0.2;
/// What is smaller counts as zero: its squares are not numbers that add up.
const SMALLEST_NORM: f64 = 1e-15;

/// The numbers of the optimizer of the blocks' matrices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Muon {
    /// Its learning rate, as a multiple of AdamW's.
    pub rate: f32,
    /// Momentum (mu).
    pub momentum: f32,
}

impl Muon {
    /// The usual momentum of 0.95.
    #[must_use]
    pub fn new(rate: f32) -> Muon {
        Muon { rate, momentum: 0.95 }
    }

    /// Whether every number is in its range.
    pub(crate) fn is_valid(&self) -> bool {
        self.rate > 0.0 && self.rate.is_finite() && (0.0..1.0).contains(&self.momentum)
    }
}

/// A tensor of matrices side by side, each (rows, columns).
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub range: Range<usize>,
    rows: usize,
    columns: usize,
    matrices: usize,
}

/// The matrices of a model's blocks, in buffer order.
pub(crate) fn blocks(shape: &GptShape) -> Vec<Block> {
    let (c, layout) = (shape.width, shape.table().1);
    let block = |range: &Range<usize>, rows, columns, matrices| Block {
        range: range.clone(),
        rows,
        columns,
        matrices,
    };
    let of = layout.blocks.iter().flat_map(|layer| {
        [
            block(&layer.qkv, c, c, 3),
            block(&layer.projection, c, c, 1),
            block(&layer.expand, c, 4 * c, 1),
            block(&layer.contract, 4 * c, c, 1),
        ]
    });
    of.collect()
}

/// The numbers of one step.
#[derive(Clone, Copy)]
pub(crate) struct MuonStep {
    pub momentum: f32,
    pub rate: f32,
    /// What weight decay leaves.
    pub keep: f32,
    /// What clipping leaves of the gradient.
    pub scale: f32,
}

/// Equal ranges of the optimizer's buffers: one tensor.
pub(crate) struct MuonValues<'a> {
    pub parameters: &'a mut [f32],
    pub momentum: &'a mut [f32],
    pub gradients: &'a [f32],
}

/// One thread's buffers.
pub(crate) struct Scratch {
    x: Vec<f32>,
    next: Vec<f32>,
    a: Vec<f32>,
    b: Vec<f32>,
}

impl Scratch {
    /// For the largest matrix of the blocks.
    pub(crate) fn new(blocks: &[Block]) -> Scratch {
        let largest = blocks.iter().map(|block| block.rows * block.columns).max().unwrap_or(0);
        let side = blocks.iter().map(|block| block.rows.min(block.columns)).max().unwrap_or(0);
        Scratch {
            x: vec![0.0; largest],
            next: vec![0.0; largest],
            a: vec![0.0; side * side],
            b: vec![0.0; side * side],
        }
    }
}

/// One step on a tensor.
pub(crate) fn update(step: MuonStep, block: &Block, values: MuonValues<'_>, scratch: &mut Scratch) {
    let Block { rows, columns, matrices, .. } = *block;
    let MuonValues { parameters, momentum, gradients } = values;
    let stride = columns * matrices;
    let change = step.rate * SCALE * (rows.max(columns) as f32).sqrt();
    for matrix in 0..matrices {
        let places = |row: usize| row * stride + matrix * columns..row * stride + (matrix + 1) * columns;
        let u = &mut scratch.x[..rows * columns];
        for (row, u) in u.chunks_exact_mut(columns).enumerate() {
            let (momentum, gradients) = (&mut momentum[places(row)], &gradients[places(row)]);
            for ((u, m), g) in u.iter_mut().zip(momentum).zip(gradients) {
                let g = g * step.scale;
                *m = step.momentum * *m + g;
                *u = g + step.momentum * *m;
            }
        }
        orthogonalise(scratch, rows, columns);
        for (row, o) in scratch.x[..rows * columns].chunks_exact(columns).enumerate() {
            for (parameter, o) in parameters[places(row)].iter_mut().zip(o) {
                *parameter = step.keep * *parameter - change * o;
            }
        }
    }
}

/// `scratch.x` (rows, columns) <- NS5 of it.
fn orthogonalise(scratch: &mut Scratch, rows: usize, columns: usize) {
    let (n, m) = (rows.min(columns), rows.max(columns));
    let tall = rows > columns;
    let Scratch { x, next, a, b } = scratch;
    if tall {
        transpose(&x[..rows * columns], rows, columns, columns, next, rows);
        std::mem::swap(x, next);
    }
    let norm = sum_of_squares(&x[..n * m]).sqrt();
    if norm < SMALLEST_NORM {
        return x[..n * m].fill(0.0);
    }
    let scale = (1.0 / norm) as f32;
    x[..n * m].iter_mut().for_each(|value| *value *= scale);
    for _ in 0..ITERATIONS {
        let [first, second, third] = COEFFICIENTS;
        let (a, b) = (&mut a[..n * n], &mut b[..n * n]);
        let view = Matrix::new(&x[..n * m], n, m, m);
        // A transposed copy costs less than the matrix library's own packing of a transposed view.
        transpose(&x[..n * m], n, m, m, next, n);
        multiply(a, n, Write::Replace, 1.0, view, Matrix::new(&next[..n * m], m, n, n));
        let square = Matrix::new(a, n, n, n);
        multiply(b, n, Write::Replace, third, square, square);
        b.iter_mut().zip(&*a).for_each(|(b, a)| *b += second * a);
        b.iter_mut().step_by(n + 1).for_each(|diagonal| *diagonal += first);
        multiply(&mut next[..n * m], m, Write::Replace, 1.0, Matrix::new(b, n, n, n), view);
        std::mem::swap(x, next);
    }
    if tall {
        transpose(&x[..n * m], n, m, m, next, n);
        std::mem::swap(x, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An orthogonal matrix by Gram-Schmidt on numbers of a linear congruential generator; rows are its vectors.
    fn orthogonal(n: usize, mut seed: u64) -> Vec<Vec<f64>> {
        let mut rows: Vec<Vec<f64>> = Vec::new();
        while rows.len() < n {
            let mut row: Vec<f64> = (0..n)
                .map(|_| {
                    seed =
                        seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (seed >> 40) as f64 / f64::from(1 << 24) - 0.5
                })
                .collect();
            // Twice: once leaves errors of the size of the cancellation.
            for _ in 0..2 {
                for other in &rows {
                    let dot: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                    row.iter_mut().zip(other).for_each(|(a, b)| *a -= dot * b);
                }
            }
            let norm = row.iter().map(|a| a * a).sum::<f64>().sqrt();
            rows.push(row.into_iter().map(|a| a / norm).collect());
        }
        rows
    }

    /// U S V^T with singular values from 1 down to 1 / `condition`, evenly on a logarithmic scale.
    fn with_condition(
        rows: usize,
        columns: usize,
        condition: f64,
    ) -> (Vec<f32>, Vec<Vec<f64>>, Vec<Vec<f64>>) {
        let (u, v) = (orthogonal(rows, 1), orthogonal(columns, 2));
        let n = rows.min(columns);
        let s: Vec<f64> = (0..n).map(|k| condition.powf(-(k as f64) / (n - 1) as f64)).collect();
        let value = |i: usize, j: usize| (0..n).map(|k| u[k][i] * s[k] * v[k][j]).sum::<f64>() as f32;
        let x = (0..rows * columns).map(|place| value(place / columns, place % columns)).collect();
        (x, u, v)
    }

    fn ns5(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        let block = Block { range: 0..x.len(), rows, columns, matrices: 1 };
        let mut scratch = Scratch::new(&[block]);
        scratch.x.copy_from_slice(x);
        orthogonalise(&mut scratch, rows, columns);
        scratch.x
    }

    /// u^T O v
    fn between(o: &[f32], u: &[f64], v: &[f64]) -> f64 {
        let rows = o.chunks_exact(v.len()).zip(u);
        rows.map(|(row, u)| u * row.iter().zip(v).map(|(o, v)| f64::from(*o) * v).sum::<f64>()).sum()
    }

    /// The spec's check M1.
    #[test]
    fn m1_singular_values_come_near_one_and_the_scale_of_the_gradient_does_not_matter() {
        for (rows, columns) in [(48, 48), (32, 128), (128, 32)] {
            let (x, u, v) = with_condition(rows, columns, 100.0);
            let o = ns5(&x, rows, columns);
            for k in 0..rows.min(columns) {
                let value = between(&o, &u[k], &v[k]);
                assert!((0.67..=1.21).contains(&value), "{rows} x {columns}, singular value {k}: {value}");
                let across = between(&o, &u[k], &v[(k + 1) % rows.min(columns)]);
                assert!(across.abs() < 1e-4, "{rows} x {columns}, {k}: {across}");
            }
            // Powers of two scale without rounding.
            let larger: Vec<f32> = x.iter().map(|value| value * 1024.0).collect();
            assert_eq!(ns5(&larger, rows, columns), o);
            // Five steps do not lift what is a thousandth.
            let (x, u, v) = with_condition(rows, columns, 1000.0);
            let last = rows.min(columns) - 1;
            let smallest = between(&ns5(&x, rows, columns), &u[last], &v[last]);
            assert!((0.1..0.67).contains(&smallest), "{rows} x {columns}: {smallest}");
        }
    }

    /// Two matrices side by side are updated as two matrices are.
    #[test]
    fn matrices_side_by_side_are_matrices_of_their_own() {
        let (rows, columns) = (6, 4);
        let side_by_side: Vec<f32> =
            (0..rows * columns * 2).map(|i| ((i * 37 % 23) as f32 - 11.0) * 0.1).collect();
        let left = |values: &[f32]| -> Vec<f32> {
            values.chunks_exact(2 * columns).flat_map(|row| row[..columns].to_vec()).collect()
        };
        let step = MuonStep { momentum: 0.95, rate: 0.5, keep: 0.9, scale: 0.25 };
        let run = |gradients: &[f32], matrices: usize| {
            let block = Block { range: 0..gradients.len(), rows, columns, matrices };
            let mut scratch = Scratch::new(std::slice::from_ref(&block));
            let (mut parameters, mut momentum) = (vec![1.0; gradients.len()], vec![0.5; gradients.len()]);
            for _ in 0..2 {
                let values = MuonValues { parameters: &mut parameters, momentum: &mut momentum, gradients };
                update(step, &block, values, &mut scratch);
            }
            (parameters, momentum)
        };
        let (both, both_momentum) = run(&side_by_side, 2);
        let (alone, alone_momentum) = run(&left(&side_by_side), 1);
        assert_eq!((left(&both), left(&both_momentum)), (alone, alone_momentum));
    }

    /// A gradient of rank one is known through and through: u v^T becomes f(1) u v^T.
    #[test]
    fn a_step_is_the_formulas() {
        let (rows, columns) = (2, 8);
        // Unit vectors (0.6, 0.8) and eight times 8^-1/2, times 5.
        let gradients: Vec<f32> = [3.0, 4.0].iter().flat_map(|u| vec![u / 8.0_f32.sqrt(); columns]).collect();
        let block = Block { range: 0..16, rows, columns, matrices: 1 };
        let (mut parameters, mut momentum) = (vec![2.0; 16], vec![0.0; 16]);
        let step = MuonStep { momentum: 0.95, rate: 0.1, keep: 0.99, scale: 1.0 };
        let values =
            MuonValues { parameters: &mut parameters, momentum: &mut momentum, gradients: &gradients };
        update(step, &block, values, &mut Scratch::new(std::slice::from_ref(&block)));
        let [a, b, c] = [3.4445_f64, -4.7750, 2.0315];
        let f = (0..5).fold(1.0_f64, |s, _| a * s + b * s.powi(3) + c * s.powi(5));
        for (row, u) in [0.6, 0.8].into_iter().enumerate() {
            let expected = 0.99 * 2.0 - 0.1 * 0.2 * 8.0_f64.sqrt() * f * u / 8.0_f64.sqrt();
            let found = f64::from(parameters[row * columns]);
            assert!((found - expected).abs() < 1e-6, "{found}, {expected}");
        }
        assert_eq!(momentum, gradients);
    }

    #[test]
    fn no_gradient_or_next_to_none_is_no_change_but_decay() {
        let block = Block { range: 0..4, rows: 2, columns: 2, matrices: 1 };
        for gradient in [0.0, 1e-40, 1e-30, 1e-23, 1e-18] {
            let (mut parameters, mut momentum) = (vec![2.0; 4], vec![0.0; 4]);
            let step = MuonStep { momentum: 0.95, rate: 0.1, keep: 0.5, scale: 1.0 };
            let gradients = [gradient, 0.0, -gradient, gradient];
            let values =
                MuonValues { parameters: &mut parameters, momentum: &mut momentum, gradients: &gradients };
            update(step, &block, values, &mut Scratch::new(std::slice::from_ref(&block)));
            assert_eq!(parameters, [1.0; 4], "{gradient}");
        }
    }
}
