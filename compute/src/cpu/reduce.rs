//! Passes over whole buffers: bias addition, column sums, the sum of the shards' gradients.

use super::math::{LANES, fused};

vectorised! {
    /// `x` (R, N) += `bias` (N).
    pub(crate) fn add_bias(x: &mut [f32], bias: &[f32]) {
        for row in x.chunks_exact_mut(bias.len()) {
            for (value, bias) in row.iter_mut().zip(bias) {
                *value += bias;
            }
        }
    }
}

vectorised! {
    /// `sums` (N) += the column sums of `x` (R, N).
    pub(crate) fn add_column_sums(x: &[f32], sums: &mut [f32]) {
        for row in x.chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}

vectorised! {
    /// `into` += `from`.
    pub(crate) fn add(into: &mut [f32], from: &[f32]) {
        for (into, from) in into.iter_mut().zip(from) {
            *into += from;
        }
    }
}

vectorised! {
    /// The sum of squares: sixteen f32 lanes over each 1024 values, f64 beyond, in a fixed order.
    pub(crate) fn sum_of_squares(values: &[f32]) -> f64 {
        let mut total = 0.0_f64;
        for part in values.chunks(1024) {
            let (chunks, rest) = part.as_chunks::<LANES>();
            let mut lanes = [0.0_f32; LANES];
            for chunk in chunks {
                for i in 0..LANES {
                    lanes[i] = fused::<FMA>(chunk[i], chunk[i], lanes[i]);
                }
            }
            total += f64::from(super::math::sum_lanes(lanes));
            total += rest.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>();
        }
        total
    }
}
