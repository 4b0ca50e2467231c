//! A folder restored from an older copy: what it signed since is forgotten, and must not be
//! contradicted. The checkers see every statement that ever left a peer.

use driftless_protocol::Hash;
use driftless_protocol::block::{Step, Vote};
use driftless_protocol::committee::QuorumRule;
use driftless_protocol::event::{Command, Event};
use driftless_protocol::identity::{Domain, Scope};
use driftless_protocol::time::Span;
use driftless_protocol::wire::{Message, Statements};
use driftless_sim::faults::Fault;
use driftless_sim::network::Link;
use driftless_sim::{PeerSetup, Setup, World};

use crate::support::{all_ended, at, closings, complete, counted, report, told, until, world};

/// Four voters and a contributor; `peer` copies its folder and gets that copy back later.
fn with_an_old_copy(seed: u64, peer: usize, copied: u64, restored: u64) -> World {
    world(old_copy(seed, peer, copied, restored))
}

fn old_copy(seed: u64, peer: usize, copied: u64, restored: u64) -> Setup {
    let mut setup = Setup::small(seed, 4);
    setup.peers.push(PeerSetup::contributor());
    setup.manifest.stop_at = Some(8 * 6 * 5 * 20);
    setup.manifest.snapshot_every = [4, 1_000][seed as usize % 2];
    setup.link = Link { latency: Span::millis(5), jitter: Span::millis(30), loss: 20, ..Link::default() };
    setup.faults = vec![
        (at(copied), Fault::Copy { peer }),
        (at(restored), Fault::Restore { peer, down: Span::millis(100 + 70 * seed) }),
    ];
    setup
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
        assert!(!counted(&world, 2).is_empty(), "seed {seed}: it took part before");
        // The youngest copies may miss nothing that was signed.
        let noticed =
            told(&world, 2, |event| matches!(event, Event::Warning(text) if text.contains("older copy")));
        assert!(seed < 8 || noticed, "seed {seed}\n{}", report(&world));
    }
}

#[test]
fn a_barred_voter_follows_and_takes_part_again_when_it_is_told() {
    let mut world = with_an_old_copy(1, 2, 2_000, 5_000);
    assert!(until(&mut world, 30_000, |world| barred(world, 2)), "{}", report(&world));
    let counted = |world: &World| {
        world.certified().control.member(&world.peers()[2].key).map_or(0, |member| member.counted)
    };
    let height = world.certified().control.height;
    let follows =
        |world: &World, more: u64| world.peers()[2].head().is_some_and(|(head, _)| head >= height + more);
    // What it signed before may still be counted.
    assert!(until(&mut world, 60_000, |world| follows(world, 3)), "{}", report(&world));
    let before = counted(&world);
    // After eight missed slots it would have to join again.
    assert!(until(&mut world, 60_000, |world| follows(world, 6)), "{}", report(&world));
    assert_eq!(counted(&world), before, "it contributes nothing");
    world.command(world.now(), 2, Command::VoteAgain);
    assert!(until(&mut world, 90_000, |world| counted(world) > before + 1), "{}", report(&world));
    assert!(!barred(&world, 2) && world.certified().control.convicted.is_empty());
}

/// Nothing can be decided without it, so it takes what it said from the one who heard it.
#[test]
fn where_every_voter_is_needed_a_barred_one_goes_on_from_what_it_said() {
    for seed in 0..40 {
        let mut setup = Setup::small(seed, 2);
        // It is in the middle of a height more often than not.
        setup.link.latency = Span::millis(150);
        let restored = 4_000 + 13 * seed;
        let down = Span::millis(200);
        setup.faults =
            vec![(at(2_000), Fault::Copy { peer: 1 }), (at(restored), Fault::Restore { peer: 1, down })];
        let mut world = world(setup);
        assert!(until(&mut world, 30_000, |world| barred(world, 1)), "seed {seed}\n{}", report(&world));
        // Its user may be quick or slow.
        let later = world.now() + Span::seconds(seed % 2 * 15);
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

/// Its folder is gone and its key is not: it joins as if for the first time, below the heights at which it
/// contributed, and is told of that there. (The checkers see what is signed twice.)
#[test]
fn a_contributor_with_an_empty_folder_does_not_sign_again_what_it_announced() {
    for seed in 0..40 {
        let mut setup = Setup::small(seed, 4);
        // It would be done with the slot again before the others are.
        let quick = PeerSetup { start: at(500), step: Span::millis(10), ..PeerSetup::contributor() };
        setup.peers.push(quick);
        setup.manifest.stop_at = Some(8 * 6 * 5 * 20);
        setup.link = Link { latency: Span::millis(5), jitter: Span::millis(10), ..Link::default() };
        let restored = Fault::Restore { peer: 4, down: Span::millis(1) };
        setup.faults = vec![(at(100), Fault::Copy { peer: 4 }), (at(5_000 + 29 * seed), restored)];
        let mut world = world(setup);
        assert!(until(&mut world, 240_000, |world| ended(world, 5)), "seed {seed}\n{}", report(&world));
        assert!(world.certified().control.convicted.is_empty(), "seed {seed}");
    }
}

/// Nobody is there who did not just start as well: they tell each other from their logs, also what was
/// said of the running height a moment ago. (The checkers see what is said twice.)
#[test]
fn all_voters_that_come_back_at_once_tell_each_other_what_they_said() {
    for seed in 0..60 {
        let restored = 4_000 + 17 * seed;
        let mut setup = old_copy(seed, 2, restored - 150 - 10 * (seed % 12), restored);
        // Announcements are in memory only: of one that all who heard it forgot, nobody knows.
        setup.peers[2].step = Span::seconds(1_000);
        setup.link = Link { latency: Span::millis(100), jitter: Span::millis(30), ..Link::default() };
        setup.faults[1].1 = Fault::Restore { peer: 2, down: Span::millis(200) };
        let mut world = world(setup);
        for peer in [0, 1, 3] {
            let down = Some(Span::millis(190 + 7 * seed * peer as u64 % 20));
            world.inject(at(restored), Fault::Crash { peer, outputs: 0, down });
        }
        assert!(until(&mut world, 240_000, |world| ended(world, 2)), "seed {seed}\n{}", report(&world));
        assert!(world.certified().control.convicted.is_empty(), "seed {seed}");
    }
}

/// The only one that heard what it said listens itself, and keeps what it hears. (The checkers see what
/// is said twice.)
#[test]
fn whoever_listens_remembers_what_another_said_meanwhile() {
    for seed in 0..12 {
        let mut setup = Setup::small(seed, 5);
        setup.manifest.stop_at = Some(8 * 6 * 5 * 20);
        // Announcements are in memory only.
        setup.peers[2].step = Span::seconds(1_000);
        setup.link = Link { latency: Span::millis(40), jitter: Span::millis(20), ..Link::default() };
        let cut = 3_000 + 41 * seed;
        setup.faults = vec![
            (at(cut), Fault::Crash { peer: 4, outputs: 0, down: Some(Span::millis(50)) }),
            (at(cut), Fault::Copy { peer: 2 }),
            (at(cut + 10), Fault::Partition(vec![0, 0, 1, 0, 1])),
            (at(cut + 8_000), Fault::Restore { peer: 2, down: Span::millis(100) }),
            (at(cut + 12_000), Fault::Heal),
        ];
        let mut world = world(setup);
        assert!(until(&mut world, 240_000, |world| ended(world, 2)), "seed {seed}\n{}", report(&world));
        assert!(world.certified().control.convicted.is_empty(), "seed {seed}");
    }
}

/// The two of three that decide when it comes back are not the two that decided before.
#[test]
fn a_majority_that_did_not_see_what_another_decided_decides_nothing_else() {
    for seed in 0..16 {
        let mut setup = Setup::small(seed, 3);
        setup.quorum = QuorumRule::Majority;
        let cut = 3_000 + 53 * seed;
        setup.faults = vec![
            (at(cut), Fault::Partition(vec![0, 1, 0])),
            (at(cut + 50), Fault::Copy { peer: 0 }),
            (at(cut + 4_000), Fault::Restore { peer: 0, down: Span::millis(300) }),
            (at(cut + 4_000), Fault::Partition(vec![0, 0, 1])),
            (at(cut + 16_000), Fault::Heal),
        ];
        let mut world = world(setup);
        assert!(until(&mut world, 240_000, |world| ended(world, 0)), "seed {seed}\n{}", report(&world));
    }
}

/// One of four is gone for good, and one was restored: its word is needed for the running height.
#[test]
fn a_barred_voter_without_which_nothing_is_decided_is_heard_again_once_it_is_told() {
    for seed in 0..12 {
        let mut world = with_an_old_copy(seed, 2, 2_500, 4_000 + 77 * seed);
        world.inject(at(3_900), Fault::Crash { peer: 1, outputs: 0, down: None });
        assert!(until(&mut world, 30_000, |world| barred(world, 2)), "seed {seed}\n{}", report(&world));
        let height = world.certified().control.height;
        world.command(world.now() + Span::millis(seed * 400), 2, Command::VoteAgain);
        // Its user's word outlives a restart.
        let crash = Fault::Crash { peer: 2, outputs: 0, down: Some(Span::millis(200)) };
        world.inject(world.now() + Span::millis(seed * 400 + 900 * (seed % 3)), crash);
        let goes_on = |world: &World| world.certified().control.height > height + 5;
        assert!(until(&mut world, 120_000, goes_on), "seed {seed}\n{}", report(&world));
        assert!(world.certified().control.convicted.is_empty(), "seed {seed}");
    }
}

/// While the disk is replayed this peer does not know all that it signed: nobody can make it believe
/// that its folder is old.
#[test]
fn what_it_said_long_ago_bars_nobody_who_just_replays_its_disk() {
    for seed in 0..4 {
        let mut setup = Setup::small(seed, 4);
        setup.manifest.snapshot_every = 1_000;
        let signer = setup.signers().swap_remove(2);
        let mut world = world(setup);
        assert!(until(&mut world, 60_000, |world| world.certified().control.height >= 12));
        let crashed = world.now();
        let down = Span::millis(500);
        world.inject(crashed, Fault::Crash { peer: 2, outputs: 0, down: Some(down) });
        let scope = Scope { session: world.charter().session, generation: 0 };
        for height in 1..12 {
            let vote = Vote { height, attempt: 0, step: Step::Precommit, block: Some(Hash([7; 32])) };
            let vote = Message::Vote(signer.seal(Domain::Vote, scope, vote));
            (0..40).for_each(|moment| world.say(crashed + down + Span(moment * 2_500), 1, 2, &vote));
        }
        assert!(until(&mut world, 240_000, all_ended), "seed {seed}\n{}", report(&world));
        assert!(!told(
            &world,
            2,
            |event| matches!(event, Event::Warning(text) if text.contains("older copy"))
        ));
    }
}

/// Whoever has no part cannot even show what this key really said: voters are asked, others are not.
#[test]
fn statements_that_nobody_asked_for_are_not_looked_at() {
    let mut setup = Setup::small(1, 4);
    setup.peers.push(PeerSetup::follower());
    let signer = setup.signers().swap_remove(2);
    let mut world = world(setup);
    let scope = Scope { session: world.charter().session, generation: 0 };
    for height in 3..12 {
        let vote = Vote { height, attempt: 0, step: Step::Precommit, block: Some(Hash([7; 32])) };
        let votes = vec![signer.seal(Domain::Vote, scope, vote)];
        let statements =
            Message::Statements(Box::new(Statements { head: 2, votes, ..Statements::default() }));
        (0..100).for_each(|moment| world.say(at(2_000 + moment * 20), 4, 2, &statements));
    }
    complete(&mut world, 240);
    assert!(!told(&world, 2, |event| matches!(event, Event::Warning(_))), "{}", report(&world));
}
