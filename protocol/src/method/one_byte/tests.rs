//! Check B1, the layout of logs, and what a step does to parameters.

use proptest::prelude::*;

use super::*;
use crate::identity::{Hash, PeerKey};

fn opening() -> Opening {
    Opening { base: Hash([7; 32]), ordinal: 3, counted: 0, budget: 1000, tokens: 1, drawn: 0 }
}

fn numbers(estimator: Estimator) -> OneByte {
    OneByte { samples: 2, batch_steps: 11, ..OneByte::of(estimator, 0.5) }
}

#[test]
fn b1_every_byte_round_trips_and_larger_bytes_say_more() {
    for byte in 0..=255u8 {
        assert_eq!(byte::encode(f64::from(byte::decode(byte))), byte);
    }
    let ascending = |bytes: std::ops::RangeInclusive<u8>| {
        let values: Vec<f32> = bytes.map(byte::decode).collect();
        values.windows(2).all(|pair| pair[0] < pair[1])
    };
    assert!(ascending(0..=127));
    assert!((128..=254u8).all(|byte| byte::decode(byte) > byte::decode(byte + 1)));
    for (q, size) in [(1u8, 3.799e-4f32), (64, 1.0), (127, 2.632e3)] {
        assert!((byte::decode(q) / size - 1.0).abs() < 1e-3, "{q}");
    }
    for q in 1..=127u8 {
        let exact = ((f64::from(q) - 64.0) / 8.0).exp();
        assert_eq!(byte::decode(q), exact as f32);
    }
    assert_eq!([byte::encode(1e9), byte::encode(-1e9), byte::encode(1e-9)], [127, 255, 0]);
}

proptest! {
    #[test]
    fn b1_the_error_is_6_45_percent_at_most(size in (3.8e-4f64).ln()..(2.63e3f64).ln(), negative: bool) {
        let slope = if negative { -size.exp() } else { size.exp() };
        let said = f64::from(byte::decode(byte::encode(slope)));
        prop_assert!((said / slope - 1.0).abs() <= 0.0645, "{slope} {said}");
    }

    #[test]
    fn b1_bytes_are_monotone(a in -3e3f64..3e3, b in -3e3f64..3e3) {
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        prop_assert!(byte::decode(byte::encode(low)) <= byte::decode(byte::encode(high)));
    }

    #[test]
    fn logs_are_read_as_they_are_written(
        listed in proptest::collection::vec(any::<bool>(), 1..40),
        samples in 1u16..5,
    ) {
        let mut log = Log::new(samples);
        for step in (0..listed.len()).filter(|step| listed[*step]) {
            log.push(step as u32, &vec![step as u8; usize::from(samples)]);
        }
        let steps = listed.len() as u32;
        let bytes = log.encode(steps);
        prop_assert_eq!(Log::decode(&bytes, steps, samples), Ok(log));
        prop_assert!(Log::decode(&bytes[..bytes.len() - 1], steps, samples).is_err());
    }

    #[test]
    fn hostile_logs_are_refused_or_canonical(
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
        steps in 1u32..40,
        samples in 1u16..5,
    ) {
        if let Ok(log) = Log::decode(&bytes, steps, samples) {
            prop_assert_eq!(log.encode(steps), bytes);
        }
    }
}

#[test]
fn the_layout_of_a_log_is_pinned() {
    let mut log = Log::new(2);
    log.push(0, &[1, 2]);
    log.push(9, &[3, 4]);
    let bytes = log.encode(11);
    assert_eq!(bytes, [0b0000_0001, 0b0000_0010, 1, 2, 3, 4]);
    let method = numbers(Estimator::Spsa);
    assert_eq!(
        (method.steps_of(bytes.len() as u64), method.steps_of(5), method.steps_of(1)),
        (Some(2), None, None)
    );
    assert_eq!(Log::decode(&[0, 0b1000_0000], 11, 2), Err(LogError::Steps));
}

/// The update, value by value, in f64 and by the stream's bits alone.
#[test]
fn a_step_is_the_papers() {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    let (keys, len) = ([PeerKey([1; 32]), PeerKey([2; 32])], 5000);
    let listed: [(PeerKey, &[u8]); 2] = [(keys[0], &[64, 192]), (keys[1], &[72, 120])];
    for (estimator, n) in [(Estimator::Spsa, 2.0), (Estimator::Fzoo, 4.0)] {
        let method = numbers(estimator);
        let mut theta = vec![0.25f32; len];
        method.step(&mut theta, &opening(), 4, 500, &listed);
        // 1, -1, e and e^7, of which the lower median is 1: clipped to 3.
        let e = 1.0f64.exp();
        let slopes = [1.0, -1.0, e, 3.0];
        let mut expected = vec![0.0f64; len];
        for (index, slope) in slopes.iter().enumerate() {
            let mut key = blake3::Hasher::new();
            key.update(b"driftless direction\0").update(&[7; 32]).update(&[3, 0, 0, 0, 4, 0, 0, 0]);
            key.update(&keys[index / 2].0).update(&[(index % 2) as u8, 0]);
            let mut stream = vec![0u8; len.div_ceil(32) * 4];
            ChaCha8Rng::from_seed(*key.finalize().as_bytes()).fill_bytes(&mut stream);
            for (at, value) in expected.iter_mut().enumerate() {
                let negative = stream[at / 8] >> (at % 8) & 1 == 1;
                *value += if negative { -slope } else { *slope };
            }
        }
        // Half of the budget is done: half of the rate.
        for (theta, sum) in theta.iter().zip(expected) {
            let expected = 0.25 - 0.25 / n * sum;
            assert!((f64::from(*theta) - expected).abs() < 1e-5, "{theta} {expected}");
        }
    }
}

/// As many values as two words each tell, by the stream's bits alone.
#[test]
fn normal_directions_are_normal_and_one_rounding_each() {
    let (key, len, by) = (PeerKey([1; 32]), 100_000, 0.012_345_678_f32);
    let direction = || Direction::new(Directions::Gaussian, &opening(), 0, key, 0);
    let mut values = vec![0.0f32; len];
    direction().add(1.0, &mut values);
    let moment = |power| values.iter().map(|value| f64::from(*value).powi(power)).sum::<f64>() / len as f64;
    // Five deviations of each; a sum of 64 coins has a fourth moment of 3 - 2 / 64.
    for (power, expected, deviation) in [(1, 0.0, 1.0), (2, 1.0, 1.41), (3, 0.0, 3.87), (4, 2.97, 9.8)] {
        let found = moment(power);
        assert!((found - expected).abs() < 5.0 * deviation / (len as f64).sqrt(), "{power}: {found}");
    }
    // In pieces of any length, at parameters of any size: a sum that f64 has exactly, rounded once.
    let mut moved: Vec<f32> = values.iter().rev().map(|value| 1.0 + value / 3.0).collect();
    let before = moved.clone();
    let mut pieces = direction();
    moved.chunks_mut(4096).for_each(|piece| pieces.add(by, piece));
    let short = f64::from(f32::from_bits(by.to_bits() >> 7 << 7));
    for ((after, before), value) in moved.iter().zip(&before).zip(&values) {
        assert_eq!(*after, (f64::from(*before) + short * f64::from(*value)) as f32);
    }
    assert!((short / f64::from(by) - 1.0).abs() < 1e-5);
}

#[test]
fn a_step_of_fewer_than_half_moves_nothing_and_half_do_not_say_how_large_the_others_may_be() {
    let (method, keys) = (numbers(Estimator::Fzoo), [PeerKey([1; 32]), PeerKey([2; 32])]);
    let moved = |drawn, listed: &[(PeerKey, &[u8])]| {
        let mut theta = vec![0.25f32; 64];
        method.step(&mut theta, &Opening { drawn, ..opening() }, 0, 0, listed);
        theta.iter().map(|value| (value - 0.25).abs()).fold(0.0, f32::max)
    };
    let huge: (PeerKey, &[u8]) = (keys[0], &[127, 127]);
    assert!(moved(2, &[huge]) > 1000.0 && moved(3, &[huge]) == 0.0);
    // One of two, beside slopes of 1: a sum of at most 2 (3 + 1), of which a step takes half of a quarter.
    assert!(moved(4, &[huge, (keys[1], &[64, 64])]) <= 1.0);
}

#[test]
fn a_step_of_nobody_moves_nothing() {
    let mut theta = vec![0.25f32; 100];
    numbers(Estimator::Spsa).step(&mut theta, &opening(), 0, 0, &[]);
    assert_eq!(theta, vec![0.25; 100]);
}

#[test]
fn slopes_are_estimated_as_the_papers_do() {
    // Along sample s the loss is 2 + s x + x^2.
    let loss = |sample: u16, by: f32| Ok::<f32, ()>(2.0 + f32::from(sample) * by + by * by);
    let found = Estimator::Spsa.measure(4, 0.5, loss).unwrap();
    assert_eq!(
        (found.bytes, found.loss),
        ((0..4).map(|slope| byte::encode(f64::from(slope))).collect(), 2.25)
    );
    let found = Estimator::Fzoo.measure(4, 0.5, loss).unwrap();
    // Rises of .25, .75, 1.25, 1.75 differ by .559.
    let deviation = (0.3125f64).sqrt();
    let expected = [0.25, 0.75, 1.25, 1.75].map(|rise: f64| byte::encode(rise / deviation));
    assert_eq!((found.bytes, found.loss), (expected.to_vec(), 2.0));
}

#[test]
fn a_loss_that_is_not_finite_is_never_encoded() {
    let loss = |sample: u16, _: f32| Ok::<f32, ()>(if sample == 1 { f32::NAN } else { 1.0 });
    for estimator in [Estimator::Spsa, Estimator::Fzoo] {
        assert_eq!(estimator.measure(3, 0.5, loss).unwrap().bytes, []);
    }
}

/// A loss of 2.5 and slopes of about 1, by a machine that rounds otherwise.
fn by_another_machine(estimator: Estimator, seed: u64, rounding: f32) -> Measurement {
    use rand_chacha::rand_core::{Rng, SeedableRng};

    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let noise: Vec<f32> =
        (0..17).map(|_| rounding * (random.next_u32() as f32 / u32::MAX as f32 - 0.5)).collect();
    let mut noise = noise.into_iter();
    let loss = |sample: u16, by: f32| {
        let slope = [1.5, -0.3, 0.8, -2.0, 0.1, 0.9, -1.1, 0.4][usize::from(sample)];
        Ok::<f32, ()>((2.5 + slope * by) * (1.0 + noise.next().unwrap()))
    };
    estimator.measure(8, 1e-3, loss).unwrap()
}

#[test]
fn two_machines_agree_where_they_round_otherwise_and_not_where_one_makes_bytes_up() {
    for estimator in [Estimator::Spsa, Estimator::Fzoo] {
        let own = by_another_machine(estimator, 0, 0.0);
        for seed in 1..50 {
            let other = by_another_machine(estimator, seed, 8.0 * f32::EPSILON);
            assert!(own.agrees(&other.bytes), "{estimator:?} {seed}: {:?} {:?}", own.bytes, other.bytes);
            let signs: Vec<u8> = other.bytes.iter().map(|byte| byte ^ 0x80).collect();
            let mut one = other.bytes.clone();
            one[3] ^= 0x80;
            let larger: Vec<u8> = other.bytes.iter().map(|byte| byte + 6).collect();
            for made_up in [signs, one, larger, vec![0; 8], vec![64; 8]] {
                assert!(!own.agrees(&made_up), "{estimator:?} {seed}: {:?} {made_up:?}", own.bytes);
            }
        }
    }
    // Where all losses are one nothing is known, so nobody is accused.
    for loss in [0.0, 1.0] {
        let flat = Estimator::Fzoo.measure(4, 0.5, |_, _| Ok::<f32, ()>(loss)).unwrap();
        assert!(flat.agrees(&[70, 70, 198, 1]));
    }
}

#[test]
fn nothing_is_said_of_steps_in_which_a_member_was_not_listed() {
    let member = PeerKey([1; 32]);
    let found = Measurement { bytes: vec![64, 64], loss: 1.0, noise: 1e-3 };
    let mut log = Log::new(2);
    log.push(3, &[64, 64]);
    log.push(5, &[64, 192]);
    let says = |step, listed| Audit { member, step, listed, found: found.clone() }.contradicts(&log);
    assert_eq!([3, 4, 5].map(|step| says(step, None)), [false, false, true]);
    // What is signed counts, and what was sent where nothing of it is signed.
    let sent = Some(vec![64, 192]);
    assert_eq!([3, 4].map(|step| says(step, sent.clone())), [false, true]);
}
