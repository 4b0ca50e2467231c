//! Links between peers: latency, jitter, loss, bandwidth, partitions.
//!
//! Messages may be lost and overtake each other; blob transfers are what the data plane makes of
//! a link: they take latency plus length over bandwidth (and share access lines: `flows`), and fail only
//! when the peers part.

use std::collections::BTreeMap;

use driftless_protocol::time::Span;

use crate::random::Random;

/// One direction between two peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Time that everything takes.
    pub latency: Span,
    /// Up to this much more, drawn for each message.
    pub jitter: Span,
    /// Of 1000 messages, how many are lost.
    pub loss: u32,
    /// Bytes per second of a blob transfer; `None` for no limit.
    pub bandwidth: Option<u64>,
}

impl Default for Link {
    /// A quiet local network.
    fn default() -> Link {
        Link { latency: Span::millis(1), jitter: Span::ZERO, loss: 0, bandwidth: None }
    }
}

/// All links of a world.
#[derive(Debug)]
pub struct Network {
    random: Random,
    every: Link,
    special: BTreeMap<(usize, usize), Link>,
    groups: Vec<u32>,
}

impl Network {
    /// `peers` peers, all linked alike.
    #[must_use]
    pub fn new(seed: u64, peers: usize, every: Link) -> Network {
        let random = Random::new(seed, "network");
        Network { random, every, special: BTreeMap::new(), groups: vec![0; peers] }
    }

    /// Gives one direction between two peers a link of its own.
    pub fn set(&mut self, from: usize, to: usize, link: Link) {
        self.special.insert((from, to), link);
    }

    /// Changes how many of 1000 messages are lost everywhere.
    pub fn set_loss(&mut self, per_mille: u32) {
        self.every.loss = per_mille;
        self.special.values_mut().for_each(|link| link.loss = per_mille);
    }

    /// Whether messages are lost anywhere.
    #[must_use]
    pub fn loses(&self) -> bool {
        self.every.loss > 0 || self.special.values().any(|link| link.loss > 0)
    }

    /// Parts the peers into groups that do not reach each other, one number per peer.
    pub fn part(&mut self, groups: Vec<u32>) {
        self.groups = groups;
    }

    /// Ends every partition.
    pub fn heal(&mut self) {
        self.groups.fill(0);
    }

    /// Whether two peers are in one part of the network.
    #[must_use]
    pub fn joins(&self, a: usize, b: usize) -> bool {
        self.groups.get(a) == self.groups.get(b)
    }

    /// How long a message travels; `None` if it is lost.
    pub fn message(&mut self, from: usize, to: usize) -> Option<Span> {
        let link = self.link(from, to);
        if !self.joins(from, to) || self.random.chance(link.loss) {
            return None;
        }
        Some(link.latency + self.random.span(Span::ZERO, link.jitter))
    }

    /// How long a blob of `length` bytes travels where access lines do not count.
    pub fn transfer(&mut self, from: usize, to: usize, length: u64) -> Span {
        let body = self.path(from, to).map(|rate| Span(length.saturating_mul(1_000_000) / rate.max(1)));
        self.delay(from, to) + body.unwrap_or(Span::ZERO)
    }

    /// Latency and jitter of one transfer.
    pub fn delay(&mut self, from: usize, to: usize) -> Span {
        let link = self.link(from, to);
        link.latency + self.random.span(Span::ZERO, link.jitter)
    }

    /// What the path between two peers carries, in bytes per second.
    #[must_use]
    pub fn path(&self, from: usize, to: usize) -> Option<u64> {
        self.link(from, to).bandwidth
    }

    /// The latency of a link without jitter.
    #[must_use]
    pub fn latency(&self, from: usize, to: usize) -> Span {
        self.link(from, to).latency
    }

    fn link(&self, from: usize, to: usize) -> Link {
        self.special.get(&(from, to)).copied().unwrap_or(self.every)
    }
}
