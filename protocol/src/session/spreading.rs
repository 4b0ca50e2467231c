//! Spreading a decided block by gossip.
//!
//! The deciding attempt's proposer does it at once, and the seat after it only if nothing of the block
//! came to it in a while, in case that one is gone. Two voters rarely hold the same certificate, so a crowd would
//! carry the block once for each of them.

use crate::block::{CertifiedBlock, Height};
use crate::event::Output;
use crate::time::{Span, Time};
use crate::wire::Message;

use super::Session;

/// By then gossip comes back from the neighbours of whoever began it.
const IN_VAIN: Span = Span::seconds(1);

/// What this voter may have to spread.
#[derive(Debug, Default)]
pub(super) struct Spreading {
    /// The highest block that others spread.
    heard: Height,
    /// A block that this voter spreads at this moment, unless it hears of it before.
    due: Option<(Time, CertifiedBlock)>,
}

impl Spreading {
    /// When a block is to be spread.
    pub fn timeout(&self) -> Option<Time> {
        self.due.as_ref().map(|(at, _)| *at)
    }

    /// Others spread the block of this height.
    pub fn heard(&mut self, height: Height) {
        self.heard = self.heard.max(height);
        self.due.take_if(|(_, certified)| certified.block.height <= height);
    }
}

/// Whose turn it is to spread a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The deciding attempt's proposer.
    First,
    /// The seat after it.
    Next,
}

impl Session {
    /// Whether it may be this voter's turn once a block of the present height is the head.
    pub(super) fn turn_to_spread(&self, certified: &CertifiedBlock) -> Option<Turn> {
        let heard = certified.block.height <= self.spreading.heard;
        if heard || !self.is_voter() {
            return None;
        }
        let seats = self.seats();
        let mine = seats.keys.iter().position(|key| *key == self.me)?;
        let first = seats.proposer_seat(certified.block.height, certified.certificate.attempt);
        match mine {
            _ if mine == first => Some(Turn::First),
            _ if mine == (first + 1) % seats.keys.len() => Some(Turn::Next),
            _ => None,
        }
    }

    /// A block is the head.
    pub(super) fn spread(&mut self, now: Time, turn: Turn, certified: CertifiedBlock) {
        match turn {
            Turn::First => self.outputs.push_back(Output::Publish(Message::Block(certified))),
            Turn::Next => self.spreading.due = Some((now + IN_VAIN, certified)),
        }
    }

    /// Spreads what nobody else did.
    pub(super) fn spread_due(&mut self, now: Time) {
        if let Some((_, certified)) = self.spreading.due.take_if(|(at, _)| *at <= now) {
            self.outputs.push_back(Output::Publish(Message::Block(certified)));
        }
    }
}
