//! Direct messages: one stream per direction and connection, opened once.
//!
//! A stream per message (libp2p's request-response) costs a protocol negotiation and an empty reply
//! for each: 536 bytes on the wire for a vote of 200 over QUIC, and a round trip more. Here it is
//! 254: the frame (4 bytes, and the session's 32 where another came before), a packet, half an
//! acknowledgement.
//!
//! Delivery is in order while one connection lasts. A message is lost if its connection breaks after
//! it was written; the protocol above repeats its statements.

mod handler;
mod outbox;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use driftless_protocol::{Hash, PeerKey};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, StreamProtocol, ToSwarm};
use libp2p::{Multiaddr, PeerId};

use self::handler::{Handler, Heard};
use self::outbox::Outbox;
use super::key::key_of;
use super::link::{Link, best};

/// The protocol's name.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/driftless/message/2");

/// The queues of all connected peers, shared with the handle.
#[derive(Debug, Default)]
pub(crate) struct Links(RwLock<BTreeMap<PeerKey, Arc<Outbox>>>);

impl Links {
    /// The queue of a connected peer.
    pub(crate) fn outbox(&self, peer: &PeerKey) -> Option<Arc<Outbox>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(peer).cloned()
    }

    /// All connected peers, ascending.
    pub(crate) fn peers(&self) -> Vec<PeerKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Whether nothing waits for anybody.
    pub(crate) fn are_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().all(|outbox| outbox.is_empty())
    }

    /// Lets all connections end once their queues are empty.
    pub(crate) fn finish(&self) {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().for_each(|outbox| outbox.finish());
    }

    fn insert(&self, peer: PeerKey, outbox: Arc<Outbox>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(peer, outbox);
    }

    fn remove(&self, peer: &PeerKey) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(peer);
    }
}

/// Bounds of the messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectLimits {
    pub(crate) message: usize,
    pub(crate) outbox_messages: usize,
    pub(crate) outbox_bytes: usize,
}

/// What the behaviour reports.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message came.
    Message { from: PeerKey, session: Hash, bytes: Vec<u8> },
    /// The peer broke the protocol.
    Violation { peer: PeerId, reason: String },
    /// A connection carries no messages any more.
    Broken { connection: ConnectionId },
}

/// The peer's key is not ed25519.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not an ed25519 key")]
struct ForeignKey(PeerId);

struct Peer {
    key: PeerKey,
    outbox: Arc<Outbox>,
    /// Established connections, oldest first.
    links: Vec<Link>,
}

/// Direct messages as a libp2p behaviour. It comes last among its siblings, so that a connection
/// it has seen is one that all of them allowed.
pub(crate) struct Behaviour {
    own: PeerKey,
    limits: DirectLimits,
    links: Arc<Links>,
    peers: HashMap<PeerId, Peer>,
    events: VecDeque<Event>,
}

impl Behaviour {
    pub(crate) fn new(own: PeerKey, limits: DirectLimits, links: Arc<Links>) -> Behaviour {
        Behaviour { own, limits, links, peers: HashMap::new(), events: VecDeque::new() }
    }

    fn handler(&mut self, connection: ConnectionId, peer: PeerId) -> Result<Handler, ConnectionDenied> {
        let key = key_of(&peer).ok_or_else(|| ConnectionDenied::new(ForeignKey(peer)))?;
        let limits = self.limits;
        let known = self.peers.entry(peer).or_insert_with(|| Peer {
            key,
            outbox: Arc::new(Outbox::new(limits.outbox_messages, limits.outbox_bytes)),
            links: Vec::new(),
        });
        Ok(Handler::new(connection, known.outbox.clone(), limits.message))
    }

    fn opened(&mut self, peer: PeerId, link: Link) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.links.push(link);
        known.outbox.drain_by(best(self.own, known.key, &known.links));
        if known.links.len() == 1 {
            self.links.insert(known.key, known.outbox.clone());
        }
    }

    fn closed(&mut self, peer: PeerId, connection: ConnectionId) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.links.retain(|link| link.id != connection);
        known.outbox.forget(connection);
        known.outbox.drain_by(best(self.own, known.key, &known.links));
        if known.links.is_empty() {
            self.links.remove(&known.key);
            self.peers.remove(&peer);
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        self.handler(connection, peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        self.handler(connection, peer)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(opened) => {
                self.opened(opened.peer_id, Link::new(opened.connection_id, opened.endpoint));
            }
            FromSwarm::ConnectionClosed(closed) => self.closed(closed.peer_id, closed.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, heard: Heard) {
        self.events.push_back(match (heard, self.peers.get(&peer)) {
            (Heard::Message(session, bytes), Some(known)) => {
                Event::Message { from: known.key, session, bytes }
            }
            (Heard::Message(..), None) => return,
            (Heard::Violation(reason), _) => Event::Violation { peer, reason },
            (Heard::Broken, _) => Event::Broken { connection },
        });
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Event, std::convert::Infallible>> {
        // The swarm polls again after every event of a connection: no waker is needed.
        self.events.pop_front().map_or(Poll::Pending, |event| Poll::Ready(ToSwarm::GenerateEvent(event)))
    }
}
