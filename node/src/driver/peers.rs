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
    seen: BTreeMap<PeerKey, IpAddr>,
    /// Connected peers whose greeting came.
    greeted_by: BTreeSet<PeerKey>,
}

impl Addresses {
    pub fn seen_at(&mut self, peer: PeerKey, address: Option<IpAddr>) {
        if let Some(address) = address
            && (self.seen.len() < MAX_PEERS || self.seen.contains_key(&peer))
        {
            self.seen.insert(peer, address);
        }
    }

    pub fn disconnected(&mut self, peer: PeerKey) {
        self.greeted_by.remove(&peer);
    }

    /// Where to dial `peer` for blobs: where it is seen first, then where it says.
    pub fn source(&self, peer: PeerKey) -> Source {
        let told = self.told.get(&peer).cloned().unwrap_or_default();
        let seen = self.seen.get(&peer).zip(told.first());
        let mut addresses: Vec<SocketAddr> =
            seen.map(|(address, first)| SocketAddr::new(*address, first.port())).into_iter().collect();
        addresses.extend(told.into_iter().filter(|address| !address.ip().is_unspecified()));
        addresses.dedup();
        Source { peer, addresses }
    }
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
        self.feed(Input::Connected(peer));
    }
}
