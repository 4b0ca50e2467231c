//! Peers that nobody can dial: they dial out, punch holes, or talk through a relay, which carries no blob.

use driftless_sim::network::Reach;
use driftless_sim::{PeerSetup, Setup, World};

use crate::support::{complete, counted, until, world};

/// Three voters and two contributors that are reached like this, at the end of their session.
fn ended(seed: u64, reach: [Reach; 2]) -> World {
    let mut setup = Setup::small(seed, 3);
    setup.peers.extend(reach.map(|reach| PeerSetup { reach, ..PeerSetup::contributor() }));
    setup.manifest.stop_at = Some(8 * 6 * 5 * 16);
    let mut world = world(setup);
    complete(&mut world, 240);
    world
}

/// Bytes of blobs that went between the two contributors.
fn between(world: &World) -> u64 {
    world.peers()[3].blobs_from(4) + world.peers()[4].blobs_from(3)
}

#[test]
fn two_that_are_reached_through_a_relay_exchange_no_blob_and_are_counted_all_the_same() {
    for seed in 0..4 {
        let world = ended(seed, [Reach::RelayOnly; 2]);
        assert_eq!(between(&world), 0);
        // The first slots are over before they are in.
        assert!((3..5).all(|peer| counted(&world, peer).len() >= 8), "seed {seed}");
        let mixed = ended(seed, [Reach::BehindNat, Reach::RelayOnly]);
        assert_eq!(between(&mixed), 0);
    }
}

#[test]
fn two_behind_a_nat_punch_a_hole_and_whoever_is_dialable_is_a_source_for_everybody() {
    for reach in [[Reach::BehindNat; 2], [Reach::Dialable, Reach::RelayOnly], [Reach::Dialable; 2]] {
        assert!(between(&ended(1, reach)) > 0, "{reach:?}");
    }
}

#[test]
fn a_candidate_that_nobody_can_dial_takes_no_seat() {
    let mut setup = Setup::small(1, 1);
    setup.elected = true;
    setup.manifest.stop_at = None;
    setup.peers.extend(vec![PeerSetup::candidate(); 5]);
    setup.peers[2].reach = Reach::BehindNat;
    setup.peers[4].reach = Reach::RelayOnly;
    let mut world = world(setup);
    assert!(until(&mut world, 300_000, |world| world.certified().control.seats.len() == 4));
    assert!(!until(&mut world, 400_000, |world| world.certified().control.seats.len() > 4));
    let sits = |peer: &usize| world.certified().control.seats.contains(&world.peers()[*peer].key);
    assert_eq!((0..6).filter(sits).collect::<Vec<_>>(), [0, 1, 3, 5]);
    assert!(world.certified().control.members.iter().filter(|member| member.stands).count() >= 3);
}

#[test]
fn a_seat_that_nobody_can_dial_is_no_world() {
    let mut setup = Setup::small(1, 4);
    setup.peers[1].reach = Reach::BehindNat;
    let refused = World::new(setup).err().map(|error| error.to_string());
    assert!(refused.is_some_and(|text| text.contains("a peer with a seat is dialable")));
}
