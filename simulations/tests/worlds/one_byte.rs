//! One byte per sample: batches of steps that one peer orders and all follow. Checks B2, B3 and B5.

use driftless_protocol::event::Event;
use driftless_protocol::method::one_byte::{Directions, Estimator};
use driftless_protocol::method::{Method, OneByte};
use driftless_protocol::time::Span;
use driftless_sim::faults::Fault;
use driftless_sim::network::Link;
use driftless_sim::table::Progress;
use driftless_sim::table::one_byte::ROWS;
use driftless_sim::{Lie, PeerSetup, Setup, World};

use crate::support::{at, closings, complete, until, world};

const STEPS: u32 = 12;
/// Of sessions in which theta moves far.
const RATE: f32 = 0.5;

/// `peers` voters for so many batches of 12 steps of 2 samples each.
fn setup(seed: u64, peers: usize, batches: u64) -> Setup {
    let mut setup = Setup::small(seed, peers);
    let estimator = if seed.is_multiple_of(2) { Estimator::Spsa } else { Estimator::Fzoo };
    let directions = if seed % 4 < 3 { Directions::Rademacher } else { Directions::Gaussian };
    let (samples, batch_steps, staleness) = (2, STEPS, (seed % 3) as u32);
    setup.manifest.method = Method::OneByte(OneByte {
        directions,
        samples,
        batch_steps,
        staleness,
        audit: 0.0,
        ..OneByte::of(estimator, 1e-2)
    });
    let tokens = 8 * u64::from(STEPS) * peers as u64 * batches;
    setup.manifest.stop_at = Some(tokens);
    setup.manifest.training.budget_tokens = tokens;
    setup
}

/// Steps that the members of a world had counted, batch by batch.
fn steps(world: &World) -> Vec<Vec<u32>> {
    let counted = closings(world).into_iter();
    counted.map(|closing| closing.counted.iter().map(|counted| counted.work.steps).collect()).collect()
}

#[test]
fn every_sample_of_a_quiet_world_is_listed_and_nobody_fetches_a_blob() {
    for seed in 0..6 {
        let mut world = world(setup(seed, 4, 5));
        complete(&mut world, 60);
        let (all, last) = (steps(&world), closings(&world).len() - 1);
        assert!(all[..last].iter().all(|batch| *batch == [STEPS; 4]), "seed {seed}: {all:?}");
        let fetched = world.peers().iter().map(|peer| peer.traffic().blobs_received).sum::<u64>();
        assert_eq!(fetched, 0, "seed {seed}");
        // A batch of 12 steps of 100 ms, and its certificate.
        assert!(world.now() < at(5 * 2_000), "seed {seed}: {:?}", world.now());
    }
}

/// B3: whoever comes late replays the log, by blocks or from a snapshot on, to the same digest.
#[test]
fn b3_a_late_joiner_replays_the_log_to_the_same_digest() {
    for (seed, snapshot_every) in [(0, 1_000), (1, 1_000), (2, 4), (3, 4)] {
        let mut setup = setup(seed, 4, 12);
        setup.manifest.snapshot_every = snapshot_every;
        setup.peers.push(PeerSetup { start: at(7_000 + 170 * seed), ..PeerSetup::contributor() });
        let mut world = world(setup);
        // All peers end at the certified state.
        complete(&mut world, 120);
        let counted = world.certified().control.member(&world.peers()[4].key).map(|member| member.counted);
        assert!(counted > Some(1), "seed {seed}: {counted:?}");
    }
}

/// B5: peers that come and go at any step do not stop the others, and no batch is lost.
#[test]
fn b5_peers_come_and_go_at_any_step_and_the_log_has_no_gap() {
    for seed in 0..24 {
        let mut setup = setup(seed, 5, 12);
        setup.peers.push(PeerSetup { start: at(1_000 + 130 * seed), ..PeerSetup::contributor() });
        let (peer, outputs) = ((seed % 5) as usize, (seed as u32 * 7) % 61);
        let down = if seed % 3 == 0 { None } else { Some(Span::seconds(3)) };
        setup.faults.push((at(2_000 + 97 * seed), Fault::Crash { peer, outputs, down }));
        let mut world = world(setup);
        let ended = |world: &World| {
            world
                .peers()
                .iter()
                .enumerate()
                .all(|(index, one)| one.ending().is_some() || (down.is_none() && index == peer))
        };
        assert!(until(&mut world, 240_000, ended), "seed {seed}: {}", crate::support::report(&world));
        let all = steps(&world);
        let ordinals: Vec<u32> = closings(&world).iter().map(|closing| closing.slot.ordinal).collect();
        assert!(ordinals.iter().copied().eq(0..ordinals.len() as u32), "seed {seed}");
        let empty = all.iter().filter(|batch| batch.is_empty()).count();
        assert!(empty <= 1, "seed {seed}: {all:?}");
    }
}

#[test]
fn slow_and_lossy_links_cost_samples_and_nothing_else() {
    for seed in 0..6 {
        let mut setup = setup(seed, 4, 6);
        let (latency, jitter) = (Span::millis(80), Span::millis(40));
        setup.link = Link { latency, jitter, loss: 20, ..Link::default() };
        setup.peers[1].step = Span::millis(250);
        let mut world = world(setup);
        complete(&mut world, 240);
    }
}

/// The orderer of a batch is gone in the middle of it: the next voter goes on.
#[test]
fn a_batch_goes_on_when_its_orderer_is_gone() {
    for seed in 0..4 {
        let mut setup = setup(seed, 4, 6);
        for peer in 0..4 {
            // In every batch somebody else.
            let from = 400 + 2_000 * peer as u64;
            setup.faults.push((at(from), Fault::Crash { peer, outputs: 3, down: Some(Span::millis(1_500)) }));
        }
        let mut world = world(setup);
        complete(&mut world, 240);
        let all = steps(&world);
        assert!(all.iter().all(|batch| !batch.is_empty()), "seed {seed}: {all:?}");
    }
}

/// How often each peer of a world was counted.
fn counted(world: &World) -> Vec<u32> {
    let control = &world.certified().control;
    world.peers().iter().map(|peer| control.member(&peer.key).map_or(0, |member| member.counted)).collect()
}

/// Voters measure a share of the others' samples again. Steps are long, so that whoever measures where the batch began finds
/// other slopes.
fn auditing(mut setup: Setup, audit: f32) -> Setup {
    if let Method::OneByte(method) = &mut setup.manifest.method {
        (method.audit, method.rate) = (audit, RATE);
    }
    setup
}

/// Four voters, of which one may lie.
fn audited(seed: u64, audit: f32, lie: Option<Lie>) -> World {
    let mut setup = auditing(setup(seed, 4, 12), audit);
    setup.peers[1].lie = lie;
    let mut world = world(setup);
    complete(&mut world, 600);
    world
}

/// What peers found when they measured samples again.
fn doubts(world: &World) -> usize {
    let doubts =
        |(_, event): &&(_, Event)| matches!(event, Event::Warning(text) if text.contains("measured again"));
    world.peers().iter().map(|peer| peer.events().iter().filter(doubts).count()).sum()
}

#[test]
fn samples_that_were_made_up_are_left_out_and_no_others() {
    for seed in 0..6 {
        let believed = audited(seed, 0.0, Some(Lie::Invents));
        assert_eq!(counted(&believed), [closings(&believed).len() as u32; 4], "seed {seed}: nobody checks");
        for audit in [0.25, 1.0] {
            let world = audited(seed, audit, Some(Lie::Invents));
            let (all, counted) = (closings(&world).len() as u32, counted(&world));
            assert!(
                counted[1] <= if audit == 1.0 { 0 } else { 2 },
                "seed {seed}, {audit}: {counted:?} of {all}"
            );
            assert!(
                [0, 2, 3].iter().all(|peer| counted[*peer] == all),
                "seed {seed}, {audit}: {counted:?} of {all}"
            );
        }
        let honest = audited(seed, 1.0, None);
        assert_eq!(counted(&honest), [closings(&honest).len() as u32; 4], "seed {seed}: all are honest");
        assert_eq!(doubts(&honest), 0, "seed {seed}");
    }
}

/// Whoever was away, or follows lists that are late, measures where all others do, and so do those who check it.
#[test]
fn the_honest_are_not_doubted_whatever_happens() {
    for seed in 0..12 {
        let mut setup = auditing(setup(seed, 4, 6), 1.0);
        let (latency, jitter) = (Span::millis(80), Span::millis(40));
        setup.link = Link { latency, jitter, loss: 20, ..Link::default() };
        setup.peers[1].step = Span::millis(250);
        let (peer, outputs) = ((seed % 4) as usize, (seed as u32 * 7) % 61);
        setup
            .faults
            .push((at(2_000 + 397 * seed), Fault::Crash { peer, outputs, down: Some(Span::seconds(2)) }));
        let mut world = world(setup);
        complete(&mut world, 600);
        assert_eq!(doubts(&world), 0, "seed {seed}: {}", crate::support::report(&world));
    }
}

/// One voter's doubt does not stop the others: a rare check that finds something is one voice of four.
#[test]
fn a_voter_that_disputes_alone_gives_in() {
    for seed in 0..12 {
        let world = audited(seed, 1.0 / 32.0, Some(Lie::Invents));
        let counted = counted(&world);
        assert!(
            [0, 2, 3].iter().all(|peer| counted[*peer] + 2 >= closings(&world).len() as u32),
            "{counted:?}"
        );
    }
}

/// B2 in a short form: one seed. The whole is `driftless-sim table one-byte`.
#[test]
fn b2_digits_are_learned_by_forward_passes_and_a_byte_for_each() {
    let losses = ["spsa", "fzoo", "spsa-plain", "spsa-f32"].map(|name| {
        let row = ROWS.iter().find(|row| row.name == name).unwrap();
        let outcome = row.run(row.rates[0], 2, &Progress::new(1)).unwrap();
        let accuracy = outcome.accuracy.unwrap();
        assert!(row.least.is_none_or(|least| accuracy >= least), "{name}: {accuracy}");
        outcome.loss
    });
    let [.., byte, exact] = losses;
    assert!((byte / exact - 1.0).abs() < 0.02, "{byte} {exact}");
}
