//! Whatever is fed, what is kept stays small.

use super::super::*;
use super::solo::{Solo, checks};
use crate::block::Step;
use crate::identity::Domain;

#[test]
fn votes_beyond_the_window_do_not_reach_the_driver() {
    let mut solo = Solo::new(4, 3);
    for attempt in 0..1_000 {
        solo.vote(0, attempt, Step::Prevote, None);
        solo.now += Span::millis(20);
    }
    let instance = solo.consensus.instance.as_ref().unwrap();
    assert_eq!(instance.driver.votes().rounds(), FUTURE_ATTEMPTS as usize + 1);
    // The highest one is kept, as a sign of how far that seat is.
    assert_eq!(instance.ledger.len(), FUTURE_ATTEMPTS as usize + 2);
}

#[test]
fn a_single_seat_cannot_move_us_and_more_than_a_third_can() {
    let mut solo = Solo::new(4, 3);
    solo.consensus.enter(solo.now);
    solo.vote(0, 500, Step::Prevote, None);
    assert_eq!(solo.consensus.attempt(), 0);
    solo.vote(1, 500, Step::Precommit, None);
    assert_eq!(solo.consensus.attempt(), 500, "we were away for long, and catch up");
    solo.vote(0, u32::MAX, Step::Prevote, None);
    solo.vote(1, u32::MAX, Step::Prevote, None);
    assert_eq!(solo.consensus.attempt(), 500, "beyond the last attempt there is nothing");
}

#[test]
fn peers_that_wander_ahead_at_different_attempts_meet_us_later() {
    let mut solo = Solo::new(4, 3);
    solo.consensus.enter(solo.now);
    for attempt in 10..200 {
        solo.vote(0, attempt, Step::Prevote, None);
        solo.vote(1, attempt + 9, Step::Prevote, None);
        solo.now += Span::millis(50);
    }
    let instance = solo.consensus.instance.as_ref().unwrap();
    assert!(instance.driver.votes().rounds() < 100);
    // Once both are at one attempt we are there too, however far it is.
    solo.vote(0, 300, Step::Prevote, None);
    solo.vote(1, 300, Step::Prevote, None);
    assert_eq!(solo.consensus.attempt(), 300);
}

#[test]
fn past_attempts_are_forgotten() {
    let mut solo = Solo::new(4, 3);
    let block = solo.block(b"a");
    for attempt in 0..200 {
        if attempt % 4 != 3 {
            solo.propose(attempt, None, &Block { digest: Hash::of(&[attempt as u8]), ..block.clone() });
        }
        for seat in 0..3 {
            solo.vote(seat, attempt, Step::Prevote, None);
            solo.vote(seat, attempt, Step::Precommit, None);
        }
        if solo.consensus.attempt() == attempt {
            solo.wait(Span::seconds(60));
        }
        solo.outputs();
    }
    let instance = solo.consensus.instance.as_ref().unwrap();
    assert!(instance.ledger.len() <= 4 * 2 * (PAST_ATTEMPTS as usize + 1));
    assert!(instance.driver.votes().rounds() <= PAST_ATTEMPTS as usize + 1);
    assert_eq!(instance.driver.polka_certificates().len(), 0);
    let (proposals, bodies) = instance.proposals.len();
    assert!(proposals <= 9 && bodies <= 9, "{proposals} proposals, {bodies} bodies");
}

#[test]
fn a_hostile_flood_changes_nothing_and_is_forgotten() {
    let mut solo = Solo::new(4, 3);
    let block = solo.block(b"a");
    let mut outputs = 0;
    for n in 0..20_000u32 {
        let digest = Some(Hash::of(&n.to_le_bytes()));
        // A lying seat with good signatures, and forgeries in everybody's name.
        match n % 4 {
            0 => solo.vote(0, n % 50, Step::Prevote, digest),
            1 => {
                let block = Block { digest: Hash::of(&n.to_le_bytes()), ..block.clone() };
                solo.propose(4 * (n % 20), None, &block);
            }
            2 => {
                let mut vote = solo.signed_vote(0, n % 50, Step::Precommit, digest);
                vote.by = solo.signers[1].key();
                solo.consensus.vote_received(solo.now, vote);
            }
            _ => {
                let vote =
                    Vote { height: 2 + u64::from(n % 3), attempt: n, step: Step::Prevote, block: digest };
                let vote = solo.signers[(n % 3) as usize].seal(Domain::Vote, solo.scope(), vote);
                solo.consensus.vote_received(solo.now, vote);
            }
        }
        outputs += solo.outputs().len();
    }
    let instance = solo.consensus.instance.as_ref().unwrap();
    assert!(instance.ledger.len() <= 2 * (FUTURE_ATTEMPTS as usize + 2));
    assert!(instance.driver.votes().rounds() <= FUTURE_ATTEMPTS as usize + 1);
    let (proposals, bodies) = instance.proposals.len();
    assert!(proposals <= 9 && bodies <= 9);
    assert!(solo.consensus.early.len() <= 3 * 3);
    assert!(outputs < 60, "{outputs} outputs");
    // The session goes on as if nothing had been.
    solo.now += Span::seconds(5);
    let good = solo.block(b"good");
    solo.propose(1, None, &good);
    assert_eq!(checks(&solo.outputs()), 1);
}

#[test]
fn signature_checks_in_one_seats_name_are_bounded_and_come_back() {
    let mut solo = Solo::new(4, 3);
    let forged = |solo: &Solo, n: u32| {
        let mut vote = solo.signed_vote(0, 0, Step::Prevote, Some(Hash::of(&n.to_le_bytes())));
        vote.by = solo.signers[1].key();
        vote
    };
    for n in 0..1_000 {
        let vote = forged(&solo, n);
        solo.consensus.vote_received(solo.now, vote);
    }
    solo.vote(1, 0, Step::Prevote, None);
    assert!(!solo.consensus.is_entered(), "the budget is used up, for this seat");
    solo.vote(2, 0, Step::Prevote, None);
    assert!(solo.consensus.is_entered(), "and for no other");
    solo.outputs();
    solo.now += Span::millis(10);
    solo.vote(1, 0, Step::Prevote, None);
    assert_eq!(solo.outputs().len(), 1, "a moment later its repeated vote gets through");
}
