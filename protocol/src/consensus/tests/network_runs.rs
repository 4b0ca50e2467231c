//! Runs of small networks: progress and agreement under each fault alone and together.

use super::super::*;
use super::network::{Faults, Network};
use crate::committee::QuorumRule::{self, Majority, TwoThirds};

/// Runs `seeds` networks to `height`; each must get there and agree.
fn runs(seeds: u64, height: usize, n: u8, quorum: QuorumRule, faults: &Faults) -> Vec<Network> {
    let run = |seed| {
        let mut network = Network::new(n, quorum, seed, faults.clone());
        let done = network.run(height, Span::seconds(3_600));
        let chains: Vec<usize> = network.peers.iter().map(|peer| peer.chain.len()).collect();
        assert!(done, "seed {seed}: {chains:?} at {:?}", network.now);
        assert!(network.agrees(), "seed {seed}");
        if faults.keep_log {
            assert_eq!(network.contradictions, 0, "seed {seed}");
        }
        network
    };
    (0..seeds).map(run).collect()
}

#[test]
fn four_peers_decide_twenty_heights_and_the_same_seed_gives_the_same_trace() {
    let faults = Faults::default();
    let first = &runs(1, 20, 4, TwoThirds, &faults)[0];
    let second = &runs(1, 20, 4, TwoThirds, &faults)[0];
    assert_eq!(first.worst_attempt(), 0);
    assert_eq!(first.trace, second.trace);
    let mut third = Network::new(4, TwoThirds, 1, faults);
    assert!(third.run(20, Span::seconds(3_600)));
    assert_ne!(first.trace, third.trace);
}

#[test]
fn reordering_does_no_harm() {
    runs(100, 3, 4, TwoThirds, &Faults { delay: (1, 900), ..Faults::default() });
}

#[test]
fn a_silent_seat_does_not_stop_the_others() {
    for silent in 0..4 {
        runs(25, 5, 4, TwoThirds, &Faults { silent: Some(silent), ..Faults::default() });
    }
}

#[test]
fn a_silent_proposer_costs_one_attempt() {
    let faults = Faults { mute_proposer_at: Some(2), ..Faults::default() };
    for network in runs(100, 3, 4, TwoThirds, &faults) {
        for peer in &network.peers {
            let attempts: Vec<Attempt> = peer.chain.iter().map(|b| b.certificate.attempt).collect();
            assert_eq!(attempts[..3], [0, 1, 0]);
        }
    }
}

#[test]
fn an_equivocator_is_found_out_in_every_run_and_nobody_else() {
    for network in runs(100, 6, 4, TwoThirds, &Faults { equivocator: Some(2), ..Faults::default() }) {
        assert!(!network.evidence_steps().is_empty());
        assert!(network.convicts_only(2));
    }
}

#[test]
fn a_fifth_of_all_messages_may_be_lost() {
    let faults = Faults { loss: 200, ..Faults::default() };
    let worst = runs(100, 4, 4, TwoThirds, &faults).iter().map(Network::worst_attempt).max();
    assert!(worst <= Some(4), "{worst:?}");
}

#[test]
fn the_other_quorums_live_through_loss_too() {
    let faults = Faults { loss: 200, delay: (1, 300), ..Faults::default() };
    for n in [1, 2, 3, 5] {
        runs(10, 4, n, TwoThirds, &faults);
        runs(10, 4, n, Majority, &faults);
    }
    let silent = Faults { silent: Some(1), ..Faults::default() };
    runs(10, 5, 3, Majority, &silent);
    runs(3, 3, 16, TwoThirds, &faults);
}

#[test]
fn crashes_between_any_two_actions_contradict_nothing_while_the_log_is_kept() {
    let faults = Faults { loss: 200, crash: (40, 30), ..Faults::default() };
    let networks = runs(30, 6, 4, TwoThirds, &faults);
    let crashes: u32 = networks.iter().map(|network| network.crashes).sum();
    assert!(crashes >= 400, "{crashes} crashes");
    for peer in networks.iter().flat_map(|network| &network.peers) {
        assert_eq!(peer.replay_errors, []);
        assert_eq!(peer.evidence, []);
    }
}

#[test]
fn without_the_log_crashes_do_contradict_so_the_check_bites() {
    let faults = Faults { loss: 200, crash: (40, 30), keep_log: false, ..Faults::default() };
    let run = |seed| {
        let mut network = Network::new(4, TwoThirds, seed, faults.clone());
        network.run(6, Span::seconds(600));
        network.contradictions
    };
    let contradictions: u32 = (0..30).map(run).sum();
    assert!(contradictions > 20, "{contradictions} contradictions");
}

#[test]
fn crashes_with_a_silent_seat_and_reordering_still_decide() {
    let faults = Faults { delay: (1, 900), crash: (10, 10), silent: Some(3), ..Faults::default() };
    runs(30, 4, 4, TwoThirds, &faults);
}
