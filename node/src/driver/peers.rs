//! Who is in the session and where their data planes listen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use driftless_protocol::PeerKey;
use driftless_protocol::event::Input;
use driftless_protocol::wire::Message;

use super::Driver;
use crate::blobs::Source;

/// Peers whose addresses are remembered.
const MAX_PEERS: usize = 4096;

/// Data-plane addresses by peer, as they told and as they are seen.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    told: BTreeMap<PeerKey, Vec<SocketAddr>>,
    seen: BTreeMap<PeerKey, Seen>,
    /// Connected peers whose greeting came.
    greeted_by: BTreeSet<PeerKey>,
}

impl Addresses {
    pub fn connected(&mut self, peer: PeerKey, seen: Seen) {
        if self.seen.len() < MAX_PEERS || self.seen.contains_key(&peer) {
            self.seen.insert(peer, seen);
        }
    }

    /// Where a peer listened stays known, since it may come back, but only while there is room:
    /// passers-by must not keep others' addresses out.
    pub fn disconnected(&mut self, peer: PeerKey) {
        self.greeted_by.remove(&peer);
        if self.told.len() > MAX_PEERS / 2 {
            self.told.remove(&peer);
            self.seen.remove(&peer);
        }
    }

    /// Where to dial `peer` for blobs.
    pub fn source(&self, peer: PeerKey) -> Source {
        let told = self.told.get(&peer).map_or(&[][..], Vec::as_slice);
        source(peer, self.seen.get(&peer).and_then(|seen| seen.address), told)
    }
}

/// How a peer's connection on the control plane looks from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The IP address at its end.
    pub address: Option<IpAddr>,
    /// Whether this peer dialled it.
    pub dialled: bool,
}

/// Where to dial a peer for blobs: where it is seen first, then where it says.
pub(crate) fn source(peer: PeerKey, seen: Option<IpAddr>, told: &[SocketAddr]) -> Source {
    let first = seen.zip(told.first()).map(|(address, first)| SocketAddr::new(address, first.port()));
    let told = told.iter().copied().filter(|address| !address.ip().is_unspecified());
    let mut addresses: Vec<SocketAddr> = first.into_iter().chain(told).collect();
    addresses.dedup();
    Source { peer, addresses }
}

impl Driver {
    /// Tells a connected peer that this one is in the session.
    pub(super) fn greet(&mut self, peer: PeerKey) {
        let known = self.addresses.greeted_by.contains(&peer);
        let message = Message::Hello { data: self.parts.hello.clone(), known };
        let session = self.session_id();
        if let Err(error) = self.parts.control.send(session, peer, message.to_bytes()) {
            tracing::debug!(to = %peer.short(), %error, "a greeting was not sent");
        }
    }

    /// Greets again who is connected and did not greet back.
    pub(super) fn greet_the_silent(&mut self) {
        self.greet_again = tokio::time::Instant::now() + super::GREET_AGAIN;
        for peer in self.parts.control.connected() {
            if !self.addresses.greeted_by.contains(&peer) {
                self.greet(peer);
            }
        }
    }

    /// A peer is in the session: only now does the session know it.
    pub(super) fn hello(&mut self, peer: PeerKey, data: &[String], known: bool) {
        let told: Vec<SocketAddr> = data.iter().filter_map(|text| text.parse().ok()).collect();
        if self.addresses.told.len() < MAX_PEERS || self.addresses.told.contains_key(&peer) {
            self.addresses.told.insert(peer, told);
        }
        self.addresses.greeted_by.insert(peer);
        if !known {
            self.greet(peer);
        }
        self.reach_out(peer);
        self.feed(Input::Connected(peer));
    }

    /// Nobody may be able to dial this peer, so the other side can only use a connection that this
    /// one opens. Who dialled on the control plane dials here too: one connection, not two.
    fn reach_out(&self, peer: PeerKey) {
        if !self.addresses.seen.get(&peer).is_some_and(|seen| seen.dialled) {
            return;
        }
        let (plane, source) = (self.parts.plane.clone(), self.addresses.source(peer));
        tokio::spawn(async move {
            if let Err(error) = plane.connect(&source).await {
                tracing::debug!(to = %peer.short(), %error, "no connection for blobs yet");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_dialled_where_it_is_seen_and_then_where_it_says() {
        let peer = driftless_protocol::identity::Signer::from_seed([1; 32]).key();
        let told: Vec<SocketAddr> =
            ["10.0.0.1:5", "0.0.0.0:5", "9.9.9.9:7"].iter().map(|text| text.parse().unwrap()).collect();
        let texts = |seen: &str, told: &[SocketAddr]| -> Vec<String> {
            source(peer, seen.parse().ok(), told).addresses.iter().map(ToString::to_string).collect()
        };
        assert_eq!(texts("8.8.8.8", &told), ["8.8.8.8:5", "10.0.0.1:5", "9.9.9.9:7"]);
        assert_eq!(texts("10.0.0.1", &told), ["10.0.0.1:5", "9.9.9.9:7"]);
        assert_eq!(texts("", &told), ["10.0.0.1:5", "9.9.9.9:7"]);
        assert!(texts("8.8.8.8", &[]).is_empty(), "without a port there is nothing to dial");
    }
}
