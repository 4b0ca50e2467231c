//! Whoever comes late, only watches, or was away: one path to the head of the chain.

use driftless_protocol::event::{Ending, Event};
use driftless_protocol::time::Span;
use driftless_sim::faults::Fault;
use driftless_sim::network::Link;
use driftless_sim::{PeerSetup, Setup, World};

use crate::support::{at, complete, told, until, world};

fn joined(world: &World, peer: usize) -> bool {
    told(world, peer, |event| matches!(event, Event::Joined { .. }))
}

/// Five peers; the last one, without a seat, starts at `start` milliseconds.
fn with_a_late_joiner(seed: u64, start: u64, snapshot_every: u32) -> Setup {
    let mut setup = Setup::small(seed, 4);
    setup.manifest.stop_at = Some(8 * 6 * 4 * 20);
    setup.manifest.snapshot_every = snapshot_every;
    let mut joiner = PeerSetup { start: at(start), ..PeerSetup::contributor() };
    // Whoever keeps a history takes blocks where it can.
    joiner.options.keep_history = false;
    setup.peers.push(joiner);
    setup
}

fn counted_slots(world: &World, peer: usize) -> u32 {
    world.certified().control.member(&world.peers()[peer].key).map_or(0, |member| member.counted)
}

#[test]
fn a_late_joiner_catches_up_by_blocks_and_is_counted() {
    for seed in 0..4 {
        let mut world = world(with_a_late_joiner(seed, 3_300 + 100 * seed, 1_000));
        complete(&mut world, 120);
        assert!(
            joined(&world, 4) && counted_slots(&world, 4) >= 3,
            "seed {seed}: {}",
            counted_slots(&world, 4)
        );
        assert_eq!(world.peers()[4].disk().blocks().first_key_value().map(|(height, _)| *height), Some(1));
    }
}

#[test]
fn a_late_joiner_takes_a_snapshot_and_is_counted() {
    for seed in 0..4 {
        let mut world = world(with_a_late_joiner(seed, 5_300 + 100 * seed, 4));
        complete(&mut world, 120);
        assert!(
            joined(&world, 4) && counted_slots(&world, 4) >= 3,
            "seed {seed}: {}",
            counted_slots(&world, 4)
        );
        // It never saw the first block.
        assert!(!world.peers()[4].disk().blocks().contains_key(&1));
    }
}

#[test]
fn a_joiner_survives_loss_and_power_cuts() {
    for seed in 0..8 {
        let mut setup = with_a_late_joiner(seed, 2_000, 4);
        setup.link = Link { jitter: Span::millis(30), loss: 100, ..Link::default() };
        for cut in 0..3 {
            let outputs = (seed as u32 * 5 + cut * 11) % 37;
            let down = Some(Span::millis(800));
            setup.faults.push((at(2_400 + 1_500 * u64::from(cut)), Fault::Crash { peer: 4, outputs, down }));
        }
        complete(&mut world(setup), 300);
    }
}

#[test]
fn a_follower_applies_every_block_and_is_no_member() {
    let mut setup = Setup::small(2, 4);
    setup.peers.push(PeerSetup::follower());
    let mut world = world(setup);
    complete(&mut world, 60);
    assert!(!joined(&world, 4));
    assert_eq!(world.certified().control.members.len(), 4);
}

#[test]
fn a_steward_decides_alone_what_three_contributors_did() {
    for seed in 0..4 {
        let mut setup = Setup::small(seed, 1);
        setup.manifest.stop_at = Some(8 * 6 * 4 * 8);
        setup.peers.extend([PeerSetup::contributor(), PeerSetup::contributor(), PeerSetup::contributor()]);
        let mut world = world(setup);
        complete(&mut world, 120);
        assert!((1..4).all(|peer| joined(&world, peer) && counted_slots(&world, peer) >= 6));
    }
}

/// Cut off for long enough that blocks alone, or only a newer snapshot, bring it back.
#[test]
fn a_laggard_catches_up_and_is_counted_again() {
    for (seed, snapshot_every) in [(1, 4), (2, 4), (3, 16), (4, 1_000)] {
        let mut setup = Setup::small(seed, 4);
        setup.manifest.stop_at = Some(8 * 6 * 4 * 30);
        setup.manifest.snapshot_every = snapshot_every;
        setup.peers.iter_mut().for_each(|peer| peer.options.keep_history = snapshot_every == 1_000);
        setup.faults = vec![(at(2_000), Fault::Partition(vec![0, 0, 0, 1])), (at(30_000), Fault::Heal)];
        let mut world = world(setup);
        until(&mut world, 30_000, |_| false);
        let height =
            |world: &World, peer: usize| world.peers()[peer].session().unwrap().state().control.height;
        assert!(height(&world, 0) > height(&world, 3) + 2, "{}", crate::support::report(&world));
        let before = counted_slots(&world, 3);
        complete(&mut world, 240);
        assert!(counted_slots(&world, 3) > before, "seed {seed}");
    }
}

/// A peer so slow to fetch that the others forget the blobs it would need: it takes a snapshot.
#[test]
fn a_laggard_whose_blobs_are_forgotten_takes_a_snapshot() {
    let mut setup = Setup::small(7, 4);
    setup.manifest.stop_at = Some(8 * 6 * 4 * 30);
    setup.manifest.snapshot_every = 4;
    setup.peers.push(PeerSetup::follower());
    setup.peers.iter_mut().for_each(|peer| peer.options.keep_history = false);
    let mut world = world(setup);
    for from in 0..4 {
        let crawling = Link { latency: Span::millis(2_500), ..Link::default() };
        world.network().set(from, 4, crawling);
    }
    let done = until(&mut world, 300_000, |world| world.peers()[4].ending() == Some(Ending::Complete));
    assert!(
        done || world.peers()[4].head().is_some_and(|(height, _)| height > 10),
        "{}",
        crate::support::report(&world)
    );
}

/// A joiner fetches the pages of a snapshot from several peers, each once, also if its power goes in
/// the middle.
#[test]
fn a_joiner_cut_off_in_the_middle_of_a_snapshot_goes_on_with_it() {
    for seed in 0..8 {
        let start = 5_300 + 100 * seed;
        let mut setup = with_a_late_joiner(seed, start, 4);
        setup.manifest.slowest_link = 900;
        let down = Some(Span::millis(400));
        setup.faults = vec![(at(start + 1_500), Fault::Crash { peer: 4, outputs: 0, down })];
        let mut world = world(setup);
        // Pages of 3 kB: two come before the cut, two do not.
        for (from, bandwidth) in [900, 1_500, 3_000, 6_000].into_iter().enumerate() {
            world.network().set(from, 4, Link { bandwidth: Some(bandwidth), ..Link::default() });
        }
        until(&mut world, start + 1_400, |_| false);
        let offer = world.peers()[4].disk().recover().offer.expect("it takes a snapshot");
        let before: Vec<_> = world.peers()[4].fetched().iter().map(|(root, _)| *root).collect();
        assert!(!before.is_empty() && before.len() < offer.pages.len(), "seed {seed}: {before:?}");
        complete(&mut world, 200);
        let joiner = &world.peers()[4];
        assert_eq!(joiner.crashes(), 1);
        let mut fetched: Vec<_> = joiner.fetched().iter().map(|(root, _)| *root).collect();
        let all = fetched.len();
        assert!(
            offer.pages.iter().all(|page| fetched.contains(page)),
            "seed {seed}: it went on with another"
        );
        fetched.sort_unstable();
        fetched.dedup();
        assert_eq!(fetched.len(), all, "seed {seed}: something came twice");
    }
}
