//! Blocks, certificates and the statements they are made of.
//!
//! A block lists what was counted and carries the digest of the state after it; a certificate is
//! a quorum of precommits over that block. Deterministic validity against a state is in
//! `transition/`.

use bincode::{Decode, Encode};

use crate::identity::{Domain, Hash, PeerKey, Scope, Signature, Signed};
use crate::positions::Positions;
use crate::wire;

/// Position in the chain; the genesis state has height 0.
pub type Height = u64;
/// A Tendermint round within a height.
pub type Attempt = u32;

/// The identity of one exchange: announcement, lease use, signature and evidence all name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
pub struct Slot {
    /// Which stream: a fragment, or the whole model where the method has one stream.
    pub stream: u16,
    /// Position in that stream.
    pub ordinal: u32,
}

/// What a contributor sends for a slot.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Payload {
    /// A blob on the data plane.
    Blob {
        /// Its BLAKE3 root.
        root: Hash,
        /// Its length in bytes.
        length: u64,
    },
    /// A few bytes in the block itself (one byte per sample methods).
    Inline(Vec<u8>),
}

/// The work behind a contribution, as its author claims it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Work {
    /// Inner steps since this stream was last counted.
    pub steps: u32,
    /// Tokens (or bytes, or samples) trained on in those steps.
    pub tokens: u64,
    /// Which samples of the author's leases were used; none on streams other than 0.
    pub samples: Positions,
    /// Steps in 1000 seconds that the author's machine manages; 0 if not measured yet.
    pub speed: u32,
}

/// A contribution to a slot.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Announcement {
    /// Which slot.
    pub slot: Slot,
    /// Digest of that stream's outer pages that the contribution was taken against.
    pub base: Hash,
    /// The contribution.
    pub payload: Payload,
    /// What it stands for.
    pub work: Work,
}

/// An announcement as a block lists it; slot and base are the closing's.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Counted {
    /// Index into the members of the state before the block.
    pub member: u16,
    /// The contribution.
    pub payload: Payload,
    /// The claimed work.
    pub work: Work,
    /// The member's signature over the whole announcement.
    pub signature: Signature,
}

impl Counted {
    /// The announcement that the member signed.
    pub fn announcement(&self, slot: Slot, base: Hash) -> Announcement {
        Announcement { slot, base, payload: self.payload.clone(), work: self.work.clone() }
    }
}

/// The end of one slot.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Closing {
    /// Which slot.
    pub slot: Slot,
    /// Who is counted, by ascending member index; may be empty.
    pub counted: Vec<Counted>,
}

/// A request to become a member.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Join {
    /// Height of the joiner's state: a replayed request is refused once it is too old.
    pub height: Height,
    /// Proof of an invitation, where admission asks for one.
    pub admittance: Option<Admittance>,
}

/// Proof that a key was invited: the issuer vouches for a ticket, the ticket for the joiner. It is
/// public and of no use to any other key.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Admittance {
    /// The public key of the invitation's ticket.
    pub ticket: PeerKey,
    /// The issuer's signature over `ticket`.
    pub word: Signature,
    /// The ticket's signature over the joiner's key.
    pub signature: Signature,
}

impl Admittance {
    /// Whether `issuer` invited `joiner` to `session`.
    pub fn admits(&self, session: Hash, issuer: PeerKey, joiner: PeerKey) -> bool {
        let scope = Scope { session, generation: 0 };
        issuer.verify(Domain::Ticket, scope, &self.ticket, &self.word)
            && self.ticket.verify(Domain::Admittance, scope, &joiner, &self.signature)
    }
}

/// A member's farewell.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Leave {
    /// Height of the state at which the member decided to leave.
    pub height: Height,
}

/// A member's word whether it would take a seat: whoever does can be dialled and stays up.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Stand {
    /// Height of the state at which it decided; later words replace earlier ones.
    pub height: Height,
    /// Whether it would.
    pub stands: bool,
}

/// A voter's word that it applied a block and votes on the next one.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Presence {
    /// The block's height.
    pub height: Height,
    /// Its hash.
    pub block: Hash,
}

/// Whom a proposer heard at the block before its own. (Not the precommits of that block, which only
/// the faster part of the voters makes: the others learn the certificate first.)
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Roll {
    /// Height of the proposer's block.
    pub height: Height,
    /// Seat index and signature over the [`Presence`], by ascending seat; without the proposer's own.
    pub present: Vec<(u8, Signature)>,
}

/// Who votes from the next height on.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Seating {
    /// The seats.
    pub seats: Vec<PeerKey>,
    /// The height at which they changed last before.
    pub before: Height,
}

/// The founder's word that seats others in the place of a committee that cannot decide any more.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Reset {
    /// The new committee's generation, higher than any before.
    pub generation: u32,
    /// Height of the last block that the old one decided.
    pub height: Height,
    /// That block's hash.
    pub parent: Hash,
    /// The new seats.
    pub seats: Vec<PeerKey>,
}

/// Two contradicting statements of one key.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Evidence {
    /// Two announcements for one slot.
    Announcements(Box<[Signed<Announcement>; 2]>),
    /// Two votes for one height, attempt and step.
    Votes(Box<[Signed<Vote>; 2]>),
    /// Two proposals for one height and attempt.
    Proposals(Box<[Signed<Proposal>; 2]>),
}

/// One entry of a block. Arrivals and timers (FedCompass) and step logs (one byte per sample)
/// become further variants under a higher `rules` number.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Item {
    /// A slot ends.
    Close(Closing),
    /// A peer becomes a member.
    Join(Signed<Join>),
    /// A member leaves.
    Leave(Signed<Leave>),
    /// A key is convicted.
    Convict(Evidence),
    /// A member would take a seat, or would not any more.
    Stand(Signed<Stand>),
    /// Whom the block's proposer heard.
    Roll(Signed<Roll>),
    /// The seats after this block, which are not those before it.
    Seats(Seating),
    /// A new generation begins; nothing but the seats comes with it.
    Reset(Signed<Reset>),
}

/// One step of the chain.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Block {
    /// One more than its parent's.
    pub height: Height,
    /// The committee's generation.
    pub generation: u32,
    /// Hash of the block before; the session id at height 1.
    pub parent: Hash,
    /// What changes, in the order of application.
    pub items: Vec<Item>,
    /// Digest of the state after the block.
    pub digest: Hash,
}

impl Block {
    /// The block's name: everything that matters is under it.
    pub fn hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"driftless block\0");
        hasher.update(&wire::encode(self));
        hasher.finalize().into()
    }

    /// The reset that this block begins with, if it does.
    pub fn reset(&self) -> Option<&Signed<Reset>> {
        match self.items.first() {
            Some(Item::Reset(reset)) => Some(reset),
            _ => None,
        }
    }

    /// The seats after this block, if they are not those before it.
    pub fn seating(&self) -> Option<&Seating> {
        match self.items.last() {
            Some(Item::Seats(seating)) => Some(seating),
            _ => None,
        }
    }

    /// The closings among the items.
    pub fn closings(&self) -> impl Iterator<Item = &Closing> {
        self.items.iter().filter_map(|item| match item {
            Item::Close(closing) => Some(closing),
            _ => None,
        })
    }
}

/// Which of Tendermint's two votes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
pub enum Step {
    /// "I checked it."
    Prevote,
    /// "A quorum checked it."
    Precommit,
}

/// A vote of a seat.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
pub struct Vote {
    /// The height it is about.
    pub height: Height,
    /// The attempt it is about.
    pub attempt: Attempt,
    /// Which vote.
    pub step: Step,
    /// The block voted for, or nil.
    pub block: Option<Hash>,
}

/// A proposal of an attempt's proposer; the block's body travels beside it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
pub struct Proposal {
    /// The height it is about.
    pub height: Height,
    /// The attempt it is about.
    pub attempt: Attempt,
    /// The attempt at which a quorum prevoted the same block, if it is proposed again.
    pub valid_attempt: Option<Attempt>,
    /// The block's hash.
    pub block: Hash,
}

/// A quorum of precommits over one block.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Certificate {
    /// The attempt that decided.
    pub attempt: Attempt,
    /// Seat index and signature over the precommit, by ascending seat.
    pub precommits: Vec<(u8, Signature)>,
}

/// A block with its certificate: what the chain is made of.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct CertifiedBlock {
    /// The block.
    pub block: Block,
    /// Its certificate.
    pub certificate: Certificate,
}

impl CertifiedBlock {
    /// Whether a quorum of `seats` signed this block in `scope`'s session.
    ///
    /// `quorum` is the number of distinct seats needed.
    pub fn is_certified(&self, session: Hash, seats: &[PeerKey], quorum: usize) -> bool {
        self.is_certified_with(session, seats, quorum, &|key, scope, vote, signature| {
            key.verify(Domain::Vote, scope, vote, signature)
        })
    }

    /// The same; `holds` tells whether a seat's signature is over a vote.
    pub(crate) fn is_certified_with(
        &self,
        session: Hash,
        seats: &[PeerKey],
        quorum: usize,
        holds: &dyn Fn(&PeerKey, Scope, &Vote, &Signature) -> bool,
    ) -> bool {
        let scope = Scope { session, generation: self.block.generation };
        let vote = Vote {
            height: self.block.height,
            attempt: self.certificate.attempt,
            step: Step::Precommit,
            block: Some(self.block.hash()),
        };
        let precommits = &self.certificate.precommits;
        let ascending = precommits.windows(2).all(|pair| pair[0].0 < pair[1].0);
        ascending
            && precommits.len() >= quorum
            && precommits.iter().all(|(seat, signature)| {
                seats.get(usize::from(*seat)).is_some_and(|key| holds(key, scope, &vote, signature))
            })
    }
}
