//! Connections: dialling, duplicates, introductions, bans.

use std::time::Instant;

use driftless_protocol::PeerKey;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId, identify};

use super::Task;
use crate::control::error::DialFailure;
use crate::control::event::ControlEvent;
use crate::control::instances::Opened;
use crate::control::key::{key_of, peer_of};
use crate::control::link::Link;
use crate::control::swarm::PROTOCOL_VERSION;

/// Addresses of another peer that are believed and passed up.
const LISTEN_ADDRESSES: usize = 16;
/// Longest text of another peer's program that is passed up.
const AGENT: usize = 64;
/// Peers shut out at once.
const BANS: usize = 1024;

/// A dial in progress.
#[derive(Debug)]
pub(super) struct Dial {
    peer: Option<PeerKey>,
    addresses: Vec<Multiaddr>,
    /// Whether the book waits for its outcome.
    kept: bool,
}

impl Task {
    pub(super) fn dial_once(&mut self, address: Multiaddr, expect: Option<PeerKey>) {
        if self.swarm.listeners().any(|own| *own == address) {
            let reason = DialFailure::Own { address: address.clone() };
            self.offer(ControlEvent::DialFailed { peer: expect, addresses: vec![address], reason });
            return;
        }
        let options = match expect.map(|key| peer_of(&key)) {
            None => DialOpts::unknown_peer_id().address(address.clone()).build(),
            Some(Some(peer)) => DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(vec![address.clone()])
                .build(),
            Some(None) => {
                let reason = DialFailure::Unreachable("the expected key is no ed25519 key".into());
                self.offer(ControlEvent::DialFailed { peer: expect, addresses: vec![address], reason });
                return;
            }
        };
        self.start_dial(options, Dial { peer: expect, addresses: vec![address], kept: false });
    }

    fn dial_kept(&mut self, key: PeerKey, addresses: Vec<Multiaddr>) {
        let now = self.now();
        let Some(peer) = peer_of(&key) else { return self.book.forget(&key) };
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses.clone())
            .build();
        if addresses.is_empty() {
            return self.book.dial_failed(&key, now);
        }
        self.start_dial(options, Dial { peer: Some(key), addresses, kept: true });
    }

    fn start_dial(&mut self, options: DialOpts, dial: Dial) {
        let connection = options.connection_id();
        self.dials.insert(connection, dial);
        if let Err(error) = self.swarm.dial(options) {
            self.on_dial_error(connection, error);
        }
    }

    pub(super) fn on_dial_error(&mut self, connection: ConnectionId, error: DialError) {
        let Some(dial) = self.dials.remove(&connection) else { return };
        if let (true, Some(peer)) = (dial.kept, dial.peer) {
            let now = self.now();
            self.book.dial_failed(&peer, now);
        }
        let Some(reason) = failure(error, &dial.addresses) else { return };
        tracing::debug!(addresses = ?dial.addresses, %reason, "dial failed");
        self.offer(ControlEvent::DialFailed { peer: dial.peer, addresses: dial.addresses, reason });
    }

    pub(super) fn on_opened(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        established: u32,
    ) {
        self.dials.remove(&connection);
        let Some(key) = key_of(&peer) else { return };
        let address = endpoint.get_remote_address().clone();
        let dialled = endpoint.is_dialer();
        if !dialled {
            self.shared.dialled.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        let now = self.now();
        self.book.opened(key, Link::new(connection, endpoint), now);
        let opened = Opened { peer: key, address: address.clone(), dialled, at: Instant::now() };
        self.instances.opened(connection, opened);
        if established == 1 {
            self.tell(ControlEvent::Connected { peer: key, address, dialled });
        }
    }

    pub(super) fn on_closed(&mut self, peer: PeerId, connection: ConnectionId, established: u32) {
        let Some(key) = key_of(&peer) else { return };
        let now = self.now();
        self.book.closed(key, connection, now);
        let restarted = self.instances.closed(connection);
        if established == 0 {
            self.tell(ControlEvent::Disconnected { peer: key });
        } else if let Some(Opened { peer, address, dialled, at }) = restarted {
            self.tell(ControlEvent::Restarted { peer, address, dialled, at });
        }
    }

    /// Dials, closes and pardons whatever has come due.
    pub(super) fn do_what_is_due(&mut self) {
        let now = self.now();
        for (peer, addresses) in self.book.take_due(now) {
            self.dial_kept(peer, addresses);
        }
        for connection in self.book.take_closing(now) {
            self.swarm.close_connection(connection);
        }
        let over: Vec<PeerId> =
            self.banned.iter().filter(|(_, until)| **until <= now).map(|(peer, _)| *peer).collect();
        for peer in over {
            self.banned.remove(&peer);
            self.swarm.behaviour_mut().blocked.unblock_peer(peer);
        }
    }

    /// Shuts a peer out for a while.
    pub(super) fn ban(&mut self, peer: PeerId, reason: &str) {
        tracing::warn!(%peer, reason, "shutting a peer out for a while");
        if self.banned.len() < BANS {
            self.banned.insert(peer, self.now() + self.shared.limits.ban);
            self.swarm.behaviour_mut().blocked.block_peer(peer);
        } else {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    pub(super) fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id, info, connection_id } = event else { return };
        if info.protocol_version != PROTOCOL_VERSION {
            tracing::debug!(peer = %peer_id, "not a driftless peer");
            let _ = self.swarm.disconnect_peer_id(peer_id);
            return;
        }
        let Some(peer) = key_of(&peer_id) else { return };
        for connection in self.instances.introduced(connection_id, &info.agent_version) {
            tracing::info!(peer = %peer_id, "it was started again: closing a connection with its last process");
            self.swarm.close_connection(connection);
        }
        let mut listen = info.listen_addrs;
        listen.truncate(LISTEN_ADDRESSES);
        let agent = info.agent_version.chars().take(AGENT).collect();
        self.offer(ControlEvent::Identified { peer, listen, agent, observed: info.observed_addr });
    }
}

/// What a dial error means; nothing if the peer is connected or being dialled anyway.
fn failure(error: DialError, addresses: &[Multiaddr]) -> Option<DialFailure> {
    Some(match error {
        DialError::DialPeerConditionFalse(_) | DialError::Aborted => return None,
        DialError::WrongPeerId { obtained, address } => {
            DialFailure::WrongPeer { found: key_of(&obtained), address }
        }
        DialError::LocalPeerId { address } => DialFailure::Own { address },
        DialError::NoAddresses => DialFailure::Unreachable("no address is known".into()),
        DialError::Denied { cause } => DialFailure::Denied(cause.to_string()),
        DialError::Transport(errors) => {
            let texts: Vec<String> =
                errors.iter().map(|(address, error)| format!("{address}: {}", chain(error))).collect();
            if texts.is_empty() {
                DialFailure::Unreachable(format!("no transport for {addresses:?}"))
            } else {
                DialFailure::Unreachable(texts.join("; "))
            }
        }
    })
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
