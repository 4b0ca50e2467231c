use super::*;
use crate::faults::Fault;
use crate::network::Reach;

const SMALL: &str = r#"
name = "small"
tokens = 1000
[[peers]]
count = 3
role = "voter"
step = "100ms"
"#;

fn error(text: &str) -> String {
    match Scenario::parse(text).and_then(|scenario| scenario.plan()) {
        Ok(_) => panic!("it is a world"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_cost_model_takes_the_place_of_a_model() {
    let cost = |rest: &str| format!("{SMALL}\n[cost-model]\nparameters = 1_000_000_000\n{rest}");
    let plan = Scenario::parse(&cost("loss = [[0, 11.0], [500, 4.5]]")).and_then(|scenario| scenario.plan());
    let EngineKind::Cost(model) = &plan.unwrap().setup.peers[0].engine else { panic!("it costs") };
    assert_eq!((model.parameters, model.losses.at(250)), (1_000_000_000, 7.75));
    assert!(error(&cost("loss = []")).contains("cost-model.loss: points [tokens, nats]"));
    assert!(error(&cost("loss = [[0, -1.0]]")).contains("cost-model.loss: nats"));
    assert!(error(&cost("loss = [[0, 1.0]]\nlayers = 3")).contains("layers"));
    let both = format!("model = \"gpt:tiny\"\n{}", cost("loss = [[0, 1.0]]"));
    assert!(error(&both).contains("cost-model: either"));
}

#[test]
fn what_is_left_out_has_its_default_and_what_is_named_counts() {
    let text = format!(
        "{SMALL}{}",
        r#"
        [[peers]]
        count = 2
        role = "contributor"
        region = "far"
        step = "1s"
        spread = 0.5
        up = "2Mbit"
        reach = "relay-only"
        jitter = 0.25
        drift-ppm = 500
        slow-every = "10min"
        slow-for = "20s"
        every = "10s"
        start = "5s"
        fails-every = "1h"
        [session]
        heartbeat = "7s"
        method.streaming-diloco.period = 8
        [network]
        latency = "20ms"
        loss = 0.01
        duplicated = 0.002
        [[network.between]]
        regions = ["", "far"]
        latency = "150ms"
        [[faults]]
        kind = "full-disk"
        at = "5s"
        until = "9s"
        peer = 1
        [[faults]]
        kind = "slow"
        at = "1s"
        until = "3s"
        peer = 0
        factor = 20
        [[faults]]
        kind = "partition"
        at = "1min"
        until = "2min"
        region = "far"
        "#
    );
    let plan = Scenario::parse(&text).and_then(|scenario| scenario.plan()).unwrap();
    let Setup { mut manifest, peers, special, faults, .. } = plan.setup.clone();
    assert_eq!((manifest.heartbeat, manifest.stop_at), (Span::seconds(7), Some(1000)));
    let driftless_protocol::method::Method::StreamingDiLoCo(method) = &mut manifest.method else {
        unreachable!()
    };
    assert_eq!((method.period, method.fragments), (8, 2));
    assert_eq!(peers.iter().map(|peer| peer.seat).collect::<Vec<_>>(), [true, true, true, false, false]);
    assert_eq!((peers[4].start, peers[4].access.up), (Time(15_000_000), Some(250_000)));
    assert!(peers[3..].iter().all(|peer| (500_000..=1_500_000).contains(&peer.step.0)));
    assert_eq!((peers[2].reach, peers[3].reach), (Reach::Dialable, Reach::RelayOnly));
    assert_eq!(special.len(), 12);
    assert!(
        special
            .iter()
            .all(|(.., link)| link.latency == Span::millis(150) && link.loss == 10 && link.duplicated == 2)
    );
    assert!(faults.contains(&(Time(60_000_000), Fault::Partition(vec![0, 0, 0, 1, 1]))));
    assert!(peers[0].drift == 0 && peers[3].drift != peers[4].drift);
    assert!(peers.iter().all(|peer| (-500..=500).contains(&peer.drift)));
    let full = Fault::Full { peer: 1, lasting: Span::seconds(4) };
    assert!(faults.contains(&(Time(5_000_000), full)));
    let of = |of: usize| {
        faults.iter().filter_map(move |(at, fault)| match fault {
            Fault::Slow { peer, factor, lasting } if *peer == of => Some((*at, *factor, *lasting)),
            _ => None,
        })
    };
    assert_eq!(of(0).collect::<Vec<_>>(), [(Time(1_000_000), 20, Span::seconds(2))]);
    assert_eq!((peers[0].jitter, peers[4].jitter, of(1).count()), (0, 250, 0));
    let spells: Vec<_> = of(4).collect();
    assert!((10..40).contains(&spells.len()), "every ten minutes for four hours");
    assert!(spells.iter().all(|(_, factor, _)| *factor == 4));
    let crashes = faults.iter().filter(|(_, fault)| matches!(fault, Fault::Crash { peer: 3.., .. }));
    assert!((1..30).contains(&crashes.count()), "two peers for four hours");
}

#[test]
fn wrong_scenarios_say_what_to_write_instead() {
    assert!(error("name = 3").contains("line 1"));
    let unknown = error(&SMALL.replace("role", "rol"));
    assert!(unknown.contains("did you mean `role`?"), "{unknown}");
    let unknown = error(&format!("{SMALL}\n[session]\nheartbeet = \"7s\"\n"));
    assert!(unknown.contains("session") && unknown.contains("`heartbeat`?"), "{unknown}");
    let unknown = error(&format!("{SMALL}\n[[faults]]\nkind = \"los\"\nat = \"1s\"\nshare = 1.0\n"));
    assert!(unknown.contains("`loss`?"), "{unknown}");
    let out = error(&format!("{SMALL}\n[session]\nmax_lag = 0\n"));
    assert!(out.contains("max_lag"), "{out}");
    let nobody = error(&SMALL.replace("voter", "follower"));
    assert!(nobody.contains("has to vote"), "{nobody}");
    let peer = error(&format!("{SMALL}\n[[faults]]\nkind = \"flip\"\nat = \"1s\"\npeer = 3\n"));
    assert!(peer.contains("no peer 3"), "{peer}");
    let past = "kind = \"full-disk\"\nat = \"9s\"\nuntil = \"5s\"\npeer = 0\n";
    assert!(error(&format!("{SMALL}\n[[faults]]\n{past}")).contains("`until` has to come after `at`"));
    let share = error(&format!("{SMALL}\n[network]\nduplicated = 1.5\n"));
    assert!(share.contains("network.duplicated: a share"), "{share}");
    let factor = error(&format!("{SMALL}slow-factor = 0\n"));
    assert!(factor.contains("peers[0].slow-factor: 1 to 1000"), "{factor}");
    assert!(error(&format!("{SMALL}slow-evry = \"1s\"\n")).contains("`slow-every`?"));
    assert!(error(&format!("{SMALL}jitter = 1.0\n")).contains("peers[0].jitter"));
    assert!(error(&format!("{SMALL}drift-ppm = 501\n")).contains("peers[0].drift-ppm: 0 to 500"));
    let voter = error(&format!("{SMALL}reach = \"behind-nat\"\n"));
    assert!(voter.contains("peers[0].reach: voters have to reach each other"), "{voter}");
    assert!(error(&format!("{SMALL}reach = \"behind-nut\"\n")).contains("`behind-nat`?"));
    assert!(error(&SMALL.replace("100ms", "0s")).contains("peers[0].step"));
    assert!(error(&SMALL.replace("100ms", "fast")).contains("duration"));
    assert!(error(&SMALL.replace("count = 3", "count = 0")).contains("peers"));
}

#[test]
fn any_field_can_be_given_another_value() {
    let varied = |path: &str, value: &str| {
        let text = Scenario::vary(SMALL, path, value)?;
        Scenario::parse(&text)?.plan()
    };
    assert_eq!(varied("peers.0.step", "2s").unwrap().setup.peers[1].step, Span::seconds(2));
    assert_eq!(varied("peers.0.count", "5").unwrap().setup.peers.len(), 5);
    let plan = varied("session.method.streaming-diloco.alpha", "0.25").unwrap();
    let driftless_protocol::method::Method::StreamingDiLoCo(method) = plan.setup.manifest.method else {
        unreachable!()
    };
    assert_eq!(method.alpha, 0.25);
    for (path, said) in [("peers.1.step", "no such field"), ("sed", "`seed`?"), ("name.x", "no such field")] {
        let error = varied(path, "3").unwrap_err().to_string();
        assert!(error.contains(said), "{path}: {error}");
    }
}

#[test]
fn failures_are_as_frequent_as_their_mean_says() {
    let mut random = Random::new(1, "test");
    let spans = (0..20_000).map(|_| random.exponential(Span::seconds(60)).0);
    let (mut sum, mut early) = (0, 0);
    for span in spans {
        sum += span;
        early += u32::from(span < 60_000_000);
    }
    let mean = sum as f64 / 20_000.0 / 1e6;
    assert!((mean - 60.0).abs() < 1.5, "{mean}");
    // 1 - 1/e of an exponential distribution is below its mean.
    let share = f64::from(early) / 20_000.0;
    assert!((share - 0.632).abs() < 0.012, "{share}");
}
