//! Which process of a peer is at the other end of a connection.
//!
//! A process that was killed says no goodbye: its connections look alive until they time out, while
//! the one that was started in its place is connected already, and what is sent may go to the dead
//! one. So every process adds a word of its own to how it introduces itself; where a peer's
//! connections differ in it, only those of the last introduction lead anywhere.

use std::collections::BTreeMap;
use std::time::Instant;

use driftless_protocol::PeerKey;
use libp2p::Multiaddr;
use libp2p::swarm::ConnectionId;
use rand::TryRng;
use rand::rngs::SysRng;

/// `agent` with a word that no other process has.
pub(crate) fn with_instance(agent: &str) -> String {
    let mut word = [0; 8];
    match SysRng.try_fill_bytes(&mut word) {
        Ok(()) => format!("{agent} {}", data_encoding::HEXLOWER.encode(&word)),
        // Then a restart is noticed when the old connections time out.
        Err(_) => agent.to_owned(),
    }
}

/// A connection as it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) peer: PeerKey,
    pub(crate) address: Multiaddr,
    pub(crate) dialled: bool,
    pub(crate) at: Instant,
}

#[derive(Debug)]
struct Connection {
    opened: Opened,
    agent: Option<String>,
    /// Its process is gone: it is being closed.
    stale: bool,
}

/// All connections, and who introduced itself on them.
#[derive(Debug, Default)]
pub(crate) struct Instances(BTreeMap<ConnectionId, Connection>);

impl Instances {
    /// A connection is up.
    pub(crate) fn opened(&mut self, id: ConnectionId, opened: Opened) {
        self.0.insert(id, Connection { opened, agent: None, stale: false });
    }

    /// The other end introduced itself. Returns the connections that lead to an earlier process than
    /// the one whose connection was opened last; introductions may come in any order.
    pub(crate) fn introduced(&mut self, id: ConnectionId, agent: &str) -> Vec<ConnectionId> {
        let Some(connection) = self.0.get_mut(&id) else { return Vec::new() };
        connection.agent = Some(agent.to_owned());
        let peer = connection.opened.peer;
        let of_peer = |other: &&mut Connection| other.opened.peer == peer && other.agent.is_some();
        let latest = self.0.values_mut().filter(of_peer).max_by_key(|other| other.opened.at);
        let Some(present) = latest.and_then(|latest| latest.agent.clone()) else { return Vec::new() };
        let mut gone = Vec::new();
        for (id, other) in &mut self.0 {
            let known = other.agent.as_ref().filter(|_| other.opened.peer == peer && !other.stale);
            if known.is_some_and(|agent| *agent != present) {
                other.stale = true;
                gone.push(*id);
            }
        }
        gone
    }

    /// A connection is gone. If it was the last one with processes of the past and there is one with
    /// the present: that one, best one that introduced itself.
    pub(crate) fn closed(&mut self, id: ConnectionId) -> Option<Opened> {
        let closed = self.0.remove(&id).filter(|closed| closed.stale)?;
        let left = self.0.values().filter(|other| other.opened.peer == closed.opened.peer);
        let left: Vec<&Connection> = left.collect();
        if left.iter().any(|other| other.stale) {
            return None;
        }
        left.into_iter()
            .min_by_key(|other| (other.agent.is_none(), other.opened.at))
            .map(|other| other.opened.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    /// Opened so many seconds after the first.
    fn opened(peer: u8, port: u16, first: Instant) -> Opened {
        let address = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
        let at = first + std::time::Duration::from_secs(u64::from(port));
        Opened { peer: PeerKey([peer; 32]), address, dialled: false, at }
    }

    #[test]
    fn only_the_last_introduced_process_of_a_peer_stays() {
        let (mut instances, start) = (Instances::default(), Instant::now());
        for (number, peer) in [(1, 1), (2, 1), (3, 2), (4, 1)] {
            instances.opened(id(number), opened(peer, number as u16, start));
        }
        assert_eq!(instances.introduced(id(1), "a 1"), []);
        assert_eq!(instances.introduced(id(2), "a 1"), []);
        assert_eq!(instances.introduced(id(3), "a 3"), [], "another peer");
        assert_eq!(instances.introduced(id(4), "a 2"), [id(1), id(2)]);
        assert_eq!(instances.closed(id(1)), None);
        assert_eq!(instances.closed(id(2)).unwrap(), opened(1, 4, start));
        assert_eq!(instances.closed(id(4)), None, "an ordinary end");
        assert_eq!(instances.introduced(id(2), "a 1"), [], "it is gone");
    }

    #[test]
    fn a_late_introduction_of_an_earlier_process_closes_only_its_own_connection() {
        let (mut instances, start) = (Instances::default(), Instant::now());
        for number in [1, 2, 3] {
            instances.opened(id(number), opened(1, number as u16, start));
        }
        assert_eq!(instances.introduced(id(2), "a 2"), []);
        assert_eq!(instances.introduced(id(1), "a 1"), [id(1)]);
        assert_eq!(instances.closed(id(1)).unwrap(), opened(1, 2, start), "the third said nothing yet");
    }

    #[test]
    fn every_process_has_a_word_of_its_own() {
        let (one, other) = (with_instance("driftless/1"), with_instance("driftless/1"));
        assert_ne!(one, other);
        assert!(one.starts_with("driftless/1 ") && one.len() == 28, "{one}");
    }
}
