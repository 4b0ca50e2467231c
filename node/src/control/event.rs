//! What the control plane tells its driver.

use std::time::Instant;

use driftless_protocol::{Hash, PeerKey};
use libp2p::{Multiaddr, PeerId, gossipsub};
use tokio::sync::oneshot;

use super::error::DialFailure;

/// Something happened. The sender of everything is authenticated by its connection.
#[derive(Debug)]
pub enum ControlEvent {
    /// A peer sent a message to this one alone.
    Message {
        /// The session it is for.
        session: Hash,
        /// The sender.
        from: PeerKey,
        /// At most `Limits::message` bytes.
        bytes: Vec<u8>,
    },
    /// A message of a session's topic. It travels no further until `Control::report` accepts it.
    Gossip {
        /// The session whose topic it came on.
        session: Hash,
        /// Who passed it on; not its author.
        from: PeerKey,
        /// For `Control::report`.
        id: GossipId,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A peer asks and waits.
    Request {
        /// The session it is for.
        session: Hash,
        /// Who asks.
        from: PeerKey,
        /// At most `Limits::message` bytes.
        bytes: Vec<u8>,
        /// Answers; dropping it declines.
        reply: ReplyHandle,
    },
    /// The first connection with a peer is up: `send` and `request` work.
    Connected {
        /// The peer.
        peer: PeerKey,
        /// The remote end of the connection.
        address: Multiaddr,
        /// Whether this peer dialled, which shows that `address` can be dialled.
        dialled: bool,
    },
    /// The last connection with a peer is gone, with everything still queued for it.
    Disconnected {
        /// The peer.
        peer: PeerKey,
    },
    /// A connected peer's process was replaced by another one: what was sent to the old one and not
    /// answered is lost.
    Restarted {
        /// The peer.
        peer: PeerKey,
        /// The remote end of the first connection with the new process.
        address: Multiaddr,
        /// Whether this peer dialled it.
        dialled: bool,
        /// When it was opened: what was opened before belongs to the old process.
        at: Instant,
    },
    /// A peer introduced itself.
    Identified {
        /// The peer.
        peer: PeerKey,
        /// Addresses that it says it listens on, at most 16. Not verified.
        listen: Vec<Multiaddr>,
        /// Its program, as it says.
        agent: String,
        /// The address under which it sees this peer.
        observed: Multiaddr,
    },
    /// A dial failed. Kept peers are dialled again by themselves.
    DialFailed {
        /// Who was expected there, if known.
        peer: Option<PeerKey>,
        /// What was dialled.
        addresses: Vec<Multiaddr>,
        /// Why it failed.
        reason: DialFailure,
    },
    /// A connected peer joined a session's topic: what is published there reaches it from now on.
    Subscribed {
        /// The session.
        session: Hash,
        /// The peer.
        peer: PeerKey,
    },
    /// A new address of this peer's listeners.
    ListenAddress {
        /// The address, with its actual port.
        address: Multiaddr,
    },
}

/// Names a gossip message until it is reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GossipId {
    pub(crate) message: gossipsub::MessageId,
    pub(crate) source: PeerId,
}

/// What to do with a gossip message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is valid: pass it on.
    Accept,
    /// Neither pass it on nor blame anybody.
    Ignore,
    /// It is invalid, and who passed it on should have known.
    Reject,
}

/// Answers one request.
#[derive(Debug)]
pub struct ReplyHandle {
    pub(crate) sender: oneshot::Sender<Vec<u8>>,
    pub(crate) limit: usize,
}

impl ReplyHandle {
    /// Sends the reply. False if it is longer than `Limits::reply` or nobody waits any more.
    pub fn send(self, bytes: Vec<u8>) -> bool {
        bytes.len() <= self.limit && self.sender.send(bytes).is_ok()
    }
}
