//! The specification's checks (streaming_diloco.md, S1 to S3), as far as they are arithmetic.
//!
//! `Replica` drives the pure functions as a session does: a difference leaves when its fragment
//! is due, the outer arrays move, and `tau` steps later theta is merged.

use super::streaming_diloco::{merge, rebase, subtract};
use super::*;

/// Parameters by fragment.
type Fragments = Vec<Vec<f32>>;

struct Replica {
    method: Method,
    schedule: SyncSchedule,
    tau: u64,
    alpha: f32,
    /// Outer arrays by fragment: parameters, momentum.
    outer: Vec<Vec<Vec<f32>>>,
    /// Local parameters by peer.
    theta: Vec<Fragments>,
    step: u64,
}

impl Replica {
    fn new(method: StreamingDiLoCo, peers: usize, start: Fragments) -> Replica {
        let outer = start.iter().map(|values| vec![values.clone(), vec![0.0; values.len()]]).collect();
        Replica {
            schedule: method.schedule(),
            tau: u64::from(method.tau),
            alpha: method.alpha,
            method: Method::StreamingDiLoCo(method),
            outer,
            theta: vec![start; peers],
            step: 0,
        }
    }

    /// One inner step of every peer, then whatever is due.
    fn advance(&mut self, mut inner: impl FnMut(usize, u64, &mut Fragments)) {
        for (peer, theta) in self.theta.iter_mut().enumerate() {
            inner(peer, self.step, theta);
        }
        self.step += 1;
        for fragment in 0..self.outer.len() {
            if self.is_due(fragment, self.step) {
                self.exchange(fragment);
            }
            if self.step.checked_sub(self.tau).is_some_and(|sent| self.is_due(fragment, sent)) {
                for theta in &mut self.theta {
                    merge(&mut theta[fragment], &self.outer[fragment][0], self.alpha);
                }
            }
        }
    }

    fn is_due(&self, fragment: usize, step: u64) -> bool {
        (0..50).any(|ordinal| self.schedule.due(fragment as u16, ordinal) == step)
    }

    fn exchange(&mut self, fragment: usize) {
        let contribution = |theta: &Fragments| {
            let mut difference = self.outer[fragment][0].clone();
            subtract(&mut difference, &theta[fragment]);
            let mut bytes = Vec::new();
            self.method.codec().unwrap().encode(&difference, 1, &mut bytes).unwrap();
            Contribution { bytes, tokens: 1, missed: 0 }
        };
        let contributions: Vec<Contribution> = self.theta.iter().map(contribution).collect();
        self.method
            .outer_step(&mut self.outer[fragment], &contributions, Rules::plain(self.method.codec().unwrap()))
            .unwrap();
    }
}

fn numbers(fragments: u16, period: u32, tau: u32, alpha: f32, eta: f32, mu: f32) -> StreamingDiLoCo {
    let (codec, max_overrun) = (Codec::F32, Overrun::Slot);
    StreamingDiLoCo { fragments, period, tau, alpha, eta, mu, codec, feedback: None, max_overrun }
}

#[test]
fn test_threads_have_the_standard_float_environment() {
    assert!(float_environment_is_standard());
}

#[test]
fn every_fragments_first_round_is_a_whole_period_and_turns_are_spread() {
    let schedule = numbers(4, 30, 1, 0.5, 0.4, 0.9).schedule();
    assert_eq!(schedule, SyncSchedule { first: 30, stagger: 7, period: 30 });
    let due = |fragment| [0, 1, 2].map(|ordinal| schedule.due(fragment, ordinal));
    assert_eq!([0, 1, 3].map(due), [[30, 60, 90], [37, 67, 97], [51, 81, 111]]);
    let hostile = SyncSchedule { first: u32::MAX, stagger: u32::MAX, period: u32::MAX };
    assert!(hostile.due(u16::MAX, u32::MAX) > u64::MAX - (1 << 49));
}

#[test]
fn s1_traffic_of_the_papers_table() {
    // One unit = 1 byte of 2^40; a parameter is 16 units in data parallel (what a ring moves per
    // step), 4 in Streaming DiLoCo, which sends everything once in H = 100 steps.
    let parameters: f64 = 1_273_495_552.0;
    let period = f64::from(numbers(8, 100, 1, 0.5, 0.4, 0.9).period);
    for (tokens, parallel, streaming) in
        [(25e9, 441.83, 1.1046), (100e9, 1767.33, 4.4183), (250e9, 4418.33, 11.0458)]
    {
        let steps = tokens / f64::from(1 << 20);
        let every_step = parameters * 16.0 * steps / 2f64.powi(40);
        let every_period = parameters * 4.0 * steps / period / 2f64.powi(40);
        assert!((every_step - parallel).abs() < 0.005 && (every_period - streaming).abs() < 0.00005);
        assert!((every_step / every_period - 400.0).abs() < 1e-9);
    }
}

#[test]
fn s1_our_fragments_send_every_parameter_once_per_period() {
    let model = crate::model::Model::named("gpt:gpt2").unwrap();
    let layout = crate::layout::Layout::new(&model.tensors(), 4);
    let lengths = || layout.fragments.iter().map(|fragment| fragment.len as usize);
    let sent = |codec: Codec| lengths().map(|values| codec.encoded_len(values)).sum::<u64>();
    assert_eq!(sent(Codec::F32), 4 * model.parameters());
    let bits = 8.0 * sent(Codec::E3M0) as f64 / model.parameters() as f64;
    assert!((bits - 4.125).abs() < 1e-4, "{bits}");
}

/// Both fragments' values before each step.
fn s2(tau: u32, alpha: f32, first: u32) -> [Vec<f32>; 2] {
    let mut replica = Replica::new(numbers(2, 6, tau, alpha, 2.0, 0.0), 1, vec![vec![1.0]; 2]);
    replica.schedule = SyncSchedule { first, stagger: 3, period: 6 };
    let mut seen = [Vec::new(), Vec::new()];
    for _ in 0..8 {
        seen.iter_mut().zip(&replica.theta[0]).for_each(|(seen, values)| seen.push(values[0]));
        replica.advance(|_, _, theta| theta.iter_mut().flatten().for_each(|value| *value -= 2.0));
    }
    seen
}

#[test]
fn s2_arithmetic_without_overlap() {
    let [f0, f1] = s2(0, 0.0, 3);
    assert_eq!(f0, [1.0, -1.0, -3.0, -11.0, -13.0, -15.0, -17.0, -19.0]);
    assert_eq!(f1, [1.0, -1.0, -3.0, -5.0, -7.0, -9.0, -23.0, -25.0]);
}

#[test]
fn s2_arithmetic_with_tau_1_and_alpha_a_half() {
    // The row counts the steps at which a result is applied, so the differences leave after 2, 5.
    let [f0, f1] = s2(1, 0.5, 2);
    assert_eq!(f0, [1.0, -1.0, -3.0, -6.0, -8.0, -10.0, -12.0, -14.0]);
    assert_eq!(f1, [1.0, -1.0, -3.0, -5.0, -7.0, -9.0, -15.0, -17.0]);
}

/// A logistic-like toy with AdamW: every peer has its own targets and inner state.
#[derive(Clone)]
struct Toy {
    m: Vec<f32>,
    v: Vec<f32>,
    steps: i32,
}

impl Toy {
    const SIZE: usize = 24;

    fn new() -> Toy {
        Toy { m: vec![0.0; Toy::SIZE], v: vec![0.0; Toy::SIZE], steps: 0 }
    }

    fn start() -> Vec<f32> {
        (0..Toy::SIZE).map(|i| (i as f32 * 0.37).sin() * 0.1).collect()
    }

    /// AdamW, betas .9 and .99, weight decay .1, rate .01, on a smooth loss that differs by peer
    /// and step.
    fn step(&mut self, peer: usize, step: u64, theta: &mut [&mut f32]) {
        self.steps += 1;
        let (c1, c2) = (1.0 - 0.9f32.powi(self.steps), 1.0 - 0.99f32.powi(self.steps));
        for (i, value) in theta.iter_mut().enumerate() {
            let target = ((i * 7 + peer * 3) as f32 + step as f32 * 0.1).sin();
            let gradient = (**value - target).tanh();
            self.m[i] = 0.9 * self.m[i] + 0.1 * gradient;
            self.v[i] = 0.99 * self.v[i] + 0.01 * gradient * gradient;
            **value -= 0.01 * ((self.m[i] / c1) / ((self.v[i] / c2).sqrt() + 1e-8) + 0.1 * **value);
        }
    }
}

/// Runs `steps` steps of `peers` toys; calls `look` after each.
fn train(replica: &mut Replica, steps: u64, mut look: impl FnMut(&Replica)) {
    let mut toys = vec![Toy::new(); replica.theta.len()];
    for _ in 0..steps {
        replica.advance(|peer, step, theta| {
            let mut values: Vec<&mut f32> = theta.iter_mut().flatten().collect();
            toys[peer].step(peer, step, &mut values);
        });
        look(replica);
    }
}

/// The toy alone; its parameters after every step.
fn isolated(peer: usize, steps: u64) -> Vec<Vec<f32>> {
    let (mut toy, mut theta) = (Toy::new(), Toy::start());
    let step = |step| {
        toy.step(peer, step, &mut theta.iter_mut().collect::<Vec<_>>());
        theta.clone()
    };
    (0..steps).map(step).collect()
}

#[test]
fn s3_one_fragment_without_overlap_is_plain_diloco_bitwise() {
    let (peers, period, eta, mu) = (3, 5, 0.7f32, 0.9f32);
    let mut replica = Replica::new(numbers(1, period, 0, 0.0, eta, mu), peers, vec![Toy::start()]);
    train(&mut replica, 40, |_| {});

    // Douillard et al. 2023, algorithm 1, written out.
    let mut outer = Toy::start();
    let mut momentum = vec![0.0f32; Toy::SIZE];
    let mut toys = vec![Toy::new(); peers];
    for round in 0..8 {
        let mut gradient = [0.0f32; Toy::SIZE];
        for (peer, toy) in toys.iter_mut().enumerate() {
            let mut theta = outer.clone();
            for step in 0..u64::from(period) {
                let step = round * u64::from(period) + step;
                toy.step(peer, step, &mut theta.iter_mut().collect::<Vec<_>>());
            }
            for i in 0..Toy::SIZE {
                gradient[i] += (1.0 / peers as f32) * (outer[i] - theta[i]);
            }
        }
        for i in 0..Toy::SIZE {
            momentum[i] = mu * momentum[i] + gradient[i];
            outer[i] -= eta * (gradient[i] + mu * momentum[i]);
        }
    }
    assert_eq!(replica.outer[0], [outer.clone(), momentum]);
    assert!(replica.theta.iter().all(|theta| theta[0] == outer));
}

#[test]
fn s3_one_peer_with_a_neutral_outer_step_is_plain_adamw() {
    let mut replica = Replica::new(numbers(1, 6, 0, 0.0, 1.0, 0.0), 1, vec![Toy::start()]);
    let alone = isolated(0, 24);
    train(&mut replica, 24, |replica| {
        let tolerance = if replica.step <= 7 { 1e-6 } else { 1e-4 };
        for (theta, alone) in replica.theta[0][0].iter().zip(&alone[replica.step as usize - 1]) {
            assert!((theta - alone).abs() <= tolerance, "step {}: {theta} is not {alone}", replica.step);
        }
    });
}

#[test]
fn s3_alpha_1_is_isolated_training_bitwise() {
    let start = vec![Toy::start()[..10].to_vec(), Toy::start()[10..].to_vec()];
    let method = StreamingDiLoCo { codec: Codec::E3M0, ..numbers(2, 6, 1, 1.0, 0.7, 0.9) };
    let mut replica = Replica::new(method, 2, start.clone());
    let alone = [isolated(0, 30), isolated(1, 30)];
    train(&mut replica, 30, |replica| {
        for (theta, alone) in replica.theta.iter().zip(&alone) {
            let bits =
                |values: &mut dyn Iterator<Item = &f32>| values.map(|v| v.to_bits()).collect::<Vec<_>>();
            let alone = &alone[replica.step as usize - 1];
            assert_eq!(bits(&mut theta.iter().flatten()), bits(&mut alone.iter()));
        }
    });
    // It sent, and the outer state moved; it only never listened.
    assert_ne!(replica.outer[0][0], start[0]);
}

#[test]
fn merges_at_the_ends_are_bitwise() {
    let special = [-0.0f32, 1.0e-40, 3.0, f32::MIN_POSITIVE, -7.5];
    let outer = [5.0f32, -0.0, 1.0e-45, 2.0, -0.1];
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let mut theta = special;
    merge(&mut theta, &outer, 1.0);
    assert_eq!(bits(&theta), bits(&special));
    merge(&mut theta, &outer, 0.0);
    assert_eq!(bits(&theta), bits(&outer));
    let mut theta = [4.0, 0.0];
    merge(&mut theta, &[0.0, 8.0], 0.25);
    assert_eq!(theta, [1.0, 6.0]);
}

#[test]
fn a_rebased_difference_carries_the_whole_work_once() {
    let (base, now) = ([1.0f32, 2.0], [1.5f32, 1.0]);
    let mut theta = [0.5, 2.25];
    let (mut work, mut after) = (base, now);
    subtract(&mut work, &theta);
    rebase(&mut theta, &now, &base);
    subtract(&mut after, &theta);
    assert_eq!(work, after);
}

#[test]
fn a_failed_or_empty_outer_step_moves_nothing() {
    let method = Method::StreamingDiLoCo(numbers(1, 4, 0, 0.0, 0.5, 0.5));
    let mut arrays = vec![vec![1.0], vec![2.0]];
    method.outer_step(&mut arrays, &[], Rules::plain(Codec::F32)).unwrap();
    let bad = Contribution { bytes: vec![0; 3], tokens: 1, missed: 0 };
    let (index, error) = method.outer_step(&mut arrays, &[bad], Rules::plain(Codec::F32)).unwrap_err();
    assert_eq!((index, error.to_string()), (0, "payload has 3 bytes where 4 encode the values".into()));
    assert_eq!(arrays, [[1.0], [2.0]]);
}

#[test]
fn numbers_out_of_bounds_are_named() {
    let good = numbers(2, 15, 1, 0.5, 0.7, 0.9);
    Method::StreamingDiLoCo(good.clone()).check().unwrap();
    let field = |method: StreamingDiLoCo| Method::StreamingDiLoCo(method).check().unwrap_err().field;
    assert_eq!(field(StreamingDiLoCo { fragments: 0, ..good.clone() }), "fragments");
    assert_eq!(field(StreamingDiLoCo { period: 0, ..good.clone() }), "period");
    assert_eq!(field(StreamingDiLoCo { period: u32::MAX, ..good.clone() }), "period");
    assert_eq!(field(StreamingDiLoCo { tau: 15, ..good.clone() }), "tau");
    for alpha in [f32::NAN, -0.1, 1.1, f32::INFINITY] {
        assert_eq!(field(StreamingDiLoCo { alpha, ..good.clone() }), "alpha");
    }
    for eta in [f32::NAN, 0.0, -1.0, f32::INFINITY] {
        assert_eq!(field(StreamingDiLoCo { eta, ..good.clone() }), "eta");
    }
    for mu in [f32::NAN, -0.1, 1.0] {
        assert_eq!(field(StreamingDiLoCo { mu, ..good.clone() }), "mu");
    }
    let endless = Overrun::Steps(u32::MAX);
    assert_eq!(field(StreamingDiLoCo { max_overrun: endless, ..good }), "max_overrun.steps");
}
