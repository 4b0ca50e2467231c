//! The task that owns the swarm.

mod command;
mod inbound;
mod peers;
mod requests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use driftless_protocol::{Hash, PeerKey};
use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::gossipsub::TopicHash;
use libp2p::identity::Keypair;
use libp2p::swarm::{ConnectionId, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, ping};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

pub(crate) use self::command::Command;
use self::peers::Dial;
use self::requests::Requests;
use super::book::Book;
use super::config::ControlConfig;
use super::error::ControlError;
use super::event::ControlEvent;
use super::handle::Shared;
use super::instances::Instances;
use super::key::key_of;
use super::listen::{freed, listen};
use super::rate::Limiter;
use super::swarm::{self, Behaviour, BehaviourEvent};

/// Room in the event channel that only news of connections may use.
const RESERVED: usize = 64;
/// A listener reports its first address within this.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Shutting down writes what is queued for at most this long.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Then connections have this long to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The state of the task.
struct Task {
    swarm: Swarm<Behaviour>,
    shared: Arc<Shared>,
    events: mpsc::Sender<ControlEvent>,
    /// News of connections that found the channel full; the swarm rests until they are taken.
    waiting: VecDeque<ControlEvent>,
    book: Book,
    limiter: Limiter,
    topics: BTreeMap<TopicHash, Hash>,
    requests: Requests,
    dials: HashMap<ConnectionId, Dial>,
    instances: Instances,
    /// Peers shut out, and until when.
    banned: BTreeMap<PeerId, Duration>,
    started: Instant,
}

/// Builds the swarm, listens, and leaves the task running. Returns the peer's key.
pub(crate) async fn spawn(
    config: &ControlConfig,
    keypair: &Keypair,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<ControlEvent>,
) -> Result<PeerKey, ControlError> {
    let no_key = || ControlError::Setup { part: "identity", reason: "not an ed25519 key".into() };
    let key = key_of(&keypair.public().to_peer_id()).ok_or_else(no_key)?;
    let mut swarm = swarm::build(config, keypair, key, shared.links.clone(), shared.meter.clone())?;
    config.external.iter().for_each(|address| swarm.add_external_address(address.clone()));
    let mut listeners = Vec::new();
    for address in &config.listen {
        listeners.push((listen(&mut swarm, address)?, address.clone()));
    }
    let mut task = Task {
        swarm,
        events,
        waiting: VecDeque::new(),
        book: Book::new(key, config.limits.duplicate_grace),
        limiter: Limiter::new(config.limits.rates),
        topics: BTreeMap::new(),
        requests: Requests::default(),
        dials: HashMap::new(),
        instances: Instances::default(),
        banned: BTreeMap::new(),
        started: Instant::now(),
        shared,
    };
    task.await_listeners(listeners).await?;
    tokio::spawn(task.run(commands));
    Ok(key)
}

impl Task {
    /// Runs the swarm until every listener has an address.
    async fn await_listeners(
        &mut self,
        mut silent: Vec<(ListenerId, Multiaddr)>,
    ) -> Result<(), ControlError> {
        let deadline = Instant::now() + LISTEN_TIMEOUT;
        while let Some((_, address)) = silent.first() {
            let Ok(event) = timeout_at(deadline, self.swarm.select_next_some()).await else {
                let source = io::Error::new(io::ErrorKind::TimedOut, "no interface has this address");
                return Err(ControlError::Listen { address: address.clone(), source });
            };
            if let SwarmEvent::NewListenAddr { listener_id, .. } = &event {
                silent.retain(|(listener, _)| listener != listener_id);
            }
            self.on_swarm_event(event);
        }
        Ok(())
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            match self.wake(&mut commands).await {
                Wake::Command(Some(Command::Shutdown { done })) => return self.stop(Some(done)).await,
                Wake::Command(Some(command)) => self.on_command(command),
                Wake::Command(None) => return self.stop(None).await,
                Wake::Swarm(event) => self.on_swarm_event(*event),
                Wake::Answer(answer) => self.on_answer(answer),
                Wake::Told | Wake::Due => {}
                // Nobody listens any more: nothing needs to wait.
                Wake::Unheard => self.waiting.clear(),
            }
            self.take_wishes();
            self.do_what_is_due();
        }
    }

    /// Waits for the next thing to do. The swarm rests while news of connections wait to be taken.
    async fn wake(&mut self, commands: &mut mpsc::Receiver<Command>) -> Wake {
        let due = self.next_due();
        let full = !self.waiting.is_empty();
        tokio::select! {
            command = commands.recv() => Wake::Command(command),
            () = self.shared.wished.notified() => Wake::Due,
            event = self.swarm.select_next_some(), if !full => Wake::Swarm(Box::new(event)),
            permit = self.events.reserve(), if full => {
                let Ok(permit) = permit else { return Wake::Unheard };
                if let Some(event) = self.waiting.pop_front() {
                    permit.send(event);
                }
                Wake::Told
            }
            Some(answer) = self.requests.answers.next() => Wake::Answer(answer),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Wake::Due,
        }
    }

    /// Time since the start.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn next_due(&self) -> Option<Instant> {
        let unban = self.banned.values().min().copied();
        self.book.next_due().into_iter().chain(unban).min().map(|due| self.started + due)
    }

    /// Reports what must not be lost.
    fn tell(&mut self, event: ControlEvent) {
        if self.waiting.is_empty() {
            match self.events.try_send(event) {
                Err(mpsc::error::TrySendError::Full(event)) => self.waiting.push_back(event),
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        } else {
            self.waiting.push_back(event);
        }
    }

    /// Reports what may be lost if the driver is slow. False if it is.
    fn offer(&mut self, event: ControlEvent) -> bool {
        let reserved = RESERVED.min(self.events.max_capacity() / 2);
        let taken = self.events.capacity() > reserved && self.events.try_send(event).is_ok();
        if !taken {
            self.shared.dropped.events.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id, connection_id, endpoint, num_established, ..
            } => {
                self.on_opened(peer_id, connection_id, &endpoint, num_established.get());
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                tracing::debug!(peer = %peer_id, cause = ?cause, left = num_established, "connection closed");
                self.on_closed(peer_id, connection_id, num_established);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.on_dial_error(connection_id, error);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, %error, "refused a connection");
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                self.update_listening();
                self.tell(ControlEvent::ListenAddress { address });
            }
            SwarmEvent::ExpiredListenAddr { .. } => self.update_listening(),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::warn!(?addresses, ?reason, "no longer listening");
                self.update_listening();
            }
            SwarmEvent::ListenerError { error, .. } => tracing::debug!(%error, "listener"),
            _ => {}
        }
    }

    fn update_listening(&mut self) {
        let addresses = self.swarm.listeners().cloned().collect();
        *self.shared.listening.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Direct(event) => self.on_direct(event),
            BehaviourEvent::Gossip(event) => self.on_gossip(event),
            BehaviourEvent::Request(event) => self.on_request_event(event),
            BehaviourEvent::Identify(event) => self.on_identify(event),
            BehaviourEvent::Ping(ping::Event { connection, result: Err(ping::Failure::Timeout), .. }) => {
                self.swarm.close_connection(connection);
            }
            _ => {}
        }
    }

    /// Flushes, closes and ends.
    async fn stop(mut self, done: Option<oneshot::Sender<()>>) {
        // A driver that has stopped listening must not block the end.
        self.waiting.clear();
        let links = self.shared.links.clone();
        let flush = async {
            while !links.are_empty() {
                let _ = timeout(Duration::from_millis(5), self.swarm.select_next_some()).await;
            }
        };
        let _ = timeout(FLUSH_TIMEOUT, flush).await;
        links.finish();
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let close = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, close).await;
        let addresses: Vec<Multiaddr> = self.swarm.listeners().cloned().collect();
        drop(self);
        let _ = timeout(CLOSE_TIMEOUT, freed(&addresses)).await;
        if let Some(done) = done {
            let _ = done.send(());
        }
    }
}

/// Why the task woke up.
enum Wake {
    Command(Option<Command>),
    Swarm(Box<SwarmEvent<BehaviourEvent>>),
    Answer(requests::Answer),
    Told,
    Unheard,
    Due,
}
