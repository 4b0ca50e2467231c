//! What the adapter asks its caller to do.

use std::collections::VecDeque;

use super::wal::WalRecord;
use crate::block::{Attempt, Block, CertifiedBlock, Evidence, Height};
use crate::identity::PeerKey;
use crate::mutant::Mutant;
use crate::wire::Message;

/// An action for the session. Outputs are acted on in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConsensusOutput {
    /// Appends to the log. With `sync` it is a barrier: this record and all before it must be
    /// durable before any later output is acted on.
    Persist {
        /// What to append.
        record: WalRecord,
        /// Whether own statements follow that depend on it.
        sync: bool,
    },
    /// Goes to every other voter. Votes may be those of other seats: they prove a lock.
    Broadcast(Message),
    /// Goes to one other voter.
    Tell {
        /// Who stayed behind.
        to: PeerKey,
        /// A vote that it missed.
        message: Message,
    },
    /// We propose in this attempt: build a block and answer with `value_ready`.
    NeedBlock {
        /// The height.
        height: Height,
        /// The attempt.
        attempt: Attempt,
    },
    /// Fetch, aggregate, compare the digest, and answer with `validity`.
    CheckBlock {
        /// The proposed block; height, generation and parent are right already.
        block: Block,
    },
    /// The height is decided. Make it durable before applying it or sending it to anybody.
    Decided(CertifiedBlock),
    /// A seat contradicted itself; both statements are verified.
    Evidence(Evidence),
    /// The height was entered: its timers run.
    Entered,
    /// A statement of our own key came that this store did not make: the key is in use elsewhere,
    /// or the folder is older than what it said. No further statement is made at this height.
    KeyInUseElsewhere {
        /// The height.
        height: Height,
        /// The attempt of the statement.
        attempt: Attempt,
    },
}

/// The outputs of one input: one barrier covers all own statements made in it.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub records: Vec<WalRecord>,
    pub sends: Vec<Message>,
    pub rest: Vec<ConsensusOutput>,
    /// Whether `sends` holds a statement that the log did not have before.
    pub stated: bool,
}

impl Turn {
    /// Moves everything into the queue: the log, then what leaves, then the rest.
    pub fn close(&mut self, outputs: &mut VecDeque<ConsensusOutput>) {
        let turn = std::mem::take(self);
        let last = turn.records.len();
        for (index, record) in turn.records.into_iter().enumerate() {
            let sync = turn.stated && index + 1 == last && !Mutant::VotesBeforeFsync.lives();
            outputs.push_back(ConsensusOutput::Persist { record, sync });
        }
        outputs.extend(turn.sends.into_iter().map(ConsensusOutput::Broadcast));
        outputs.extend(turn.rest);
    }
}
