//! The messages peers exchange on the control plane, and their sizes.

use bincode::{Decode, Encode};

use crate::block::{Announcement, Block, CertifiedBlock, Height, Item, Join, Leave, Payload, Proposal, Vote};
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
    /// Bytes of one blob.
    pub const BLOB: u64 = 1 << 40;
    /// Data-plane addresses of one peer.
    pub const ADDRESSES: usize = 16;
    /// Mirrors named beside an announcement.
    pub const MIRRORS: usize = 4;
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
    /// Asks for the newest snapshot.
    GetSnapshot,
    /// The answer to `GetSnapshot`.
    Snapshot(Option<SnapshotOffer>),
    /// Asks for the session's signed manifest.
    GetManifest,
    /// The answer to `GetManifest`: the bytes of a `SignedManifest`, checked by whoever asked.
    Manifest(Vec<u8>),
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
}

impl Message {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
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
            Message::Snapshot(Some(offer)) => check_certified(what, &offer.block),
            _ => Ok(()),
        }
    }
}

fn check_certified(what: &'static str, certified: &CertifiedBlock) -> Result<(), WireError> {
    if certified.certificate.precommits.len() > crate::committee::MAX_SEATS {
        return Err(WireError::OutOfBounds { what, field: "precommits" });
    }
    check_block(what, &certified.block)
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
