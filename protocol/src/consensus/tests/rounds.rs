//! Attempts: timers, locks, repeated proposals, sending again, and the quorum rules.

use super::super::*;
use super::solo::{Solo, decision, parent, seats, session, signers, votes};
use crate::block::Step;
use crate::committee::QuorumRule;
use crate::wire::Message;

/// Precommits for nil of the other three.
fn others_give_up(solo: &mut Solo, attempt: Attempt) {
    let me = solo.me;
    for seat in (0..4).filter(|seat| *seat != me) {
        solo.vote(seat, attempt, Step::Precommit, None);
    }
}

/// Moves from `attempt` to the next one by precommits for nil of the other three.
pub fn next_attempt(solo: &mut Solo, attempt: Attempt) {
    others_give_up(solo, attempt);
    solo.wait(Span::seconds(1 + u64::from(attempt)));
    assert_eq!(solo.consensus.attempt(), attempt + 1);
}

/// Locks peer 3 on a block at attempt 0: it saw a quorum of prevotes and precommitted.
pub fn locked(solo: &mut Solo) -> Block {
    let block = solo.block(b"locked");
    solo.propose(0, None, &block);
    solo.answer(&block, true);
    for seat in 0..2 {
        solo.vote(seat, 0, Step::Prevote, Some(block.hash()));
    }
    block
}

#[test]
fn the_proposer_rotates_through_all_seats_and_passes_over_convicted_ones() {
    let mut four = seats(&signers(4), QuorumRule::TwoThirds);
    let turns = |seats: &Seats| -> Vec<usize> { (0..5).map(|n| seats.proposer_seat(8, n)).collect() };
    assert_eq!(turns(&four), [3, 0, 1, 2, 3]);
    assert_eq!(four.proposer_seat(9, 0), 0, "the next height begins one seat on");
    four.unheard = vec![four.keys[1]];
    assert_eq!(turns(&four), [2, 3, 0, 2, 3]);
    four.unheard = four.keys.clone();
    assert_eq!(turns(&four), [3, 0, 1, 2, 3]);
}

#[test]
fn no_timer_runs_before_the_height_is_entered() {
    let mut solo = Solo::new(4, 3);
    assert_eq!(solo.consensus.next_timeout(), None);
    solo.wait(Span::seconds(3_600));
    assert_eq!(solo.outputs(), []);
    solo.consensus.enter(solo.now);
    assert_eq!(solo.consensus.next_timeout(), Some(solo.now + Span::seconds(3)));
    assert!(solo.outputs().contains(&ConsensusOutput::Entered));
    solo.consensus.enter(solo.now);
    assert_eq!(solo.outputs(), [], "entering twice is entering once");
}

#[test]
fn timers_grow_per_attempt_up_to_the_maximum_and_fetching_comes_on_top() {
    let timeouts = Timeouts::default();
    let extra = Span::seconds(100);
    assert_eq!(timeouts.duration(Timer::Propose, 0, extra), Span::seconds(103));
    assert_eq!(timeouts.duration(Timer::Propose, 4, Span::ZERO), Span::seconds(7));
    assert_eq!(timeouts.duration(Timer::Prevote, 2, extra), Span::seconds(3));
    assert_eq!(timeouts.duration(Timer::Precommit, MAX_ATTEMPT, extra), Span::seconds(60));
    let mut solo = Solo::new(4, 3);
    solo.consensus.set_propose_extra(extra);
    solo.consensus.enter(solo.now);
    assert_eq!(solo.consensus.next_timeout(), Some(Time(103_000_000)));
}

#[test]
fn a_timer_of_a_former_height_does_not_fire_at_the_next() {
    let mut solo = Solo::new(4, 3);
    solo.consensus.enter(solo.now);
    solo.outputs();
    solo.height = 2;
    solo.start();
    assert_eq!(solo.consensus.next_timeout(), None);
    solo.consensus.handle_timeout(Time(10_000_000));
    solo.consensus.enter(Time(10_000_000));
    assert_eq!(solo.votes(), [], "no prevote for nil from the timer of height 1");
}

#[test]
fn a_late_timer_of_a_former_attempt_is_ignored() {
    let mut solo = Solo::new(4, 3);
    solo.consensus.enter(solo.now);
    for seat in 0..2 {
        solo.vote(seat, 1, Step::Prevote, None);
    }
    assert_eq!(solo.consensus.attempt(), 1, "a third and more are there already");
    solo.wait(Span::millis(3_500));
    assert_eq!(solo.votes(), [], "the propose timer of attempt 0 has no say in attempt 1");
    solo.wait(Span::seconds(1));
    let nil = Vote { height: 1, attempt: 1, step: Step::Prevote, block: None };
    assert_eq!(solo.votes()[0], nil);
}

#[test]
fn who_is_locked_refuses_another_block_and_accepts_one_with_a_later_quorum() {
    let mut solo = Solo::new(4, 3);
    let block = locked(&mut solo);
    next_attempt(&mut solo, 0);
    let other = solo.block(b"other");
    solo.outputs();
    solo.propose(1, None, &other);
    solo.answer(&other, true);
    let refused = Vote { height: 1, attempt: 1, step: Step::Prevote, block: None };
    assert_eq!(solo.votes(), [refused], "locked on {block:?}");
    // The three others had a quorum for it at attempt 1 without us: that unlocks.
    for seat in 0..3 {
        solo.vote(seat, 1, Step::Prevote, Some(other.hash()));
    }
    next_attempt(&mut solo, 1);
    solo.outputs();
    solo.propose(2, Some(1), &other);
    let accepted = Vote { height: 1, attempt: 2, step: Step::Prevote, block: Some(other.hash()) };
    assert_eq!(solo.votes()[0], accepted);
}

#[test]
fn a_valid_block_is_proposed_again_with_its_body_and_the_prevotes_behind_it() {
    let mut solo = Solo::new(4, 3);
    let block = locked(&mut solo);
    for attempt in 0..3 {
        next_attempt(&mut solo, attempt);
    }
    let outputs = solo.outputs();
    let asked = outputs.iter().any(|output| matches!(output, ConsensusOutput::NeedBlock { .. }));
    assert!(!asked, "there is a block already");
    let (sent, content) = outputs
        .iter()
        .find_map(|output| match output {
            ConsensusOutput::Broadcast(Message::Propose { proposal, block }) => {
                Some((block.clone(), proposal.content.clone()))
            }
            _ => None,
        })
        .expect("attempt 3 is ours");
    assert_eq!((&sent, content.valid_attempt), (&block, Some(0)));
    let proof = |seat: usize| !votes(&outputs, solo.signers[seat].key()).is_empty();
    assert!(proof(0) && proof(1), "who missed these prevotes could not accept the proposal");
}

#[test]
fn a_lock_from_long_ago_can_still_be_proposed_and_accepted() {
    let mut proposer = Solo::new(4, 3);
    let block = locked(&mut proposer);
    let mut other = Solo::new(4, 2);
    other.consensus.enter(other.now);
    // Many attempts later the votes of attempt 0 are forgotten by the driver.
    let last = 4 * PAST_ATTEMPTS - 1;
    for attempt in 0..last {
        for solo in [&mut proposer, &mut other] {
            others_give_up(solo, attempt);
            if solo.consensus.attempt() == attempt {
                solo.wait(Span::seconds(60));
            }
            assert_eq!(solo.consensus.attempt(), attempt + 1);
        }
        if attempt + 1 < last {
            proposer.outputs();
        }
    }
    other.outputs();
    let outputs = proposer.outputs();
    let own = votes(&outputs, proposer.signers[3].key());
    let expected = Vote { height: 1, attempt: last, step: Step::Prevote, block: Some(block.hash()) };
    assert!(own.contains(&expected), "the proposer accepts its own proposal: {own:?}");
    for output in outputs {
        match output {
            ConsensusOutput::Broadcast(Message::Propose { proposal, block }) => {
                other.consensus.proposal_received(other.now, proposal, block);
            }
            ConsensusOutput::Broadcast(Message::Vote(vote)) => other.consensus.vote_received(other.now, vote),
            _ => {}
        }
    }
    other.answer(&block, true);
    assert!(other.votes().contains(&expected), "and so does a peer that never saw attempt 0");
    assert!(other.consensus.is_voting(), "its own old votes in the proof are no theft of its key");
}

#[test]
fn our_own_forgotten_prevote_in_the_proof_of_a_lock_does_not_silence_us() {
    let mut solo = Solo::new(4, 3);
    let block = solo.block(b"a");
    solo.propose(0, None, &block);
    solo.answer(&block, true);
    let last = 2 * PAST_ATTEMPTS;
    for attempt in 0..last {
        others_give_up(&mut solo, attempt);
        solo.wait(Span::seconds(60));
    }
    assert_eq!(solo.consensus.attempt(), last);
    let mut log = super::solo::records(&solo.outputs());
    solo.propose(last, Some(0), &block);
    solo.answer(&block, true);
    for seat in [0, 1, 3] {
        solo.vote(seat, 0, Step::Prevote, Some(block.hash()));
    }
    let outputs = solo.outputs();
    let expected = Vote { height: 1, attempt: last, step: Step::Prevote, block: Some(block.hash()) };
    assert!(votes(&outputs, solo.signers[3].key()).contains(&expected));
    log.extend(super::solo::records(&outputs));
    let (again, result) = solo.restarted(log);
    assert_eq!(result, Ok(()));
    assert!(solo.consensus.is_voting() && again.consensus.is_voting());
}

/// The last voter that ends an attempt may tell one other and be gone.
#[test]
fn who_went_on_takes_along_who_missed_what_ended_the_attempt() {
    let (mut ahead, mut behind) = (Solo::new(4, 3), Solo::new(4, 2));
    behind.consensus.enter(behind.now);
    behind.wait(Span::seconds(3));
    for seat in 0..2 {
        behind.vote(seat, 0, Step::Prevote, None);
    }
    behind.vote(1, 0, Step::Precommit, None);
    tell(&mut behind, &mut ahead);
    ahead.vote(0, 0, Step::Precommit, None);
    ahead.vote(1, 0, Step::Precommit, None);
    ahead.wait(Span::seconds(1));
    assert_eq!((ahead.consensus.attempt(), behind.consensus.attempt()), (1, 0));
    tell(&mut ahead, &mut behind);
    behind.wait(Span::seconds(1));
    assert_eq!(behind.consensus.attempt(), 0, "what went on said nothing of it");
    tell(&mut behind, &mut ahead);
    tell(&mut ahead, &mut behind);
    behind.wait(Span::seconds(1));
    assert_eq!(behind.consensus.attempt(), 1, "but does once it hears who stayed");
}

/// Gives the votes that one sent to the other.
fn tell(from: &mut Solo, to: &mut Solo) {
    for output in from.outputs() {
        match output {
            ConsensusOutput::Broadcast(Message::Vote(vote))
            | ConsensusOutput::Tell { message: Message::Vote(vote), .. } => {
                to.consensus.vote_received(to.now, vote);
            }
            _ => {}
        }
    }
}

#[test]
fn own_statements_are_sent_again_less_and_less_often_until_decided() {
    let mut solo = Solo::new(4, 0);
    solo.consensus.enter(solo.now);
    let block = solo.block(b"a");
    solo.consensus.value_ready(solo.now, 1, 0, block.clone());
    solo.outputs();
    let mut sent = Vec::new();
    while solo.now < Time(60_000_000) {
        solo.wait(Span::millis(500));
        let outputs = solo.outputs();
        let proposals =
            |o: &&ConsensusOutput| matches!(o, ConsensusOutput::Broadcast(Message::Propose { .. }));
        assert!(super::solo::records(&outputs).is_empty(), "nothing new, nothing to log");
        if outputs.iter().filter(proposals).count() == 1 {
            assert_eq!(votes(&outputs, solo.signers[0].key()).len(), 1);
            sent.push(solo.now.0 / 1_000_000);
        }
    }
    assert_eq!(sent, [1, 3, 7, 15, 25, 35, 45, 55]);
    for step in [Step::Prevote, Step::Precommit] {
        for seat in 1..4 {
            solo.vote(seat, 0, step, Some(block.hash()));
        }
    }
    assert!(decision(&solo.outputs()).is_some());
    assert_eq!(solo.consensus.next_timeout(), None);
}

#[test]
fn a_block_that_is_ready_late_serves_our_next_turn_and_none_is_proposed_twice() {
    let mut solo = Solo::new(1, 0);
    solo.consensus.enter(solo.now);
    solo.wait(Span::seconds(10));
    assert!(solo.consensus.attempt() > 0);
    solo.outputs();
    solo.consensus.value_ready(solo.now, 1, 0, solo.block(b"late"));
    let decided = decision(&solo.outputs()).expect("decided");
    assert_eq!(decided.block, solo.block(b"late"));
    solo.consensus.value_ready(solo.now, 1, 0, solo.block(b"another"));
    assert_eq!(solo.outputs(), []);
}

#[test]
fn a_value_nobody_asked_for_is_ignored() {
    let mut solo = Solo::new(4, 3);
    solo.consensus.value_ready(solo.now, 1, 0, solo.block(b"early"));
    solo.consensus.enter(solo.now);
    solo.outputs();
    solo.consensus.value_ready(solo.now, 1, 0, solo.block(b"not ours"));
    solo.consensus.value_ready(solo.now, 2, 0, solo.block(b"other height"));
    assert_eq!(solo.outputs(), []);
}

/// The seats that a rule needs, by trying.
fn needed_by_trying(n: u8, quorum: QuorumRule) -> usize {
    let mut solo = Solo::new(n, 0);
    solo.consensus.start_height(solo.now, 1, 0, parent(), seats(&solo.signers, quorum));
    solo.consensus.enter(solo.now);
    let block = solo.block(b"a");
    solo.consensus.value_ready(solo.now, 1, 0, block.clone());
    let keys: Vec<PeerKey> = solo.signers.iter().map(Signer::key).collect();
    for others in 0..n {
        if others > 0 {
            for step in [Step::Prevote, Step::Precommit] {
                solo.vote(usize::from(others), 0, step, Some(block.hash()));
            }
        }
        if let Some(decided) = decision(&solo.outputs()) {
            assert!(decided.is_certified(session(), &keys, quorum.needed(keys.len())));
            return usize::from(others) + 1;
        }
    }
    usize::MAX
}

#[test]
fn every_quorum_rule_decides_with_exactly_the_seats_of_the_design() {
    for n in 1..=16 {
        for rule in [QuorumRule::TwoThirds, QuorumRule::Majority] {
            assert_eq!(needed_by_trying(n, rule), rule.needed(usize::from(n)), "{rule:?} of {n}");
        }
    }
}

#[test]
fn a_single_seat_decides_alone_without_waiting_for_the_disk() {
    let mut solo = Solo::new(1, 0);
    solo.consensus.enter(solo.now);
    let block = solo.block(b"a");
    solo.consensus.value_ready(solo.now, 1, 0, block.clone());
    let outputs = solo.outputs();
    assert_eq!(decision(&outputs).map(|decided| decided.block), Some(block));
    assert!(!outputs.iter().any(|o| matches!(o, ConsensusOutput::Broadcast(_))));
    assert!(!outputs.iter().any(|o| matches!(o, ConsensusOutput::Persist { sync: true, .. })));
}

#[test]
fn an_observer_decides_by_the_votes_of_others_and_says_and_logs_nothing() {
    let mut solo = Solo::new(4, 3);
    for signer in [None, Some(Signer::from_seed([77; 32]))] {
        solo.consensus = Consensus::new(signer, session(), Timeouts::default());
        solo.start();
        let block = solo.block(b"a");
        solo.propose(0, None, &block);
        solo.answer(&block, true);
        for seat in 0..3 {
            solo.vote(seat, 0, Step::Precommit, Some(block.hash()));
        }
        let outputs = solo.outputs();
        assert!(decision(&outputs).is_some());
        assert!(super::solo::records(&outputs).is_empty());
        assert!(!outputs.iter().any(|o| matches!(o, ConsensusOutput::Broadcast(_))));
    }
}
