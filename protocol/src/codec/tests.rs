use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;

const CODECS: [Codec; 2] = [Codec::F32, Codec::E3M0];

fn encode(codec: Codec, values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec.encode(values, &mut bytes).unwrap();
    bytes
}

fn decode(codec: Codec, bytes: &[u8], values: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; values];
    codec.decode_into(bytes, &mut out).unwrap();
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn standard_normal(count: usize, seed: u8) -> Vec<f32> {
    let mut rng = ChaCha8Rng::from_seed([seed; 32]);
    let mut uniform = move || (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0;
    let mut normal = || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    (0..count).map(|_| normal() as f32).collect()
}

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
fn golden_bytes_f32() {
    assert_eq!(encode(Codec::F32, &[1.0, -2.5]), [0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0]);
}

#[test]
fn lengths_are_those_of_the_layout() {
    for (values, f32, e3m0) in
        [(0, 0, 0), (1, 4, 5), (2, 8, 5), (255, 1020, 132), (256, 1024, 132), (257, 1028, 137)]
    {
        assert_eq!(Codec::F32.encoded_len(values), f32);
        assert_eq!(Codec::E3M0.encoded_len(values), e3m0);
        assert_eq!(encode(Codec::E3M0, &vec![1.0; values]).len() as u64, e3m0);
    }
    // 4.125 bits per value; no overflow at any length.
    assert_eq!(Codec::E3M0.encoded_len(1 << 40), (1 << 40) / 256 * 132);
    assert!(Codec::E3M0.encoded_len(usize::MAX) > 0);
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
fn what_is_not_finite_is_never_encoded_and_the_index_is_named() {
    for codec in CODECS {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0xffff_ffff)] {
            let mut values = vec![1.0; 700];
            values[517] = bad;
            let mut out = vec![9];
            assert_eq!(codec.encode(&values, &mut out), Err(CodecError::ValueNotFinite { index: 517 }));
            assert_eq!(out, [9]);
        }
    }
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

#[test]
fn decode_add_multiplies_then_adds() {
    let values = standard_normal(1000, 3);
    for codec in CODECS {
        let bytes = encode(codec, &values);
        let decoded = decode(codec, &bytes, 1000);
        let mut sum: Vec<f32> = standard_normal(1000, 4);
        let expected: Vec<f32> = sum.iter().zip(&decoded).map(|(sum, value)| sum + 0.3 * value).collect();
        codec.decode_add(&bytes, 0.3, &mut sum).unwrap();
        assert_eq!(bits(&sum), bits(&expected));
    }
}

fn finite() -> impl Strategy<Value = f32> {
    prop_oneof![
        prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO,
        -1.0f32..1.0,
        -1e-3f32..1e-3
    ]
}

proptest! {
    #[test]
    fn codecs_are_idempotent_and_errors_are_bounded(values in prop::collection::vec(finite(), 0..700)) {
        for codec in CODECS {
            let bytes = encode(codec, &values);
            prop_assert_eq!(bytes.len() as u64, codec.encoded_len(values.len()));
            let once = decode(codec, &bytes, values.len());
            let again = encode(codec, &once);
            prop_assert_eq!(&again, &bytes);
            prop_assert_eq!(bits(&decode(codec, &again, values.len())), bits(&once));
        }
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
    fn hostile_bytes_never_panic_and_never_decode_to_what_is_not_finite(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        values in 0usize..700,
    ) {
        for codec in CODECS {
            for values in [values, bytes.len() / 4, bytes.len() * 2] {
                let mut out = vec![0.0; values];
                if codec.decode_into(&bytes, &mut out).is_ok() {
                    prop_assert!(out.iter().all(|value| value.is_finite()));
                }
                let _ = codec.decode_add(&bytes, 0.5, &mut out);
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

/// `cargo test -p driftless-protocol codec_speed -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn codec_speed() {
    let values = standard_normal(1 << 22, 5);
    for codec in CODECS {
        let mut bytes = Vec::new();
        let mut out = vec![0.0; values.len()];
        let rate = |what: &str, work: &mut dyn FnMut()| {
            work();
            let start = std::time::Instant::now();
            (0..5).for_each(|_| work());
            let rate = 5.0 * 4.0 * values.len() as f64 / start.elapsed().as_secs_f64() / 1e9;
            println!("{codec:?} {what}: {rate:.2} GB/s of f32");
        };
        rate("encode", &mut || {
            bytes.clear();
            codec.encode(&values, &mut bytes).unwrap();
        });
        let bytes = encode(codec, &values);
        rate("decode_into", &mut || codec.decode_into(&bytes, &mut out).unwrap());
        let mut sum = vec![0.0; values.len()];
        rate("decode_add", &mut || codec.decode_add(&bytes, 0.25, &mut sum).unwrap());
        rate("norm", &mut || {
            crate::method::norm::decoded_norm(codec, &bytes, values.len()).unwrap();
        });
    }
}
