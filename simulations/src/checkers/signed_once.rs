//! No honest key signs two contents for one slot, or for one vote or proposal, crashes or not.

use std::collections::BTreeMap;

use driftless_protocol::block::{Attempt, Height, Slot, Step};
use driftless_protocol::identity::{Hash, PeerKey};
use driftless_protocol::wire::{self, Message};

/// What a signature may be given for only once, in one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Slot(Slot),
    Proposal(Height, Attempt),
    Vote(Height, Attempt, Step),
}

/// Everything that left honest peers: key and subject to content.
#[derive(Debug, Default)]
pub struct SignedOnce {
    said: BTreeMap<(PeerKey, u32, Subject), Hash>,
}

impl SignedOnce {
    /// `by` sends `message`, signed for a committee of this generation; only its own statements are
    /// judged.
    ///
    /// # Errors
    /// If it said something else before.
    pub fn observe(&mut self, by: PeerKey, generation: u32, message: &Message) -> Result<(), String> {
        let (author, subject, content) = match message {
            Message::Announce { announcement, .. } => {
                let content = &announcement.content;
                (announcement.by, Subject::Slot(content.slot), wire::encode(content))
            }
            Message::Propose { proposal, .. } => {
                let content = &proposal.content;
                let subject = Subject::Proposal(content.height, content.attempt);
                (proposal.by, subject, wire::encode(content))
            }
            Message::Vote(vote) => {
                let content = &vote.content;
                let subject = Subject::Vote(content.height, content.attempt, content.step);
                (vote.by, subject, wire::encode(content))
            }
            _ => return Ok(()),
        };
        if author != by {
            return Ok(());
        }
        let content = Hash::of(&content);
        match self.said.insert((author, generation, subject), content) {
            Some(before) if before != content => Err(format!("two signatures for {subject:?}")),
            _ => Ok(()),
        }
    }
}
