//! Links between peers: latency, jitter, loss, copies, bandwidth, partitions, and who can open a connection.
//!
//! Messages may be lost, arrive twice and overtake each other; blob transfers are what the data plane makes of
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
    /// Of 1000 messages that arrive, how many arrive twice, each copy after a jitter of its own.
    pub duplicated: u32,
    /// Bytes per second of a blob transfer; `None` for no limit.
    pub bandwidth: Option<u64>,
}

impl Default for Link {
    /// A quiet local network.
    fn default() -> Link {
        Link { latency: Span::millis(1), jitter: Span::ZERO, loss: 0, duplicated: 0, bandwidth: None }
    }
}

/// Who can open a connection to a peer. Whoever cannot be dialled dials out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Everybody.
    #[default]
    Dialable,
    /// Another peer behind a NAT, too: both punch a hole.
    BehindNat,
    /// Nobody who cannot be dialled: a relay stands between the two.
    RelayOnly,
}

impl Reach {
    /// Whether two peers can have a connection without a relay.
    #[must_use]
    pub fn meets(self, other: Reach) -> bool {
        use Reach::{BehindNat, Dialable};
        matches!((self, other), (Dialable, _) | (_, Dialable) | (BehindNat, BehindNat))
    }
}

/// All links of a world.
#[derive(Debug)]
pub struct Network {
    random: Random,
    copies: Random,
    every: Link,
    special: BTreeMap<(usize, usize), Link>,
    groups: Vec<u32>,
    reach: Vec<Reach>,
}

impl Network {
    /// Peers that are all linked alike, as far as they reach each other.
    #[must_use]
    pub fn new(seed: u64, reach: Vec<Reach>, every: Link) -> Network {
        let groups = vec![0; reach.len()];
        let (random, copies) = (Random::new(seed, "network"), Random::new(seed, "copies"));
        Network { random, copies, every, special: BTreeMap::new(), groups, reach }
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

    /// Whether blobs go from one to the other: relays never carry any.
    #[must_use]
    pub fn carries(&self, a: usize, b: usize) -> bool {
        self.joins(a, b) && self.meets(a, b)
    }

    fn meets(&self, a: usize, b: usize) -> bool {
        let of = |peer: usize| self.reach.get(peer).copied().unwrap_or_default();
        of(a).meets(of(b))
    }

    /// How long each copy of a message travels that arrives: none if it is lost.
    pub fn message(&mut self, from: usize, to: usize) -> impl Iterator<Item = Span> + use<> {
        let link = self.link(from, to);
        let arrives = self.joins(from, to) && !self.random.chance(link.loss);
        let first = arrives.then(|| self.delay(from, to));
        let twice = arrives && self.copies.chance(link.duplicated);
        let second = twice.then(|| link.latency + self.copies.span(Span::ZERO, link.jitter));
        first.into_iter().chain(second)
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
        let mut link = self.special.get(&(from, to)).copied().unwrap_or(self.every);
        if !self.meets(from, to) {
            // To the relay, and from there.
            link.latency = link.latency.times(2);
        }
        link
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Latency 10 ms and jitter up to 5 ms.
    fn network(loss: u32, duplicated: u32) -> Network {
        let (latency, jitter) = (Span::millis(10), Span::millis(5));
        Network::new(1, vec![Reach::Dialable; 2], Link { latency, jitter, loss, duplicated, bandwidth: None })
    }

    fn journeys(network: &mut Network) -> Vec<Vec<Span>> {
        (0..1000).map(|_| network.message(0, 1).collect()).collect()
    }

    #[test]
    fn a_copy_has_a_jitter_of_its_own_and_changes_nothing_else() {
        let (alone, twice) = (journeys(&mut network(100, 0)), journeys(&mut network(100, 300)));
        let copied = twice.iter().filter(|journey| journey.len() == 2).count();
        assert!((220..320).contains(&copied), "three tenths of nine tenths: {copied}");
        assert!(twice.iter().flatten().all(|span| (10_000..15_000).contains(&span.0)));
        assert!(twice.iter().any(|journey| matches!(journey[..], [first, copy] if copy < first)));
        let firsts = |journeys: &[Vec<Span>]| -> Vec<Option<Span>> {
            journeys.iter().map(|journey| journey.first().copied()).collect()
        };
        assert_eq!(firsts(&alone), firsts(&twice));
    }

    #[test]
    fn a_relay_doubles_the_way_and_carries_no_blob() {
        use Reach::{BehindNat, Dialable, RelayOnly};
        let all = [Dialable, BehindNat, RelayOnly];
        let pairs = all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b)));
        for (a, b) in pairs {
            let mut network = Network::new(1, vec![a, b], Link { latency: Span(10), ..Link::default() });
            let relayed = matches!((a, b), (RelayOnly, BehindNat | RelayOnly) | (BehindNat, RelayOnly));
            let latency = Span(if relayed { 20 } else { 10 });
            assert_eq!((network.carries(0, 1), network.latency(1, 0)), (!relayed, latency), "{a:?} {b:?}");
            assert_eq!(network.message(0, 1).collect::<Vec<_>>(), [latency]);
            network.part(vec![0, 1]);
            assert!(!network.carries(0, 1));
        }
    }
}
