use super::*;
use crate::committee::Committee;
use crate::identity::Signer;
use crate::manifest::{Data, DeadlineBounds};
use crate::method::{Method, MethodName, Overrun};

const KEY: [u8; 32] = [1; 32];

fn manifest(model: &str, name: MethodName) -> Manifest {
    let key = Signer::from_seed(KEY).key();
    let data = Data::Private { max_tokens_per_slot: 1 << 30 };
    let preset = Manifest::preset(model).unwrap().with_method(name);
    Manifest { name: "plan".into(), ..preset.manifest(Committee::Elected { founder: key }, data) }
}

fn mbit(rate: u64) -> Rate {
    Rate::bytes_per_second(rate * 125_000)
}

fn around(peers: Peers, up: Rate, down: Rate) -> Circumstances {
    Circumstances {
        peers,
        lines: ByRole::new(|_| Line { up, down }),
        latency: Span::millis(25),
        steps_per_second: 4.0,
        threads: 1,
        tokens: 1_000_000_000,
        writes_per_day: 20_000_000_000,
    }
}

fn unlimited(contributors: u32) -> Circumstances {
    around(Peers::all_voting(contributors), Rate::UNLIMITED, Rate::UNLIMITED)
}

#[test]
fn a_planned_session_is_a_valid_one_whatever_the_method() {
    for model in ["gpt:tiny", "gpt:small", "gpt:gpt2"] {
        for name in MethodName::ALL {
            let manifest = manifest(model, name);
            manifest.check().unwrap();
            let plan = plan(&manifest, &unlimited(8));
            assert_eq!(plan.blobs.len(), usize::from(manifest.method.streams()), "{name}");
            assert_eq!(plan.drawn, 8);
            let received = plan.roles.voter.bytes.blobs_received;
            let mean = plan.blobs.iter().sum::<u64>() as f64 / plan.blobs.len() as f64;
            let fetched = if name.is_fine_tuning() { 0.0 } else { 7.0 * mean };
            assert!((received - fetched).abs() < 1.0, "{name}: {received}");
        }
    }
}

#[test]
fn lines_without_limits_leave_training_alone_and_slow_ones_take_their_time() {
    for name in MethodName::ALL.into_iter().filter(|name| !name.is_fine_tuning()) {
        let manifest = manifest("gpt:small", name);
        let still = Circumstances { latency: Span::ZERO, ..unlimited(8) };
        assert!((plan(&manifest, &still).pace.utilization - 1.0).abs() < 1e-9, "{name}");
        // The line alone takes longer than the steps of a period.
        let slow = around(Peers::all_voting(8), mbit(1), mbit(1));
        let plan = plan(&manifest, &slow);
        let bytes: u64 = plan.blobs.iter().sum();
        let line = 7.0 * bytes as f64 * pace::WIRE / 125_000.0;
        let steps = f64::from(plan.steps) / 4.0;
        let most = steps / line.max(steps);
        assert!(plan.pace.utilization <= most + 1e-9, "{name}: {} {most}", plan.pace.utilization);
        assert!(plan.pace.utilization > 0.6 * most, "{name}: {} {most}", plan.pace.utilization);
    }
}

/// 8 members of 8 samples: a list takes twice 30 ms, of which a step hides one half where it may be one ahead. Measuring
/// a fourteenth of the seven others' samples again takes half a step.
#[test]
fn steps_wait_for_their_lists() {
    let mut manifest = manifest("gpt:tiny", MethodName::Spsa);
    let mut utilization = |staleness: u32, steps_per_second: f64, audit: f32| {
        if let Method::OneByte(method) = &mut manifest.method {
            (method.staleness, method.batch_steps, method.audit) = (staleness, 1024, audit);
        }
        let around = Circumstances { steps_per_second, latency: Span::millis(30), ..unlimited(8) };
        plan(&manifest, &around).pace.utilization
    };
    let cases =
        [(0, 25.0, 0.0, 0.4), (1, 25.0, 0.0, 0.8), (1, 10.0, 0.0, 1.0), (1, 10.0, 1.0 / 14.0, 2.0 / 3.0)];
    for (staleness, steps_per_second, audit, expected) in cases {
        let found = utilization(staleness, steps_per_second, audit);
        assert!((found - expected).abs() < 0.01, "{staleness} {steps_per_second} {audit}: {found}");
    }
}

/// One stream, so that what is waited for can be said by hand.
#[test]
fn what_is_not_covered_is_waited_for() {
    let mut manifest = manifest("gpt:small", MethodName::StreamingDiLoCo);
    let Method::StreamingDiLoCo(method) = &mut manifest.method else { panic!("Streaming DiLoCo") };
    (method.fragments, method.max_overrun) = (1, Overrun::Strict);
    let around = around(Peers::all_voting(4), mbit(100), mbit(100));
    let strict = plan(&manifest, &around);
    // tau is a step, a quarter of a second.
    assert_eq!(strict.pace.covered, 0.25);
    let period = 7.5 + strict.pace.exchange - 0.25;
    assert!(strict.pace.exchange > 0.25);
    assert!((strict.pace.period - period).abs() < 1e-6, "{} {period}", strict.pace.period);
    assert!((strict.pace.utilization - 7.5 / period).abs() < 1e-9);
    manifest.method.set_period(60);
    let Method::StreamingDiLoCo(method) = &mut manifest.method else { panic!("Streaming DiLoCo") };
    method.max_overrun = Overrun::Slot;
    assert_eq!(plan(&manifest, &around).pace.utilization, 1.0);
}

#[test]
fn more_steps_and_fewer_bits_are_quicker() {
    let around = around(Peers::all_voting(16), mbit(5), mbit(20));
    let time = |name, period| {
        let mut manifest = manifest("gpt:small", name);
        manifest.method.set_period(period);
        plan(&manifest, &around).pace.seconds
    };
    assert!(time(MethodName::StreamingDiLoCo, 30) > time(MethodName::StreamingDiLoCo, 100));
    assert!(time(MethodName::StreamingDiLoCo, 30) > time(MethodName::MuLoCo, 30));
}

#[test]
fn who_is_not_drawn_does_not_count() {
    let manifest = Manifest { max_contributors: 10, ..manifest("gpt:tiny", MethodName::MuLoCo) };
    let peers = Peers { contributors: 40, voters: 16, followers: 0 };
    let plan = plan(&manifest, &around(peers, Rate::UNLIMITED, Rate::UNLIMITED));
    assert_eq!(plan.drawn, 10);
    let per_step = 12.0 * 64.0;
    let most = 10.0 * 4.0 * per_step;
    assert!(plan.pace.tokens_per_second <= most && plan.pace.tokens_per_second > 0.9 * most);
}

#[test]
fn what_does_not_fit_says_so_in_numbers_and_names_what_does() {
    let manifest = manifest("gpt:gpt2", MethodName::StreamingDiLoCo);
    let around = unlimited(64);
    let limits = Limits { memory: Some(4_000_000_000), disk: None };
    let plan = plan(&manifest, &around);
    let found = misfits(&manifest, &around, limits, &plan);
    let [Misfit::Memory { .. }, Misfit::Slot { drawn: 64, .. }] = &found[..] else { panic!("{found:?}") };
    let text = found[0].to_string();
    assert!(text.contains("optimizer moments") && text.ends_with("and there are 4.0 GB"), "{text}");
    let text = found[1].to_string();
    assert!(text.contains("63 contributions of") && text.contains("125.0 kB/s"), "{text}");

    // By itself the slowest line is a matter of bytes, and SparseLoCo has few.
    let around = unlimited(16);
    let near = |limits| nearest(&manifest, Some(MethodName::StreamingDiLoCo), &around, limits);
    assert_eq!(near(Limits::default()), Some(Nearest::Method(MethodName::SparseLoCo)));
    assert_eq!(near(limits), Some(Nearest::Model("gpt:small")));
    assert_eq!(near(Limits { memory: Some(1), disk: None }), None);
}

/// 4 bytes for each of 124 million parameters and 32 members.
#[test]
fn what_is_known_of_every_members_gradient_has_to_fit_into_memory() {
    let manifest = manifest("gpt:gpt2", MethodName::Ef21);
    let around = unlimited(4);
    let limits = |memory| Limits { memory: Some(memory), disk: None };
    let plan = plan(&manifest, &around);
    let found = misfits(&manifest, &around, limits(16_000_000_000), &plan);
    // Nor has the slowest line four whole gradients, which come first, within a slot.
    let dense = 4 * manifest.model.parameters();
    let [Misfit::Memory { needed, .. }, Misfit::Slot { blob, .. }] = &found[..] else { panic!("{found:?}") };
    assert_eq!(*blob, dense);
    let estimates = 4 * 32 * manifest.model.parameters();
    assert!(needed.held.contains(&("what is known of every member's gradient", estimates)));
    let text = found[0].to_string();
    assert!(text.contains("15.9 GB what is known of every member's gradient"), "{text}");
    let found = misfits(&manifest, &around, limits(100_000_000_000), &plan);
    assert!(matches!(found[..], [Misfit::Slot { .. }]), "{found:?}");
}

#[test]
fn with_one_method_only_fewer_may_fit() {
    let mut manifest = manifest("gpt:gpt2", MethodName::SparseLoCo);
    manifest.deadline = DeadlineBounds { minimum: Span::seconds(1), maximum: Span::seconds(10) };
    let around = unlimited(64);
    let Some(Nearest::Contributors(count)) =
        nearest(&manifest, Some(MethodName::SparseLoCo), &around, Limits::default())
    else {
        panic!("fewer contributors")
    };
    let fits = |contributors| {
        let around = unlimited(contributors);
        misfits(&manifest, &around, Limits::default(), &plan(&manifest, &around)).is_empty()
    };
    assert!(fits(count) && !fits(count + 1), "{count}");
}

#[test]
fn a_line_slower_than_the_manifest_admits_is_refused() {
    let manifest = manifest("gpt:tiny", MethodName::MuLoCo);
    let around = around(Peers::all_voting(4), Rate::bytes_per_second(100_000), Rate::UNLIMITED);
    let found = misfits(&manifest, &around, Limits::default(), &plan(&manifest, &around));
    assert_eq!(found, [Misfit::Line { role: Role::Voter, rate: 100_000, slowest: 125_000 }]);
}

#[test]
fn the_advice_is_the_least_time_to_as_low_a_loss() {
    let plans = |up: u64| -> Vec<(MethodName, Plan)> {
        let around = around(Peers::all_voting(16), mbit(up), mbit(up));
        let around = Circumstances { steps_per_second: 100.0, ..around };
        MethodName::ALL.into_iter().map(|name| (name, plan(&manifest("gpt:gpt2", name), &around))).collect()
    };
    let chosen = |up: u64| {
        let plans = plans(up);
        let named: Vec<(&str, &Plan)> = plans.iter().map(|(name, plan)| (name.as_str(), plan)).collect();
        let advice = recommend(&named).unwrap();
        (plans[advice.index].0, advice.reason)
    };
    let (name, reason) = chosen(100_000);
    assert_eq!(name, MethodName::MuLoCo, "{reason}");
    assert!(reason.contains("no longer") && reason.contains("1.74"), "{reason}");
    let (name, reason) = chosen(1);
    assert_eq!(name, MethodName::SparseLoCo, "{reason}");
    assert_eq!(recommend(&[]), None);
}

#[test]
fn a_method_without_a_measured_loss_comes_last() {
    let plan = plan(&manifest("gpt:tiny", MethodName::MuLoCo), &unlimited(4));
    let advice = recommend(&[("new", &plan), ("sparse-loco", &plan)]).unwrap();
    assert_eq!(advice.index, 1);
    assert!(recommend(&[("new", &plan)]).unwrap().reason.contains("not measured"));
}

#[test]
fn nobody_sends_in_a_session_of_one() {
    let manifest = manifest("gpt:tiny", MethodName::MuLoCo);
    let Plan { roles, pace, .. } = plan(&manifest, &unlimited(1));
    assert_eq!((roles.voter.bytes.blobs_sent, roles.voter.bytes.blobs_received), (0.0, 0.0));
    assert_eq!((roles.voter.bytes.control_sent, pace.utilization), (0.0, 1.0));
}
