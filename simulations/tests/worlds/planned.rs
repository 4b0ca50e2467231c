//! The planner's bytes against those of sessions that run: blobs and messages, sent and received, by role.

use driftless_protocol::manifest::{Manifest, Preset};
use driftless_protocol::method::{Method, MethodName, Overrun};
use driftless_protocol::model::{GptShape, Model};
use driftless_protocol::planner::{ByRole, Bytes, Circumstances, Line, Peers, Plan, Role, plan};
use driftless_protocol::rate::Rate;
use driftless_protocol::session::WRITES_PER_DAY;
use driftless_protocol::time::Span;
use driftless_sim::engine::{CostModel, EngineKind, LossCurve};
use driftless_sim::flows::Access;
use driftless_sim::network::Link;
use driftless_sim::setup::PeerSetup;
use driftless_sim::{Setup, World};

use crate::support::{report, until, world};

/// Heights in which peers join and find each other, and heights that are counted here after them.
const BEFORE: usize = 20;
const COUNTED: usize = 60;
/// How far from the plan a figure may be.
const ALLOWED: f64 = 0.05;

/// Who takes part: voters first, then other contributors, then followers.
fn setup(name: MethodName, peers: Peers) -> Setup {
    let [others, followers] = [Role::Contributor, Role::Follower].map(|role| peers.with_role(role) as usize);
    let mut setup = Setup::small(7, peers.voters as usize);
    setup.peers.extend(std::iter::repeat_n(PeerSetup::contributor(), others));
    setup.peers.extend(std::iter::repeat_n(PeerSetup::follower(), followers));
    let manifest = &mut setup.manifest;
    let shape = GptShape { layers: 2, heads: 2, width: 32, context: 8, vocabulary: 256 };
    manifest.model = Model::Gpt(shape);
    let (model, method, training) = (manifest.model, manifest.method.clone(), manifest.training.clone());
    let Preset { method, training, .. } = Preset { model, method, training }.with_method(name);
    (manifest.method, manifest.training) = (method, training);
    // Whoever joins runs ahead of the founders for good, as far as it may: it would announce twice.
    manifest.method.set_strict();
    // So that no two streams are due at one moment, and each slot has a height.
    manifest.method.set_period(12);
    manifest.stop_at = None;
    setup
}

fn around(peers: Peers) -> Circumstances {
    Circumstances {
        peers,
        lines: ByRole::new(|_| Line::default()),
        latency: Span::millis(1),
        steps_per_second: 10.0,
        threads: 1,
        tokens: 1_000_000,
        writes_per_day: WRITES_PER_DAY,
    }
}

fn planned(setup: &Setup, peers: Peers) -> Plan {
    plan(&setup.sealed_manifest(), &around(peers))
}

/// Peers train on for a slot's steps without a certificate, where the method has that.
fn with_overrun(mut method: Method) -> Method {
    if let Method::StreamingDiLoCo(method) = &mut method {
        method.max_overrun = Overrun::Slot;
    }
    method
}

/// All bytes of every peer so far.
fn traffic(world: &World) -> Vec<Bytes> {
    let bytes = |peer: &driftless_sim::peer::Peer| {
        let traffic = peer.traffic();
        let [blobs_sent, blobs_received, control_sent, control_received] =
            [traffic.blobs_sent, traffic.blobs_received, traffic.messages_sent, traffic.messages_received]
                .map(|bytes| bytes as f64);
        Bytes { blobs_sent, blobs_received, control_sent, control_received }
    };
    world.peers().iter().map(bytes).collect()
}

/// Bytes of a slot that the peers of a role sent and received in the mean.
fn measured(setup: Setup, peers: Peers) -> ByRole<Bytes> {
    let mut world = world(setup);
    let seats = |world: &World| world.certified().control.seats.len() == peers.voters as usize;
    assert!(until(&mut world, 900_000, seats), "{}", report(&world));
    let from = world.decided().len() + BEFORE;
    let to = from + COUNTED;
    assert!(until(&mut world, 900_000, |world| world.decided().len() >= from), "{}", report(&world));
    let before = traffic(&world);
    assert!(until(&mut world, 900_000, |world| world.decided().len() >= to), "{}", report(&world));
    let after = traffic(&world);
    let closed = world.decided()[from..to].iter().flat_map(|decided| &decided.closed);
    let counted: Vec<usize> = closed.map(|(_, counted)| counted.len()).collect();
    assert!(counted.iter().all(|counted| *counted == peers.contributors as usize), "{counted:?}");
    let slots = counted.len() as f64;
    let mut first = 0;
    let roles = [Role::Voter, Role::Contributor, Role::Follower].map(|role| {
        let count = peers.with_role(role) as usize;
        let of_role = first..first + count;
        first += count;
        let mean = |of: fn(&Bytes) -> f64| {
            let sum: f64 = of_role.clone().map(|peer| of(&after[peer]) - of(&before[peer])).sum();
            sum / (count.max(1) as f64 * slots)
        };
        Bytes {
            blobs_sent: mean(|bytes| bytes.blobs_sent),
            blobs_received: mean(|bytes| bytes.blobs_received),
            control_sent: mean(|bytes| bytes.control_sent),
            control_received: mean(|bytes| bytes.control_received),
        }
    });
    let [voter, contributor, follower] = roles;
    ByRole { contributor, voter, follower }
}

fn check(name: MethodName, peers: Peers) {
    check_setup(name, setup(name, peers), peers);
}

fn check_setup(name: MethodName, setup: Setup, peers: Peers) {
    let plan = planned(&setup, peers);
    let measured = measured(setup, peers);
    let mut wrong = Vec::new();
    for role in Role::ALL.into_iter().filter(|role| peers.with_role(*role) > 0) {
        let (planned, measured) = (&plan.roles.of(role).bytes, measured.of(role));
        for (what, planned, measured) in [
            ("blobs sent", planned.blobs_sent, measured.blobs_sent),
            ("blobs received", planned.blobs_received, measured.blobs_received),
            ("control sent", planned.control_sent, measured.control_sent),
            ("control received", planned.control_received, measured.control_received),
        ] {
            let line =
                format!("{name} {} {what}: planned {planned:.1}, measured {measured:.1}", role.as_str());
            println!("{line} ({:+.2}%)", 100.0 * (measured / planned - 1.0));
            // What is as good as nothing (a follower sends where its chain ends) has no share.
            let near = (measured - planned).abs() <= (ALLOWED * planned).max(16.0);
            if !near {
                wrong.push(line);
            }
        }
    }
    assert!(wrong.is_empty(), "{peers:?}: {wrong:#?}");
}

#[test]
fn four_voters_send_and_receive_what_was_planned() {
    MethodName::ALL.into_iter().for_each(|name| check(name, Peers::all_voting(4)));
}

#[test]
fn seven_voters_too() {
    MethodName::ALL.into_iter().for_each(|name| check(name, Peers::all_voting(7)));
}

#[test]
fn contributors_without_seats_and_followers_too() {
    let peers = Peers { contributors: 7, voters: 3, followers: 2 };
    MethodName::ALL.into_iter().for_each(|name| check(name, peers));
}

#[test]
fn and_where_one_decides_alone() {
    let peers = Peers { contributors: 5, voters: 1, followers: 1 };
    MethodName::ALL.into_iter().for_each(|name| check(name, peers));
}

/// They tell each other that they are there, and blocks say whom their proposers heard.
#[test]
fn and_where_voters_are_elected() {
    let peers = Peers::all_voting(4);
    let mut setup = setup(MethodName::DEFAULT, peers);
    setup.elected = true;
    setup.peers[1..].fill_with(PeerSetup::candidate);
    check_setup(MethodName::DEFAULT, setup, peers);
}

/// The share of the time that four voters train over lines that carry a period's blobs in `share` of its
/// steps' time: planned for `gpt:gpt2`, and in a world where blobs are as long as that model's.
fn trained(mut setup: Setup, share: f64) -> (f64, f64) {
    let peers = Peers::all_voting(4);
    let large = Model::named("gpt:gpt2").unwrap();
    let terms = Manifest { model: large, ..setup.sealed_manifest() };
    let blobs: u64 = plan(&terms, &around(peers)).blobs.iter().sum();
    let rate = (3.0 * blobs as f64 / (share * 1.2)) as u64;
    let rates = Line { up: Rate::bytes_per_second(rate), down: Rate::bytes_per_second(rate) };
    // In the simulator blobs are not asked for, they come: fewer ways than in `node`, so they must be short.
    let latency = Span::millis(1);
    let around = Circumstances { lines: ByRole::new(|_| rates), latency, ..around(peers) };
    let planned = plan(&terms, &around).pace.utilization;

    let line = Access { up: Some(rate), down: Some(rate) };
    let losses = LossCurve::new(&[(0, 1)]).unwrap();
    let engine = EngineKind::Cost(CostModel { parameters: large.parameters(), losses });
    setup.peers.iter_mut().for_each(|peer| (peer.access, peer.engine) = (line, engine.clone()));
    setup.link = Link { latency, ..Link::default() };
    setup.manifest.slowest_link = rate;
    if setup.manifest.method.estimates().is_some() {
        // First contributions are whole gradients: a shorter deadline than they take is refused by the plan.
        setup.manifest.deadline.maximum = Span::seconds(600);
    }
    let mut world = world(setup);
    let sum = |world: &World| world.peers().iter().map(|peer| peer.trained().0).sum::<u64>() as f64;
    assert!(until(&mut world, 3_600_000, |world| world.decided().len() >= BEFORE), "{}", report(&world));
    let before = (world.now().0 as f64, sum(&world));
    let to = BEFORE + COUNTED / 2;
    assert!(until(&mut world, 3_600_000, |world| world.decided().len() >= to), "{}", report(&world));
    let measured = (sum(&world) - before.1) / (4.0 * (world.now().0 as f64 - before.0));
    (planned, measured)
}

#[test]
fn they_train_as_much_of_the_time_as_was_planned() {
    let mut wrong = Vec::new();
    for name in MethodName::ALL.into_iter().filter(|name| !name.is_fine_tuning()) {
        let strict = setup(name, Peers::all_voting(4)).manifest.method;
        let both = [strict.clone(), with_overrun(strict)];
        for method in if both[0] == both[1] { &both[..1] } else { &both[..] } {
            for share in [0.3, 2.0] {
                let mut setup = setup(name, Peers::all_voting(4));
                setup.manifest.method = method.clone();
                let (planned, measured) = trained(setup, share);
                let overrun = method.overrun_steps();
                let line = format!(
                    "{name}, overrun {overrun}, {share}: planned {planned:.3}, measured {measured:.3}"
                );
                println!("{line}");
                if (planned - measured).abs() > ALLOWED {
                    wrong.push(line);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
