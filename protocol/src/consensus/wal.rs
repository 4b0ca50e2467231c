//! The write-ahead log of one height, and why it may be refused at a restart.
//!
//! The records are the driver's inputs in order, with block bodies, and our own statements. The
//! lock of Tendermint cannot be set from outside: feeding the same inputs again rebuilds it.

use bincode::{Decode, Encode};

use crate::block::{Attempt, Block, Height, Proposal, Step, Vote};
use crate::identity::Signed;
use crate::wire::{self, WireError, limits};

/// Which of the three timers of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub enum Timer {
    /// No proposal came.
    Propose,
    /// Prevotes disagree.
    Prevote,
    /// Precommits disagree.
    Precommit,
}

/// One record of the log. `docs/wire-format.md` has its layout; a golden test pins it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum WalRecord {
    /// The first record of a height: consensus has begun.
    Entered {
        /// The height.
        height: Height,
        /// The committee's generation.
        generation: u32,
    },
    /// Somebody's proposal, once its validity was known.
    Proposal {
        /// The proposal.
        proposal: Signed<Proposal>,
        /// The verdict it was fed with.
        valid: bool,
        /// The body, unless an earlier record has it or the verdict is "invalid".
        block: Option<Block>,
    },
    /// Somebody's vote.
    Vote(Signed<Vote>),
    /// A timer ran out.
    Timeout {
        /// The height it was set at.
        height: Height,
        /// The attempt it was set at.
        attempt: Attempt,
        /// Which timer.
        timer: Timer,
    },
    /// Our own proposal.
    OwnProposal {
        /// The proposal.
        proposal: Signed<Proposal>,
        /// The body, unless an earlier record has it.
        block: Option<Block>,
    },
    /// Our own vote.
    OwnVote(Signed<Vote>),
}

impl WalRecord {
    /// No record is longer.
    pub const LIMIT: usize = limits::BLOCK + 512;

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Decodes one record.
    pub fn from_bytes(bytes: &[u8]) -> Result<WalRecord, WireError> {
        let record: WalRecord = wire::decode("log record", bytes, Self::LIMIT)?;
        if let WalRecord::Proposal { block: Some(block), .. }
        | WalRecord::OwnProposal { block: Some(block), .. } = &record
        {
            wire::check_block("log record", block)?;
        }
        Ok(record)
    }

    /// The height a record belongs to.
    pub fn height(&self) -> Height {
        match self {
            WalRecord::Entered { height, .. } | WalRecord::Timeout { height, .. } => *height,
            WalRecord::Proposal { proposal, .. } | WalRecord::OwnProposal { proposal, .. } => {
                proposal.content.height
            }
            WalRecord::Vote(vote) | WalRecord::OwnVote(vote) => vote.content.height,
        }
    }
}

/// A kind of statement; a key makes at most one of each per height and attempt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StatementKind {
    /// A proposal.
    Proposal,
    /// A prevote.
    Prevote,
    /// A precommit.
    Precommit,
}

impl From<Step> for StatementKind {
    fn from(step: Step) -> Self {
        match step {
            Step::Prevote => StatementKind::Prevote,
            Step::Precommit => StatementKind::Precommit,
        }
    }
}

/// Why a log cannot be continued. The peer must not vote at this height.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplayError {
    /// `replay` comes right after `start_height`.
    #[error("the log must be replayed before the height is entered")]
    AlreadyEntered,
    /// The log is ahead of the chain: the folder is not what it was.
    #[error("the log is of height {height}, generation {generation}, ahead of the chain")]
    Ahead {
        /// The log's height.
        height: Height,
        /// The log's generation.
        generation: u32,
    },
    /// A record does not belong where it stands, or its signature or author is wrong.
    #[error("record {index} of the log does not belong to this height, session or key")]
    Foreign {
        /// Position in the log.
        index: usize,
    },
    /// A record needs a block body that no record before it has.
    #[error("record {index} of the log refers to a block that the log does not have")]
    NoBody {
        /// Position in the log.
        index: usize,
    },
    /// The replay would say something else than what was signed before.
    #[error("the log holds another {kind:?} of this key for attempt {attempt}")]
    Mismatch {
        /// The attempt.
        attempt: Attempt,
        /// The kind of statement.
        kind: StatementKind,
    },
    /// The replay does not say something that was signed before.
    #[error("the log holds a {kind:?} for attempt {attempt} that its own inputs do not lead to")]
    Unexplained {
        /// The attempt.
        attempt: Attempt,
        /// The kind of statement.
        kind: StatementKind,
    },
}
