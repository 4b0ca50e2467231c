//! A wrong bit in a peer's memory: it notices at the next certificate, says nothing, rebuilds its
//! state, names the page and goes on.

use driftless_protocol::event::Event;
use driftless_protocol::time::Span;
use driftless_sim::faults::Fault;
use driftless_sim::network::Link;
use driftless_sim::{PeerSetup, Setup, World};

use crate::support::{at, complete, report, told, until, world};

fn warned(world: &World, peer: usize, words: &str) -> bool {
    told(world, peer, |event| matches!(event, Event::Warning(text) if text.contains(words)))
}

fn with_a_flipped_bit(seed: u64, peer: usize) -> World {
    world(with_a_flip(seed, peer))
}

fn with_a_flip(seed: u64, peer: usize) -> Setup {
    let mut setup = Setup::small(seed, 4);
    setup.peers.push(PeerSetup::contributor());
    setup.manifest.stop_at = Some(8 * 6 * 5 * 14);
    setup.manifest.snapshot_every = [2, 4, 1_000][seed as usize % 3];
    setup.link = Link { latency: Span::millis(5), jitter: Span::millis(20), loss: 20, ..Link::default() };
    setup.faults = vec![(at(2_000 + 97 * seed), Fault::Flip { peer, seed })];
    setup
}

#[test]
fn a_peer_whose_state_is_wrong_rebuilds_it_names_the_page_and_comes_to_the_end() {
    for seed in 0..24 {
        let peer = [2, 4][seed as usize % 2];
        let mut world = with_a_flipped_bit(seed, peer);
        complete(&mut world, 240);
        assert!(warned(&world, peer, "nothing is said meanwhile"), "seed {seed}\n{}", report(&world));
        assert!(warned(&world, peer, "1 of its pages were wrong; array"), "seed {seed}\n{}", report(&world));
        assert!(world.certified().control.convicted.is_empty());
        let others = (0..5).filter(|other| *other != peer);
        assert!(others.into_iter().all(|other| !warned(&world, other, "nothing is said meanwhile")));
    }
}

/// Wrong states are not certified, however many there are: each is wrong in its own way.
#[test]
fn three_of_four_with_wrong_bits_pause_and_go_on() {
    let mut setup = Setup::small(5, 4);
    setup.faults = (0..3).map(|peer| (at(2_000), Fault::Flip { peer, seed: peer as u64 })).collect();
    complete(&mut world(setup), 240);
}

/// The disk that says what it signed cannot be read a second time, but it was read once: what it
/// signed in the slots and heights that still run is not signed again. (The checkers see it.)
#[test]
fn a_peer_whose_disk_does_not_help_takes_a_snapshot_of_others_and_remembers_what_it_signed() {
    let mut by_snapshot = 0;
    for seed in 12..24 {
        let peer = [2, 4][seed as usize % 2];
        let mut setup = with_a_flip(seed, peer);
        // A slow peer keeps slots open over several heights, which a short heartbeat makes.
        setup.peers[0].step = Span::millis(600);
        setup.manifest.heartbeat = Span::millis(300);
        setup.manifest.snapshot_every = 2;
        setup.faults.push((at(0), Fault::Unreadable { peer }));
        let mut world = world(setup);
        complete(&mut world, 240);
        assert!(world.certified().control.convicted.is_empty());
        by_snapshot += usize::from(warned(&world, peer, "cannot be rebuilt from this disk"));
    }
    assert!(by_snapshot > 4, "{by_snapshot} of 12");
}

/// A peer that computes something else than it did, and than the others do, does it again once and
/// then stops; also when it starts again on a disk full of blocks that it can no longer compute.
#[test]
fn a_peer_that_computes_something_else_halts() {
    for seed in 0..8 {
        let mut setup = Setup::small(seed, 4);
        setup.manifest.snapshot_every = 4;
        let at = |millis| at(3_000 + 130 * seed + millis);
        setup.faults = vec![(at(0), Fault::Miscompute { peer: 3 })];
        if seed % 2 == 1 {
            let down = Some(Span::millis(200));
            setup.faults.push((at(1), Fault::Crash { peer: 3, outputs: 0, down }));
        }
        let mut world = world(setup);
        let others = |world: &World| world.peers()[..3].iter().all(|peer| peer.ending().is_some());
        assert!(until(&mut world, 240_000, others), "seed {seed}\n{}", report(&world));
        let status = world.peers()[3].session().unwrap().status();
        assert!(status.halted.is_some(), "seed {seed}\n{}", report(&world));
        let warnings = world.peers()[3].events().iter();
        let rebuilt = warnings.filter(
            |(_, event)| matches!(event, Event::Warning(text) if text.contains("nothing is said meanwhile")),
        );
        // Blocks since the newest snapshot are computed again, and are wrong too.
        assert!((1..=2).contains(&rebuilt.count()), "seed {seed}\n{}", report(&world));
    }
}
