//! What can go wrong, each with its own name.

use driftless_protocol::PeerKey;
use libp2p::Multiaddr;

/// Why a control plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The address is of a kind that this peer cannot listen on.
    #[error("cannot listen on {address}: {reason}")]
    BadAddress {
        /// The configured address.
        address: Multiaddr,
        /// What is wrong with it.
        reason: String,
    },
    /// Another program has the port.
    #[error("cannot listen on {address}: another program uses this port")]
    PortInUse {
        /// The configured address.
        address: Multiaddr,
    },
    /// The system refused.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The configured address.
        address: Multiaddr,
        /// What it said.
        source: std::io::Error,
    },
    /// A part of libp2p refused its configuration.
    #[error("cannot set up {part}: {reason}")]
    Setup {
        /// Which part.
        part: &'static str,
        /// What it said.
        reason: String,
    },
}

/// Why a message was not queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// The peer's queue is full: it reads more slowly than this peer writes.
    #[error("the queue of this peer is full")]
    Full,
    /// There is no connection with the peer.
    #[error("not connected with this peer")]
    NotConnected,
    /// The message is longer than any peer would read.
    #[error("a message of {found} bytes, at most {limit} are allowed")]
    TooLong {
        /// Its bytes.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// Why a request has no reply.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// There is no connection with the peer.
    #[error("not connected with this peer")]
    NotConnected,
    /// Too many requests of this peer are in progress.
    #[error("too many requests are in progress")]
    Busy,
    /// The request is longer than any peer would read.
    #[error("a request of {found} bytes, at most {limit} are allowed")]
    TooLong {
        /// Its bytes.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// No reply within the time limit.
    #[error("no reply in time")]
    Timeout,
    /// The other side declined to answer: it is busy or stopping, or the request was over its rate.
    #[error("the peer did not answer")]
    Declined,
    /// The connection closed first.
    #[error("the connection closed before the reply was complete")]
    ConnectionClosed,
    /// The peer does not speak this protocol.
    #[error("the peer does not speak the request protocol")]
    Unsupported,
    /// The reply broke the rules, for example its length limit.
    #[error("the reply was refused: {0}")]
    BadReply(String),
    /// The control plane has stopped.
    #[error("the control plane has stopped")]
    Stopped,
}

/// Why a dial failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DialFailure {
    /// Another peer than the expected one answers there.
    #[error("another peer answers at {address}: {}", found.map_or("not an ed25519 key".into(), |key| key.to_string()))]
    WrongPeer {
        /// Who answers, if that is an ed25519 key.
        found: Option<PeerKey>,
        /// Where.
        address: Multiaddr,
    },
    /// The address is this peer's own.
    #[error("{address} is this peer itself")]
    Own {
        /// Where.
        address: Multiaddr,
    },
    /// A limit or a ban forbids the connection.
    #[error("the connection is not allowed: {0}")]
    Denied(String),
    /// No address worked.
    #[error("{0}")]
    Unreachable(String),
}
