//! Nothing wrong, foreign or contradictory reaches the driver.

use super::super::*;
use super::solo::{Solo, checks, decision, evidence, session};
use crate::block::{Evidence, Step};
use crate::identity::Domain;

fn nothing_happened(solo: &mut Solo) -> bool {
    solo.outputs().is_empty() && !solo.consensus.is_entered()
}

#[test]
fn a_proposal_by_another_seat_than_the_proposer_is_neither_voted_for_nor_a_panic() {
    let mut solo = Solo::new(4, 3);
    let block = solo.block(b"a");
    let wrong = solo.signed_proposal(1, 0, None, &block);
    solo.consensus.proposal_received(solo.now, wrong.clone(), block.clone());
    assert!(nothing_happened(&mut solo));
    // Two validators' proposals in one round make the driver panic: the second must not get there.
    solo.propose(0, None, &block);
    solo.answer(&block, true);
    solo.consensus.proposal_received(solo.now, wrong, block.clone());
    assert_eq!(solo.votes().len(), 1);
}

#[test]
fn a_second_proposal_of_the_same_proposer_is_evidence_and_stays_outside() {
    let mut solo = Solo::new(4, 3);
    let (a, b) = (solo.block(b"a"), solo.block(b"b"));
    solo.propose(0, None, &a);
    solo.propose(0, None, &b);
    let outputs = solo.outputs();
    assert_eq!(checks(&outputs), 1, "only the first is looked at");
    let [Evidence::Proposals(pair)] = &evidence(&outputs)[..] else { panic!("no evidence") };
    assert_eq!((pair[0].content.block, pair[1].content.block), (a.hash(), b.hash()));
    assert!(pair.iter().all(|proposal| proposal.holds(Domain::Proposal, solo.scope())));
}

#[test]
fn contradicting_votes_are_evidence_at_most_three_times_per_seat() {
    let mut solo = Solo::new(4, 3);
    solo.vote(0, 0, Step::Prevote, None);
    for digest in 0..10u8 {
        solo.vote(0, 0, Step::Prevote, Some(Hash::of(&[digest])));
    }
    let found = evidence(&solo.outputs());
    assert_eq!(found.len(), usize::from(EVIDENCE_PER_SEAT));
    for evidence in found {
        let Evidence::Votes(pair) = evidence else { panic!("not a vote") };
        assert!(pair.iter().all(|vote| vote.holds(Domain::Vote, solo.scope())));
        assert_ne!(pair[0].content, pair[1].content);
    }
}

#[test]
fn statements_of_another_session_generation_height_or_stranger_are_dropped() {
    let mut solo = Solo::new(4, 3);
    let vote = Vote { height: 1, attempt: 0, step: Step::Prevote, block: None };
    let foreign =
        [Scope { session: session(), generation: 1 }, Scope { session: Hash::of(b"another"), generation: 0 }];
    for scope in foreign {
        let vote = solo.signers[0].seal(Domain::Vote, scope, vote.clone());
        solo.consensus.vote_received(solo.now, vote);
        let block = solo.block(b"a");
        let proposal = Proposal { height: 1, attempt: 0, valid_attempt: None, block: block.hash() };
        let proposal = solo.signers[0].seal(Domain::Proposal, scope, proposal);
        solo.consensus.proposal_received(solo.now, proposal, block);
    }
    let stranger = Signer::from_seed([99; 32]).seal(Domain::Vote, solo.scope(), vote.clone());
    solo.consensus.vote_received(solo.now, stranger);
    let mut forged = solo.signed_vote(0, 0, Step::Prevote, None);
    forged.by = solo.signers[1].key();
    solo.consensus.vote_received(solo.now, forged);
    let far = Vote { height: 9, ..vote };
    let far = solo.signers[0].seal(Domain::Vote, solo.scope(), far);
    solo.consensus.vote_received(solo.now, far);
    assert!(nothing_happened(&mut solo));
}

#[test]
fn a_body_that_is_not_the_proposed_block_is_dropped() {
    let mut solo = Solo::new(4, 3);
    let proposal = solo.signed_proposal(0, 0, None, &solo.block(b"a"));
    let other = solo.block(b"b");
    solo.consensus.proposal_received(solo.now, proposal, other);
    assert!(nothing_happened(&mut solo));
}

#[test]
fn a_block_that_cannot_follow_its_parent_is_refused_without_asking() {
    let mut solo = Solo::new(4, 3);
    let block = Block { parent: Hash::of(b"elsewhere"), ..solo.block(b"a") };
    solo.propose(0, None, &block);
    let outputs = solo.outputs();
    assert_eq!(checks(&outputs), 0);
    let votes = super::solo::votes(&outputs, solo.signers[3].key());
    assert_eq!(votes, [Vote { height: 1, attempt: 0, step: Step::Prevote, block: None }]);
}

#[test]
fn a_proposal_that_claims_a_later_valid_attempt_is_dropped() {
    let mut solo = Solo::new(4, 3);
    let block = solo.block(b"a");
    solo.propose(0, Some(0), &block);
    solo.propose(1, Some(5), &block);
    assert!(nothing_happened(&mut solo));
}

#[test]
fn repeated_messages_cost_nothing_and_change_nothing() {
    let mut solo = Solo::new(4, 3);
    let block = solo.block(b"a");
    solo.propose(0, None, &block);
    solo.vote(1, 0, Step::Prevote, Some(block.hash()));
    solo.outputs();
    for _ in 0..1_000 {
        solo.propose(0, None, &block);
        let mut vote = solo.signed_vote(1, 0, Step::Prevote, Some(block.hash()));
        vote.signature = crate::identity::Signature([0; 64]);
        solo.consensus.vote_received(solo.now, vote);
    }
    assert_eq!(solo.outputs(), []);
    // The seat's budget of signature checks is untouched.
    solo.vote(1, 0, Step::Precommit, None);
    assert_eq!(super::solo::records(&solo.outputs()).len(), 1);
}

#[test]
fn nothing_is_voted_before_the_verdict_and_the_verdict_is_remembered() {
    let mut solo = Solo::new(4, 3);
    let block = solo.block(b"a");
    solo.propose(0, None, &block);
    assert_eq!(solo.votes(), []);
    solo.answer(&block, true);
    let prevote = Vote { height: 1, attempt: 0, step: Step::Prevote, block: Some(block.hash()) };
    assert_eq!(solo.votes(), [prevote]);
    // The same block, proposed at attempt 1: no second question.
    for seat in 0..3 {
        solo.vote(seat, 0, Step::Precommit, None);
    }
    solo.wait(Span::seconds(1));
    assert_eq!(solo.consensus.attempt(), 1);
    solo.outputs();
    solo.propose(1, None, &block);
    let outputs = solo.outputs();
    assert_eq!(checks(&outputs), 0);
    assert_eq!(super::solo::votes(&outputs, solo.signers[3].key())[0].block, Some(block.hash()));
}

#[test]
fn a_refused_block_is_asked_about_again_when_it_is_proposed_again() {
    let mut solo = Solo::new(4, 3);
    let block = solo.block(b"a");
    solo.propose(0, None, &block);
    solo.answer(&block, false);
    let outputs = solo.outputs();
    assert_eq!(super::solo::votes(&outputs, solo.signers[3].key())[0].block, None);
    solo.propose(1, None, &block);
    assert_eq!(checks(&solo.outputs()), 1);
}

#[test]
fn votes_before_the_height_is_entered_count_and_enter_it() {
    let mut solo = Solo::new(4, 3);
    let block = solo.block(b"a");
    assert_eq!(solo.consensus.next_timeout(), None, "no timer before entering");
    for seat in 0..3 {
        solo.vote(seat, 0, Step::Precommit, Some(block.hash()));
    }
    assert!(solo.consensus.is_entered());
    solo.propose(0, None, &block);
    solo.answer(&block, true);
    let decided = decision(&solo.outputs()).expect("three precommits and the body decide");
    let keys: Vec<PeerKey> = solo.signers.iter().map(Signer::key).collect();
    assert!(decided.is_certified(session(), &keys, 3));
}

#[test]
fn a_vote_for_an_unknown_block_waits_for_its_proposal() {
    let mut solo = Solo::new(4, 3);
    let block = solo.block(b"a");
    for step in [Step::Prevote, Step::Precommit] {
        for seat in 0..3 {
            solo.vote(seat, 0, step, Some(block.hash()));
        }
    }
    assert_eq!(decision(&solo.outputs()), None);
    // The next attempt begins, and the body arrives after all.
    solo.wait(Span::seconds(5));
    assert_eq!(solo.consensus.attempt(), 1);
    solo.propose(0, None, &block);
    solo.answer(&block, true);
    let decided = decision(&solo.outputs()).expect("decided late");
    assert_eq!(decided.certificate.attempt, 0, "the proposal's attempt, not the current one");
    let keys: Vec<PeerKey> = solo.signers.iter().map(Signer::key).collect();
    assert!(decided.is_certified(session(), &keys, 3));
}

#[test]
fn a_lie_about_a_height_just_decided_is_still_evidence() {
    let mut solo = Solo::new(4, 3);
    let (block, other) = (solo.block(b"a"), solo.block(b"b"));
    solo.propose(0, None, &block);
    solo.answer(&block, true);
    for seat in 0..3 {
        solo.vote(seat, 0, Step::Precommit, Some(block.hash()));
    }
    assert!(decision(&solo.outputs()).is_some());
    solo.vote(1, 0, Step::Precommit, None);
    solo.propose(0, None, &other);
    solo.vote(1, 0, Step::Prevote, None);
    let outputs = solo.outputs();
    assert_eq!((evidence(&outputs).len(), outputs.len()), (2, 2));
}

#[test]
fn messages_of_the_next_height_are_kept_and_used() {
    let mut solo = Solo::new(4, 3);
    solo.height = 2;
    let block = solo.block(b"a");
    solo.propose(0, None, &block);
    solo.vote(1, 0, Step::Prevote, Some(block.hash()));
    assert!(nothing_happened(&mut solo));
    solo.start();
    let outputs = solo.outputs();
    assert_eq!(checks(&outputs), 1);
    assert!(outputs.iter().any(|o| matches!(o, ConsensusOutput::Persist { record: WalRecord::Vote(_), .. })));
}

#[test]
fn a_statement_of_our_own_key_that_we_did_not_make_silences_us() {
    let mut solo = Solo::new(4, 3);
    solo.vote(3, 0, Step::Prevote, Some(Hash::of(b"what the lost folder voted for")));
    let outputs = solo.outputs();
    assert!(outputs.contains(&ConsensusOutput::KeyInUseElsewhere { height: 1, attempt: 0 }));
    solo.wait(Span::seconds(30));
    assert_eq!(solo.votes(), []);
    assert!(!solo.consensus.is_voting());
}

#[test]
fn unusable_seats_make_a_height_at_which_nothing_happens() {
    let mut solo = Solo::new(4, 3);
    let key = solo.signers[0].key();
    for keys in [vec![], vec![key, key], (0..17).map(|n| PeerKey([n; 32])).collect()] {
        let seats = Seats {
            keys,
            quorum: crate::committee::QuorumRule::TwoThirds,
            unheard: Vec::new(),
            silent: Vec::new(),
        };
        solo.consensus.start_height(solo.now, 1, 0, Hash([0; 32]), seats);
        solo.consensus.enter(solo.now);
        solo.vote(0, 0, Step::Prevote, None);
        assert!(nothing_happened(&mut solo));
    }
}
