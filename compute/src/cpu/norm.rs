//! Layer norm, fused with the residual addition before it.

use super::math::{dot, fused, sum};

/// Added to the variance, as GPT-2 does.
const EPSILON: f32 = 1e-5;

/// Normalises one row of C values into `out` and returns (mean, 1 / standard deviation).
#[inline(always)]
fn normalise_row<const FMA: bool>(x: &[f32], gain: &[f32], bias: &[f32], out: &mut [f32]) -> (f32, f32) {
    let c = gain.len();
    let (x, bias, out) = (&x[..c], &bias[..c], &mut out[..c]);
    let mean = sum(x) / c as f32;
    for i in 0..c {
        out[i] = x[i] - mean;
    }
    let variance = dot::<FMA>(out, out) / c as f32;
    let inverse = 1.0 / (variance + EPSILON).sqrt();
    for i in 0..c {
        out[i] = fused::<FMA>(out[i] * inverse, gain[i], bias[i]);
    }
    (mean, inverse)
}

vectorised! {
    /// `out` (R, C) = norm of `x` (R, C); `mean` and `inverse` (R) are kept for the backward pass.
    pub(crate) fn norm(x: &[f32], gain: &[f32], bias: &[f32], out: &mut [f32], mean: &mut [f32], inverse: &mut [f32]) {
        let c = gain.len();
        for (row, (x, out)) in x.chunks_exact(c).zip(out.chunks_exact_mut(c)).enumerate() {
            (mean[row], inverse[row]) = normalise_row::<FMA>(x, gain, bias, out);
        }
    }
}

vectorised! {
    /// `sum_out` = `residual` + `branch` + `branch_bias`, and `out` = norm of it: one pass over (R, C).
    pub(crate) fn residual_norm(
        residual: &[f32],
        branch: &[f32],
        branch_bias: &[f32],
        sum_out: &mut [f32],
        gain: &[f32],
        bias: &[f32],
        out: &mut [f32],
        mean: &mut [f32],
        inverse: &mut [f32],
    ) {
        let c = gain.len();
        let branch_bias = &branch_bias[..c];
        let inputs = residual.chunks_exact(c).zip(branch.chunks_exact(c));
        let outputs = sum_out.chunks_exact_mut(c).zip(out.chunks_exact_mut(c));
        for (row, ((residual, branch), (sum_out, out))) in inputs.zip(outputs).enumerate() {
            for i in 0..c {
                sum_out[i] = residual[i] + (branch[i] + branch_bias[i]);
            }
            (mean[row], inverse[row]) = normalise_row::<FMA>(sum_out, gain, bias, out);
        }
    }
}

/// The gradients that a norm's backward pass adds to; each has C values.
pub(crate) struct NormGradients<'a> {
    /// Of the gain.
    pub gain: &'a mut [f32],
    /// Of the bias.
    pub bias: &'a mut [f32],
}

vectorised! {
    /// Adds the gradient of `x` to `running` (R, C), given `out_gradient` (R, C) of the norm's output.
    ///
    /// `running` is then the gradient of the residual sum, so its column sums are the gradient of the bias of the branch
    /// that was added there: they go to `branch_bias` (C; empty for the embedding, which has none).
    pub(crate) fn norm_backward(
        x: &[f32],
        mean: &[f32],
        inverse: &[f32],
        gain: &[f32],
        out_gradient: &[f32],
        running: &mut [f32],
        gradients: NormGradients<'_>,
        branch_bias: &mut [f32],
    ) {
        let c = gain.len();
        let gain_gradient = &mut gradients.gain[..c];
        let bias_gradient = &mut gradients.bias[..c];
        let rows = x.chunks_exact(c).zip(out_gradient.chunks_exact(c)).zip(running.chunks_exact_mut(c));
        for (row, ((x, out_gradient), running)) in rows.enumerate() {
            let (mean, inverse) = (mean[row], inverse[row]);
            let offset = -mean * inverse;
            let mut first = [0.0_f32; 16];
            let mut second = [0.0_f32; 16];
            for i in 0..c {
                let normalised = fused::<FMA>(x[i], inverse, offset);
                gain_gradient[i] = fused::<FMA>(out_gradient[i], normalised, gain_gradient[i]);
                bias_gradient[i] += out_gradient[i];
            }
            let (x16, x_rest) = x.as_chunks::<16>();
            let (g16, g_rest) = gain.as_chunks::<16>();
            let (o16, o_rest) = out_gradient.as_chunks::<16>();
            for ((x, gain), out_gradient) in x16.iter().zip(g16).zip(o16) {
                for i in 0..16 {
                    let weighted = out_gradient[i] * gain[i];
                    first[i] += weighted;
                    second[i] = fused::<FMA>(weighted, fused::<FMA>(x[i], inverse, offset), second[i]);
                }
            }
            let mut mean_weighted = super::math::sum_lanes(first);
            let mut mean_projected = super::math::sum_lanes(second);
            for i in 0..x_rest.len() {
                let weighted = o_rest[i] * g_rest[i];
                mean_weighted += weighted;
                mean_projected += weighted * fused::<FMA>(x_rest[i], inverse, offset);
            }
            let (mean_weighted, mean_projected) = (mean_weighted / c as f32, mean_projected / c as f32);
            for i in 0..c {
                let normalised = fused::<FMA>(x[i], inverse, offset);
                let centred = fused::<FMA>(out_gradient[i], gain[i], -mean_weighted);
                running[i] = fused::<FMA>(inverse, fused::<FMA>(-mean_projected, normalised, centred), running[i]);
            }
            for (sum, value) in branch_bias.iter_mut().zip(running.iter()) {
                *sum += value;
            }
        }
    }
}
