//! GELU in its tanh form, fused with the bias before it.
//!
//! 0.5 x (1 + tanh u) with u = sqrt(2/pi) (x + 0.044715 x^3) is x sigmoid(2u): one exponential and one division.

use super::math::{fused, sigmoid};

const TWO_ROOT_TWO_OVER_PI: f32 = 1.595_769;
const CUBIC: f32 = 0.044_715;

/// sigmoid(2u) of the formula above.
#[inline(always)]
fn gate<const FMA: bool>(x: f32) -> f32 {
    let inner = fused::<FMA>(CUBIC * x * x, x, x);
    sigmoid::<FMA>(TWO_ROOT_TWO_OVER_PI * inner)
}

vectorised! {
    /// `x` (R, N) += `bias` (N), and `out` (R, N) = gelu(x).
    pub(crate) fn bias_gelu(x: &mut [f32], bias: &[f32], out: &mut [f32]) {
        let n = bias.len();
        for (x, out) in x.chunks_exact_mut(n).zip(out.chunks_exact_mut(n)) {
            for i in 0..n {
                let value = x[i] + bias[i];
                x[i] = value;
                out[i] = value * gate::<FMA>(value);
            }
        }
    }
}

vectorised! {
    /// Recomputes `out` = gelu(`x`) and turns `gradient` of `out` into that of `x` (all (R, N)), adding its column sums
    /// to `bias_gradient` (N).
    pub(crate) fn bias_gelu_backward(x: &[f32], out: &mut [f32], gradient: &mut [f32], bias_gradient: &mut [f32]) {
        let n = bias_gradient.len();
        let rows = x.chunks_exact(n).zip(out.chunks_exact_mut(n)).zip(gradient.chunks_exact_mut(n));
        for ((x, out), gradient) in rows {
            for i in 0..n {
                let value = x[i];
                let gate = gate::<FMA>(value);
                out[i] = value * gate;
                // d(2u)/dx
                let inner = TWO_ROOT_TWO_OVER_PI * fused::<FMA>(3.0 * CUBIC * value, value, 1.0);
                let slope = fused::<FMA>(value * inner * gate, 1.0 - gate, gate);
                let result = gradient[i] * slope;
                gradient[i] = result;
                bias_gradient[i] += result;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(x: f64) -> f64 {
        let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
        0.5 * x * (1.0 + u.tanh())
    }

    #[test]
    fn matches_the_tanh_form_and_its_slope() {
        let values: Vec<f32> = (-4000..4000).map(|i| i as f32 / 500.0).collect();
        let mut x = values.clone();
        let mut out = vec![0.0; x.len()];
        bias_gelu(&mut x, &vec![0.0; values.len()], &mut out);
        let mut slope = vec![1.0; x.len()];
        let mut again = vec![0.0; x.len()];
        bias_gelu_backward(&x, &mut again, &mut slope, &mut vec![0.0; values.len()]);
        assert_eq!(out, again);
        for (i, &value) in values.iter().enumerate() {
            let value = f64::from(value);
            assert!((f64::from(out[i]) - reference(value)).abs() < 1e-6, "gelu({value})");
            let exact = (reference(value + 1e-5) - reference(value - 1e-5)) / 2e-5;
            assert!((f64::from(slope[i]) - exact).abs() < 2e-6, "slope at {value}");
        }
    }
}
