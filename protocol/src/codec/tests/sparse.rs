//! Top-k and rand-k.

use super::*;

fn codec(name: &str) -> Codec {
    name.parse().unwrap()
}

#[test]
fn golden_bytes_of_places_and_values() {
    let values = [0.0, 5.0, 0.0, -7.0, 1.0, 0.0, 0.0, 2.0];
    // Places 1 and 3 in 3 bits each, then 5 and -7.
    let bytes = [0b011_001, 0, 0, 0xa0, 0x40, 0, 0, 0xe0, 0xc0];
    assert_eq!(encode(codec("top-2/8"), &values), bytes);
    let kept = [0.0, 5.0, 0.0, -7.0, 0.0, 0.0, 0.0, 0.0];
    assert_eq!(decode(codec("top-2/8"), &bytes, 8), kept);
    // A quarter of all eight: places of 32 bits.
    let whole = [1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0xa0, 0x40, 0, 0, 0xe0, 0xc0];
    assert_eq!(encode(codec("top-1/4-whole"), &values), whole);
    // Of a short last chunk its share is kept, rounded up.
    assert_eq!(
        decode(codec("top-1/4"), &encode(codec("top-1/4"), &values[..5]), 5),
        [0.0, 0.0, 0.0, -7.0, 1.0]
    );
}

/// E5: 64 of each 4096 values in 2 bits are 96 + 16 + 8 bytes.
#[test]
fn e5_sparse_loco_sends_120_bytes_for_4096_values() {
    let sparse_loco = codec("top-64/4096-stat2");
    assert_eq!(sparse_loco.encoded_len(4096), 120);
    assert_eq!(sparse_loco.encoded_len(1 << 22) as f64 * 8.0 / f64::from(1 << 22), 0.234375);
    assert_eq!(sparse_loco.encoded_len(4096 + 1), 120 + 2 + 8 + 1);
    assert_eq!(codec("top-64/4096").encoded_len(4096), 96 + 256);
}

#[test]
fn of_equal_magnitudes_the_first_are_kept() {
    let values = [1.0, -2.0, 2.0, 2.0, -2.0, 1.0, 1.0, 1.0];
    let kept = decode(codec("top-3/8"), &encode(codec("top-3/8"), &values), 8);
    assert_eq!(kept, [0.0, -2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
    let zeros = encode(codec("top-2/8"), &[0.0; 8]);
    assert_eq!(zeros, [0b001_000, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn places_that_no_encoder_writes_are_refused() {
    let top = codec("top-2/8");
    let refused = |places: u8| {
        let mut out = [3.0; 8];
        let error = top.decode_into(&[places, 0, 0, 0, 0, 0, 0, 0, 0], &mut out).unwrap_err();
        assert_eq!(out, [3.0; 8]);
        error
    };
    assert_eq!(refused(0b001_001), CodecError::Places { chunk: 0 }, "twice");
    assert_eq!(refused(0b001_011), CodecError::Places { chunk: 0 }, "downwards");
    assert_eq!(refused(0b01_011_001), CodecError::Padding);
    // The last chunk has three values, one of which is kept.
    let bytes = [encode(top, &[1.0; 8]), vec![3, 0, 0, 0, 0]].concat();
    assert_eq!(top.check(&bytes, 11), Err(CodecError::Places { chunk: 1 }));
    let nan = [&[0b011_001][..], &f32::NAN.to_le_bytes(), &[0; 4]].concat();
    assert_eq!(top.check(&nan, 8), Err(CodecError::PayloadNotFinite { index: 0 }));
}

/// Contract: each place is kept as often as any other, and the values as they are.
#[test]
fn rand_k_keeps_every_place_as_often() {
    let random = codec("rand-3/16");
    let values: Vec<f32> = (1..=40).map(|value| value as f32).collect();
    let rounds = 20_000u64;
    let mut kept = [0u32; 40];
    for key in 0..rounds {
        let mut bytes = Vec::new();
        random.encode(&values, key, &mut bytes).unwrap();
        let decoded = decode(random, &bytes, 40);
        for (place, (value, decoded)) in values.iter().zip(&decoded).enumerate() {
            assert!(*decoded == 0.0 || decoded == value);
            kept[place] += u32::from(*decoded != 0.0);
        }
    }
    for (place, kept) in kept.iter().enumerate() {
        // Of the last eight, ceil(1.5).
        let share = if place < 32 { 3.0 / 16.0 } else { 2.0 / 8.0 };
        let (mean, deviation) = (share * rounds as f64, (share * (1.0 - share) * rounds as f64).sqrt());
        assert!((f64::from(*kept) - mean).abs() < 5.0 * deviation, "place {place}: {kept}");
    }
}

proptest! {
    /// Contract: `|C(x) - x|^2 <= (1 - k/n) |x|^2`, and what is kept is at least as large as what is not.
    #[test]
    fn top_k_is_a_contraction_and_keeps_the_largest(values in prop::collection::vec(finite(), 1..700)) {
        for (name, share) in [("top-3/100", 0.03), ("top-1/2-whole", 0.5), ("top-64/4096", 64.0 / 4096.0)] {
            let decoded = decode(codec(name), &encode(codec(name), &values), values.len());
            let chunk = if name == "top-3/100" { 100 } else { values.len() };
            for (values, decoded) in values.chunks(chunk).zip(decoded.chunks(chunk)) {
                let pairs = || values.iter().zip(decoded).map(|(x, y)| (f64::from(*x), f64::from(*y)));
                let all: f64 = pairs().map(|(x, _)| x * x).sum();
                let lost: f64 = pairs().map(|(x, y)| (x - y) * (x - y)).sum();
                prop_assert!(lost <= (1.0 - share) * all * (1.0 + 1e-12), "{}: {} of {}", name, lost, all);
                prop_assert!(pairs().all(|(x, y)| y == 0.0 || x == y));
                let least = pairs().filter(|(_, y)| *y != 0.0).map(|(_, y)| y.abs()).fold(f64::INFINITY, f64::min);
                prop_assert!(pairs().all(|(x, y)| y != 0.0 || x.abs() <= least));
            }
        }
    }
}
