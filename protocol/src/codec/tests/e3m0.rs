use super::*;

#[test]
fn golden_bytes_e3m0() {
    // Scale 2; levels: 2 = L7, -1 = L6, .5 = L5, .25 = L4, .125 = L3, -.0625 = L2, .03125 = L1,
    // .0221 (below 2^-6.5 * 2 = .022097) = L0.
    let values = [2.0, -1.0, 0.5, 0.25, 0.125, -0.0625, 0.03125, 0.022, -0.022];
    let bytes = encode(Codec::E3M0, &values);
    assert_eq!(bytes, [0, 0, 0, 0x40, 0xe7, 0x45, 0xa3, 0x01, 0x08]);
    let decoded = decode(Codec::E3M0, &bytes, 9);
    assert_eq!(decoded, [2.0, -1.0, 0.5, 0.25, 0.125, -0.0625, 0.03125, 0.0, 0.0]);
    // Two blocks, the second short: 132 bytes, then scale 0.75 and one nibble.
    let mut values = vec![1.0; 257];
    values[256] = -0.75;
    let bytes = encode(Codec::E3M0, &values);
    assert_eq!(bytes.len(), 137);
    assert_eq!(bytes[..6], [0, 0, 0x80, 0x3f, 0x77, 0x77]);
    assert_eq!(bytes[132..], [0, 0, 0x40, 0x3f, 0x0f]);
    // 10,001 values over many magnitudes; an independent implementation with a logarithm agrees.
    let values: Vec<f32> = (0..10_001u32).map(|i| i.wrapping_mul(2_654_435_761) as i32 as f32).collect();
    let values: Vec<f32> = values.iter().map(|value| value * value.abs() * 2.0f32.powi(-70)).collect();
    let hash = blake3::hash(&encode(Codec::E3M0, &values)).to_hex();
    assert_eq!(hash[..16], *"972d330f0f283286");
}

#[test]
fn e3m0_rounds_in_the_logarithm_and_ties_go_up() {
    let root = std::f32::consts::FRAC_1_SQRT_2;
    for level in 1..=7 {
        let tie = root * 2.0f32.powi(level - 7);
        let just_below = f32::from_bits(tie.to_bits() - 1);
        let decoded = decode(Codec::E3M0, &encode(Codec::E3M0, &[1.0, tie, just_below]), 3);
        let below = if level == 1 { 0.0 } else { 2.0f32.powi(level - 8) };
        assert_eq!(decoded, [1.0, 2.0f32.powi(level - 7), below], "level {level}");
    }
}

#[test]
fn e3m0_on_a_normal_distribution_is_as_good_as_the_spec_says() {
    let values = standard_normal(1 << 20, 7);
    let decoded = decode(Codec::E3M0, &encode(Codec::E3M0, &values), values.len());
    let [mut error, mut square, mut product, mut decoded_square, mut zeros] = [0.0f64; 5];
    for (x, y) in values.iter().map(|x| f64::from(*x)).zip(decoded.iter().map(|y| f64::from(*y))) {
        error += (y - x) * (y - x);
        square += x * x;
        product += x * y;
        decoded_square += y * y;
        zeros += f64::from(u8::from(y == 0.0));
    }
    let near = |found: f64, wanted: f64| assert!((found - wanted).abs() <= 0.003, "{found} is not {wanted}");
    near((error / square).sqrt(), 0.2035);
    near(product / (square * decoded_square).sqrt(), 0.981);
    near(product / square, 1.024);
    near(zeros / values.len() as f64, 0.027);
}

#[test]
fn tiny_blocks_become_zeros_and_extremes_survive() {
    let smallest = 2.0f32.powi(-119);
    let tiny = [smallest * 0.99, -f32::from_bits(1), -0.0];
    assert_eq!(encode(Codec::E3M0, &tiny), [0; 6]);
    let kept = [smallest, smallest / 64.0, -smallest / 2.0];
    assert_eq!(decode(Codec::E3M0, &encode(Codec::E3M0, &kept), 3), kept);
    let large = [f32::MAX, f32::MIN, f32::MAX / 4.0];
    assert_eq!(decode(Codec::E3M0, &encode(Codec::E3M0, &large), 3), large);
}

#[test]
fn damaged_payloads_are_typed_errors_and_leave_the_output_alone() {
    let refuse = |bytes: &[u8], values: usize| {
        let mut out = vec![3.0; values];
        let error = Codec::E3M0.decode_into(bytes, &mut out).unwrap_err();
        assert_eq!(Codec::E3M0.decode_add(bytes, 1.0, &mut out), Err(error.clone()));
        assert_eq!(out, vec![3.0; values]);
        error
    };
    let good = encode(Codec::E3M0, &vec![1.0; 301]);
    assert_eq!(refuse(&good[1..], 301), CodecError::Length { expected: 159, found: 158 });
    assert_eq!(refuse(&good, 300), CodecError::Length { expected: 158, found: 159 });
    for scale in [f32::NAN, f32::INFINITY, -1.0, -0.0, 2.0f32.powi(-120), f32::from_bits(1)] {
        let mut bytes = good.clone();
        bytes[132..136].copy_from_slice(&scale.to_le_bytes());
        assert_eq!(refuse(&bytes, 301), CodecError::Scale { block: 1 }, "{scale}");
    }
    let mut bytes = good;
    *bytes.last_mut().unwrap() |= 0x10;
    assert_eq!(refuse(&bytes, 301), CodecError::Padding);
    let mut out = [0.0; 2];
    let bytes: Vec<u8> = [1.0, f32::NAN].iter().flat_map(|value: &f32| value.to_le_bytes()).collect();
    assert_eq!(Codec::F32.decode_into(&bytes, &mut out), Err(CodecError::PayloadNotFinite { index: 1 }));
}

proptest! {
    #[test]
    fn errors_of_e3m0_are_bounded(values in prop::collection::vec(finite(), 0..700)) {
        let once = decode(Codec::E3M0, &encode(Codec::E3M0, &values), values.len());
        for (block, decoded) in values.chunks(BLOCK).zip(once.chunks(BLOCK)) {
            let scale = f64::from(block.iter().fold(0.0f32, |most, value| most.max(value.abs())));
            for (x, y) in block.iter().map(|x| f64::from(*x)).zip(decoded.iter().map(|y| f64::from(*y))) {
                let kept = y == 0.0 && (x.abs() < scale * 0.0111 || scale < 1.6e-36);
                prop_assert!(kept || (0.707..1.415).contains(&(y / x)), "{} became {}", x, y);
            }
        }
    }

    #[test]
    fn hostile_e3m0_of_the_right_length_never_panics(
        bytes in prop::collection::vec(any::<u8>(), 132 + 45),
        scales in prop::array::uniform2(any::<f32>()),
    ) {
        let mut bytes = bytes;
        bytes[..4].copy_from_slice(&scales[0].to_le_bytes());
        bytes[132..136].copy_from_slice(&scales[1].to_le_bytes());
        let mut out = vec![0.0; 256 + 82];
        match Codec::E3M0.decode_into(&bytes, &mut out) {
            Ok(()) => prop_assert!(out.iter().all(|value| value.is_finite())),
            Err(error) => {
                let scale = matches!(error, CodecError::Scale { .. });
                prop_assert!(scale, "{}", error);
            }
        }
    }
}
