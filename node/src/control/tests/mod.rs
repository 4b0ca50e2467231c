//! Real swarms on the loopback interface. Tests wait for events, never for time.

mod chaos;
mod connections;
mod messages;
mod traffic;

use std::time::Duration;

use driftless_protocol::{Hash, PeerKey};
use libp2p::Multiaddr;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;

/// A control plane and its events.
struct Node {
    control: Control,
    events: mpsc::Receiver<ControlEvent>,
}

/// Far beyond what any of these tests needs: reached only if something never happens.
const NEVER: Duration = Duration::from_secs(60);

/// Loopback, and no rate limit that a fast test would reach.
fn config(seed: u8) -> ControlConfig {
    let mut config = ControlConfig::loopback([seed; 32]);
    config.limits.rates.messages = Rate { per_second: 1_000_000, burst: 1_000_000 };
    config
}

fn session() -> Hash {
    Hash::of(b"a session")
}

impl Node {
    async fn start(seed: u8) -> Node {
        Node::with(config(seed)).await
    }

    async fn with(config: ControlConfig) -> Node {
        let (control, events) = Control::start(config).await.unwrap();
        Node { control, events }
    }

    fn key(&self) -> PeerKey {
        self.control.key()
    }

    fn quic(&self) -> Multiaddr {
        self.address("/quic-v1")
    }

    fn tcp(&self) -> Multiaddr {
        self.address("/tcp/")
    }

    fn address(&self, part: &str) -> Multiaddr {
        let addresses = self.control.listen_addresses();
        addresses.into_iter().find(|address| address.to_string().contains(part)).unwrap()
    }

    /// The next event that `wanted` makes something of; others are passed over.
    async fn next<T>(&mut self, mut wanted: impl FnMut(ControlEvent) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.events.recv().await.expect("the control plane runs");
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
        };
        timeout(NEVER, found).await.expect("the event comes")
    }

    async fn connected(&mut self, with: PeerKey) -> Multiaddr {
        self.next(|event| match event {
            ControlEvent::Connected { peer, address, .. } if peer == with => Some(address),
            _ => None,
        })
        .await
    }

    async fn disconnected(&mut self, from: PeerKey) {
        self.next(|event| match event {
            ControlEvent::Disconnected { peer } if peer == from => Some(()),
            _ => None,
        })
        .await;
    }

    async fn message(&mut self) -> (Hash, PeerKey, Vec<u8>) {
        self.next(|event| match event {
            ControlEvent::Message { session, from, bytes } => Some((session, from, bytes)),
            _ => None,
        })
        .await
    }

    async fn gossip(&mut self) -> (PeerKey, GossipId, Vec<u8>) {
        self.next(|event| match event {
            ControlEvent::Gossip { from, id, bytes, .. } => Some((from, id, bytes)),
            _ => None,
        })
        .await
    }

    async fn subscribed(&mut self, who: PeerKey) {
        self.next(|event| match event {
            ControlEvent::Subscribed { peer, .. } if peer == who => Some(()),
            _ => None,
        })
        .await;
    }

    async fn request(&mut self) -> (Hash, PeerKey, Vec<u8>, ReplyHandle) {
        self.next(|event| match event {
            ControlEvent::Request { session, from, bytes, reply } => Some((session, from, bytes, reply)),
            _ => None,
        })
        .await
    }

    async fn dial_failure(&mut self) -> DialFailure {
        self.next(|event| match event {
            ControlEvent::DialFailed { reason, .. } => Some(reason),
            _ => None,
        })
        .await
    }
}

/// A request in progress.
type Asked = tokio::task::JoinHandle<Result<Vec<u8>, RequestError>>;

fn ask(from: &Node, to: &Node, what: &'static [u8]) -> Asked {
    let (control, to) = (from.control.clone(), to.key());
    tokio::spawn(async move { control.request(session(), to, what.to_vec()).await })
}

/// Connects `a` with `b` at `address`, both sides aware.
async fn connect(a: &mut Node, b: &mut Node, address: Multiaddr) {
    a.control.dial(address, Some(b.key()));
    a.connected(b.key()).await;
    b.connected(a.key()).await;
}

/// Connects `a` with `b` over QUIC; both are in the session's topic and know it of each other.
async fn meet(a: &mut Node, b: &mut Node) {
    assert!(a.control.join_session(session()).await);
    assert!(b.control.join_session(session()).await);
    let address = b.quic();
    connect(a, b, address).await;
    a.subscribed(b.key()).await;
    b.subscribed(a.key()).await;
}

/// `count` nodes, each having met each.
async fn mesh(count: u8) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for seed in 1..=count {
        let mut node = Node::start(seed).await;
        for other in &mut nodes {
            meet(&mut node, other).await;
        }
        nodes.push(node);
    }
    nodes
}
