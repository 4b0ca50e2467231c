//! Sorts the control plane's events by session.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use driftless_protocol::{Hash, PeerKey};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio::sync::{mpsc, watch};

use crate::control::{Control, ControlEvent, Verdict};
use crate::driver::{NET, NetEvent, Seen};

/// Attaches sessions to the control plane; cheap to clone.
#[derive(Clone)]
pub(super) struct Router {
    routes: Arc<Mutex<BTreeMap<Hash, mpsc::Sender<NetEvent>>>>,
    /// Who is connected, for those who wait for somebody.
    connected: watch::Receiver<BTreeMap<PeerKey, Seen>>,
    /// Dials that failed, newest last, for error messages.
    failures: Arc<Mutex<Vec<String>>>,
    /// Where connected peers listen: as they are seen, then as they say.
    listening: Arc<Mutex<BTreeMap<PeerKey, Vec<Multiaddr>>>>,
}

impl Router {
    /// Takes over the control plane's events.
    pub fn start(control: Control, events: mpsc::Receiver<ControlEvent>) -> Router {
        let (sender, connected) = watch::channel(BTreeMap::new());
        let (routes, failures, listening) = Default::default();
        let router = Router { routes, connected, failures, listening };
        tokio::spawn(router.clone().run(control, events, sender));
        router
    }

    /// From now on the session's events go to the returned channel.
    pub async fn attach(&self, session: Hash) -> mpsc::Receiver<NetEvent> {
        let (sender, receiver) = mpsc::channel(NET);
        let connected = self.connected.borrow().clone();
        for (peer, seen) in connected {
            let _ = sender.try_send(NetEvent::Connected { peer, seen });
        }
        self.lock().insert(session, sender);
        receiver
    }

    /// Whether any session takes events.
    pub fn is_attached(&self) -> bool {
        !self.lock().is_empty()
    }

    /// The session takes no more events.
    pub async fn detach(&self, session: Hash) {
        self.lock().remove(&session);
    }

    /// Who is connected, now and later.
    pub fn connected(&self) -> watch::Receiver<BTreeMap<PeerKey, Seen>> {
        self.connected.clone()
    }

    /// Where connected peers can be dialled, as far as anybody can tell.
    pub fn addresses(&self) -> Vec<(PeerKey, Vec<Multiaddr>)> {
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        listening.iter().map(|(peer, addresses)| (*peer, addresses.clone())).collect()
    }

    fn note_listening(&self, peer: PeerKey, said: Vec<Multiaddr>) {
        let seen = self.connected.borrow().get(&peer).and_then(|seen| seen.address);
        let here = said.iter().filter_map(|address| with_ip(address, seen?));
        let mut addresses: Vec<Multiaddr> = here.collect();
        for address in said {
            let usable = ip_of(&address).is_some_and(|ip| !ip.is_unspecified());
            if usable && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, addresses);
    }

    /// Why dials failed so far.
    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn run(
        self,
        control: Control,
        mut events: mpsc::Receiver<ControlEvent>,
        connected: watch::Sender<BTreeMap<PeerKey, Seen>>,
    ) {
        while let Some(event) = events.recv().await {
            match event {
                ControlEvent::Message { session, from, bytes } => {
                    self.offer(session, NetEvent::Message { from, bytes, gossip: None });
                }
                ControlEvent::Gossip { session, from, id, bytes } => {
                    let event = NetEvent::Message { from, bytes, gossip: Some(id.clone()) };
                    if !self.offer(session, event) {
                        control.report(id, Verdict::Ignore);
                    }
                }
                ControlEvent::Request { session, from, bytes, reply } => {
                    self.offer(session, NetEvent::Request { from, bytes, reply });
                }
                ControlEvent::Connected { peer, address, dialled } => {
                    let seen = Seen { address: ip_of(&address), dialled };
                    connected.send_modify(|all| {
                        all.insert(peer, seen);
                    });
                    self.tell_all(|| NetEvent::Connected { peer, seen }).await;
                }
                ControlEvent::Restarted { peer, address, dialled, at } => {
                    let seen = Seen { address: ip_of(&address), dialled };
                    connected.send_modify(|all| {
                        all.insert(peer, seen);
                    });
                    self.tell_all(|| NetEvent::Restarted { peer, seen, at }).await;
                }
                ControlEvent::Disconnected { peer } => {
                    connected.send_modify(|all| {
                        all.remove(&peer);
                    });
                    self.listening.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
                    self.tell_all(|| NetEvent::Disconnected { peer }).await;
                }
                ControlEvent::DialFailed { addresses, reason, .. } => self.note_failure(&addresses, &reason),
                ControlEvent::Identified { peer, listen, .. } => self.note_listening(peer, listen),
                ControlEvent::Subscribed { .. } | ControlEvent::ListenAddress { .. } => {}
            }
        }
    }

    /// A session that does not keep up loses messages; its peers send statements again.
    fn offer(&self, session: Hash, event: NetEvent) -> bool {
        let route = self.lock().get(&session).cloned();
        route.is_some_and(|route| route.try_send(event).is_ok())
    }

    async fn tell_all(&self, event: impl Fn() -> NetEvent) {
        let routes: Vec<mpsc::Sender<NetEvent>> = self.lock().values().cloned().collect();
        for route in routes {
            let _ = route.send(event()).await;
        }
    }

    fn note_failure(&self, addresses: &[Multiaddr], reason: &dyn std::fmt::Display) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < 16 {
            let addresses: Vec<String> = addresses.iter().map(Multiaddr::to_string).collect();
            failures.push(format!("{}: {}", addresses.join(", "), in_words(&reason.to_string())));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Hash, mpsc::Sender<NetEvent>>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The IP address in a multiaddress.
pub(super) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    })
}

/// The same address at another IP address of the same kind.
fn with_ip(address: &Multiaddr, ip: IpAddr) -> Option<Multiaddr> {
    let mut parts = address.iter();
    let first = match (parts.next()?, ip) {
        (Protocol::Ip4(_), IpAddr::V4(ip)) => Protocol::Ip4(ip),
        (Protocol::Ip6(_), IpAddr::V6(ip)) => Protocol::Ip6(ip),
        _ => return None,
    };
    Some(std::iter::once(first).chain(parts).collect())
}

/// What most failures mean; the transports wrap them in layers of their own types.
fn in_words(reason: &str) -> &str {
    const WORDS: [(&str, &str); 4] = [
        ("refused", "nobody listens there"),
        ("timed out", "no answer"),
        ("timeout", "no answer"),
        ("unreachable", "there is no way to it from here"),
    ];
    let lower = reason.to_lowercase();
    let known = WORDS.iter().find(|(sign, _)| lower.contains(sign));
    known.map_or(reason, |(_, words)| words)
}
