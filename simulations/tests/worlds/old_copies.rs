//! A folder restored from an older copy: what it signed since is forgotten, and must not be
//! contradicted. The checkers see every statement that ever left a peer.

use driftless_protocol::event::{Command, Event};
use driftless_protocol::time::Span;
use driftless_sim::faults::Fault;
use driftless_sim::network::Link;
use driftless_sim::{PeerSetup, Setup, World};

use crate::support::{all_ended, at, closings, report, told, until, world};

/// Four voters and a contributor; `peer` copies its folder and gets that copy back later.
fn with_an_old_copy(seed: u64, peer: usize, copied: u64, restored: u64) -> World {
    let mut setup = Setup::small(seed, 4);
    setup.peers.push(PeerSetup::contributor());
    setup.manifest.stop_at = Some(8 * 6 * 5 * 20);
    setup.manifest.snapshot_every = [4, 1_000][seed as usize % 2];
    setup.link = Link { latency: Span::millis(5), jitter: Span::millis(30), loss: 20, ..Link::default() };
    setup.faults = vec![
        (at(copied), Fault::Copy { peer }),
        (at(restored), Fault::Restore { peer, down: Span::millis(100 + 70 * seed) }),
    ];
    world(setup)
}

fn barred(world: &World, peer: usize) -> bool {
    world.peers()[peer].session().is_some_and(|session| session.status().barred.is_some())
}

fn ended(world: &World, but: usize) -> bool {
    let others = world.peers().iter().enumerate().filter(|(index, _)| *index != but);
    others.into_iter().all(|(_, peer)| peer.ending().is_some())
}

#[test]
fn a_voter_from_an_older_copy_finds_out_and_signs_nothing() {
    for seed in 0..24 {
        // From a moment ago to many slots ago.
        let restored = 4_000 + 37 * seed;
        let mut world = with_an_old_copy(seed, 2, restored - 120 * seed - 20, restored);
        assert!(until(&mut world, 240_000, |world| ended(world, 2)), "seed {seed}\n{}", report(&world));
        assert!(world.certified().control.convicted.is_empty(), "seed {seed}");
        let signed = closings(&world).iter().any(|closing| closing.counted.len() == 5);
        assert!(signed, "seed {seed}: it took part before");
        // The youngest copies may miss nothing that was signed.
        assert!(
            seed < 8 || barred(&world, 2) || world.peers()[2].ending().is_some(),
            "seed {seed}\n{}",
            report(&world)
        );
    }
}

#[test]
fn a_barred_voter_follows_and_takes_part_again_when_it_is_told() {
    let mut world = with_an_old_copy(1, 2, 2_000, 5_000);
    assert!(until(&mut world, 30_000, |world| barred(world, 2)), "{}", report(&world));
    let counted = |world: &World| {
        world.certified().control.member(&world.peers()[2].key).map_or(0, |member| member.counted)
    };
    let (before, height) = (counted(&world), world.certified().control.height);
    let follows = |world: &World| world.peers()[2].head().is_some_and(|(head, _)| head >= height + 6);
    assert!(until(&mut world, 60_000, follows), "{}", report(&world));
    assert_eq!(counted(&world), before, "it contributes nothing");
    world.command(world.now(), 2, Command::VoteAgain);
    assert!(until(&mut world, 90_000, |world| counted(world) > before + 1), "{}", report(&world));
    assert!(!barred(&world, 2) && world.certified().control.convicted.is_empty());
}

/// Nothing can be decided without it, so it takes what it said from the one who heard it.
#[test]
fn where_every_voter_is_needed_a_barred_one_goes_on_from_what_it_said() {
    for seed in 0..8 {
        let mut setup = Setup::small(seed, 2);
        let restored = 4_000 + 61 * seed;
        let down = Span::millis(200);
        setup.faults =
            vec![(at(2_000), Fault::Copy { peer: 1 }), (at(restored), Fault::Restore { peer: 1, down })];
        let mut world = world(setup);
        assert!(until(&mut world, 30_000, |world| barred(world, 1)), "seed {seed}\n{}", report(&world));
        let later = world.now() + Span::seconds(15);
        until(&mut world, later.0 / 1_000, |_| false);
        world.command(world.now(), 1, Command::VoteAgain);
        assert!(until(&mut world, 200_000, all_ended), "seed {seed}\n{}", report(&world));
        assert!(world.certified().control.convicted.is_empty());
    }
}

#[test]
fn a_bar_outlives_a_restart() {
    let mut world = with_an_old_copy(1, 2, 2_000, 5_000);
    assert!(until(&mut world, 30_000, |world| barred(world, 2)), "{}", report(&world));
    let down = Some(Span::millis(300));
    world.inject(world.now(), Fault::Crash { peer: 2, outputs: 0, down });
    let again = |world: &World| world.peers()[2].crashes() == 2 && world.peers()[2].is_up();
    assert!(until(&mut world, 40_000, again));
    assert!(barred(&world, 2), "{}", report(&world));
}

#[test]
fn whoever_only_contributes_leaves_out_the_open_slots_and_goes_on_by_itself() {
    for seed in 0..12 {
        let restored = 4_000 + 91 * seed;
        let mut world = with_an_old_copy(seed, 4, restored - 300 * seed - 500, restored);
        assert!(until(&mut world, 240_000, |world| ended(world, 5)), "seed {seed}\n{}", report(&world));
        assert!(world.certified().control.convicted.is_empty(), "seed {seed}");
        let last = closings(&world).last().map(|closing| closing.counted.len());
        assert_eq!(last, Some(5), "seed {seed}: it is counted again\n{}", report(&world));
    }
}

/// A steward needs nobody to decide: it listens before it does.
#[test]
fn a_steward_from_an_older_copy_does_not_fork_its_session() {
    for seed in 0..12 {
        let mut setup = Setup::small(seed, 1);
        setup.manifest.stop_at = None;
        setup.peers.extend([PeerSetup::contributor(), PeerSetup::contributor()]);
        setup.link = Link { latency: Span::millis(5), jitter: Span::millis(20), ..Link::default() };
        setup.faults = vec![
            (at(1_500 + 100 * seed), Fault::Copy { peer: 0 }),
            (at(4_000 + 130 * seed), Fault::Restore { peer: 0, down: Span::millis(500) }),
        ];
        let mut world = world(setup);
        until(&mut world, 30_000, |_| false);
        assert!(barred(&world, 0), "seed {seed}\n{}", report(&world));
        assert!(told(
            &world,
            0,
            |event| matches!(event, Event::Warning(text) if text.contains("older copy"))
        ));
    }
}
