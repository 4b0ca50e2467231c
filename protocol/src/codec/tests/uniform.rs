use super::*;

fn int(bits: u8) -> Codec {
    Codec::Uniform { bits }
}

/// Whole numbers of steps are exact whatever the noise.
#[test]
fn golden_bytes_of_whole_numbers() {
    let one = [0, 0, 0x80, 0x3f];
    assert_eq!(encode(int(4), &[7.0, -3.0, 1.0, 0.0, -7.0]), [&one[..], &[0xd7, 0x01, 0x09]].concat());
    assert_eq!(encode(int(8), &[127.0, -5.0, -127.0]), [&one[..], &[127, 0xfb, 0x81]].concat());
    assert_eq!(encode(int(2), &[1.0, -1.0, 0.0, 1.0]), [&one[..], &[0x4d]].concat());
    assert_eq!(encode(int(3), &[3.0, -3.0, 2.0]), [&one[..], &[0b10_101_011, 0]].concat());
    assert_eq!(decode(int(3), &[0, 0, 0x80, 0x3f, 0b10_101_011, 0], 3), [3.0, -3.0, 2.0]);
}

/// Contract: over the noise each value's mean is the value, and each lies on the grid beside it.
#[test]
fn stochastic_rounding_is_unbiased() {
    let values = [1.0f32, 0.3, -0.3, 0.011, -0.999, 0.0];
    let rounds = 20_000;
    for bits in [2u8, 4, 8] {
        let step = 1.0 / f64::from((1 << (bits - 1)) - 1);
        let mut sums = [0.0f64; 6];
        for key in 0..rounds {
            let mut bytes = Vec::new();
            int(bits).encode(&values, key, &mut bytes).unwrap();
            for ((sum, value), decoded) in sums.iter_mut().zip(values).zip(decode(int(bits), &bytes, 6)) {
                assert!((f64::from(decoded) - f64::from(value)).abs() < step * 1.001);
                *sum += f64::from(decoded);
            }
        }
        for (sum, value) in sums.iter().zip(values) {
            // Five standard errors of a variable on two neighbours of the grid.
            let margin = 5.0 * 0.5 * step / (rounds as f64).sqrt();
            let mean = sum / rounds as f64;
            assert!((mean - f64::from(value)).abs() < margin + 1e-7, "int{bits}: {mean} is not {value}");
        }
    }
}

#[test]
fn another_key_rounds_otherwise_and_the_same_one_the_same() {
    let values = standard_normal(1000, 9);
    let with = |key| {
        let mut bytes = Vec::new();
        int(4).encode(&values, key, &mut bytes).unwrap();
        bytes
    };
    assert_eq!(with(5), with(5));
    assert_ne!(with(5), with(6));
}

#[test]
fn extremes_saturate_and_tiny_blocks_become_zeros() {
    let tiny = [f32::MIN_POSITIVE * 0.5, -f32::from_bits(1)];
    assert_eq!(encode(int(8), &tiny), [0; 6]);
    let decoded = decode(int(8), &encode(int(8), &[f32::MAX, f32::MIN]), 2);
    let limit = f32::MAX / 128.0 * 127.0;
    assert_eq!(decoded, [limit, -limit]);
}

#[test]
fn steps_and_padding_that_no_encoder_writes_are_refused() {
    let good = encode(int(3), &[1.0; 301]);
    let check = |bytes: &[u8]| int(3).check(bytes, 301);
    assert_eq!(check(&good), Ok(()));
    for step in [f32::NAN, -1.0, -0.0, f32::from_bits(1), f32::MAX] {
        let mut bytes = good.clone();
        bytes[100..104].copy_from_slice(&step.to_le_bytes());
        assert_eq!(check(&bytes), Err(CodecError::Scale { block: 1 }), "{step}");
    }
    // 45 values of 3 bits leave one bit of the last byte.
    let mut bytes = good;
    *bytes.last_mut().unwrap() |= 0x80;
    assert_eq!(check(&bytes), Err(CodecError::Padding));
}
