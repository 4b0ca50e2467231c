//! Links that delay, reorder, lose and part.

use driftless_protocol::time::Span;
use driftless_sim::faults::Fault;
use driftless_sim::flows::Access;
use driftless_sim::network::Link;
use driftless_sim::{PeerSetup, Setup, faults};

use crate::support::{at, closings, complete, until, world};

#[test]
fn messages_that_are_late_and_overtake_each_other_do_no_harm() {
    for seed in 0..6 {
        let mut setup = Setup::small(seed, 4);
        setup.link = Link { latency: Span::millis(40), jitter: Span::millis(400), ..Link::default() };
        complete(&mut world(setup), 120);
    }
}

#[test]
fn a_fifth_of_all_messages_may_be_lost() {
    for seed in 0..10 {
        let mut setup = Setup::small(seed, 4);
        setup.link = Link { jitter: Span::millis(20), loss: 200, ..Link::default() };
        complete(&mut world(setup), 240);
    }
}

/// Whoever counted a message twice would count its tokens twice.
#[test]
fn messages_that_arrive_twice_count_nothing_twice() {
    for seed in 0..6 {
        let mut setup = Setup::small(seed, 4);
        setup.link = Link { jitter: Span::millis(200), duplicated: 1000, ..Link::default() };
        let mut world = world(setup);
        complete(&mut world, 120);
        let (sent, received) = world.peers().iter().fold((0, 0), |(sent, received), peer| {
            (sent + peer.traffic().messages_sent, received + peer.traffic().messages_received)
        });
        assert!(received > sent * 19 / 10, "{sent} bytes sent, {received} received");
        let closings = closings(&world);
        let tokens: u64 = closings.iter().flat_map(|slot| &slot.counted).map(|one| one.work.tokens).sum();
        assert_eq!(tokens, world.certified().control.counted_tokens);
        // Ten slots by the terms, and one more if the last ones counted somebody less.
        assert!((10..=12).contains(&closings.len()), "{}", closings.len());
    }
}

#[test]
fn slow_links_carry_a_session() {
    let mut setup = Setup::small(5, 4);
    // 1.6 kB of update at 2 kB/s: nearly a second for what takes 0.6 s to compute.
    setup.link = Link { latency: Span::millis(80), bandwidth: Some(2_000), ..Link::default() };
    complete(&mut world(setup), 240);
}

/// Two mirrors and two other voters draw on the same upload at once, and faults cut them off.
#[test]
fn home_lines_carry_a_session() {
    for seed in 0..6 {
        let mut setup = Setup::small(seed, 4);
        for peer in &mut setup.peers {
            peer.access = Access { up: Some(4_000), down: Some(20_000) };
        }
        setup.faults = faults::crashes(seed, 4, 3, at(10_000), Span::seconds(3));
        setup.faults.extend(faults::partitions(seed, 4, 1, at(10_000), Span::seconds(3)));
        complete(&mut world(setup), 240);
    }
}

#[test]
fn halves_decide_nothing_and_agree_when_they_meet_again() {
    for seed in 0..6 {
        let mut setup = Setup::small(seed, 4);
        setup.faults =
            vec![(at(2_150 + 37 * seed), Fault::Partition(vec![0, 0, 1, 1])), (at(40_000), Fault::Heal)];
        let mut world = world(setup);
        until(&mut world, 3_000, |_| false);
        let height = world.certified().control.height;
        until(&mut world, 40_000, |_| false);
        assert_eq!(world.certified().control.height, height, "seed {seed}");
        // Progress within 30 s of the heal: that is the bound.
        let moved = until(&mut world, 70_000, |world| world.certified().control.height > height);
        assert!(moved, "seed {seed}: no height in 30 s after the partition healed");
        complete(&mut world, 240);
    }
}

#[test]
fn partitions_that_come_and_go_with_loss_and_jitter_do_no_harm() {
    for seed in 0..12 {
        let mut setup = Setup::small(seed, 4);
        setup.link =
            Link { latency: Span::millis(10), jitter: Span::millis(100), loss: 50, ..Link::default() };
        setup.faults = faults::partitions(seed, 4, 5, at(20_000), Span::seconds(6));
        complete(&mut world(setup), 300);
    }
}

/// A contribution of 400 bytes goes to two others for each of two fragments, at 800 bytes a second, while they fetch
/// what they missed; a step takes 60 ms. Compute alone would give it a second for a slot.
#[test]
fn whoever_uploads_more_slowly_than_it_trains_is_counted_all_the_same() {
    for seed in 0..4 {
        let mut setup = Setup::small(seed, 1);
        setup.manifest.stop_at = Some(8 * 6 * 40);
        setup.peers.extend([PeerSetup::follower(), PeerSetup::follower()]);
        for peer in &mut setup.peers[1..] {
            peer.start = at(5_000);
        }
        setup.peers[0].step = Span::millis(60);
        setup.peers[0].access = Access { up: Some(800), down: Some(3_200) };
        let mut world = world(setup);
        complete(&mut world, 300);
    }
}
