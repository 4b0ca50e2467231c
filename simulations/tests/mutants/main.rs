//! Seeded protocol bugs are caught, each in a world that `driftless-sim mutants` found.

use driftless_protocol::mutant::Mutant;
use driftless_sim::search::{Draw, quietly, shrink, try_out};

/// The first world of seeds 0, 1, 2, ... that catches it, and which checker does.
const CAUGHT: [(Mutant, u64, &str); 22] = [
    (Mutant::HalfDecides, 3, "quorum"),
    (Mutant::VotesBeforeFsync, 0, "innocent"),
    (Mutant::SkipsLock, 7, "innocent"),
    (Mutant::ForgetsVotes, 0, "innocent"),
    (Mutant::ForgetsContributions, 0, "innocent"),
    (Mutant::AsksNobody, 173, "signed once"),
    (Mutant::ShrugsAtItself, 333, "signed once"),
    (Mutant::ForgetsProposals, 0, "innocent"),
    (Mutant::LeasesTwice, 0, "counted once"),
    (Mutant::KeepsLeases, 0, "counted once"),
    (Mutant::TakesStaleBase, 190, "contributions"),
    (Mutant::KeepsWrongState, 0, "one digest"),
    (Mutant::BelievesProposers, 151, "fold"),
    (Mutant::BelievesCertificates, 16, "quorum"),
    (Mutant::SaysOnce, 3, "progress"),
    (Mutant::ConvictsVoters, 0, "progress"),
    (Mutant::SeatsAnybody, 25, "seats"),
    (Mutant::HoardsAnnouncements, 0, "bounds"),
    (Mutant::WeighsClaims, 2, "influence"),
    (Mutant::DrawsNewcomers, 3, "influence"),
    (Mutant::ShowsOutEarly, 2, "members"),
    (Mutant::WritesAlways, 5, "caps"),
];

/// One test: a process has one living mutant at a time.
#[test]
fn every_mutant_is_caught_and_a_finding_is_made_small() {
    assert_eq!(CAUGHT.map(|(mutant, ..)| mutant), Mutant::ALL);
    let mut wrong = Vec::new();
    quietly();
    for (mutant, seed, by) in CAUGHT {
        let draw = Draw::new(seed);
        Mutant::release(None);
        let whole = try_out(&draw);
        Mutant::release(Some(mutant));
        let found = try_out(&draw);
        if whole.is_err() || !found.as_ref().is_err_and(|found| found.by() == by) {
            wrong.push(format!("{mutant:?}, seed {seed}: {found:?}, without it {whole:?}"));
        }
    }
    // Panics of this test are not a world's.
    drop(std::panic::take_hook());
    assert!(wrong.is_empty(), "{wrong:#?}");
    // In a session whose voters are named: it takes 64 slots until any are elected.
    let (mutant, seed, by) = (Mutant::HalfDecides, 3, "quorum");
    Mutant::release(Some(mutant));
    let draw = Draw::new(seed);
    let (cut, finding) = shrink(&draw, try_out(&draw).expect_err("lives undetected"), &mut |_| {});
    let small = cut.of(&draw);
    assert_eq!(finding.by(), by);
    assert!(small.setup.peers.len() <= 4 && small.setup.faults.is_empty(), "{}", cut.options());
}
