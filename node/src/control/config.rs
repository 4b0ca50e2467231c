//! What the control plane is told at its start.

use std::time::Duration;

use driftless_protocol::wire::limits;
use libp2p::Multiaddr;

use super::rate::PeerRates;

/// Configuration of a control plane.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// The identity's secret seed.
    pub seed: [u8; 32],
    /// Where to listen: `/ip4/…/udp/PORT/quic-v1` and `/ip4/…/tcp/PORT`, or `ip6`. Port 0 picks one.
    pub listen: Vec<Multiaddr>,
    /// Addresses under which others reach this peer, if it knows better than its sockets.
    pub external: Vec<Multiaddr>,
    /// Sent to others as the name and version of this program.
    pub agent: String,
    /// Bounds on everything.
    pub limits: Limits,
}

impl ControlConfig {
    /// Listens on both transports of the loopback interface, on ports that the system picks.
    pub fn loopback(seed: [u8; 32]) -> ControlConfig {
        let listen = ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"];
        ControlConfig {
            seed,
            listen: listen.iter().filter_map(|address| address.parse().ok()).collect(),
            external: Vec::new(),
            agent: concat!("driftless/", env!("CARGO_PKG_VERSION")).to_string(),
            limits: Limits::default(),
        }
    }
}

/// Bounds on everything that could grow. The defaults suit a session of up to a few hundred peers.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections that others opened.
    pub established_incoming: u32,
    /// Connections that this peer opened.
    pub established_outgoing: u32,
    /// All connections.
    pub established_total: u32,
    /// Connections with one peer. Duplicates are closed after [`Limits::duplicate_grace`].
    pub established_per_peer: u32,
    /// Handshakes of others in progress.
    pub pending_incoming: u32,
    /// Own handshakes in progress.
    pub pending_outgoing: u32,
    /// Bytes of a message, gossip message or request.
    pub message: usize,
    /// Bytes of a reply.
    pub reply: usize,
    /// Messages queued for one peer.
    pub outbox_messages: usize,
    /// Bytes queued for one peer.
    pub outbox_bytes: usize,
    /// Events waiting for the driver.
    pub events: usize,
    /// Commands waiting for the task.
    pub commands: usize,
    /// Requests of others in progress, in all.
    pub serving: usize,
    /// Requests of one other peer in progress.
    pub serving_per_peer: usize,
    /// Own requests in progress.
    pub requests: usize,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// Sessions joined at once.
    pub sessions: usize,
    /// Peers that are redialled until forgotten.
    pub kept: usize,
    /// What one peer may send.
    pub rates: PeerRates,
    /// How long a peer that flooded is shut out.
    pub ban: Duration,
    /// How long the loser of two connections with one peer lives on, so that what it carries arrives.
    pub duplicate_grace: Duration,
    /// A connection without traffic closes after this.
    pub idle: Duration,
    /// Time between pings.
    pub ping: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            established_incoming: 192,
            established_outgoing: 96,
            established_total: 256,
            established_per_peer: 4,
            pending_incoming: 64,
            pending_outgoing: 64,
            message: limits::MESSAGE,
            reply: limits::REPLY,
            outbox_messages: 512,
            outbox_bytes: 4 << 20,
            events: 512,
            commands: 256,
            serving: 16,
            serving_per_peer: 4,
            requests: 64,
            request_timeout: Duration::from_secs(60),
            sessions: 64,
            kept: 4096,
            rates: PeerRates::default(),
            ban: Duration::from_secs(60),
            duplicate_grace: Duration::from_secs(5),
            idle: Duration::from_secs(120),
            ping: Duration::from_secs(15),
        }
    }
}
