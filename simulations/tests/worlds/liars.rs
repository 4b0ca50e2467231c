//! Who says two things is convicted by what it said.

use driftless_sim::{PeerSetup, Setup};

use crate::support::{until, world};

#[test]
fn an_equivocating_announcer_is_convicted_and_the_session_goes_on() {
    for seed in 0..4 {
        let mut setup = Setup::small(seed, 4);
        setup.peers.push(PeerSetup { equivocates: true, ..PeerSetup::contributor() });
        let mut world = world(setup);
        let done =
            until(&mut world, 240_000, |world| world.peers()[..4].iter().all(|peer| peer.ending().is_some()));
        assert!(done, "{}", crate::support::report(&world));
        let control = &world.certified().control;
        assert_eq!(control.convicted, [world.peers()[4].key], "seed {seed}");
        assert!(control.member(&world.peers()[4].key).is_none());
    }
}
