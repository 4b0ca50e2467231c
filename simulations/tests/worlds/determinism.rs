//! One seed, one trace.

use driftless_protocol::time::Span;
use driftless_sim::{Setup, faults};

use crate::support::{at, complete, world};

fn trace(seed: u64) -> (driftless_protocol::Hash, u64) {
    let mut setup = Setup::small(seed, 4);
    setup.link.loss = 50;
    setup.link.jitter = Span::millis(30);
    setup.faults = faults::crashes(seed, 4, 3, at(10_000), Span::seconds(3));
    let mut world = world(setup);
    complete(&mut world, 600);
    (world.trace(), world.happened())
}

#[test]
fn the_same_seed_does_the_same_and_another_does_not() {
    assert_eq!(trace(11), trace(11));
    assert_ne!(trace(11), trace(12));
}
