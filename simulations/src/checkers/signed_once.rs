//! No honest key signs two contents for one slot, or for one vote or proposal, crashes or not.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Of those who may come back with an older folder, what reached somebody: nobody can tell them of the
    /// rest, and nobody can hold it against them.
    heard: BTreeMap<PeerKey, BTreeSet<(u32, Subject)>>,
}

impl SignedOnce {
    /// A peer's folder is copied.
    pub fn copied(&mut self, key: PeerKey) {
        self.heard.entry(key).or_default();
    }

    /// The copy takes the folder's place.
    pub fn restored(&mut self, key: PeerKey) {
        let heard = self.heard.remove(&key).unwrap_or_default();
        self.said
            .retain(|(by, generation, subject), _| *by != key || heard.contains(&(*generation, *subject)));
        self.heard.insert(key, heard);
    }

    /// Whether it matters if somebody hears this peer.
    pub fn listens_to(&self, key: &PeerKey) -> bool {
        self.heard.contains_key(key)
    }

    /// A statement of `by` reached somebody.
    pub fn heard(&mut self, by: PeerKey, generation: u32, message: &Message) {
        if let Some((author, subject, _)) = statement(message)
            && author == by
            && let Some(heard) = self.heard.get_mut(&by)
        {
            heard.insert((generation, subject));
        }
    }

    /// `by` sends `message`, signed for a committee of this generation; only its own statements are
    /// judged.
    ///
    /// # Errors
    /// If it said something else before.
    pub fn observe(&mut self, by: PeerKey, generation: u32, message: &Message) -> Result<(), String> {
        let Some((author, subject, content)) = statement(message) else { return Ok(()) };
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

/// Whose statement about what a message is, and what it says.
fn statement(message: &Message) -> Option<(PeerKey, Subject, Vec<u8>)> {
    Some(match message {
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
        _ => return None,
    })
}
