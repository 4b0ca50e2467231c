//! The end: the first block that reaches `stop_at` is final, everywhere.

use driftless_protocol::event::Event;
use driftless_protocol::time::Span;
use driftless_sim::Setup;
use driftless_sim::network::Link;

use crate::support::{closings, complete, told, world};

#[test]
fn four_peers_in_a_quiet_world_reach_the_end_with_one_digest() {
    let mut world = world(Setup::small(1, 4));
    complete(&mut world, 60);
    // Ten slots of 4 x 6 steps, everybody counted in each.
    let closings = closings(&world);
    assert_eq!(closings.len(), 10);
    assert!(closings.iter().all(|closing| closing.counted.len() == 4));
    assert!((0..4).all(|peer| world.peers()[peer].validation_loss().is_some_and(|loss| loss < 0.01)));
}

/// Peers reach the last block milliseconds apart; who is last heard of the others' ends before its own.
#[test]
fn nobody_waits_for_those_who_ended_before() {
    for seed in 0..10 {
        let mut setup = Setup::small(seed, 4);
        setup.link = Link { latency: Span::millis(10), jitter: Span::millis(20), ..Link::default() };
        let mut world = world(setup);
        complete(&mut world, 60);
        let last = world.peers().iter().filter_map(|peer| {
            let blocks =
                peer.events().iter().filter(|(_, event)| matches!(event, Event::Block { last: true, .. }));
            blocks.map(|(at, _)| at.0).next()
        });
        // Saving and evaluating takes two seconds.
        let waited = world.now().0 - last.max().unwrap();
        assert!(waited < 5_000_000, "seed {seed}: {waited} us");
    }
}

#[test]
fn the_first_block_that_reaches_stop_at_is_the_last() {
    for seed in 1..4 {
        let mut world = world(Setup::small(seed, 3));
        complete(&mut world, 60);
        let stop_at = world.charter().manifest.stop_at.unwrap();
        for peer in world.peers() {
            let blocks = peer.events().iter().filter_map(|(_, event)| match event {
                Event::Block { tokens, last, .. } => Some((*tokens, *last)),
                _ => None,
            });
            let blocks: Vec<_> = blocks.collect();
            assert!(blocks.iter().all(|(tokens, last)| (*tokens >= stop_at) == *last));
            assert_eq!(blocks.iter().filter(|(_, last)| *last).count(), 1);
        }
    }
}

#[test]
fn the_smallest_committees_work() {
    for peers in 1..=3 {
        let mut world = world(Setup::small(9, peers));
        complete(&mut world, 60);
        assert!(!told(&world, 0, |event| matches!(event, Event::Warning(_))));
    }
}

#[test]
fn sixteen_voters_work() {
    let mut setup = Setup::small(3, 16);
    setup.manifest.stop_at = Some(8 * 6 * 16 * 3);
    complete(&mut world(setup), 60);
}
