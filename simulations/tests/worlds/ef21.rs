//! EF21: what is known of every member's gradient is state like any other, and goes with its member.

use driftless_protocol::codec::{Codec, TopK};
use driftless_protocol::event::{Command, Event};
use driftless_protocol::method::{Ef21, Method};
use driftless_protocol::time::Span;
use driftless_sim::faults::{self, Fault};
use driftless_sim::network::Link;
use driftless_sim::{PeerSetup, Setup, World};

use crate::support::{at, complete, report, told, until, world};

fn ef21(eta: f32) -> Method {
    let codec = Codec::TopK(TopK { keep: 8, of: 64, whole: false, statistical: false });
    Method::Ef21(Ef21 { batches: 6, gamma: 0.2, eta, members: 8, codec })
}

/// `peers` voters, and so many slots if everybody is counted in all of them.
fn setup(seed: u64, peers: usize, slots: u64) -> Setup {
    let mut setup = Setup::small(seed, peers);
    setup.manifest.method = ef21(if seed.is_multiple_of(2) { 1.0 } else { 0.5 });
    setup.manifest.stop_at = Some(8 * 6 * peers as u64 * slots);
    setup
}

/// Whoever was counted since it joined has an estimate, and nobody else.
fn estimates_are_the_members(world: &World) {
    let state = world.certified();
    let counted = state.control.members.iter().filter(|member| member.counted > 0);
    let counted: Vec<_> = counted.map(|member| member.key).collect();
    assert_eq!(state.estimates.keys().copied().collect::<Vec<_>>(), counted, "{}", report(world));
}

#[test]
fn replicas_are_identical_and_know_every_members_gradient() {
    for seed in 0..4 {
        let mut world = world(setup(seed, 4, 10));
        complete(&mut world, 120);
        assert_eq!(world.certified().estimates.len(), 4);
        for peer in world.peers() {
            let state = peer.session().map(|session| session.state().digest());
            assert!(state.is_none_or(|digest| digest == world.certified().digest()));
        }
    }
}

#[test]
fn a_joiner_takes_a_snapshot_with_all_estimates_and_is_counted() {
    for seed in 0..4 {
        let mut setup = setup(seed, 4, 20);
        setup.manifest.snapshot_every = 4;
        let mut joiner = PeerSetup { start: at(5_300 + 100 * seed), ..PeerSetup::contributor() };
        joiner.options.keep_history = false;
        setup.peers.push(joiner);
        let mut world = world(setup);
        complete(&mut world, 120);
        assert!(told(&world, 4, |event| matches!(event, Event::Joined { .. })));
        let key = world.peers()[4].key;
        let counted = world.certified().control.member(&key).map_or(0, |member| member.counted);
        assert!(counted >= 3, "seed {seed}: {counted}\n{}", report(&world));
        assert!(!world.peers()[4].disk().blocks().contains_key(&1), "it took blocks");
        estimates_are_the_members(&world);
        assert_eq!(world.certified().estimates.len(), 5);
    }
}

#[test]
fn whoever_leaves_takes_its_estimate_along() {
    for seed in 0..4 {
        let mut setup = setup(seed, 4, 30);
        setup.peers.push(PeerSetup::contributor());
        let mut world = world(setup);
        world.command(at(4_321), 4, Command::Leave);
        let key = world.peers()[4].key;
        let has = move |world: &World| world.certified().estimates.contains_key(&key);
        assert!(until(&mut world, 4_000, has), "{}", report(&world));
        assert!(until(&mut world, 20_000, |world| !has(world)), "{}", report(&world));
        estimates_are_the_members(&world);
        complete_of(&mut world, 300);
        estimates_are_the_members(&world);
    }
}

/// Runs to the end of those who did not leave.
fn complete_of(world: &mut World, limit: u64) {
    let stop_at = world.charter().manifest.stop_at.unwrap();
    let done = until(world, limit * 1000, |world| world.certified().control.counted_tokens >= stop_at);
    assert!(done, "{}", report(world));
}

/// Eight drawn slots without a contribution.
#[test]
fn whoever_falls_silent_is_forgotten_and_comes_back_with_a_whole_gradient() {
    for seed in 0..3 {
        let mut setup = setup(seed, 4, 80);
        setup.peers.push(PeerSetup::contributor());
        let down = Some(Span::seconds(30));
        setup.faults.push((at(3_000), Fault::Crash { peer: 4, outputs: 0, down }));
        let mut world = world(setup);
        let key = world.peers()[4].key;
        let has = move |world: &World| world.certified().estimates.contains_key(&key);
        assert!(until(&mut world, 3_000, has), "{}", report(&world));
        assert!(until(&mut world, 32_000, |world| !has(world)), "{}", report(&world));
        assert_eq!(world.certified().control.member(&key), None);
        estimates_are_the_members(&world);
        assert!(until(&mut world, 120_000, has), "{}", report(&world));
        complete(&mut world, 300);
        estimates_are_the_members(&world);
    }
}

/// Whose gradients are void before they are whole, slot after slot, sends what it has before it is shown out.
#[test]
fn whoever_is_too_slow_for_whole_gradients_sends_a_part_now_and_then() {
    let mut setup = setup(2, 4, 40);
    let mut slow = PeerSetup::contributor();
    slow.step = slow.step.times(12);
    setup.peers.push(slow);
    let mut world = world(setup);
    complete(&mut world, 600);
    let joined = told_times(&world, 4, |event| matches!(event, Event::Joined { .. }));
    let removed = told_times(&world, 4, |event| matches!(event, Event::Removed { .. }));
    assert_eq!((joined, removed), (1, 0), "{}", report(&world));
    let key = world.peers()[4].key;
    assert!(world.certified().control.member(&key).is_some_and(|member| member.counted > 0));
}

fn told_times(world: &World, peer: usize, wanted: impl Fn(&Event) -> bool) -> usize {
    world.peers()[peer].events().iter().filter(|(_, event)| wanted(event)).count()
}

#[test]
fn power_cuts_and_loss_are_survived() {
    for seed in 0..24 {
        let mut setup = setup(seed, 4, 10);
        setup.link = Link { latency: Span::millis(5), jitter: Span::millis(20), loss: 20, ..Link::default() };
        setup.faults = faults::crashes(seed, 4, 6, at(12_000), Span::seconds(5));
        let mut world = world(setup);
        complete(&mut world, 300);
        estimates_are_the_members(&world);
    }
}

#[test]
fn a_session_takes_no_more_members_than_its_memory_is_planned_for() {
    let mut setup = setup(3, 4, 12);
    let Method::Ef21(method) = &mut setup.manifest.method else { unreachable!() };
    method.members = 4;
    setup.peers.push(PeerSetup::contributor());
    let mut world = world(setup);
    complete_of(&mut world, 120);
    assert!(!told(&world, 4, |event| matches!(event, Event::Joined { .. })));
    assert_eq!(world.certified().control.members.len(), 4);
}
