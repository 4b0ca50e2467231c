//! The sign and the statistical codec.

use super::*;

fn squares(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum()
}

/// |C(x) - x|^2 / |x|^2.
fn relative_error(codec: Codec, values: &[f32]) -> f64 {
    let decoded = decode(codec, &encode(codec, values), values.len());
    let error = squares(values.iter().zip(&decoded).map(|(x, y)| f64::from(*x) - f64::from(*y)));
    error / squares(values.iter().map(|x| f64::from(*x)))
}

#[test]
fn golden_bytes() {
    assert_eq!(encode(Codec::Sign, &[1.0, -3.0, 2.0, -2.0]), [0, 0, 0, 0x40, 0b1010]);
    assert_eq!(decode(Codec::Sign, &[0, 0, 0, 0x40, 0b1010], 4), [2.0, -2.0, 2.0, -2.0]);
    // Mean 0, sigma 2.9: nothing is beyond 1.5 sigma; the inner bins' means are -2.5 and 2.5.
    let bytes = [0, 0, 0, 0xc1, 0, 0x41, 0, 0, 0b10_10_01_01];
    assert_eq!(encode(Codec::Statistical, &[-4.0, -1.0, 1.0, 4.0]), bytes);
    assert_eq!(decode(Codec::Statistical, &bytes, 4), [-2.5, -2.5, 2.5, 2.5]);
    // One of eight lies beyond: mean 0.5, sigma 0.98.
    let values = [0.25, 0.25, 0.25, 0.25, 0.25, 0.25, -0.5, 3.0];
    let decoded = decode(Codec::Statistical, &encode(Codec::Statistical, &values), 8);
    // (6 * 0.25 - 0.5) / 7 as the nearest f16.
    let seventh = 1170.0 / 8192.0;
    assert_eq!(decoded, [seventh, seventh, seventh, seventh, seventh, seventh, seventh, 3.0]);
}

/// Of a normal distribution: 1 - 2/pi for the sign; bins of 43.319% and 6.681% of the values on each side, with
/// means (phi(0) - phi(1.5)) / 0.43319 = 0.62195 and phi(1.5) / 0.06681 = 1.93868, leave 0.16268.
#[test]
fn errors_on_a_normal_distribution_are_those_of_the_theory() {
    let values = standard_normal(1 << 20, 11);
    let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 0.003, "{found} is not {wanted}");
    near(relative_error(Codec::Sign, &values), 1.0 - std::f64::consts::FRAC_2_PI);
    near(relative_error(Codec::Statistical, &values), 0.16268);
}

#[test]
fn what_no_encoder_writes_is_refused() {
    let sign = encode(Codec::Sign, &[1.0; 259]);
    for scale in [f32::NAN, f32::INFINITY, -1.0, -0.0] {
        let mut bytes = sign.clone();
        bytes[36..40].copy_from_slice(&scale.to_le_bytes());
        assert_eq!(Codec::Sign.check(&bytes, 259), Err(CodecError::Scale { block: 1 }));
    }
    let mut bytes = sign;
    bytes[40] |= 8;
    assert_eq!(Codec::Sign.check(&bytes, 259), Err(CodecError::Padding));
    let statistical = encode(Codec::Statistical, &vec![1.0; 4099]);
    let mut bytes = statistical.clone();
    bytes[1033] = 0x7c;
    assert_eq!(Codec::Statistical.check(&bytes, 4099), Err(CodecError::Scale { block: 1 }), "infinite");
    let mut bytes = statistical;
    *bytes.last_mut().unwrap() |= 0xc0;
    assert_eq!(Codec::Statistical.check(&bytes, 4099), Err(CodecError::Padding));
}

#[test]
fn what_f16_cannot_hold_saturates() {
    let decoded = decode(Codec::Statistical, &encode(Codec::Statistical, &[1e9, -1e9]), 2);
    assert_eq!(decoded, [65_504.0, -65_504.0]);
}

proptest! {
    /// Contract: contractions. (The statistical one up to f16's rounding.)
    #[test]
    fn both_are_contractions(values in prop::collection::vec(-100.0f32..100.0, 1..9000)) {
        prop_assume!(values.iter().any(|value| value.abs() > 1e-3));
        prop_assert!(relative_error(Codec::Sign, &values) <= 1.0 + 1e-6);
        prop_assert!(relative_error(Codec::Statistical, &values) <= 1.0 + 1e-3);
    }
}
