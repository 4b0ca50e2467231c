//! The handle of the control plane.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use driftless_protocol::{Hash, PeerKey};
use libp2p::Multiaddr;
use tokio::sync::{Notify, mpsc, oneshot};

use super::config::{ControlConfig, Limits};
use super::direct::Links;
use super::error::{ControlError, RequestError, SendError};
use super::event::{ControlEvent, GossipId, Verdict};
use super::frame::frame;
use super::key::keypair_of;
use super::task::{self, Command};
use super::traffic::{Meter, Traffic};

/// What handle and task share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) links: Arc<Links>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) listening: RwLock<Vec<Multiaddr>>,
    /// Peers to keep (with addresses) or to forget that the task has not seen yet.
    pub(crate) wishes: Mutex<BTreeMap<PeerKey, Option<Vec<Multiaddr>>>>,
    pub(crate) wished: Notify,
    /// Whether anybody dialled this peer since it started.
    pub(crate) dialled: AtomicBool,
    pub(crate) dropped: DropCounters,
    pub(crate) limits: Limits,
}

/// Counters behind [`Dropped`].
#[derive(Debug, Default)]
pub(crate) struct DropCounters {
    pub(crate) commands: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) over_rate: AtomicU64,
}

/// What had to give way so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dropped {
    /// Commands that found their channel full.
    pub commands: u64,
    /// Messages that the driver was too slow to take.
    pub events: u64,
    /// Messages of peers over their rate.
    pub over_rate: u64,
}

/// The handle of a running control plane. The plane stops with `shutdown` or its last handle.
#[derive(Clone, Debug)]
pub struct Control {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    key: PeerKey,
}

impl Control {
    /// Starts a control plane; it listens everywhere it should, or says where it cannot.
    pub async fn start(
        config: ControlConfig,
    ) -> Result<(Control, mpsc::Receiver<ControlEvent>), ControlError> {
        let keypair = keypair_of(config.seed);
        let (commands, command_receiver) = mpsc::channel(config.limits.commands);
        let (event_sender, events) = mpsc::channel(config.limits.events);
        let shared = Arc::new(Shared {
            links: Arc::default(),
            meter: Arc::default(),
            listening: RwLock::default(),
            wishes: Mutex::default(),
            wished: Notify::new(),
            dialled: AtomicBool::new(false),
            dropped: DropCounters::default(),
            limits: config.limits.clone(),
        });
        let key = task::spawn(&config, &keypair, shared.clone(), command_receiver, event_sender).await?;
        Ok((Control { commands, shared, key }, events))
    }

    /// This peer's key.
    pub fn key(&self) -> PeerKey {
        self.key
    }

    /// Where this peer listens, with actual ports and interfaces.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        self.shared.listening.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Joins a session's topic. False if too many sessions are joined or the plane has stopped.
    pub async fn join_session(&self, session: Hash) -> bool {
        self.ask(|done| Command::Join { session, done }).await.unwrap_or(false)
    }

    /// Leaves a session's topic.
    pub async fn leave_session(&self, session: Hash) {
        self.ask(|done| Command::Leave { session, done }).await;
    }

    /// Queues a message for a connected peer. It arrives in order or, if the connection breaks, not
    /// at all. A full queue refuses the newest message.
    pub fn send(&self, session: Hash, to: PeerKey, bytes: Vec<u8>) -> Result<(), SendError> {
        let limit = self.shared.limits.message;
        if bytes.len() > limit {
            return Err(SendError::TooLong { found: bytes.len(), limit });
        }
        let outbox = self.shared.links.outbox(&to).ok_or(SendError::NotConnected)?;
        outbox.push(frame(session, &bytes))
    }

    /// Publishes a message on a session's topic, joined or not. Nobody hears it while no connected
    /// peer is subscribed.
    pub fn publish(&self, session: Hash, bytes: Vec<u8>) {
        self.command(Command::Publish { session, bytes });
    }

    /// Says whether a gossip message travels on. Every one must be reported.
    pub fn report(&self, id: GossipId, verdict: Verdict) {
        self.command(Command::Report { id, verdict });
    }

    /// Dials once. Success is a `Connected` event (none if the peer is connected already), failure a
    /// `DialFailed` event.
    pub fn dial(&self, address: Multiaddr, expect: Option<PeerKey>) {
        self.command(Command::Dial { address, expect });
    }

    /// Keeps a connection with `peer`: dials it, now and after every loss, with growing pauses,
    /// until it is forgotten. Calling again replaces the addresses.
    pub fn keep(&self, peer: PeerKey, addresses: Vec<Multiaddr>) {
        self.wish(peer, Some(addresses));
    }

    /// Ends `keep`. An existing connection stays until it is idle.
    pub fn forget(&self, peer: PeerKey) {
        self.wish(peer, None);
    }

    /// Whether anybody dialled this peer since it started: then others can, too.
    pub fn was_dialled(&self) -> bool {
        self.shared.dialled.load(Ordering::Relaxed)
    }

    /// Closes all connections with `peer`. A kept peer is dialled again.
    pub fn disconnect(&self, peer: PeerKey) {
        self.command(Command::Disconnect { peer });
    }

    /// Asks a connected peer and waits for its reply.
    pub async fn request(&self, session: Hash, to: PeerKey, bytes: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        let limit = self.shared.limits.message;
        if bytes.len() > limit {
            return Err(RequestError::TooLong { found: bytes.len(), limit });
        }
        self.ask(|reply| Command::Request { session, to, bytes, reply })
            .await
            .unwrap_or(Err(RequestError::Stopped))
    }

    /// Bytes sent and received since the start.
    pub fn traffic(&self) -> Traffic {
        self.shared.meter.read()
    }

    /// What had to give way since the start.
    pub fn dropped(&self) -> Dropped {
        let counters = &self.shared.dropped;
        Dropped {
            commands: counters.commands.load(Ordering::Relaxed),
            events: counters.events.load(Ordering::Relaxed),
            over_rate: counters.over_rate.load(Ordering::Relaxed),
        }
    }

    /// Connected peers, ascending.
    pub fn connected(&self) -> Vec<PeerKey> {
        self.shared.links.peers()
    }

    /// Writes what is queued (for at most two seconds), closes all connections and stops. The ports
    /// are free when it returns.
    pub async fn shutdown(self) {
        self.ask(|done| Command::Shutdown { done }).await;
    }

    fn command(&self, command: Command) {
        if self.commands.try_send(command).is_err() {
            self.shared.dropped.commands.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends a command and waits for its answer; nothing once the plane has stopped.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.commands.send(command(sender)).await.ok()?;
        receiver.await.ok()
    }

    fn wish(&self, peer: PeerKey, addresses: Option<Vec<Multiaddr>>) {
        let mut wishes = self.shared.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        if wishes.len() < self.shared.limits.kept || wishes.contains_key(&peer) {
            wishes.insert(peer, addresses);
        }
        drop(wishes);
        self.shared.wished.notify_one();
    }
}
