//! Peers that keep failing: the short form of the table, and what one failure costs.

use driftless_protocol::time::Span;
use driftless_sim::World;
use driftless_sim::faults::Fault;
use driftless_sim::table::chaos::{Cell, Terms};

use crate::support::{at, until};

const TERMS: Terms = Terms { seed: 1, lasting: Span::seconds(1_200), decoupled: false };

fn cell(minutes: u64) -> Cell {
    Cell { peers: 8, failures: Some(Span::seconds(60 * minutes)) }
}

#[test]
fn most_tokens_are_counted_though_machines_keep_failing() {
    let undisturbed = Cell { peers: 8, failures: None }.run(TERMS).unwrap();
    let outcome = cell(15).run(TERMS).unwrap();
    let goodput = outcome.tokens as f64 / undisturbed.tokens as f64;
    assert!(outcome.crashes > 0 && goodput > 0.8, "{goodput} with {} failures", outcome.crashes);
    assert!(goodput > cell(15).synchronous(TERMS));
}

#[test]
fn a_seed_replays_its_chaos() {
    let terms = Terms { lasting: Span::seconds(300), ..TERMS };
    let outcome = cell(5).run(terms).unwrap();
    assert_eq!(outcome, cell(5).run(terms).unwrap());
    assert_ne!(outcome.trace, cell(5).run(Terms { seed: 2, ..terms }).unwrap().trace);
}

/// Voters used to wait for a peer that they had seen go, to the deadline; and when it was back, its period
/// began at another moment than that of the others, who waited for it at every slot.
#[test]
fn one_failure_holds_nobody_up() {
    let mut setup = Cell { peers: 8, failures: None }.setup(TERMS);
    setup.faults.push((at(410_000), Fault::Crash { peer: 3, outputs: 0, down: Some(Span::seconds(20)) }));
    let mut world = World::new(setup).unwrap();
    until(&mut world, 600_000, |_| false);
    let decided = world.decided();
    for pair in decided.windows(2) {
        assert!(pair[1].at.since(pair[0].at) < Span::seconds(17), "{:?}", pair[1]);
    }
    let left_out = decided.iter().flat_map(|decided| &decided.closed).filter(|(_, peers)| peers.len() < 8);
    assert!(left_out.count() <= 3);
}
