//! Power cuts: between any two outputs, of anybody, of all.

use driftless_protocol::event::Waiting;
use driftless_protocol::time::Span;
use driftless_sim::faults::Fault;
use driftless_sim::network::Link;
use driftless_sim::{PeerSetup, Setup, World, faults};

use crate::support::{at, complete, counted, report, until, world};

#[test]
fn peers_that_lose_power_at_random_instants_come_back_and_agree() {
    for seed in 0..40 {
        let mut setup = Setup::small(seed, 4);
        setup.link = Link { latency: Span::millis(5), jitter: Span::millis(20), loss: 20, ..Link::default() };
        setup.faults = faults::crashes(seed, 4, 6, at(12_000), Span::seconds(5));
        let mut world = world(setup);
        complete(&mut world, 300);
    }
}

/// The steps around a height, one output further each time: whoever proposes is among them.
#[test]
fn a_power_cut_between_any_two_outputs_is_survived() {
    for outputs in 0..60 {
        for peer in 0..2 {
            let mut setup = Setup::small(4, 4);
            setup.manifest.stop_at = Some(8 * 6 * 4 * 4);
            setup.faults = vec![(at(600), Fault::Crash { peer, outputs, down: Some(Span::millis(1_500)) })];
            complete(&mut world(setup), 120);
        }
    }
}

#[test]
fn all_lose_power_at_once_again_and_again() {
    for seed in 0..12 {
        let mut setup = Setup::small(seed, 4);
        for cut in 0..4u64 {
            for peer in 0..4 {
                let outputs = ((seed + cut) * 7 + peer as u64 * 3) as u32 % 23;
                let down = Some(Span::millis(700 + 150 * peer as u64));
                setup.faults.push((at(1_000 + 1_771 * cut), Fault::Crash { peer, outputs, down }));
            }
        }
        complete(&mut world(setup), 300);
    }
}

#[test]
fn a_single_voter_comes_back_too() {
    for seed in 0..12 {
        let mut setup = Setup::small(seed, 1);
        setup.faults = faults::crashes(seed, 1, 5, at(8_000), Span::seconds(1));
        complete(&mut world(setup), 120);
    }
}

/// A checkpoint is taken up: the peer goes on where it was, and what it had not counted counts.
#[test]
fn a_restarted_peer_goes_on_from_its_checkpoint() {
    let mut setup = Setup::small(8, 4);
    setup.manifest.stop_at = Some(8 * 6 * 4 * 20);
    setup.peers[3].options.checkpoint_every = 1;
    setup.faults = vec![(at(5_020), Fault::Crash { peer: 3, outputs: 0, down: Some(Span::millis(200)) })];
    let mut world = world(setup);
    complete(&mut world, 120);
    assert_eq!(world.peers()[3].crashes(), 1);
    assert!(counted(&world, 3).len() >= 17, "{}", counted(&world, 3).len());
}

#[test]
fn one_of_four_may_stay_away() {
    let mut setup = Setup::small(6, 4);
    setup.faults = vec![(at(1_300), Fault::Crash { peer: 2, outputs: 3, down: None })];
    let mut world = world(setup);
    let done = crate::support::until(&mut world, 180_000, |world| {
        world.peers().iter().filter(|peer| peer.ending().is_some()).count() == 3
    });
    assert!(done, "{}", crate::support::report(&world));
}

/// Also a peer that has nothing to train on before the next block.
#[test]
fn whoever_is_left_without_a_quorum_says_so() {
    for seed in 0..16 {
        let mut setup = Setup::small(seed, 4);
        let gone = at(4_000 + 53 * seed);
        let crash = |peer| (gone, Fault::Crash { peer, outputs: 0, down: None });
        setup.faults = vec![crash(0), crash(1)];
        setup.peers.push(PeerSetup { start: gone + Span::seconds(1), ..PeerSetup::contributor() });
        let mut world = world(setup);
        let says = |world: &World, peer: usize| {
            world.peers()[peer].session().is_some_and(|session| session.status().waiting == Waiting::Quorum)
        };
        let all = until(&mut world, 64_000, |world| (2..5).all(|peer| says(world, peer)));
        assert!(all, "seed {seed}\n{}", report(&world));
    }
}
