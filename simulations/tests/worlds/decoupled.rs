//! Decoupled pacing: nobody waits for the slowest, and nothing of theirs is lost.
//!
//! Source of the checks D1 to D4: Douillard et al. 2026, arXiv 2604.21428.

use driftless_protocol::manifest::Pacing;
use driftless_protocol::method::Overrun;
use driftless_protocol::time::Span;
use driftless_sim::faults::Fault;
use driftless_sim::{Setup, World};

use crate::support::{at, closings, complete, counted, until, world};

/// Inner steps between two contributions of a fragment.
const PERIOD: u32 = 30;

/// Eight peers, a step of the fastest every second.
fn eight(seed: u64, steps: [u64; 8]) -> Setup {
    let mut setup = Setup::small(seed, 8);
    setup.method().period = PERIOD;
    setup.method().max_overrun = Overrun::Slot;
    setup.manifest.pacing = Pacing::DECOUPLED;
    setup.manifest.max_lag = setup.manifest.pacing.max_lag();
    setup.manifest.stop_at = None;
    setup.manifest.training.budget_tokens = u64::MAX >> 16;
    for (peer, step) in setup.peers.iter_mut().zip(steps) {
        peer.step = Span::millis(step);
    }
    setup
}

const SPEEDS: [u64; 8] = [1_000, 1_000, 1_000, 1_000, 2_000, 2_000, 4_000, 10_000];

fn counted_tokens(world: &World) -> u64 {
    world.certified().control.counted_tokens
}

/// Tokens counted in the third virtual hour. (The first are of peers that all begin at the same moment.)
fn in_an_hour(setup: Setup) -> u64 {
    let hour = 3_600_000;
    let mut world = world(setup);
    until(&mut world, 2 * hour, |_| false);
    let before = counted_tokens(&world);
    until(&mut world, 3 * hour, |_| false);
    counted_tokens(&world) - before
}

#[test]
fn d1_the_counted_tokens_are_the_sum_of_speeds() {
    let per_step = 8;
    let sum = SPEEDS.iter().map(|step| 3_600_000 / step * per_step).sum::<u64>();
    let decoupled = in_an_hour(eight(1, SPEEDS));
    assert!(decoupled * 100 >= sum * 95, "{decoupled} of {sum}");
    // With a barrier all go at the pace of the slowest.
    let mut barrier = eight(1, SPEEDS);
    barrier.manifest.pacing = Pacing::Uniform;
    barrier.method().max_overrun = Overrun::Strict;
    (barrier.manifest.deadline.minimum, barrier.manifest.deadline.maximum) =
        (Span::seconds(3_000), Span::seconds(3_000));
    let barrier = in_an_hour(barrier);
    assert!(barrier * 5 < decoupled, "{barrier} and {decoupled}");
}

/// The others go on as if nothing had happened, and what the frozen peer had done before is counted after.
#[test]
fn d4_a_peer_that_freezes_for_an_hour_holds_up_nobody_and_its_work_is_counted() {
    // A slot takes ten minutes: in an hour it misses six, and may miss eight. One step takes it the hour.
    let steps = [20_000; 8];
    let heights = |frozen: bool| {
        let mut setup = eight(2, steps);
        setup.manifest.deadline.maximum = Span::seconds(7_200);
        let (from, peer) = (at(7_300_000), 7);
        if frozen {
            setup.faults.push((from, Fault::Slow { peer, factor: 180, lasting: Span::seconds(3_600) }));
        }
        let mut world = world(setup);
        until(&mut world, 7_300_000, |_| false);
        let before = closings(&world).len();
        until(&mut world, 7_300_000 + 3_600_000, |_| false);
        let slots = closings(&world).len() - before;
        until(&mut world, 16_000_000, |_| false);
        (slots, counted(&world, peer).iter().map(|counted| counted.work.tokens).sum::<u64>(), world)
    };
    let (undisturbed, all, _) = heights(false);
    let (slots, kept, world) = heights(true);
    assert!(slots + 1 >= undisturbed, "{slots} slots, {undisturbed} when nobody froze");
    // An hour of a peer that takes 20 s a step of 8 tokens is lost, and nothing else.
    let hour = 3_600 / 20 * 8;
    assert!(kept + hour + u64::from(PERIOD) * 8 >= all, "{kept} of {all} tokens");
    assert_eq!(world.certified().control.members.len(), 8, "it is a member still");
}

/// D2: what is learned from as many tokens does not depend on who computed them.
#[test]
fn d2_the_loss_is_that_of_peers_of_equal_speeds() {
    let loss = |steps: [u64; 8], decoupled: bool| {
        let mut setup = Setup::real(3, 8, "gpt:tiny", 8 * 12 * 64 * 12).unwrap();
        setup.method().period = 4;
        if decoupled {
            setup.manifest.pacing = Pacing::DECOUPLED;
            setup.manifest.max_lag = setup.manifest.pacing.max_lag();
        }
        for (peer, step) in setup.peers.iter_mut().zip(steps) {
            peer.step = Span::millis(step);
        }
        let mut world = world(setup);
        complete(&mut world, 3_600);
        world.peers().iter().find_map(driftless_sim::peer::Peer::validation_loss).unwrap()
    };
    let (equal, uneven) = (loss([1_000; 8], false), loss(SPEEDS, true));
    assert!((uneven / equal - 1.0).abs() < 0.01, "{uneven} and {equal}");
}
