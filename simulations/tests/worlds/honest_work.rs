//! What is claimed is what was done: no contribution carries a step twice, whatever happened to
//! checkpoints, merges and rebases in between.
//!
//! On a slope each step subtracts 1 from every parameter, so a contribution's values are the steps
//! in it: at most those that it claims. (Fewer, since at alpha 0 a merge throws away what was
//! trained while the result was on its way.)

use driftless_protocol::block::Payload;
use driftless_protocol::codec::Codec;
use driftless_protocol::event::Command;
use driftless_protocol::time::Span;
use driftless_sim::engine::EngineKind;
use driftless_sim::network::Link;
use driftless_sim::{PeerSetup, Setup, World, faults};

use crate::support::{at, closings_of, complete, report, world};

fn on_a_slope(seed: u64) -> Setup {
    let mut setup = Setup::small(seed, 4);
    let method = setup.method();
    (method.alpha, method.eta, method.mu, method.codec) = (0.0, 1.0, 0.0, Codec::F32);
    setup.manifest.stop_at = Some(8 * 6 * 4 * 14);
    setup.peers.push(PeerSetup { start: at(1_500), ..PeerSetup::contributor() });
    for peer in &mut setup.peers {
        peer.engine = EngineKind::SLOPE;
        peer.options.checkpoint_every = 1;
    }
    setup
}

/// Steps claimed and steps found, over all contributions.
fn audit(world: &World) -> (u64, f64) {
    let (mut claimed, mut found) = (0, 0.0);
    for (stream, closing) in
        (0..2).flat_map(|stream| closings_of(world, stream).into_iter().map(move |c| (stream, c)))
    {
        for counted in &closing.counted {
            let Payload::Blob { root, .. } = counted.payload else { panic!("not a blob") };
            let bytes = world.peers().iter().find_map(|peer| peer.disk().blob(&root)).expect("kept");
            let mut values = vec![0.0; world.charter().lengths[stream]];
            Codec::F32.decode_into(&bytes, &mut values).unwrap();
            let steps = counted.work.steps as f32;
            let fits = values.iter().all(|value| (-0.01..=steps + 0.01).contains(value));
            let member = counted.member;
            assert!(
                fits,
                "{:?} member {member} claims {steps} steps and holds {}\n{}",
                closing.slot,
                values[0],
                report(world)
            );
            claimed += u64::from(counted.work.steps);
            found += f64::from(values[0]);
        }
    }
    (claimed, found)
}

#[test]
fn in_a_quiet_world_all_but_the_steps_that_merges_throw_away_arrive() {
    let mut world = world(on_a_slope(1));
    complete(&mut world, 120);
    let (claimed, found) = audit(&world);
    assert!(found > 0.7 * claimed as f64, "{found} of {claimed}");
}

#[test]
fn with_power_cuts_and_losses_nothing_arrives_twice() {
    for seed in 0..25 {
        let mut setup = on_a_slope(seed);
        setup.link =
            Link { latency: Span::millis(20), jitter: Span::millis(80), loss: 50, ..Link::default() };
        setup.faults = faults::crashes(seed, 5, 7, at(14_000), Span::seconds(3));
        let mut world = world(setup);
        complete(&mut world, 300);
        audit(&world);
    }
}

#[test]
fn with_partitions_and_slow_peers_nothing_arrives_twice() {
    for seed in 0..12 {
        let mut setup = on_a_slope(seed);
        setup.peers[1].step = Span::millis(190);
        setup.peers[4].step = Span::millis(330);
        setup.link = Link { latency: Span::millis(60), jitter: Span::millis(200), ..Link::default() };
        setup.faults = faults::partitions(seed, 5, 4, at(14_000), Span::seconds(4));
        let mut world = world(setup);
        complete(&mut world, 300);
        audit(&world);
    }
}

/// A stop saves theta: if a merge is still due, it comes first.
#[test]
fn stopping_at_any_moment_and_going_on_carries_nothing_twice() {
    for moment in 0..40 {
        let mut world = world(on_a_slope(3));
        let stop = at(2_400 + 17 * moment);
        world.command(stop, 3, Command::Stop);
        crate::support::until(&mut world, 5_000, |world| world.peers()[3].ending().is_some());
        world.switch_on(at(5_100), 3);
        complete(&mut world, 300);
        audit(&world);
    }
}
