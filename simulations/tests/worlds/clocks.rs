//! Clocks that are fast or slow: sessions know no other time, and need no common one.

use driftless_protocol::event::Event;
use driftless_protocol::time::Span;
use driftless_sim::faults::Fault;
use driftless_sim::{Setup, World};

use crate::support::{at, closings, complete, world};

/// Four voters of whom two have a clock that is wrong, one in each direction; the fast one is switched off
/// for a moment, in the middle.
fn ended(drift: i32) -> World {
    let mut setup = Setup::small(3, 4);
    setup.manifest.stop_at = Some(8 * 6 * 4 * 100);
    (setup.peers[1].drift, setup.peers[2].drift) = (drift, -drift);
    setup.faults = vec![(at(30_000), Fault::Crash { peer: 1, outputs: 0, down: Some(Span::millis(300)) })];
    let mut world = world(setup);
    complete(&mut world, 300);
    world
}

#[test]
fn peers_whose_clocks_part_by_a_thousandth_stay_together() {
    let closings = closings(&ended(500));
    let short = closings.iter().filter(|closing| closing.counted.len() < 4).count();
    assert!(closings.len() >= 100 && short <= 4, "{short} of {}", closings.len());
}

/// What they measure tells that they see their own clock.
#[test]
fn a_fast_clock_measures_a_low_speed() {
    let world = ended(100_000);
    let speed = |peer: usize| {
        let told = world.peers()[peer].events().iter().rev();
        let speed = told.filter_map(|(_, event)| match event {
            Event::Trained { speed, .. } => Some(f64::from(*speed)),
            _ => None,
        });
        speed.take(1).sum::<f64>()
    };
    let (fast, right, slow) = (speed(1), speed(0), speed(2));
    assert!((right / fast - 1.1).abs() < 0.01 && (right / slow - 0.9).abs() < 0.01, "{fast} {right} {slow}");
}
