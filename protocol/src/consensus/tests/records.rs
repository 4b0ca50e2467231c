//! The log's format, and the order of what is logged and what leaves.

use proptest::prelude::*;

use super::super::*;
use super::solo::{Solo, records};
use crate::block::Step;
use crate::identity::Signature;
use crate::wire::{Message, WireError, limits};

fn signed<T>(content: T) -> Signed<T> {
    Signed { by: PeerKey([1; 32]), content, signature: Signature([2; 64]) }
}

fn block() -> Block {
    Block { height: 7, generation: 1, parent: Hash([3; 32]), items: vec![], digest: Hash([4; 32]) }
}

fn proposal() -> Signed<Proposal> {
    signed(Proposal { height: 7, attempt: 2, valid_attempt: Some(1), block: Hash([5; 32]) })
}

fn hex(record: &WalRecord) -> String {
    data_encoding::HEXLOWER.encode(&record.to_bytes())
}

#[test]
fn golden_bytes() {
    let by = "01".repeat(32);
    let signature = "02".repeat(64);
    let (parent, digest, named) = ("03".repeat(32), "04".repeat(32), "05".repeat(32));
    let body = format!("0701{parent}00{digest}");
    let entered = WalRecord::Entered { height: 7, generation: 1 };
    assert_eq!(hex(&entered), "000701");
    let record = WalRecord::Proposal { proposal: proposal(), valid: true, block: Some(block()) };
    assert_eq!(hex(&record), format!("01{by}07020101{named}{signature}0101{body}"));
    let vote = signed(Vote { height: 7, attempt: 2, step: Step::Precommit, block: None });
    assert_eq!(hex(&WalRecord::Vote(vote.clone())), format!("02{by}07020100{signature}"));
    let timeout = WalRecord::Timeout { height: 7, attempt: 2, timer: Timer::Precommit };
    assert_eq!(hex(&timeout), "03070202");
    let own = WalRecord::OwnProposal { proposal: proposal(), block: None };
    assert_eq!(hex(&own), format!("04{by}07020101{named}{signature}00"));
    assert_eq!(hex(&WalRecord::OwnVote(vote)), format!("05{by}07020100{signature}"));
}

#[test]
fn a_record_is_bounded() {
    let huge = vec![0; WalRecord::LIMIT + 1];
    assert!(matches!(WalRecord::from_bytes(&huge), Err(WireError::TooLong { .. })));
    let leave = crate::block::Item::Leave(signed(crate::block::Leave { height: 1 }));
    let mut block = block();
    block.items = vec![leave; limits::ITEMS + 1];
    let record = WalRecord::OwnProposal { proposal: proposal(), block: Some(block) };
    assert!(matches!(WalRecord::from_bytes(&record.to_bytes()), Err(WireError::OutOfBounds { .. })));
    let mut trailing = WalRecord::Entered { height: 7, generation: 1 }.to_bytes();
    trailing.push(0);
    assert!(matches!(WalRecord::from_bytes(&trailing), Err(WireError::Malformed { .. })));
}

fn any_record() -> impl Strategy<Value = WalRecord> {
    let vote = (any::<u64>(), any::<u32>(), any::<bool>(), any::<Option<[u8; 32]>>());
    let vote = vote.prop_map(|(height, attempt, pre, block)| {
        let step = if pre { Step::Prevote } else { Step::Precommit };
        signed(Vote { height, attempt, step, block: block.map(Hash) })
    });
    let offer = (any::<u64>(), any::<u32>(), any::<Option<u32>>(), any::<[u8; 32]>());
    let offer = offer.prop_map(|(height, attempt, valid_attempt, block)| {
        signed(Proposal { height, attempt, valid_attempt, block: Hash(block) })
    });
    let body = any::<Option<(u64, u32)>>()
        .prop_map(|body| body.map(|(height, generation)| Block { height, generation, ..block() }));
    prop_oneof![
        (any::<u64>(), any::<u32>())
            .prop_map(|(height, generation)| WalRecord::Entered { height, generation }),
        (offer.clone(), any::<bool>(), body.clone())
            .prop_map(|(proposal, valid, block)| WalRecord::Proposal { proposal, valid, block }),
        vote.clone().prop_map(WalRecord::Vote),
        (any::<u64>(), any::<u32>()).prop_map(|(height, attempt)| WalRecord::Timeout {
            height,
            attempt,
            timer: Timer::Prevote
        }),
        (offer, body).prop_map(|(proposal, block)| WalRecord::OwnProposal { proposal, block }),
        vote.prop_map(WalRecord::OwnVote),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn records_round_trip(record in any_record()) {
        prop_assert_eq!(WalRecord::from_bytes(&record.to_bytes()), Ok(record));
    }

    #[test]
    fn any_bytes_decode_to_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(record) = WalRecord::from_bytes(&bytes) {
            prop_assert_eq!(record.to_bytes(), bytes);
        }
    }
}

#[test]
fn what_leads_to_a_statement_is_durable_before_it_leaves() {
    let mut solo = Solo::new(4, 3);
    let block = solo.block(b"a");
    solo.propose(0, None, &block);
    solo.vote(0, 0, Step::Prevote, Some(block.hash()));
    solo.vote(1, 0, Step::Prevote, Some(block.hash()));
    let before = solo.outputs();
    assert!(!before.iter().any(|o| matches!(o, ConsensusOutput::Persist { sync: true, .. })));
    // The verdict leads to a prevote, that to a quorum, and that to a precommit: one barrier.
    solo.answer(&block, true);
    let outputs = solo.outputs();
    let kinds: Vec<&str> = outputs
        .iter()
        .map(|output| match output {
            ConsensusOutput::Persist { record: WalRecord::Proposal { block: Some(_), .. }, sync: false } => {
                "input"
            }
            ConsensusOutput::Persist { record: WalRecord::OwnVote(_), sync: false } => "own",
            ConsensusOutput::Persist { record: WalRecord::OwnVote(_), sync: true } => "own, barrier",
            ConsensusOutput::Broadcast(Message::Vote(_)) => "vote",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["input", "own", "own, barrier", "vote", "vote"]);
}

#[test]
fn a_body_is_logged_once() {
    let mut solo = Solo::new(4, 3);
    let block = solo.block(b"a");
    for attempt in 0..3 {
        solo.propose(attempt, None, &block);
        solo.answer(&block, true);
    }
    let bodies = records(&solo.outputs());
    let with_body = |record: &&WalRecord| matches!(record, WalRecord::Proposal { block: Some(_), .. });
    assert_eq!(bodies.iter().filter(with_body).count(), 1);
}
