//! Who to dial again and which connection to keep: decisions without a clock or a socket.

use std::collections::BTreeMap;
use std::time::Duration;

use driftless_protocol::PeerKey;
use libp2p::Multiaddr;
use libp2p::swarm::ConnectionId;

use super::link::{Link, best};

/// Wait before the first redial; doubles with each failure.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// A connection that lasted this long was a success. One that the other end closes at once (it has
/// no room, or has shut this peer out) was not.
const STABLE: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The peer with the larger key dials this much later, so that two peers that keep each other
/// rarely dial at once.
const COURTESY: Duration = Duration::from_millis(300);

#[derive(Debug)]
struct Kept {
    addresses: Vec<Multiaddr>,
    failures: u32,
    /// When to dial next; nothing while a dial is in progress or a connection is up.
    due: Option<Duration>,
    /// When the connection came up.
    since: Duration,
}

/// The peers this one keeps connections with, and the connections it has.
#[derive(Debug)]
pub(crate) struct Book {
    own: PeerKey,
    grace: Duration,
    kept: BTreeMap<PeerKey, Kept>,
    links: BTreeMap<PeerKey, Vec<Link>>,
    /// Duplicates to close, and when.
    closing: BTreeMap<ConnectionId, (PeerKey, Duration)>,
}

impl Book {
    pub(crate) fn new(own: PeerKey, grace: Duration) -> Book {
        Book { own, grace, kept: BTreeMap::new(), links: BTreeMap::new(), closing: BTreeMap::new() }
    }

    /// Keeps a connection with `peer` from now on, unless `limit` peers are kept already.
    pub(crate) fn keep(&mut self, peer: PeerKey, addresses: Vec<Multiaddr>, limit: usize, now: Duration) {
        if peer == self.own || self.kept.len() >= limit && !self.kept.contains_key(&peer) {
            return;
        }
        let connected = self.links.contains_key(&peer);
        let wait = self.courtesy(&peer);
        let kept = self.kept.entry(peer).or_insert(Kept {
            addresses: Vec::new(),
            failures: 0,
            due: Some(now + wait),
            since: now,
        });
        if kept.addresses != addresses {
            // New addresses deserve a new attempt at once, unless one is in progress.
            kept.failures = 0;
            kept.due = kept.due.map(|_| now + wait);
        }
        kept.addresses = addresses;
        if connected {
            kept.due = None;
        }
    }

    /// No longer dials `peer`; an existing connection stays until it is idle.
    pub(crate) fn forget(&mut self, peer: &PeerKey) {
        self.kept.remove(peer);
    }

    fn courtesy(&self, peer: &PeerKey) -> Duration {
        if self.own > *peer { COURTESY } else { Duration::ZERO }
    }

    /// Peers to dial now. Each must be answered by `opened` or `dial_failed`.
    pub(crate) fn take_due(&mut self, now: Duration) -> Vec<(PeerKey, Vec<Multiaddr>)> {
        let due = self.kept.iter_mut().filter(|(_, kept)| kept.due.is_some_and(|due| due <= now));
        due.map(|(peer, kept)| {
            kept.due = None;
            (*peer, kept.addresses.clone())
        })
        .collect()
    }

    /// A dial of `peer` failed.
    pub(crate) fn dial_failed(&mut self, peer: &PeerKey, now: Duration) {
        if !self.links.contains_key(peer) {
            self.back_off(peer, now);
        }
    }

    fn back_off(&mut self, peer: &PeerKey, now: Duration) {
        let wait = self.courtesy(peer);
        if let Some(kept) = self.kept.get_mut(peer) {
            let backoff = FIRST_WAIT.saturating_mul(1 << kept.failures.min(16)).min(LONGEST_WAIT);
            kept.failures = kept.failures.saturating_add(1);
            kept.due = Some(now + backoff + wait);
        }
    }

    /// A connection is up.
    pub(crate) fn opened(&mut self, peer: PeerKey, link: Link, now: Duration) {
        if let Some(kept) = self.kept.get_mut(&peer) {
            kept.due = None;
            if !self.links.contains_key(&peer) {
                kept.since = now;
            }
        }
        let links = self.links.entry(peer).or_default();
        links.push(link);
        let winner = self.winner(&peer);
        let links = self.links.get(&peer).into_iter().flatten();
        for loser in links.filter(|link| link.dialled && Some(link.id) != winner) {
            self.closing.entry(loser.id).or_insert((peer, now + self.grace));
        }
    }

    /// Which of a peer's connections stays. Only who dialled a connection closes it, so a living one
    /// is never closed in favour of one that the other end has lost already.
    fn winner(&self, peer: &PeerKey) -> Option<ConnectionId> {
        best(self.own, *peer, self.links.get(peer)?)
    }

    /// A connection is gone.
    pub(crate) fn closed(&mut self, peer: PeerKey, id: ConnectionId, now: Duration) {
        self.closing.remove(&id);
        let Some(links) = self.links.get_mut(&peer) else { return };
        links.retain(|link| link.id != id);
        if !links.is_empty() {
            return;
        }
        self.links.remove(&peer);
        if let Some(kept) = self.kept.get_mut(&peer)
            && now.saturating_sub(kept.since) >= STABLE
        {
            kept.failures = 0;
        }
        self.back_off(&peer, now);
    }

    /// Duplicates whose grace is over. The best connection of a peer is never among them.
    pub(crate) fn take_closing(&mut self, now: Duration) -> Vec<ConnectionId> {
        let over = |(_, (_, at)): &(&ConnectionId, &(PeerKey, Duration))| *at <= now;
        let due: Vec<(ConnectionId, PeerKey)> =
            self.closing.iter().filter(over).map(|(id, (peer, _))| (*id, *peer)).collect();
        due.iter().for_each(|(id, _)| {
            self.closing.remove(id);
        });
        due.into_iter().filter(|(id, peer)| self.winner(peer) != Some(*id)).map(|(id, _)| id).collect()
    }

    /// When `take_due` or `take_closing` next have something.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let dials = self.kept.values().filter_map(|kept| kept.due);
        dials.chain(self.closing.values().map(|(_, at)| *at)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: PeerKey = PeerKey([1; 32]);
    const LARGE: PeerKey = PeerKey([2; 32]);
    const GRACE: Duration = Duration::from_secs(5);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn link(id: usize, dialled: bool, quic: bool) -> Link {
        Link { id: ConnectionId::new_unchecked(id), dialled, quic }
    }

    fn address(port: u16) -> Vec<Multiaddr> {
        vec![format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()]
    }

    #[test]
    fn redials_back_off_and_start_over_after_a_connection() {
        let mut book = Book::new(SMALL, GRACE);
        book.keep(LARGE, address(1), 9, at(0));
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..10 {
            assert_eq!(book.take_due(now), [(LARGE, address(1))]);
            assert_eq!(book.next_due(), None, "one dial at a time");
            book.dial_failed(&LARGE, now);
            let due = book.next_due().unwrap();
            waits.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
        book.take_due(now);
        book.opened(LARGE, link(1, true, true), now);
        assert_eq!(book.next_due(), None);
        book.closed(LARGE, link(1, true, true).id, now + STABLE);
        assert_eq!(book.next_due(), Some(now + STABLE + FIRST_WAIT));
        let now = now + STABLE + FIRST_WAIT;
        for wait in [500, 1000] {
            book.take_due(now);
            book.opened(LARGE, link(1, true, true), now);
            book.closed(LARGE, link(1, true, true).id, now);
            assert_eq!(book.next_due(), Some(now + at(wait)), "closed at once is not a success");
        }
        book.forget(&LARGE);
        assert_eq!(book.next_due(), None);
    }

    #[test]
    fn the_larger_key_waits_for_the_smaller_one() {
        let mut book = Book::new(LARGE, GRACE);
        book.keep(SMALL, address(1), 9, at(0));
        assert_eq!(book.next_due(), Some(COURTESY));
        book.opened(SMALL, link(1, false, true), at(100));
        assert_eq!(book.next_due(), None);
    }

    #[test]
    fn new_addresses_are_tried_at_once_but_never_beside_a_dial_or_connection() {
        let mut book = Book::new(SMALL, GRACE);
        book.keep(LARGE, address(1), 9, at(0));
        book.take_due(at(0));
        book.keep(LARGE, address(2), 9, at(1));
        assert_eq!(book.next_due(), None, "a dial is in progress");
        book.dial_failed(&LARGE, at(2));
        book.keep(LARGE, address(3), 9, at(3));
        assert_eq!(book.take_due(at(3)), [(LARGE, address(3))]);
        book.opened(LARGE, link(1, true, true), at(4));
        book.keep(LARGE, address(4), 9, at(5));
        assert_eq!(book.next_due(), None);
    }

    #[test]
    fn two_simultaneous_dials_leave_the_one_of_the_smaller_key() {
        let mut small = Book::new(SMALL, GRACE);
        let mut large = Book::new(LARGE, GRACE);
        small.opened(LARGE, link(1, true, true), at(0));
        small.opened(LARGE, link(2, false, true), at(0));
        large.opened(SMALL, link(8, true, true), at(0));
        large.opened(SMALL, link(9, false, true), at(0));
        assert_eq!(small.take_closing(at(60_000)), []);
        assert_eq!(large.take_closing(at(4_999)), []);
        assert_eq!(large.take_closing(at(5_000)), [link(8, true, true).id]);
    }

    #[test]
    fn quic_beats_tcp_and_the_last_connection_stays() {
        let mut book = Book::new(SMALL, GRACE);
        book.opened(LARGE, link(1, true, false), at(0));
        book.opened(LARGE, link(2, true, true), at(0));
        book.closed(LARGE, link(2, true, true).id, at(1));
        assert_eq!(book.take_closing(at(5_000)), []);
        book.opened(LARGE, link(3, true, true), at(6_000));
        assert_eq!(book.take_closing(at(11_000)), [link(1, true, false).id]);
    }

    #[test]
    fn a_peer_does_not_keep_itself() {
        let mut book = Book::new(SMALL, GRACE);
        book.keep(SMALL, address(1), 9, at(0));
        assert_eq!(book.next_due(), None);
    }
}
