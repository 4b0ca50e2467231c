//! The vocabulary the Tendermint driver asks for, in terms of our keys and hashes.
//!
//! The driver never signs or verifies; what it calls a value is a block's hash, so everything that
//! matters about a block is under the identity that votes compare.

use std::fmt;

use arc_malachitebft_core_types as tendermint;
use tendermint::{LinearTimeouts, NilOrVal, Round, SignedExtension, SignedMessage, VoteType, VotingPower};

use crate::block::{Attempt, Proposal, Step, Vote};
use crate::identity::{Hash, PeerKey, Signature, Signed};

/// The driver's context: which types it works with.
#[derive(Clone, Debug)]
pub(super) struct Rules;

/// A height, as the driver wants it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct At(pub u64);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl tendermint::Height for At {
    const ZERO: At = At(0);
    const INITIAL: At = At(1);

    fn increment_by(&self, n: u64) -> At {
        At(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<At> {
        self.0.checked_sub(n).map(At)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

impl tendermint::Address for PeerKey {}

impl tendermint::Value for Hash {
    type Id = Hash;

    fn id(&self) -> Hash {
        *self
    }
}

/// A proposal as the driver sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Offer {
    height: At,
    round: Round,
    block: Hash,
    valid_round: Round,
    by: PeerKey,
}

impl Offer {
    /// The statement that its author signs.
    pub fn statement(&self) -> Proposal {
        Proposal {
            height: self.height.0,
            attempt: attempt_of(self.round),
            valid_attempt: self.valid_round.as_u32(),
            block: self.block,
        }
    }
}

impl tendermint::Proposal<Rules> for Offer {
    fn height(&self) -> At {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Hash {
        &self.block
    }

    fn take_value(self) -> Hash {
        self.block
    }

    fn pol_round(&self) -> Round {
        self.valid_round
    }

    fn validator_address(&self) -> &PeerKey {
        &self.by
    }
}

/// A vote as the driver sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ballot {
    height: At,
    round: Round,
    kind: VoteType,
    value: NilOrVal<Hash>,
    by: PeerKey,
}

impl Ballot {
    /// The statement that its author signs.
    pub fn statement(&self) -> Vote {
        let block = match self.value {
            NilOrVal::Nil => None,
            NilOrVal::Val(block) => Some(block),
        };
        let step = match self.kind {
            VoteType::Prevote => Step::Prevote,
            VoteType::Precommit => Step::Precommit,
        };
        Vote { height: self.height.0, attempt: attempt_of(self.round), step, block }
    }
}

impl tendermint::Vote<Rules> for Ballot {
    fn height(&self) -> At {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<Hash> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<Hash> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &PeerKey {
        &self.by
    }

    fn extension(&self) -> Option<&SignedExtension<Rules>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Rules>> {
        None
    }

    fn extend(self, _extension: SignedExtension<Rules>) -> Self {
        self
    }
}

/// A seat as the driver sees it: every seat weighs one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Voter(PeerKey);

impl tendermint::Validator<Rules> for Voter {
    fn address(&self) -> &PeerKey {
        &self.0
    }

    fn public_key(&self) -> &PeerKey {
        &self.0
    }

    fn voting_power(&self) -> VotingPower {
        1
    }
}

/// The seats as the driver sees them: sorted and unique, whatever their seat order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Voters(Vec<Voter>);

impl Voters {
    /// The voters with these keys.
    pub fn new(keys: &[PeerKey]) -> Voters {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        Voters(keys.into_iter().map(Voter).collect())
    }
}

impl tendermint::ValidatorSet<Rules> for Voters {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn total_voting_power(&self) -> VotingPower {
        self.0.len() as VotingPower
    }

    fn get_by_address(&self, address: &PeerKey) -> Option<&Voter> {
        self.0.iter().find(|voter| voter.0 == *address)
    }

    fn get_by_index(&self, index: usize) -> Option<&Voter> {
        self.0.get(index)
    }
}

/// Proposals are whole messages here, so this type has no use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NoPart;

impl tendermint::ProposalPart<Rules> for NoPart {
    fn is_first(&self) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        true
    }
}

/// Codecs of keys and signatures; the driver asks for them and never calls them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ed25519;

impl tendermint::SigningScheme for Ed25519 {
    type DecodingError = &'static str;
    type Signature = Signature;
    type PublicKey = PeerKey;
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<Signature, &'static str> {
        bytes.try_into().map(Signature).map_err(|_| "a signature has 64 bytes")
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.0.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<PeerKey, &'static str> {
        bytes.try_into().map(PeerKey).map_err(|_| "a key has 32 bytes")
    }

    fn encode_public_key(key: &PeerKey) -> Vec<u8> {
        key.0.to_vec()
    }
}

impl tendermint::Context for Rules {
    type Address = PeerKey;
    type Height = At;
    type ProposalPart = NoPart;
    type Proposal = Offer;
    type Validator = Voter;
    type ValidatorSet = Voters;
    type Timeouts = LinearTimeouts;
    type Value = Hash;
    type Vote = Ballot;
    type Extension = ();
    type SigningScheme = Ed25519;

    /// Not called by the driver: the adapter names the proposer of each attempt itself.
    fn select_proposer<'a>(&self, voters: &'a Voters, _height: At, round: Round) -> &'a Voter {
        let seat = attempt_of(round) as usize % voters.0.len().max(1);
        &voters.0[seat]
    }

    fn new_proposal(&self, height: At, round: Round, block: Hash, valid_round: Round, by: PeerKey) -> Offer {
        Offer { height, round, block, valid_round, by }
    }

    fn new_prevote(&self, height: At, round: Round, value: NilOrVal<Hash>, by: PeerKey) -> Ballot {
        Ballot { height, round, kind: VoteType::Prevote, value, by }
    }

    fn new_precommit(&self, height: At, round: Round, value: NilOrVal<Hash>, by: PeerKey) -> Ballot {
        Ballot { height, round, kind: VoteType::Precommit, value, by }
    }
}

/// The attempt of a driver's round; rounds before the first count as attempt 0.
pub(super) fn attempt_of(round: Round) -> Attempt {
    round.as_u32().unwrap_or(0)
}

/// A verified vote for the driver.
pub(super) fn driver_vote(vote: &Signed<Vote>) -> SignedMessage<Rules, Ballot> {
    let content = &vote.content;
    let ballot = Ballot {
        height: At(content.height),
        round: Round::new(content.attempt),
        kind: match content.step {
            Step::Prevote => VoteType::Prevote,
            Step::Precommit => VoteType::Precommit,
        },
        value: content.block.map_or(NilOrVal::Nil, NilOrVal::Val),
        by: vote.by,
    };
    SignedMessage::new(ballot, vote.signature)
}

/// A verified proposal for the driver.
pub(super) fn driver_proposal(proposal: &Signed<Proposal>) -> SignedMessage<Rules, Offer> {
    let content = &proposal.content;
    let offer = Offer {
        height: At(content.height),
        round: Round::new(content.attempt),
        block: content.block,
        valid_round: Round::from(content.valid_attempt),
        by: proposal.by,
    };
    SignedMessage::new(offer, proposal.signature)
}
