//! Spreading a decided block by gossip.
//!
//! The deciding attempt's proposer does it at once, and the next voter that speaks only if nothing of the
//! block came to it in a while, in case that one is gone. Two voters rarely hold the same certificate, so
//! a crowd would carry the block once for each of them.

use crate::block::{CertifiedBlock, Height};
use crate::election::Sitting;
use crate::event::Output;
use crate::time::{Span, Time};
use crate::wire::Message;

use super::Session;

/// By then gossip comes back from the neighbours of whoever began it.
const IN_VAIN: Span = Span::seconds(1);

/// What this voter may have to spread.
#[derive(Debug, Default)]
pub(super) struct Spreading {
    /// The highest block that is being spread.
    heard: Height,
    /// The last block that this peer applied, and who voted on it.
    applied: Option<(Height, Sitting)>,
    /// A block that this voter spreads at this moment, unless it hears of it before.
    due: Option<(Time, CertifiedBlock)>,
}

impl Spreading {
    /// When a block is to be spread.
    pub fn timeout(&self) -> Option<Time> {
        self.due.as_ref().map(|(at, _)| *at)
    }

    /// A block is applied, on which these voted.
    pub fn applied(&mut self, height: Height, voters: Sitting) {
        self.applied = Some((height, voters));
    }

    /// Others spread the block of this height.
    fn heard(&mut self, height: Height) {
        self.heard = self.heard.max(height);
        self.due.take_if(|(_, certified)| certified.block.height <= height);
    }
}

/// Whose turn it is to spread a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The deciding attempt's proposer.
    First,
    /// The first seat after it whose voter speaks.
    Next,
}

impl Session {
    /// Whether a gossiped block may travel on: a certified one that is news, or was a moment ago. (Old ones
    /// could be repeated for ever, and who passes them on would look like the flooder.) Each set of
    /// precommits that is a quorum makes another certificate, so one of each height has to do.
    pub(super) fn vouches_for_block(&self, certified: &CertifiedBlock) -> bool {
        certified.block.height > self.spreading.heard && self.is_recent(certified)
    }

    /// Others spread a block. One that this peer would not pass on does not count: whoever sent it may
    /// have sent it to nobody else.
    pub(super) fn heard_spread(&mut self, certified: &CertifiedBlock) {
        if self.is_recent(certified) {
            self.spreading.heard(certified.block.height);
        }
    }

    /// Whether a block is certified, and not below the head.
    fn is_recent(&self, certified: &CertifiedBlock) -> bool {
        let height = certified.block.height;
        match &self.spreading.applied {
            // The head may have changed the seats.
            Some((head, voters)) if height == *head && height == self.height() => {
                voters.certifies(&self.charter, certified)
            }
            _ => height >= self.height() && self.is_certified(certified),
        }
    }

    /// Whether it may be this voter's turn once a block of the present height is the head.
    pub(super) fn turn_to_spread(&self, now: Time, certified: &CertifiedBlock) -> Option<Turn> {
        let heard = certified.block.height <= self.spreading.heard;
        if heard || !self.is_voter() {
            return None;
        }
        let seats = self.seats();
        let first = seats.proposer_seat(certified.block.height, certified.certificate.attempt);
        if seats.keys[first] == self.me {
            return Some(Turn::First);
        }
        let mut after = seats.keys.iter().cycle().skip(first + 1).take(seats.keys.len() - 1);
        let next = after.find(|key| **key == self.me || self.speaks(now, key))?;
        (*next == self.me).then_some(Turn::Next)
    }

    /// A block is the head.
    pub(super) fn spread(&mut self, now: Time, turn: Turn, certified: CertifiedBlock) {
        match turn {
            Turn::First => self.publish_block(certified),
            Turn::Next => self.spreading.due = Some((now + IN_VAIN, certified)),
        }
    }

    /// Spreads what nobody else did.
    pub(super) fn spread_due(&mut self, now: Time) {
        if let Some((_, certified)) = self.spreading.due.take_if(|(at, _)| *at <= now) {
            self.publish_block(certified);
        }
    }

    fn publish_block(&mut self, certified: CertifiedBlock) {
        self.spreading.heard(certified.block.height);
        self.outputs.push_back(Output::Publish(Message::Block(certified)));
    }
}
