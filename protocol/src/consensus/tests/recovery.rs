//! Restarts: votes and locks come back from the log, and nothing is ever contradicted.

use super::super::*;
use super::rounds::{locked, next_attempt};
use super::solo::{Solo, decision, records, votes};
use crate::block::Step;
use crate::wire::Message;

/// A log with a lock at attempt 0 and a move to attempt 1.
fn log_with_lock() -> (Solo, Block, Vec<WalRecord>) {
    let mut solo = Solo::new(4, 3);
    let block = locked(&mut solo);
    next_attempt(&mut solo, 0);
    let log = records(&solo.outputs());
    (solo, block, log)
}

#[test]
fn the_lock_comes_back() {
    let (solo, _, log) = log_with_lock();
    let (mut again, result) = solo.restarted(log);
    assert_eq!(result, Ok(()));
    assert_eq!(again.consensus.attempt(), 1);
    let other = again.block(b"other");
    again.outputs();
    again.propose(1, None, &other);
    again.answer(&other, true);
    let refused = Vote { height: 1, attempt: 1, step: Step::Prevote, block: None };
    assert_eq!(again.votes(), [refused]);
}

#[test]
fn without_the_log_the_lock_is_gone_and_the_peer_would_contradict_itself() {
    let (solo, block, _) = log_with_lock();
    let (mut again, _) = solo.restarted(vec![]);
    let other = again.block(b"other");
    again.propose(0, None, &other);
    again.answer(&other, true);
    assert_eq!(again.votes()[0].block, Some(other.hash()), "it voted for {:?} before", block.hash());
}

#[test]
fn what_was_durable_but_perhaps_not_sent_is_sent_after_the_restart_and_logged_once() {
    let (solo, block, log) = log_with_lock();
    let (mut again, _) = solo.restarted(log);
    let outputs = again.outputs();
    let prevote = Vote { height: 1, attempt: 0, step: Step::Prevote, block: Some(block.hash()) };
    let precommit = Vote { step: Step::Precommit, ..prevote.clone() };
    assert_eq!(votes(&outputs, solo.signers[3].key()), [prevote, precommit]);
    assert!(records(&outputs).is_empty());
}

#[test]
fn every_prefix_of_a_log_leads_to_the_logged_statements_or_to_new_ones() {
    let (solo, _, log) = log_with_lock();
    let key = solo.signers[3].key();
    let said: Vec<Signed<Vote>> = own_votes(&log);
    assert_eq!(said.len(), 2);
    for length in 0..=log.len() {
        let (mut again, result) = solo.restarted(log[..length].to_vec());
        assert_eq!(result, Ok(()), "prefix of {length}");
        let outputs = again.outputs();
        for vote in own_votes(&records(&outputs)) {
            assert!(said.contains(&vote), "the same inputs lead to the same statement");
        }
        // Replaying what the first restart logged in addition changes nothing either.
        let whole = [&log[..length], &records(&outputs)].concat();
        let (mut twice, result) = solo.restarted(whole);
        assert_eq!(result, Ok(()), "second restart after a prefix of {length}");
        assert!(records(&twice.outputs()).is_empty());
        assert_eq!(own_votes(&log).iter().filter(|vote| vote.by != key).count(), 0);
    }
}

fn own_votes(records: &[WalRecord]) -> Vec<Signed<Vote>> {
    let own = |record: &WalRecord| match record {
        WalRecord::OwnVote(vote) => Some(vote.clone()),
        _ => None,
    };
    records.iter().filter_map(own).collect()
}

#[test]
fn a_proposers_log_proposes_the_same_block_at_the_same_point() {
    let mut solo = Solo::new(4, 0);
    solo.consensus.enter(solo.now);
    solo.vote(1, 0, Step::Prevote, None);
    let block = solo.block(b"mine");
    solo.consensus.value_ready(solo.now, 1, 0, block.clone());
    let first = solo.outputs();
    let (mut again, result) = solo.restarted(records(&first));
    assert_eq!(result, Ok(()));
    let outputs = again.outputs();
    let need = |output: &ConsensusOutput| matches!(output, ConsensusOutput::NeedBlock { .. });
    assert!(first.iter().any(need) && !outputs.iter().any(need));
    let proposal = |output: &ConsensusOutput| matches!(output, ConsensusOutput::Broadcast(Message::Propose { block: b, .. }) if *b == block);
    assert!(outputs.iter().any(proposal));
    // A restart between the question and the answer asks again.
    let (mut asked, _) = solo.restarted(vec![records(&first)[0].clone()]);
    assert!(asked.outputs().iter().any(need));
}

#[test]
fn a_decision_that_did_not_reach_the_chain_is_made_again() {
    let mut solo = Solo::new(4, 3);
    let block = locked(&mut solo);
    for seat in 0..3 {
        solo.vote(seat, 0, Step::Precommit, Some(block.hash()));
    }
    let outputs = solo.outputs();
    let decided = decision(&outputs);
    assert!(decided.is_some());
    let (mut again, result) = solo.restarted(records(&outputs));
    assert_eq!(result, Ok(()));
    assert_eq!(decision(&again.outputs()), decided);
}

#[test]
fn a_log_of_an_earlier_height_or_generation_is_passed_over_and_a_later_one_refused() {
    let (solo, _, log) = log_with_lock();
    let mut next = Solo::new(4, 3);
    next.height = 2;
    next.start();
    assert_eq!(next.consensus.replay(next.now, log.clone()), Ok(()));
    assert!(!next.consensus.is_entered());
    let mut reset = Solo::new(4, 3);
    reset.generation = 1;
    reset.start();
    assert_eq!(reset.consensus.replay(reset.now, log.clone()), Ok(()));
    assert!(!reset.consensus.is_entered());
    let ahead = vec![WalRecord::Entered { height: 5, generation: 0 }];
    let (mut behind, result) = solo.restarted(ahead);
    assert_eq!(result, Err(ReplayError::Ahead { height: 5, generation: 0 }));
    behind.consensus.enter(behind.now);
    behind.wait(Span::seconds(30));
    assert_eq!(behind.votes(), [], "a peer whose log fails observes");
}

#[test]
fn a_log_that_does_not_explain_our_statements_is_a_typed_error_and_silence() {
    let (solo, _, log) = log_with_lock();
    let without_proposal: Vec<WalRecord> =
        log.iter().filter(|record| !matches!(record, WalRecord::Proposal { .. })).cloned().collect();
    let (mut again, result) = solo.restarted(without_proposal);
    let prevote = StatementKind::Prevote;
    assert_eq!(result, Err(ReplayError::Unexplained { attempt: 0, kind: prevote }));
    again.wait(Span::seconds(30));
    assert_eq!(again.votes(), []);

    let nil = WalRecord::OwnVote(solo.signed_vote(3, 0, Step::Prevote, None));
    let changed = |record: &WalRecord| match record {
        WalRecord::OwnVote(vote) if vote.content.step == Step::Prevote => nil.clone(),
        other => other.clone(),
    };
    let (mut again, result) = solo.restarted(log.iter().map(changed).collect());
    assert_eq!(result, Err(ReplayError::Mismatch { attempt: 0, kind: prevote }));
    assert_eq!(again.votes(), []);

    let both = [log.clone(), vec![nil]].concat();
    assert_eq!(solo.restarted(both).1, Err(ReplayError::Mismatch { attempt: 0, kind: prevote }));
}

#[test]
fn records_of_others_in_our_log_are_refused() {
    let (solo, _, log) = log_with_lock();
    let refused = |extra: WalRecord| {
        let index = log.len();
        assert_eq!(
            solo.restarted([log.clone(), vec![extra]].concat()).1,
            Err(ReplayError::Foreign { index })
        );
    };
    refused(WalRecord::OwnVote(solo.signed_vote(1, 2, Step::Prevote, None)));
    let mut forged = solo.signed_vote(1, 2, Step::Prevote, None);
    forged.content.attempt = 3;
    refused(WalRecord::Vote(forged));
    refused(WalRecord::Timeout { height: 9, attempt: 0, timer: Timer::Propose });
    let block = solo.block(b"other");
    let wrong = solo.signed_proposal(3, 1, None, &block);
    refused(WalRecord::Proposal { proposal: wrong, valid: true, block: Some(block.clone()) });
    let bare = solo.signed_proposal(1, 1, None, &block);
    let index = log.len();
    let bare = WalRecord::Proposal { proposal: bare, valid: true, block: None };
    assert_eq!(solo.restarted([log.clone(), vec![bare]].concat()).1, Err(ReplayError::NoBody { index }));
    assert_eq!(solo.restarted(log[1..].to_vec()).1, Err(ReplayError::Foreign { index: 0 }));
}

#[test]
fn a_height_that_is_entered_already_refuses_a_replay() {
    let mut solo = Solo::new(4, 3);
    solo.consensus.enter(solo.now);
    let records = vec![WalRecord::Entered { height: 1, generation: 0 }];
    assert_eq!(solo.consensus.replay(solo.now, records), Err(ReplayError::AlreadyEntered));
}

#[test]
fn the_log_of_a_stolen_key_keeps_us_silent_after_a_restart() {
    let mut solo = Solo::new(4, 3);
    solo.vote(3, 0, Step::Prevote, None);
    let log = records(&solo.outputs());
    let (mut again, result) = solo.restarted(log);
    assert_eq!(result, Ok(()));
    again.wait(Span::seconds(30));
    assert_eq!(again.votes(), []);
}
