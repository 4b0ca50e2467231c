use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;

mod e3m0;
mod names;
mod sparse;
mod two_bits;
mod uniform;

/// One of each kind, and those with other paths through the code.
const CODECS: [&str; 14] = [
    "f32",
    "e3m0",
    "int2",
    "int3",
    "int5",
    "int8",
    "sign",
    "stat2",
    "top-64/4096",
    "top-64/4096-stat2",
    "top-3/100",
    "top-1/2-whole",
    "top-1/2-whole-stat2",
    "rand-7/64",
];

fn all() -> impl Iterator<Item = Codec> {
    CODECS.iter().map(|name| name.parse().unwrap())
}

fn encode(codec: Codec, values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec.encode(values, 1, &mut bytes).unwrap();
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
fn golden_bytes_f32() {
    assert_eq!(encode(Codec::F32, &[1.0, -2.5]), [0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0]);
}

/// Both signs and many magnitudes.
fn many_values() -> Vec<f32> {
    let values = (0..10_001u32).map(|i| i.wrapping_mul(2_654_435_761) as i32 as f32 * 2.0f32.powi(-31));
    values.map(|value| value * value.abs()).collect()
}

/// Hashes of what an independent implementation in another language makes of them, with key 1.
#[test]
fn golden_hashes() {
    for (name, length, hash) in [
        ("int2", 2_661, "6e40574f04095a60"),
        ("int3", 3_911, "bf62a7613cd54413"),
        ("int5", 6_411, "47407aec63a3011c"),
        ("int8", 10_161, "33cde8cd02a89bcb"),
        ("sign", 1_411, "3b9bf31330a995b9"),
        ("stat2", 2_525, "51decf8d3aaa883a"),
        ("top-64/4096", 864, "908324951e76508e"),
        ("top-64/4096-stat2", 300, "0d1aa07f4c091f3f"),
        ("top-3/100", 1_505, "9317211a454608a0"),
        ("top-1/2-whole", 40_008, "5870b6cb0cce0aeb"),
        ("top-1/2-whole-stat2", 21_271, "ab856420633de0b9"),
        ("rand-7/64", 4_384, "c71eca7efe83d00e"),
    ] {
        let bytes = encode(name.parse().unwrap(), &many_values());
        assert_eq!(bytes.len(), length, "{name}");
        assert_eq!(blake3::hash(&bytes).to_hex()[..16], *hash, "{name}");
    }
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
fn what_is_not_finite_is_never_encoded_and_the_index_is_named() {
    for codec in all() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0xffff_ffff)] {
            let mut values = vec![1.0; 700];
            values[517] = bad;
            let mut out = vec![9];
            assert_eq!(codec.encode(&values, 1, &mut out), Err(CodecError::ValueNotFinite { index: 517 }));
            assert_eq!(out, [9]);
        }
    }
}

#[test]
fn decode_add_multiplies_then_adds() {
    let values = standard_normal(1000, 3);
    for codec in all() {
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
    fn lengths_hold_and_what_was_decoded_is_encoded_to_the_same(
        values in prop::collection::vec(finite(), 0..700),
    ) {
        for codec in all() {
            let bytes = encode(codec, &values);
            prop_assert_eq!(bytes.len() as u64, codec.encoded_len(values.len()));
            let once = decode(codec, &bytes, values.len());
            if matches!(codec, Codec::F32 | Codec::E3M0 | Codec::Sign) {
                let again = encode(codec, &once);
                prop_assert_eq!(&again, &bytes);
                prop_assert_eq!(bits(&decode(codec, &again, values.len())), bits(&once));
            }
        }
    }

    #[test]
    fn hostile_bytes_of_the_right_length_never_panic(
        seed in any::<[u8; 32]>(),
        values in 0usize..700,
    ) {
        for codec in all() {
            let mut bytes = vec![0; codec.encoded_len(values) as usize];
            ChaCha8Rng::from_seed(seed).fill_bytes(&mut bytes);
            let mut out = vec![0.0; values];
            if codec.decode_into(&bytes, &mut out).is_ok() {
                prop_assert!(out.iter().all(|value| value.is_finite()), "{}", codec);
            }
        }
    }

    #[test]
    fn hostile_bytes_never_panic_and_never_decode_to_what_is_not_finite(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        values in 0usize..700,
    ) {
        for codec in all() {
            for values in [values, bytes.len() / 4, bytes.len() * 2] {
                let mut out = vec![0.0; values];
                if codec.decode_into(&bytes, &mut out).is_ok() {
                    prop_assert!(out.iter().all(|value| value.is_finite()));
                }
                let _ = codec.decode_add(&bytes, 0.5, &mut out);
            }
        }
    }
}

/// `cargo test -p driftless-protocol codec_speed -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn codec_speed() {
    let values = standard_normal(1 << 22, 5);
    for codec in all() {
        let mut bytes = Vec::new();
        let mut out = vec![0.0; values.len()];
        let rate = |what: &str, work: &mut dyn FnMut()| {
            work();
            let start = std::time::Instant::now();
            (0..5).for_each(|_| work());
            let rate = 5.0 * 4.0 * values.len() as f64 / start.elapsed().as_secs_f64() / 1e9;
            println!("{codec} {what}: {rate:.2} GB/s of f32");
        };
        rate("encode", &mut || {
            bytes.clear();
            codec.encode(&values, 1, &mut bytes).unwrap();
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
