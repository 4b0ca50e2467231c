//! Elementary functions as polynomials, so that no libm decides a bit and loops over them vectorise.
//!
//! All keep NaN, so that a broken value reaches the finite checks of the step.

/// Lanes of the widest vector: reductions keep this many partial sums whatever the CPU.
pub(crate) const LANES: usize = 16;

/// a b + c, with one rounding if `FMA`, with two otherwise.
#[inline(always)]
pub(crate) fn fused<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// e^x within 2 ulp for x in \[-86, 88\]; x is clamped to that range.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    const TO_INTEGER: f32 = 12_582_912.0; // 1.5 x 2^23: adding it rounds to an integer in the low bits
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -86.0 { -86.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = fused::<FMA>(x, std::f32::consts::LOG2_E, TO_INTEGER);
    let n = shifted - TO_INTEGER;
    let r = fused::<FMA>(n, -LN2_HIGH, x);
    let r = fused::<FMA>(n, -LN2_LOW, r);
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.0e-1] {
        p = fused::<FMA>(p, r, coefficient);
    }
    let y = fused::<FMA>(p * r, r, r) + 1.0;
    // Adding n to the exponent field multiplies by 2^n; y is in [0.7, 1.5], so nothing under- or overflows.
    f32::from_bits(y.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// Natural logarithm within 2 ulp (5e-8 absolute near 1) for positive normal x.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    // x = m 2^e with m in [sqrt(1/2), sqrt(2)).
    let bits = x.to_bits().wrapping_sub(0x3f35_04f3);
    let e = ((bits as i32) >> 23) as f32;
    let m = f32::from_bits((bits & 0x007f_ffff).wrapping_add(0x3f35_04f3));
    let f = m - 1.0;
    let z = f * f;
    let mut p = 7.037_683_6e-2_f32;
    for coefficient in [
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_7e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        1.0 / 3.0,
    ] {
        p = p * f + coefficient;
    }
    let y = f * z * p - 0.5 * z - e * 2.121_944_4e-4;
    let y = f + y + e * (355.0 / 512.0);
    if x.is_finite() { y } else { x }
}

/// cos(pi t) within 1e-13 for t in \[0, 1\].
pub(crate) fn cos_pi(t: f64) -> f64 {
    // cos(pi t) = -sin(pi (t - 1/2)), and the sine's series converges fast within a quarter turn.
    let x = std::f64::consts::PI * (t - 0.5);
    let square = x * x;
    let mut series = 0.0;
    for k in (1..=10).rev() {
        let divisor = f64::from(2 * k * (2 * k + 1));
        series = (1.0 + series) * (-square / divisor);
    }
    -x * (1.0 + series)
}

/// base^exponent by repeated squaring: the same bits on every machine.
pub(crate) fn power(base: f64, mut exponent: u64) -> f64 {
    let (mut result, mut square) = (1.0, base);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result *= square;
        }
        square *= square;
        exponent >>= 1;
    }
    result
}

/// The sum of sixteen lanes as a fixed tree.
#[inline(always)]
pub(crate) fn sum_lanes(lanes: [f32; LANES]) -> f32 {
    let mut lanes = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The sum of a slice: sixteen lanes, then a fixed tree, then the remainder in order.
#[inline(always)]
pub(crate) fn sum(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += chunk[i];
        }
    }
    rest.iter().fold(sum_lanes(lanes), |total, value| total + value)
}

/// The dot product of two slices of one length, in the order of [`sum`].
#[inline(always)]
pub(crate) fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] = fused::<FMA>(a[i], b[i], lanes[i]);
        }
    }
    a_rest.iter().zip(b_rest).fold(sum_lanes(lanes), |total, (a, b)| fused::<FMA>(*a, *b, total))
}

/// The largest value of a slice, ignoring NaN; negative infinity for an empty one.
#[inline(always)]
pub(crate) fn max(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], chunk[i]);
        }
    }
    lanes.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest relative error of `ours` against `exact` over `count` points of \[low, high\].
    fn worst(low: f64, high: f64, ours: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        let count = 400_000;
        (0..=count)
            .map(|i| {
                let x = (low + (high - low) * f64::from(i) / f64::from(count)) as f32;
                let reference = exact(f64::from(x));
                (f64::from(ours(x)) - reference).abs() / reference.abs()
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn exp_is_within_two_ulp() {
        assert!(worst(-86.0, 88.0, exp::<false>, f64::exp) < 2.4e-7);
        assert!(worst(-86.0, 88.0, exp::<true>, f64::exp) < 2.4e-7);
        assert_eq!(exp::<false>(0.0), 1.0);
        assert!(exp::<false>(f32::NEG_INFINITY) < 1e-37);
        assert!(exp::<false>(f32::INFINITY) > 1e38);
        assert!(exp::<false>(f32::NAN).is_nan());
        assert!(exp::<true>(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoid_is_within_four_ulp() {
        let exact = |x: f64| 1.0 / (1.0 + (-x).exp());
        assert!(worst(-30.0, 30.0, sigmoid::<true>, exact) < 4.8e-7);
        assert!(worst(-30.0, 30.0, sigmoid::<false>, exact) < 4.8e-7);
    }

    #[test]
    fn logarithm_is_within_two_ulp_or_absolutely_small() {
        for (low, high) in [(1e-30, 1e-28), (1e-3, 0.9), (1.1, 10.0), (1.0, 1e6), (1e30, 1e38)] {
            let low = if low == 1.0 { 1.2 } else { low };
            assert!(worst(low, high, ln, f64::ln) < 2.4e-7, "{low}..{high}");
        }
        for i in 0..100_000 {
            let x = 0.9 + 0.2 * i as f32 / 100_000.0;
            assert!((f64::from(ln(x)) - f64::from(x).ln()).abs() < 5e-8);
        }
        assert_eq!(ln(1.0), 0.0);
        assert!(ln(f32::NAN).is_nan());
        assert_eq!(ln(f32::INFINITY), f32::INFINITY);
    }

    #[test]
    fn cosine_of_a_half_turn() {
        for i in 0..=1000 {
            let t = f64::from(i) / 1000.0;
            assert!((cos_pi(t) - (std::f64::consts::PI * t).cos()).abs() < 1e-13);
        }
    }

    #[test]
    fn powers_and_reductions() {
        assert!((power(0.99, 1000) - 0.99_f64.powi(1000)).abs() < 1e-16);
        assert_eq!(power(0.9, 0), 1.0);
        let values: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(sum(&values), 666.0);
        assert_eq!(dot::<true>(&values, &values), 16_206.0);
        assert_eq!(max(&values), 36.0);
        assert_eq!(max(&[]), f32::NEG_INFINITY);
    }
}
