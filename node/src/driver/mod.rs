//! Drives one session: feeds it what happens, acts on what it says, in order.
//!
//! The loop owns no policy: whatever decides is in `protocol`. Everything slow runs elsewhere
//! (the engine and the store on threads of their own, transfers and candidate states as tasks) and
//! comes back as an input through one bounded channel.

mod act;
mod neighbours;
mod peers;
mod pushers;
mod report;
mod serve;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use driftless_protocol::charter::Charter;
use driftless_protocol::event::{Command, Ending, Input};
use driftless_protocol::session::Session;
use driftless_protocol::time::Time;
use driftless_protocol::wire::Message;
use driftless_protocol::{Hash, PeerKey};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::blobs::{BlobEvent, DataPlane};
use crate::compute_worker::ComputeWorker;
use crate::control::{Control, GossipId, ReplyHandle, Verdict};
use crate::store::StoreReader;
use crate::store_thread::StoreThread;

use neighbours::Dialling;
pub(crate) use neighbours::Neighbours;
use peers::Addresses;
pub(crate) use peers::{Seen, source};
pub(crate) use pushers::Pushers;
use report::Reporter;
pub use report::{SessionEvent, SessionStatus};

/// Inputs from threads and tasks that wait for the session.
pub(crate) const INPUTS: usize = 512;
/// Events from the control plane that wait for the session.
pub(crate) const NET: usize = 1024;

/// What the control plane has for one session.
#[derive(Debug)]
pub(crate) enum NetEvent {
    /// A message for this peer, or gossip with the name to report it under.
    Message { from: PeerKey, bytes: Vec<u8>, gossip: Option<GossipId> },
    /// A question.
    Request { from: PeerKey, bytes: Vec<u8>, reply: ReplyHandle },
    /// A peer is connected.
    Connected { peer: PeerKey, seen: Seen },
    /// A peer is gone.
    Disconnected { peer: PeerKey },
    /// Another process of a connected peer answers since `at`.
    Restarted { peer: PeerKey, seen: Seen, at: Instant },
}

/// Why a session's driver ended before its session did.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The store is damaged or cannot be written.
    #[error("the session's store: {0}")]
    Store(#[from] crate::store::StoreError),
    /// The compute thread is gone.
    #[error("the compute thread ended: see the log")]
    Compute,
}

/// The parts a driver works with.
pub(crate) struct Parts {
    pub charter: Arc<Charter>,
    pub control: Control,
    pub plane: DataPlane,
    pub store: StoreThread,
    pub reader: StoreReader,
    pub worker: Option<ComputeWorker>,
    pub manifest: Arc<Vec<u8>>,
    /// Whose pushed blobs the data plane takes.
    pub pushers: Arc<Pushers>,
    /// Addresses that others should dial for blobs, as text.
    pub hello: Vec<String>,
    /// Take a seat if elected, once it is seen that others can dial this peer.
    pub stand: bool,
    /// Where connected peers listen.
    pub neighbours: Neighbours,
}

/// The channels a driver listens to.
pub(crate) struct Channels {
    pub inputs: mpsc::Receiver<Input>,
    pub net: mpsc::Receiver<NetEvent>,
    pub blobs: mpsc::Receiver<BlobEvent>,
    pub commands: mpsc::Receiver<Command>,
}

/// A greeting may go down a connection whose other end died a moment ago, with a new one beside it:
/// it is repeated after this long, until the other side greets back.
const GREET_AGAIN: std::time::Duration = std::time::Duration::from_secs(3);

/// One session with everything that acts for it.
pub(crate) struct Driver {
    session: Session,
    parts: Parts,
    /// Answers of threads and tasks go in here.
    answers: mpsc::Sender<Input>,
    addresses: Addresses,
    reporter: Reporter,
    /// Why the store cannot write, if so.
    trouble: watch::Receiver<Option<String>>,
    /// Transfers in progress.
    fetches: BTreeMap<Hash, AbortHandle>,
    pushes: BTreeMap<Hash, AbortHandle>,
    /// When those who did not greet back are greeted again.
    greet_again: tokio::time::Instant,
    dialling: Dialling,
    origin: Instant,
    ended: Option<Ending>,
}

impl Driver {
    /// A driver of a session whose clock started at `origin`.
    pub fn new(
        session: Session,
        parts: Parts,
        answers: mpsc::Sender<Input>,
        events: mpsc::Sender<SessionEvent>,
        status: watch::Sender<SessionStatus>,
        origin: Instant,
    ) -> Driver {
        let reporter = Reporter::new(events, status, origin);
        let addresses = Addresses::default();
        let trouble = parts.store.trouble();
        Driver {
            session,
            parts,
            answers,
            addresses,
            reporter,
            trouble,
            fetches: BTreeMap::new(),
            pushes: BTreeMap::new(),
            greet_again: tokio::time::Instant::now() + GREET_AGAIN,
            dialling: Dialling::default(),
            origin,
            ended: None,
        }
    }

    /// Runs until the session ends.
    pub async fn run(mut self, mut channels: Channels) -> Result<Ending, DriverError> {
        for peer in self.parts.control.connected() {
            self.greet(peer);
        }
        let outcome = self.drive(&mut channels).await;
        self.close().await;
        outcome
    }

    async fn drive(&mut self, channels: &mut Channels) -> Result<Ending, DriverError> {
        loop {
            while let Some(output) = self.session.poll_output() {
                self.act(output).await?;
            }
            self.parts.pushers.follow(self.session.state());
            self.parts.plane.order_uploads(self.session.underway());
            self.report_status();
            if let Some(ending) = self.ended {
                return Ok(ending);
            }
            self.wait(channels).await;
        }
    }

    /// Waits for the next thing that happens and feeds it to the session.
    async fn wait(&mut self, channels: &mut Channels) {
        let deadline = self.session.next_timeout().map(|time| self.instant(time));
        tokio::select! {
            Some(input) = channels.inputs.recv() => self.feed(input),
            Some(event) = channels.net.recv() => self.net_event(event),
            Some(BlobEvent::Received { root, .. }) = channels.blobs.recv() => self.feed(Input::BlobStored(root)),
            Some(command) = channels.commands.recv() => self.feed(Input::Command(command)),
            Ok(()) = self.trouble.changed() => self.store_trouble(),
            () = sleep_until(Some(self.greet_again)) => {
                self.greet_the_silent();
                self.stand_if_dialled();
            }
            () = sleep_until(deadline) => {
                let now = self.now();
                self.session.handle_timeout(now);
            }
        }
    }

    fn feed(&mut self, input: Input) {
        let now = self.now();
        self.session.handle_input(now, input);
    }

    fn net_event(&mut self, event: NetEvent) {
        match event {
            NetEvent::Message { from, bytes, gossip } => self.message(from, &bytes, gossip),
            NetEvent::Request { from, bytes, reply } => self.serve(from, &bytes, reply),
            NetEvent::Connected { peer, seen } => {
                self.addresses.connected(peer, seen);
                self.greet(peer);
            }
            NetEvent::Disconnected { peer } => self.disconnected(peer),
            NetEvent::Restarted { peer, seen, at } => {
                self.parts.plane.forget_before(&peer, at);
                self.addresses.disconnected(peer);
                self.addresses.connected(peer, seen);
                self.greet(peer);
                self.feed(Input::Restarted(peer));
            }
        }
    }

    fn disconnected(&mut self, peer: PeerKey) {
        self.addresses.disconnected(peer);
        self.feed(Input::Disconnected(peer));
    }

    fn message(&mut self, from: PeerKey, bytes: &[u8], gossip: Option<GossipId>) {
        let message = Message::from_bytes(bytes);
        let gossiped = gossip.is_some();
        if let Some(id) = gossip {
            let verdict = match &message {
                Ok(message) if self.session.vouches_for(message) => Verdict::Accept,
                Ok(_) => Verdict::Ignore,
                Err(_) => Verdict::Reject,
            };
            self.parts.control.report(id, verdict);
        }
        match message {
            // Who is told of a block alone would believe that others are told, too.
            Ok(Message::Block(_)) if !gossiped => {}
            Ok(Message::Hello { data, known }) => self.hello(from, &data, known),
            Ok(Message::DialBack) => self.dial_back(from),
            Ok(message) => self.feed(Input::Message { from, message }),
            Err(error) => tracing::debug!(from = %from.short(), %error, "a message was refused"),
        }
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn instant(&self, time: Time) -> tokio::time::Instant {
        (self.origin + std::time::Duration::from_micros(time.0)).into()
    }

    fn session_id(&self) -> Hash {
        self.parts.charter.session
    }

    async fn close(self) {
        let Parts { plane, store, worker, .. } = self.parts;
        // The thread may be in the middle of an order; nobody waits for its answer any more.
        drop(self.answers);
        let joined = tokio::task::spawn_blocking(move || drop(worker));
        store.close().await;
        plane.close().await;
        let _ = joined.await;
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
