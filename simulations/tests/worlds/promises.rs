//! Worlds that tell whether checkers see what they are there for.

use driftless_protocol::time::Span;
use driftless_sim::Setup;
use driftless_sim::faults::Fault;

use crate::support::{all_ended, at, complete, until, world};

/// Snapshots and checkpoints become rare where little may be written in a day, and the checker watches.
#[test]
fn writes_keep_to_what_a_user_allows() {
    let count = |per_day: u64| {
        let mut setup = Setup::small(11, 3);
        setup.manifest.snapshot_every = 1;
        setup.manifest.stop_at = Some(8 * 6 * 3 * 30);
        for peer in &mut setup.peers {
            peer.options.checkpoint_every = 1;
            peer.options.writes_per_day = per_day;
        }
        let mut world = world(setup);
        let mut heights = std::collections::BTreeSet::new();
        until(&mut world, 120_000, |world| {
            heights.extend(world.peers()[0].disk().recover().snapshots);
            all_ended(world)
        });
        heights.len()
    };
    let (all, few) = (count(20_000_000_000), count(1_000_000));
    assert!(all > 40 && few < all / 2 && few > 1, "{few} snapshots of {all}");
}

/// One of four voters is off for good: the others go on within the bound, which is not far from it.
#[test]
fn whoever_is_left_goes_on_within_the_bound() {
    let mut setup = Setup::small(5, 4);
    setup.faults.push((at(3_000), Fault::Crash { peer: 1, outputs: 0, down: None }));
    let mut world = world(setup);
    let done = until(&mut world, 300_000, |world| {
        world.peers().iter().enumerate().all(|(index, peer)| index == 1 || peer.ending().is_some())
    });
    assert!(done);
    assert!((50..1_000).contains(&world.slowest_height()), "{} of 1000", world.slowest_height());
}

/// Where too few are left to decide, nothing is promised: the world waits and no promise is broken.
#[test]
fn without_a_quorum_there_is_no_bound() {
    let mut setup = Setup::small(5, 4);
    for peer in [1, 2] {
        setup.faults.push((at(3_000), Fault::Crash { peer, outputs: 0, down: None }));
    }
    let mut world = world(setup);
    assert!(!until(&mut world, 600_000, all_ended));
}

/// Voters that begin anew with a state that goes back for its repair hold what they may, and come to the end.
#[test]
fn a_repair_keeps_to_the_bounds() {
    let mut setup = Setup::small(9, 4);
    setup.manifest.snapshot_every = 4;
    setup.faults.push((at(8_000), Fault::Flip { peer: 2, seed: 9 }));
    setup.faults.push((at(8_500), Fault::Crash { peer: 0, outputs: 3, down: Some(Span::millis(300)) }));
    let mut world = world(setup);
    complete(&mut world, 120);
}
