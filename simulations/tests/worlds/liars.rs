//! Who says two things is convicted by what it said; who boasts holds up nobody.

use driftless_protocol::event::Event;
use driftless_sim::{Lie, PeerSetup, Setup};

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
