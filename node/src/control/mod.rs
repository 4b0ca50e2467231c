//! The control plane: small signed messages between peers, over libp2p.
//!
//! One task owns the swarm. [`Control`] is its handle: calls never wait for the network unless they
//! say so. [`ControlEvent`]s come out of one bounded channel. The plane knows nothing of sessions
//! but their ids: payloads are opaque bytes, and the sender of each is authenticated by the
//! connection (QUIC's TLS, or noise over TCP) that it came on.
//!
//! Nothing grows without bound. What gives way when something is full:
//! - the queue of one peer (`send`): the newest message is refused, the caller is told;
//! - the commands (`publish`, `dial`, `report`): the newest is dropped and counted;
//! - the events: a message, gossip message or request is dropped and counted (the sender repeats its
//!   statements; a dropped request is declined), while news of connections wait in order and, until
//!   they are taken, no more is read from the network;
//! - a peer over its rate: its message is dropped and counted; who keeps at it is shut out for a
//!   minute;
//! - streams, requests, connections, handshakes: refused by the bounds in [`Limits`].

mod book;
mod config;
mod direct;
mod error;
mod event;
mod frame;
mod handle;
mod instances;
mod key;
mod link;
mod listen;
mod rate;
mod swarm;
mod task;
#[cfg(test)]
mod tests;
mod traffic;

pub use config::{ControlConfig, Limits};
pub use error::{ControlError, DialFailure, RequestError, SendError};
pub use event::{ControlEvent, GossipId, ReplyHandle, Verdict};
pub use handle::{Control, Dropped};
pub use key::{key_of, peer_of};
pub use rate::{PeerRates, Rate};
pub use traffic::Traffic;
