//! What users ask for: pause, resume, finish, leave, stop.

use driftless_protocol::event::{Command, Ending, Event, Waiting};
use driftless_protocol::time::Span;
use driftless_sim::faults::Fault;
use driftless_sim::{PeerSetup, Setup, World};

use crate::support::{all_ended, at, complete, counted, report, told, until, world};

/// Four voters and a contributor without a seat, for twenty slots.
fn five(seed: u64) -> World {
    let mut setup = Setup::small(seed, 4);
    setup.manifest.stop_at = Some(8 * 6 * 4 * 20);
    setup.peers.push(PeerSetup::contributor());
    world(setup)
}

fn ends_with(world: &mut World, peer: usize, ending: Ending) {
    assert!(until(world, 240_000, all_ended), "{}", report(world));
    for (index, other) in world.peers().iter().enumerate() {
        let expected = if index == peer { ending } else { Ending::Complete };
        assert_eq!(other.ending(), Some(expected), "{}", report(world));
    }
}

#[test]
fn a_paused_peer_follows_and_votes_and_trains_again_when_told_to() {
    let mut setup = Setup::small(1, 4);
    setup.manifest.stop_at = Some(8 * 6 * 4 * 20);
    let mut world = world(setup);
    world.command(at(2_000), 3, Command::Pause);
    world.command(at(12_000), 3, Command::Resume);
    until(&mut world, 11_900, |_| false);
    assert!(told(&world, 3, |event| *event == Event::Waiting(Waiting::Paused)));
    let paused = counted(&world, 3).len();
    let height = |peer: usize| world.peers()[peer].session().unwrap().state().control.height;
    assert_eq!(height(3), height(0));
    complete(&mut world, 240);
    assert!(counted(&world, 3).len() > paused);
}

#[test]
fn leaving_takes_effect_in_a_block() {
    for peer in [4, 2] {
        let mut world = five(2);
        world.command(at(4_321), peer, Command::Leave);
        ends_with(&mut world, peer, Ending::Left);
        let key = world.peers()[peer].key;
        assert!(world.certified().control.member(&key).is_none());
        assert!(told(&world, peer, |event| matches!(event, Event::Removed { .. })));
    }
}

#[test]
fn finishing_completes_the_slot_in_flight_and_leaves() {
    for peer in [4, 1] {
        let mut world = five(3);
        until(&mut world, 4_000, |_| false);
        let counted = |world: &World| {
            let control = &world.certified().control;
            control.member(&world.peers()[peer].key).map_or(0, |member| member.counted)
        };
        let before = counted(&world);
        world.command(at(4_000), peer, Command::Finish);
        let mut most = before;
        until(&mut world, 240_000, |world| {
            most = most.max(counted(world));
            world.peers()[peer].ending().is_some()
        });
        assert!(most > before, "the slot in flight was not counted");
        ends_with(&mut world, peer, Ending::Left);
    }
}

#[test]
fn stopping_keeps_everything_for_the_next_start() {
    let mut world = five(4);
    world.command(at(4_000), 4, Command::Stop);
    assert!(until(&mut world, 10_000, |world| world.peers()[4].ending() == Some(Ending::Stopped)));
    world.switch_on(at(11_000), 4);
    complete(&mut world, 240);
}

#[test]
fn commands_and_power_cuts_do_not_confuse_each_other() {
    for seed in 0..10 {
        let mut world = five(seed);
        world.command(at(3_000 + 13 * seed), 4, Command::Finish);
        let cut = Fault::Crash { peer: 4, outputs: seed as u32, down: Some(Span::millis(500)) };
        world.inject(at(3_050 + 13 * seed), cut);
        assert!(until(&mut world, 240_000, all_ended), "{}", report(&world));
    }
}
