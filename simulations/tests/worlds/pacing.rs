//! Peers of different speeds, and how far training runs ahead of certificates.

use driftless_protocol::event::{Event, Waiting};
use driftless_protocol::manifest::Pacing;
use driftless_protocol::method::Overrun;
use driftless_protocol::time::Span;
use driftless_sim::faults::Fault;
use driftless_sim::network::Link;
use driftless_sim::{Setup, World};

use crate::support::{at, complete, counted, told, world};

/// Four times slower than the others.
fn with_a_slow_peer(seed: u64) -> Setup {
    let mut setup = Setup::small(seed, 4);
    setup.manifest.stop_at = Some(8 * 6 * 4 * 16);
    setup.peers[3].step = Span::millis(400);
    setup
}

#[test]
fn at_proportional_pacing_a_slow_peer_is_counted_each_time_with_the_steps_it_managed() {
    let mut setup = with_a_slow_peer(1);
    setup.manifest.pacing = Pacing::Proportional { slot_time: Span::millis(800), minimum: 1, maximum: 16 };
    let mut world = world(setup);
    complete(&mut world, 120);
    let (fast, slow) = (counted(&world, 0), counted(&world, 3));
    // It takes a first slot of H steps to know a speed.
    assert!(slow.len() + 4 >= fast.len(), "{} and {}", slow.len(), fast.len());
    let steps = |counted: &[driftless_protocol::block::Counted]| counted.last().unwrap().work.steps;
    assert!((6..=9).contains(&steps(&fast)), "{}", steps(&fast));
    assert!((1..=3).contains(&steps(&slow)), "{}", steps(&slow));
    assert!(slow.iter().all(|counted| counted.work.tokens == u64::from(counted.work.steps) * 8));
}

#[test]
fn at_uniform_pacing_a_slow_peer_is_counted_with_later_slots() {
    let mut world = world(with_a_slow_peer(2));
    complete(&mut world, 240);
    let slow = counted(&world, 3);
    assert!(slow.len() >= 4, "{}", slow.len());
    // Nobody waited for it each time.
    assert!(counted(&world, 0).len() > slow.len() + 2);
}

/// Slot by slot on links with 350 ms of latency: the announcement alone takes three steps.
fn with_far_peers(overrun: Overrun) -> World {
    let mut setup = Setup::small(3, 4);
    setup.link = Link { latency: Span::millis(350), ..Link::default() };
    setup.method().max_overrun = overrun;
    let mut world = world(setup);
    complete(&mut world, 240);
    world
}

#[test]
fn strict_waits_for_each_certificate_and_the_default_trains_on() {
    let waits = |world: &World| told(world, 0, |event| *event == Event::Waiting(Waiting::Certificate));
    let (strict, default) = (with_far_peers(Overrun::Strict), with_far_peers(Overrun::Slot));
    assert!(waits(&strict));
    // The same slots, but training goes on while they are decided.
    let (default, strict) = (default.now().0, strict.now().0);
    assert!(default + default / 10 < strict, "{default} {strict}");
}

#[test]
fn without_latency_strict_never_waits() {
    let mut setup = Setup::small(4, 4);
    setup.method().max_overrun = Overrun::Strict;
    let mut world = world(setup);
    complete(&mut world, 60);
    assert!((0..4).all(|peer| !told(&world, peer, |event| *event == Event::Waiting(Waiting::Certificate))));
}

/// The terms of the learning table with the stand-in engine: nobody misses a slot.
#[test]
fn at_the_learning_tables_terms_everybody_is_counted_in_every_slot() {
    let mut setup = Setup::real(1, 4, "gpt:tiny", 1_536_000).unwrap();
    let small = Setup::small(1, 4);
    setup.manifest.model = small.manifest.model;
    setup.manifest.training.batch = 12 * 64 / 4;
    setup.peers = small.peers;
    setup.method().max_overrun = Overrun::Strict;
    let mut world = world(setup);
    complete(&mut world, 600);
    let closings = crate::support::closings(&world);
    let short: Vec<_> = closings.iter().filter(|closing| closing.counted.len() < 4).collect();
    assert!(short.is_empty(), "{} of {}: {short:?}", short.len(), closings.len());
    assert_eq!(closings.len(), 34);
    assert!(closings.iter().flat_map(|closing| &closing.counted).all(|counted| counted.work.steps == 15));
}

/// A machine that does something else for ten seconds.
#[test]
fn a_slow_spell_makes_a_peer_late_and_leaves_no_trace_once_it_is_over() {
    for overrun in [Overrun::Strict, Overrun::Slot] {
        let mut setup = Setup::small(5, 4);
        setup.manifest.stop_at = Some(8 * 6 * 4 * 40);
        setup.method().max_overrun = overrun;
        let spell = Fault::Slow { peer: 3, factor: 10, lasting: Span::seconds(10) };
        setup.faults = vec![(at(5_000), spell)];
        setup.peers.iter_mut().for_each(|peer| peer.jitter = 100);
        let mut world = world(setup);
        complete(&mut world, 120);
        let (all, slow) = (crate::support::closings(&world), counted(&world, 3));
        assert!((3..=16).contains(&(all.len() - slow.len())), "{} of {}", slow.len(), all.len());
        assert!(all.iter().rev().take(15).all(|closing| closing.counted.len() == 4), "{overrun:?}");
        assert!(world.certified().control.convicted.is_empty());
        assert_eq!(world.certified().control.members.len(), 4);
    }
}

/// How many each slot counts on both streams, in the order of the chain, after peer 2 lost power for
/// a moment at `crash` milliseconds; and how long all of them took.
fn counts_after_a_power_cut(overrun: Overrun, seed: u64, crash: u64) -> (Vec<usize>, Span) {
    let mut setup = Setup::small(seed, 4);
    setup.manifest.stop_at = Some(8 * 6 * 4 * 40);
    setup.method().max_overrun = overrun;
    setup.link = Link { latency: Span::millis(10), jitter: Span::millis(20), ..Link::default() };
    for (peer, step) in setup.peers.iter_mut().zip([100, 104, 97, 109]) {
        peer.step = Span::millis(step);
    }
    setup.faults = vec![(at(crash), Fault::Crash { peer: 2, outputs: 0, down: Some(Span::millis(300)) })];
    let mut world = world(setup);
    complete(&mut world, 600);
    assert_eq!(world.peers()[2].crashes(), 1);
    let blocks = world.peers()[0].disk().blocks().values();
    let closings = blocks.flat_map(|certified| certified.block.closings().cloned().collect::<Vec<_>>());
    (closings.map(|closing| closing.counted.len()).collect(), Span(world.now().0))
}

/// Peers that are out of step must not wait for each other in a circle, slot after slot: whoever
/// announced on one stream for those who announced on the other.
#[test]
fn after_a_power_cut_everybody_is_counted_again() {
    for overrun in [Overrun::Strict, Overrun::Slot] {
        // All over a slot of stream 0 and one of stream 1.
        for seed in 0..12 {
            let (counts, took) = counts_after_a_power_cut(overrun, seed, 3_000 + 130 * seed);
            // 40 slots of 6 steps and 109 ms; a deadline is a second at least.
            assert!(
                took < Span::seconds(60) && counts.len() >= 79,
                "{overrun:?} {seed}: {took:?} {counts:?}"
            );
            assert!(
                counts.iter().rev().take(50).all(|counted| *counted == 4),
                "{overrun:?} {seed}: {counts:?}"
            );
        }
    }
}
