//! The messages peers exchange on the control plane, and their sizes.

use bincode::{Decode, Encode};

use crate::block::{
    Announcement, Block, CertifiedBlock, Height, Item, Join, Leave, Payload, Presence, Proposal, Reset, Slot,
    Stand, Vote,
};
use crate::committee::MAX_SEATS;
use crate::identity::{Hash, PeerKey, Signed};

use super::{WireError, decode, encode};

/// Fixed maxima: every collection on the wire is bounded by one of them.
pub mod limits {
    /// Bytes of a block (gossipsub's cap is for a whole RPC).
    pub const BLOCK: usize = 48 << 10;
    /// Bytes of any control message but a reply.
    pub const MESSAGE: usize = 60 << 10;
    /// Bytes of a reply with blocks or a snapshot's page list.
    pub const REPLY: usize = 8 << 20;
    /// Blocks in one reply.
    pub const BLOCKS_PER_REPLY: usize = 64;
    /// Contributions counted in one closing.
    pub const COUNTED: usize = 256;
    /// Joins in one block.
    pub const JOINS: usize = 16;
    /// Items in one block.
    pub const ITEMS: usize = 64;
    /// Bytes of an inline payload.
    pub const INLINE: usize = 512;
    /// Samples of one step, a byte each.
    pub const SAMPLES: usize = 512;
    /// Bytes of one blob.
    pub const BLOB: u64 = 1 << 40;
    /// Data-plane addresses of one peer.
    pub const ADDRESSES: usize = 16;
    /// Peers in the answer to a question for them.
    pub const PEERS: usize = 64;
    /// Mirrors named beside an announcement.
    pub const MIRRORS: usize = 4;
    /// Votes of one key that are told it.
    pub const STATED_VOTES: usize = 8;
    /// Contributions of one key that are told it.
    pub const STATED_ANNOUNCEMENTS: usize = 32;
}

/// Everything a peer may say on the control plane.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Message {
    /// A contribution, with peers that hold its blob already.
    Announce {
        /// The signed announcement.
        announcement: Signed<Announcement>,
        /// Hints, not signed.
        mirrors: Vec<PeerKey>,
        /// The author does not reach every voter: pass it on to the others.
        relay: bool,
    },
    /// A proposal with the block's body.
    Propose {
        /// The signed proposal.
        proposal: Signed<Proposal>,
        /// The block whose hash it names.
        block: Block,
    },
    /// A prevote or precommit.
    Vote(Signed<Vote>),
    /// A certified block.
    Block(CertifiedBlock),
    /// A request to become a member.
    Join(Signed<Join>),
    /// A member's farewell.
    Leave(Signed<Leave>),
    /// Where the sender's data plane listens: sent on connecting, read by the driver.
    Hello {
        /// Socket addresses as text.
        data: Vec<String>,
        /// Whether the sender has the receiver's: if not, the receiver answers with its own. Either
        /// side may open the session after the other greeted it in vain.
        known: bool,
    },
    /// "My chain ends here": sent on connecting and now and then.
    Head {
        /// Height of the sender's last certified block.
        height: Height,
    },
    /// Asks for certified blocks from a height on.
    GetBlocks {
        /// The first height wanted.
        from: Height,
    },
    /// The answer to `GetBlocks`.
    Blocks(BlockReply),
    /// Asks for the newest snapshot, and for the blocks that led to its seats.
    GetSnapshot {
        /// The height up to which the asking peer knows who votes.
        since: Height,
    },
    /// The answer to `GetSnapshot`.
    Snapshot(Option<SnapshotOffer>),
    /// Asks for the session's signed manifest.
    GetManifest,
    /// The answer to `GetManifest`: the bytes of a `SignedManifest`, checked by whoever asked.
    Manifest(Vec<u8>),
    /// Asks what the sender's key said that may still matter.
    GetStatements,
    /// The answer to `GetStatements`.
    Statements(Box<Statements>),
    /// A voter is there.
    Presence(Signed<Presence>),
    /// A member would take a seat, or would not any more.
    Stand(Signed<Stand>),
    /// The founder starts a committee anew.
    Reset(Signed<Reset>),
    /// Asks a member where other members listen.
    GetPeers,
    /// The answer to `GetPeers`, read by the driver.
    Peers(Vec<Introduction>),
    /// Asks a member to dial the sender, so that it knows whether others can; read by the driver.
    DialBack,
    /// The sender's samples of a step, for whoever orders the batch.
    Samples {
        /// The batch's slot.
        slot: Slot,
        /// The step.
        step: u32,
        /// A byte for each.
        bytes: Vec<u8>,
    },
    /// The order of a step's samples.
    List {
        /// The batch's slot.
        slot: Slot,
        /// The step.
        step: u32,
        /// Bit i is 1 where the i-th of those drawn is listed.
        listed: u64,
        /// The bytes of their samples in that order; the receiver's own may be left out.
        bytes: Vec<u8>,
    },
}

/// Where a peer listens on the control plane, as another one knows it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Introduction {
    /// The peer.
    pub peer: PeerKey,
    /// Its multiaddresses, as text.
    pub addresses: Vec<String>,
}

/// What one key said beyond the end of a chain.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Statements {
    /// Height of the sender's last certified block.
    pub head: Height,
    /// Votes on the next height, the last first.
    pub votes: Vec<Signed<Vote>>,
    /// The last proposal for it.
    pub proposal: Option<(Signed<Proposal>, Block)>,
    /// Contributions to open slots.
    pub announcements: Vec<Signed<Announcement>>,
}

/// Consecutive certified blocks.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct BlockReply {
    /// At most 64, ascending.
    pub blocks: Vec<CertifiedBlock>,
    /// The replying peer's own height.
    pub head: Height,
}

/// A snapshot as the hashes of its pages at a certified height.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct SnapshotOffer {
    /// The block whose digest the pages have.
    pub block: CertifiedBlock,
    /// The canonical control page.
    pub control: Vec<u8>,
    /// Roots of the pages in digest order.
    pub pages: Vec<Hash>,
    /// Blocks that changed the seats after the height asked about, ascending: at most 64, so that
    /// whoever is further behind asks again.
    pub seatings: Vec<CertifiedBlock>,
}

impl Message {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Who says it, and of which height, if it is a vote or a proposal.
    pub fn statement(&self) -> Option<(PeerKey, Height)> {
        match self {
            Message::Propose { proposal, .. } => Some((proposal.by, proposal.content.height)),
            Message::Vote(vote) => Some((vote.by, vote.content.height)),
            _ => None,
        }
    }

    /// Decodes a message that came alone (`limits::MESSAGE` bytes at most).
    pub fn from_bytes(bytes: &[u8]) -> Result<Message, WireError> {
        Self::bounded("message", bytes, limits::MESSAGE)
    }

    /// Decodes a reply (`limits::REPLY` bytes at most).
    pub fn from_reply_bytes(bytes: &[u8]) -> Result<Message, WireError> {
        Self::bounded("reply", bytes, limits::REPLY)
    }

    fn bounded(what: &'static str, bytes: &[u8], limit: usize) -> Result<Message, WireError> {
        let message: Message = decode(what, bytes, limit)?;
        message.check_bounds(what)?;
        Ok(message)
    }

    fn check_bounds(&self, what: &'static str) -> Result<(), WireError> {
        let out = |field| Err(WireError::OutOfBounds { what, field });
        match self {
            Message::Announce { mirrors, .. } if mirrors.len() > limits::MIRRORS => out("mirrors"),
            Message::Hello { data, .. } if data.len() > limits::ADDRESSES => out("addresses"),
            Message::Announce { announcement, .. } => check_payload(what, &announcement.content.payload),
            Message::Propose { block, .. } => check_block(what, block),
            Message::Block(certified) => check_certified(what, certified),
            Message::Blocks(reply) if reply.blocks.len() > limits::BLOCKS_PER_REPLY => out("blocks"),
            Message::Blocks(reply) => reply.blocks.iter().try_for_each(|block| check_certified(what, block)),
            Message::Snapshot(Some(offer)) if offer.seatings.len() > limits::BLOCKS_PER_REPLY => {
                out("seatings")
            }
            Message::Snapshot(Some(offer)) => {
                let mut blocks = std::iter::once(&offer.block).chain(&offer.seatings);
                blocks.try_for_each(|block| check_certified(what, block))
            }
            Message::Samples { bytes, .. } | Message::List { bytes, .. } if bytes.len() > limits::SAMPLES => {
                out("samples")
            }
            Message::Reset(reset) if reset.content.seats.len() > MAX_SEATS => out("seats"),
            Message::Statements(statements) => check_statements(what, statements),
            Message::Peers(peers) if peers.len() > limits::PEERS => out("peers"),
            Message::Peers(peers) if peers.iter().any(|peer| peer.addresses.len() > limits::ADDRESSES) => {
                out("addresses")
            }
            _ => Ok(()),
        }
    }
}

fn check_certified(what: &'static str, certified: &CertifiedBlock) -> Result<(), WireError> {
    if certified.certificate.precommits.len() > MAX_SEATS {
        return Err(WireError::OutOfBounds { what, field: "precommits" });
    }
    check_block(what, &certified.block)
}

fn check_statements(what: &'static str, statements: &Statements) -> Result<(), WireError> {
    let out = |field| Err(WireError::OutOfBounds { what, field });
    if statements.votes.len() > limits::STATED_VOTES {
        return out("votes");
    }
    if statements.announcements.len() > limits::STATED_ANNOUNCEMENTS {
        return out("announcements");
    }
    let mut payloads = statements.announcements.iter().map(|announcement| &announcement.content.payload);
    payloads.try_for_each(|payload| check_payload(what, payload))?;
    statements.proposal.iter().try_for_each(|(_, block)| check_block(what, block))
}

/// Refuses blocks beyond the fixed maxima.
pub(crate) fn check_block(what: &'static str, block: &Block) -> Result<(), WireError> {
    let out = |field| Err(WireError::OutOfBounds { what, field });
    if block.items.len() > limits::ITEMS {
        return out("items");
    }
    if encode(block).len() > limits::BLOCK {
        return out("block length");
    }
    for closing in block.closings() {
        if closing.counted.len() > limits::COUNTED {
            return out("counted");
        }
        closing.counted.iter().try_for_each(|counted| check_payload(what, &counted.payload))?;
    }
    let joins = block.items.iter().filter(|item| matches!(item, Item::Join(_))).count();
    let seats = block.items.iter().map(|item| match item {
        Item::Roll(roll) => roll.content.present.len(),
        Item::Seats(seating) => seating.seats.len(),
        Item::Reset(reset) => reset.content.seats.len(),
        _ => 0,
    });
    if seats.max().unwrap_or(0) > MAX_SEATS {
        return out("seats");
    }
    if joins > limits::JOINS { out("joins") } else { Ok(()) }
}

fn check_payload(what: &'static str, payload: &Payload) -> Result<(), WireError> {
    match payload {
        Payload::Blob { length, .. } if *length > limits::BLOB => {
            Err(WireError::OutOfBounds { what, field: "blob length" })
        }
        Payload::Inline(bytes) if bytes.len() > limits::INLINE => {
            Err(WireError::OutOfBounds { what, field: "inline payload" })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::{
        Admittance, Certificate, Closing, Counted, Evidence, Roll, Seating, Slot, Step, Work,
    };
    use crate::identity::Signature;
    use crate::positions::Positions;

    fn block(items: Vec<Item>) -> Block {
        Block { height: 1, generation: 0, parent: Hash([1; 32]), items, digest: Hash([2; 32]) }
    }

    fn counted(member: u16) -> Counted {
        let payload = Payload::Blob { root: Hash([3; 32]), length: 7 };
        Counted { member, payload, work: Work::default(), signature: Signature([4; 64]) }
    }

    /// Laid out by hand from bincode's rules: tags and integers as varints (251, 252 and 253 announce
    /// two, four and eight bytes), arrays as they are.
    #[test]
    fn golden_bytes() {
        assert_eq!(Message::Head { height: 300 }.to_bytes(), [7, 251, 44, 1]);
        assert_eq!(Message::GetBlocks { from: 1 << 20 }.to_bytes(), [8, 252, 0, 0, 16, 0]);
        assert_eq!(Message::GetSnapshot { since: 300 }.to_bytes(), [10, 251, 44, 1]);
        assert_eq!(Message::GetManifest.to_bytes(), [12]);
        let vote = Vote { height: 5, attempt: 1, step: Step::Precommit, block: Some(Hash([9; 32])) };
        let signed = Signed { by: PeerKey([8; 32]), content: vote, signature: Signature([7; 64]) };
        let golden = [&[2][..], &[8; 32], &[5, 1, 1, 1], &[9; 32], &[7; 64]].concat();
        assert_eq!(Message::Vote(signed).to_bytes(), golden);
        let (slot, step) = (Slot { stream: 0, ordinal: 300 }, 5);
        let samples = Message::Samples { slot, step, bytes: vec![64, 192] };
        assert_eq!(samples.to_bytes(), [22, 0, 251, 44, 1, 5, 2, 64, 192]);
        let list = Message::List { slot, step, listed: 0b101, bytes: vec![64, 192, 7] };
        assert_eq!(list.to_bytes(), [23, 0, 251, 44, 1, 5, 5, 3, 64, 192, 7]);
        let hello = Message::Hello { data: vec!["a:1".into()], known: true };
        assert_eq!(hello.to_bytes(), [&[6, 1, 3][..], b"a:1", &[1]].concat());
    }

    /// The rest of the messages, and everything that is signed inside them, by the same rules.
    #[test]
    fn golden_bytes_of_statements_and_blocks() {
        let signed = |content: &[u8]| [&[8; 32][..], content, &[7; 64]].concat();
        let (by, signature) = (PeerKey([8; 32]), Signature([7; 64]));
        let work = Work { steps: 15, tokens: 11_520, samples: Positions::range(70_000, 180), speed: 300 };
        let work_bytes = [15, 251, 0, 45, 1, 252, 112, 17, 1, 0, 180, 251, 44, 1];
        let payload = Payload::Blob { root: Hash([3; 32]), length: 251 };
        let payload_bytes = [&[0][..], &[3; 32], &[251, 251, 0]].concat();
        let slot = Slot { stream: 2, ordinal: 9 };

        let content =
            Announcement { slot, base: Hash([5; 32]), payload: payload.clone(), work: work.clone() };
        let announcement = Signed { by, content, signature };
        let mirrors = vec![PeerKey([6; 32])];
        let announce = Message::Announce { announcement: announcement.clone(), mirrors, relay: true };
        let announced = signed(&[&[2, 9][..], &[5; 32], &payload_bytes, &work_bytes].concat());
        let golden = [&[0][..], &announced, &[1], &[6; 32], &[1]].concat();
        assert_eq!(announce.to_bytes(), golden);

        let admittance =
            Admittance { ticket: PeerKey([1; 32]), word: Signature([2; 64]), signature: Signature([3; 64]) };
        let join = Signed { by, content: Join { height: 4, admittance: Some(admittance) }, signature };
        let join_bytes = signed(&[&[4, 1][..], &[1; 32], &[2; 64], &[3; 64]].concat());
        assert_eq!(Message::Join(join.clone()).to_bytes(), [&[4][..], &join_bytes].concat());
        let leave = Signed { by, content: Leave { height: 6 }, signature };
        assert_eq!(Message::Leave(leave.clone()).to_bytes(), [&[5][..], &signed(&[6])].concat());

        let vote = |block| Vote { height: 1, attempt: 0, step: Step::Prevote, block };
        let votes = [vote(None), vote(Some(Hash([9; 32])))];
        let evidence = Evidence::Votes(Box::new(votes.map(|content| Signed { by, content, signature })));
        let for_block = signed(&[&[1, 0, 0, 1][..], &[9; 32]].concat());
        let evidence_bytes = [&[1][..], &signed(&[1, 0, 0, 0]), &for_block].concat();

        let counted = Counted { member: 300, payload, work, signature };
        let closing = Closing { slot, counted: vec![counted] };
        let closing_bytes = [&[2, 9, 1, 251, 44, 1][..], &payload_bytes, &work_bytes, &[7; 64]].concat();
        let block =
            block(vec![Item::Close(closing), Item::Join(join), Item::Leave(leave), Item::Convict(evidence)]);
        let items =
            [&[4, 0][..], &closing_bytes, &[1], &join_bytes, &[2], &signed(&[6]), &[3], &evidence_bytes];
        let block_bytes = [&[1, 0][..], &[1; 32], &items.concat(), &[2; 32]].concat();

        let content = Proposal { height: 1, attempt: 3, valid_attempt: Some(2), block: Hash([9; 32]) };
        let proposal = Signed { by, content, signature };
        let proposal_bytes = signed(&[&[1, 3, 1, 2][..], &[9; 32]].concat());
        let propose = Message::Propose { proposal: proposal.clone(), block: block.clone() };
        assert_eq!(propose.to_bytes(), [&[1][..], &proposal_bytes, &block_bytes].concat());

        let certificate = Certificate { attempt: 3, precommits: vec![(0, signature), (15, signature)] };
        let certified = CertifiedBlock { block: block.clone(), certificate };
        let certificate_bytes = [&[3, 2, 0][..], &[7; 64], &[15], &[7; 64]].concat();
        let certified_bytes = [&block_bytes[..], &certificate_bytes].concat();
        assert_eq!(Message::Block(certified.clone()).to_bytes(), [&[3][..], &certified_bytes].concat());
        let reply = BlockReply { blocks: vec![certified.clone()], head: 77 };
        assert_eq!(Message::Blocks(reply).to_bytes(), [&[9, 1][..], &certified_bytes, &[77]].concat());
        let offer = SnapshotOffer {
            block: certified.clone(),
            control: vec![1, 2, 3],
            pages: vec![Hash([4; 32])],
            seatings: vec![certified],
        };
        let list = [&[3, 1, 2, 3, 1][..], &[4; 32], &[1]].concat();
        let golden = [&[11, 1][..], &certified_bytes, &list, &certified_bytes].concat();
        assert_eq!(Message::Snapshot(Some(offer)).to_bytes(), golden);
        assert_eq!(Message::Snapshot(None).to_bytes(), [11, 0]);
        assert_eq!(Message::Manifest(vec![5, 6]).to_bytes(), [13, 2, 5, 6]);
        let presence = Signed { by, content: Presence { height: 9, block: Hash([1; 32]) }, signature };
        let golden = [&[16][..], &signed(&[&[9][..], &[1; 32]].concat())].concat();
        assert_eq!(Message::Presence(presence).to_bytes(), golden);
        let stand = Signed { by, content: Stand { height: 9, stands: true }, signature };
        let stand_bytes = signed(&[9, 1]);
        assert_eq!(Message::Stand(stand.clone()).to_bytes(), [&[17][..], &stand_bytes].concat());
        let seats = vec![PeerKey([5; 32])];
        let reset = Reset { generation: 1, height: 9, parent: Hash([1; 32]), seats: seats.clone() };
        let reset = Signed { by, content: reset, signature };
        let reset_bytes = signed(&[&[1, 9][..], &[1; 32], &[1], &[5; 32]].concat());
        assert_eq!(Message::Reset(reset.clone()).to_bytes(), [&[18][..], &reset_bytes].concat());
        assert_eq!(Message::GetPeers.to_bytes(), [19]);
        assert_eq!(Message::DialBack.to_bytes(), [21]);
        let peers = vec![Introduction { peer: by, addresses: vec!["a".into()] }];
        assert_eq!(Message::Peers(peers).to_bytes(), [&[20, 1][..], &[8; 32], &[1, 1, b'a']].concat());
        let roll = Signed { by, content: Roll { height: 9, present: vec![(3, signature)] }, signature };
        let roll_bytes = signed(&[&[9, 1, 3][..], &[7; 64]].concat());
        let seating = Seating { seats, before: 4 };
        let items = [Item::Stand(stand), Item::Roll(roll), Item::Seats(seating), Item::Reset(reset)];
        let golden = [&[4][..], &stand_bytes, &[5], &roll_bytes, &[6, 1], &[5; 32], &[4, 7], &reset_bytes];
        assert_eq!(items.map(|item| encode(&item)).concat(), golden.concat());
        assert_eq!(Message::GetStatements.to_bytes(), [14]);
        let statements = Statements {
            head: 77,
            votes: vec![Signed { by, content: vote(None), signature }],
            proposal: Some((proposal, block)),
            announcements: vec![announcement],
        };
        let vote_bytes = signed(&[1, 0, 0, 0]);
        let golden = [&[15, 77, 1][..], &vote_bytes, &[1], &proposal_bytes, &block_bytes, &[1], &announced];
        assert_eq!(Message::Statements(Box::new(statements)).to_bytes(), golden.concat());
    }

    #[test]
    fn a_block_beyond_the_fixed_maxima_is_refused() {
        let close = |members: u16| {
            let slot = Slot { stream: 0, ordinal: 0 };
            Item::Close(Closing { slot, counted: (0..members).map(counted).collect() })
        };
        let field = |items| match check_block("block", &block(items)) {
            Err(WireError::OutOfBounds { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(check_block("block", &block(vec![close(256)])), Ok(()));
        assert_eq!(field(vec![close(257)]), "counted");
        assert_eq!(field(vec![close(0); limits::ITEMS + 1]), "items");
        assert_eq!(field(vec![close(250); 2]), "block length");
    }

    #[test]
    fn long_trailing_and_non_canonical_bytes_are_refused() {
        let long = vec![0; limits::MESSAGE + 1];
        assert!(matches!(Message::from_bytes(&long), Err(WireError::TooLong { .. })));
        assert!(matches!(Message::from_bytes(&[12, 0]), Err(WireError::Malformed { .. })));
        // 5 written in three bytes decodes to 5, but is not how 5 is written.
        assert!(matches!(Message::from_bytes(&[7, 251, 5, 0]), Err(WireError::NotCanonical { .. })));
        // A list of 2^60 addresses in a dozen bytes.
        let hostile = [6, 253, 0, 0, 0, 0, 0, 0, 0, 16];
        assert!(matches!(Message::from_bytes(&hostile), Err(WireError::Malformed { .. })));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_what_decodes_is_canonical(
            bytes in proptest::collection::vec(any::<u8>(), 0..512),
        ) {
            if let Ok(message) = Message::from_bytes(&bytes) {
                prop_assert_eq!(message.to_bytes(), bytes);
            }
        }

        #[test]
        fn a_flipped_byte_of_a_block_changes_its_hash_or_is_refused(at in 0usize..200, by in 1u8..=255) {
            let certified = CertifiedBlock {
                block: block(vec![Item::Close(Closing {
                    slot: Slot { stream: 0, ordinal: 3 },
                    counted: vec![counted(0)],
                })]),
                certificate: crate::block::Certificate { attempt: 0, precommits: Vec::new() },
            };
            let hash = certified.block.hash();
            let mut bytes = Message::Block(certified.clone()).to_bytes();
            let at = at % bytes.len();
            bytes[at] ^= by;
            if let Ok(Message::Block(other)) = Message::from_bytes(&bytes) {
                prop_assert!(other.block.hash() != hash || other.certificate != certified.certificate);
            }
        }
    }
}
