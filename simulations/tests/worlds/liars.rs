//! Who says two things is convicted by what it said; who boasts holds up nobody.

use driftless_protocol::event::Event;
use driftless_protocol::time::Span;
use driftless_sim::faults::Fault;
use driftless_sim::{Lie, PeerSetup, Setup, World};

use crate::support::{at, told, until, world};

#[test]
fn an_equivocating_announcer_is_convicted_and_the_session_goes_on() {
    for seed in 0..4 {
        let mut setup = Setup::small(seed, 4);
        setup.peers.push(PeerSetup { lie: Some(Lie::Equivocates), ..PeerSetup::contributor() });
        let mut world = world(setup);
        let done =
            until(&mut world, 240_000, |world| world.peers()[..4].iter().all(|peer| peer.ending().is_some()));
        assert!(done, "{}", crate::support::report(&world));
        let control = &world.certified().control;
        assert_eq!(control.convicted, [world.peers()[4].key], "seed {seed}");
        assert!(control.member(&world.peers()[4].key).is_none());
    }
}

/// A follower tells everybody, again and again, that its chain is 2^64 blocks long.
#[test]
fn a_boaster_keeps_nobody_from_joining() {
    for seed in 0..4 {
        let mut setup = Setup::small(seed, 4);
        setup.manifest.stop_at = Some(8 * 6 * 4 * 20);
        setup.peers.push(PeerSetup { lie: Some(Lie::Boasts), ..PeerSetup::follower() });
        setup.peers.push(PeerSetup { start: at(3_000), ..PeerSetup::contributor() });
        let mut world = world(setup);
        let joined =
            until(&mut world, 30_000, |world| told(world, 5, |event| matches!(event, Event::Joined { .. })));
        assert!(joined, "seed {seed}: {}", crate::support::report(&world));
    }
}

/// Nor a boasting voter from taking part again after a restart.
#[test]
fn a_boasting_voter_silences_nobody_who_comes_back() {
    for seed in 0..4 {
        let mut setup = Setup::small(seed, 4);
        setup.peers[0].lie = Some(Lie::Boasts);
        // Without the one that comes back nothing is decided.
        setup.faults = vec![
            (at(2_900), Fault::Crash { peer: 3, outputs: 0, down: None }),
            (at(3_000), Fault::Crash { peer: 1, outputs: 0, down: Some(Span::millis(200)) }),
        ];
        let mut world = world(setup);
        until(&mut world, 3_100, |_| false);
        let height = world.certified().control.height;
        let goes_on = |world: &World| world.certified().control.height > height + 3;
        assert!(until(&mut world, 60_000, goes_on), "seed {seed}: {}", crate::support::report(&world));
    }
}
