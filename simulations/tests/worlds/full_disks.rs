//! Disks that are full for a while: nothing is said that is not written, and nothing is lost.

use driftless_protocol::time::Span;
use driftless_sim::faults::Fault;
use driftless_sim::{PeerSetup, Setup, World};

use crate::support::{at, closings, complete, counted, until, world};

/// The disk of one peer is full from 3 to 18 s.
fn full(setup: &mut Setup, peer: usize) {
    setup.manifest.stop_at = Some(8 * 6 * setup.peers.len() as u64 * 30);
    setup.faults.push((at(3_000), Fault::Full { peer, lasting: Span::seconds(15) }));
}

/// What a peer said so far, and what it wrote.
fn traces(world: &World, peer: usize) -> (u64, usize) {
    let peer = &world.peers()[peer];
    (peer.traffic().messages_sent, peer.disk().blocks().len())
}

#[test]
fn a_full_disk_silences_its_peer_and_holds_up_nobody_else() {
    let mut setup = Setup::small(1, 4);
    full(&mut setup, 3);
    let mut world = world(setup);
    // By then it has something to write. Whoever is silent is waited for, slot by slot and as a proposer.
    until(&mut world, 5_000, |_| false);
    let (silent, other) = (traces(&world, 3), traces(&world, 0));
    until(&mut world, 17_999, |_| false);
    assert_eq!(traces(&world, 3), silent);
    assert!(traces(&world, 0).0 > other.0 && traces(&world, 0).1 > other.1 + 3, "{other:?}");
    complete(&mut world, 180);
    let (all, missed) = (closings(&world), counted(&world, 3).len());
    assert!(all.len() > missed && all.iter().rev().take(10).all(|closing| closing.counted.len() == 4));
    assert!(world.certified().control.convicted.is_empty());
}

/// It decides nothing that it cannot write, and goes on by itself.
#[test]
fn a_steward_whose_disk_is_full_pauses_its_session() {
    let mut setup = Setup::small(2, 1);
    setup.peers.push(PeerSetup::contributor());
    full(&mut setup, 0);
    let mut world = world(setup);
    until(&mut world, 5_000, |_| false);
    let height = world.certified().control.height;
    until(&mut world, 17_999, |_| false);
    assert_eq!(world.certified().control.height, height);
    assert!(until(&mut world, 25_000, |world| world.certified().control.height > height));
    complete(&mut world, 180);
}

/// Whatever waits for space is neither written nor said.
#[test]
fn a_power_cut_on_a_full_disk_is_one_like_any_other() {
    for seed in 0..6 {
        let mut setup = Setup::small(seed, 4);
        for peer in [1, 2] {
            full(&mut setup, peer);
            let down = Some(Span::millis(400 + 700 * seed));
            setup.faults.push((at(3_000 + 2_000 * seed), Fault::Crash { peer, outputs: 2, down }));
        }
        let mut world = world(setup);
        complete(&mut world, 180);
        assert_eq!((world.peers()[1].crashes(), world.peers()[2].crashes()), (1, 1));
    }
}
