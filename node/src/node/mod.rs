//! A running node: one identity, one control plane, any number of sessions.

mod acquaintances;
mod error;
mod founding;
mod joining;
mod listen;
mod met;
mod router;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use driftless_protocol::block::Height;
use driftless_protocol::charter::Charter;
use driftless_protocol::event::{Command, Ending};
use driftless_protocol::identity::Signer;
use driftless_protocol::invitation::{Invitation, Ticket};
use driftless_protocol::session::{Options, Session};
use driftless_protocol::state::State;
use driftless_protocol::{Hash, PeerKey};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::bandwidth::Caps;
use crate::blobs::{DataPlane, Hooks, Welcome};
use crate::compute_worker::ComputeWorker;
use crate::control::{Control, ControlConfig, Limits, key_of};
use crate::driver::{self, Channels, Driver, DriverError, Parts, Pushers};
pub use crate::driver::{SessionEvent, SessionStatus};
use crate::engine::{TrainerEngine, check_size, data_for};
use crate::store::{Folder, FolderLock, Options as StoreOptions, SessionStore};
use crate::store_thread::{StoreThread, Sweep};

use acquaintances::Acquaintances;
pub use error::NodeError;
pub use founding::{FoundingFiles, genesis_state};
pub use joining::JoinProgress;
pub(crate) use listen::both;
pub use listen::{EVERYWHERE, Listen, Reach};
use router::Router;

/// Events that wait for whoever shows a session.
const EVENTS: usize = 4096;
/// A download that was broken off is gone on with for so long; then its pages are swept up.
const BROKEN_OFF: Duration = Duration::from_secs(24 * 3600);
/// Steps over which a joiner's fresh inner optimizer comes up.
const RAMP: u32 = 20;

/// How a node runs.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The data folder.
    pub dir: PathBuf,
    /// Where it listens.
    pub listen: Listen,
    /// Addresses that others should dial, where the sockets' own are not those.
    pub advertise: Vec<Multiaddr>,
}

/// How one session runs.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Contribute, or only follow.
    pub contribute: bool,
    /// Take a seat if elected, once others dialled this peer.
    pub stand: bool,
    /// The invitation's height, and who voted then.
    pub invited: Option<(Height, Vec<PeerKey>)>,
    /// The invitation's ticket.
    pub ticket: Option<Ticket>,
    /// Keep every blob.
    pub keep_history: bool,
    /// Stream-0 slots between two checkpoints.
    pub checkpoint_every: u32,
    /// Bytes that may be written in a day; snapshots and checkpoints are rarer where it takes that.
    pub writes_per_day: u64,
    /// Peers to dial and keep.
    pub peers: Vec<(Option<PeerKey>, Multiaddr)>,
    /// Compute threads.
    pub threads: usize,
    /// Caps on its data plane.
    pub caps: Caps,
}

/// A running node; cheap to clone.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    advertise: Vec<Multiaddr>,
    /// Where the first session's data plane listens.
    data_listen: SocketAddr,
    folder: Folder,
    /// Held as long as the node lives.
    _lock: FolderLock,
    signer: Signer,
    seed: [u8; 32],
    control: Control,
    router: Router,
}

/// A running session.
pub struct SessionHandle {
    /// Its id.
    pub session: Hash,
    /// What happens; drain it.
    pub events: mpsc::Receiver<SessionEvent>,
    /// The session at a glance.
    pub status: watch::Receiver<SessionStatus>,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<Result<Ending, DriverError>>,
}

/// Sends commands to a running session; cheap to clone.
#[derive(Clone)]
pub struct SessionControl(mpsc::Sender<Command>);

impl SessionControl {
    /// Asks the session for something. False if it ended.
    pub async fn command(&self, command: Command) -> bool {
        self.0.send(command).await.is_ok()
    }
}

impl SessionHandle {
    /// A handle for commands alone.
    pub fn control(&self) -> SessionControl {
        SessionControl(self.commands.clone())
    }

    /// Asks the session for something. False if it ended.
    pub async fn command(&self, command: Command) -> bool {
        self.control().command(command).await
    }

    /// Waits for the end; events that nobody took are dropped.
    pub async fn wait(self) -> Result<Ending, NodeError> {
        drop(self.events);
        Ok(self.task.await.map_err(|error| NodeError::Crashed(error.to_string()))??)
    }
}

impl Node {
    /// Takes the folder's lock and identity and starts the control plane.
    pub async fn start(options: NodeOptions) -> Result<Node, NodeError> {
        let folder = Folder::create(&options.dir)?;
        let _lock = folder.lock()?;
        let signer = folder.identity_or_new()?;
        let seed = signer.seed();
        let NodeOptions { listen, advertise, .. } = options;
        let (listen, data_listen) = listen.resolve(&folder)?;
        let config = ControlConfig {
            seed,
            listen,
            external: advertise.clone(),
            agent: concat!("driftless/", env!("CARGO_PKG_VERSION")).to_string(),
            limits: Limits::default(),
        };
        let (control, events) = Control::start(config).await?;
        let router = Router::start(control.clone(), events);
        let inner = Inner { advertise, data_listen, folder, _lock, signer, seed, control, router };
        Ok(Node { inner: Arc::new(inner) })
    }

    /// This peer's key.
    pub fn key(&self) -> PeerKey {
        self.inner.signer.key()
    }

    /// This peer's signer.
    pub fn signer(&self) -> &Signer {
        &self.inner.signer
    }

    /// The data folder.
    pub fn folder(&self) -> &Folder {
        &self.inner.folder
    }

    /// Where the control plane listens, what reaches farthest first, QUIC before TCP.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        let mut addresses = self.inner.control.listen_addresses();
        let is_tcp = |address: &Multiaddr| address.iter().any(|part| matches!(part, Protocol::Tcp(_)));
        addresses.sort_by_cached_key(|address| (Reach::of(address), is_tcp(address), address.to_string()));
        addresses
    }

    /// Starts a session of this folder.
    pub async fn open(&self, session: Hash, options: SessionOptions) -> Result<SessionHandle, NodeError> {
        let this = self.clone();
        let prepared = tokio::task::spawn_blocking({
            let options = options.clone();
            move || Prepared::load(&this.inner, session, &options)
        });
        let prepared = prepared.await.map_err(|error| NodeError::Crashed(error.to_string()))??;
        self.run(prepared, options).await
    }

    async fn run(&self, prepared: Prepared, options: SessionOptions) -> Result<SessionHandle, NodeError> {
        let Prepared { charter, manifest, store, sweep, session: make_session, engine } = prepared;
        let inner = &self.inner;
        let origin = Instant::now();
        let session = make_session.make(&inner.signer, &options);
        let id = charter.session;
        let reader = store.reader();
        let pushers = Arc::new(Pushers::new(&charter, session.state()));
        // Whoever joins has to fetch before anybody knows it; pushing is for those who are in.
        let hooks = Hooks { welcome: welcome(pushers.clone()), accept: acceptance(pushers.clone()) };
        let mut listen = inner.data_listen;
        if inner.router.is_attached() {
            // The first session has the port.
            listen.set_port(0);
        }
        let blobs = reader.blobs().clone();
        let (plane, blobs) = DataPlane::bind(listen, inner.seed, blobs, options.caps, hooks)?;
        plane.also_serve(reader.pages().clone());
        let (answers, inputs) = mpsc::channel(driver::INPUTS);
        let worker = ComputeWorker::start(engine, &charter, answers.clone())?;
        let members = pushers.clone();
        let parts = Parts {
            hello: self.hello_addresses(&plane),
            stand: options.stand,
            neighbours: {
                let router = inner.router.clone();
                Arc::new(move || router.addresses())
            },
            control: inner.control.clone(),
            plane,
            store: StoreThread::start(store, sweep).map_err(NodeError::Thread)?,
            pushers,
            reader,
            worker: Some(worker),
            manifest: Arc::new(manifest),
            charter,
        };
        let (event_sender, events) = mpsc::channel(EVENTS);
        let (commands, command_receiver) = mpsc::channel(16);
        let first = parts.first_status(session.status());
        let (status_sender, status) = watch::channel(first);
        let net = inner.router.attach(id).await;
        inner.control.join_session(id).await;
        let driver = Driver::new(session, parts, answers, event_sender, status_sender, origin);
        let channels = Channels { inputs, net, blobs, commands: command_receiver };
        self.dial(&options.peers);
        let folder = inner.folder.session(id);
        for (peer, addresses) in met::read(&folder) {
            inner.control.keep(peer, addresses);
        }
        let router = inner.router.clone();
        let control = inner.control.clone();
        let acquaintances = Acquaintances {
            own: self.key(),
            session: id,
            control: control.clone(),
            router: router.clone(),
            members: members.clone(),
        };
        let keeper = met::Keeper { folder, router: router.clone(), members };
        let task = tokio::spawn(async move {
            let outcome = tokio::select! {
                outcome = driver.run(channels) => outcome,
                () = keeper.run() => unreachable!("it keeps the list as long as the session runs"),
                () = acquaintances.run() => unreachable!("it looks as long as the session runs"),
            };
            keeper.finish().await;
            router.detach(id).await;
            control.leave_session(id).await;
            outcome
        });
        Ok(SessionHandle { session: id, events, status, commands, task })
    }

    fn dial(&self, peers: &[(Option<PeerKey>, Multiaddr)]) {
        for (key, address) in peers {
            let named = address.iter().find_map(|part| match part {
                Protocol::P2p(peer) => key_of(&peer),
                _ => None,
            });
            match key.or(named) {
                Some(peer) if peer == self.key() => {}
                Some(peer) => self.inner.control.keep(peer, vec![address.clone()]),
                None => self.inner.control.dial(address.clone(), None),
            }
        }
    }

    /// Where others dial this peer's data plane: the control plane's addresses with its port.
    fn hello_addresses(&self, plane: &DataPlane) -> Vec<String> {
        let Ok(local) = plane.local_addr() else { return Vec::new() };
        let control = self.inner.advertise.iter().cloned().chain(self.listen_addresses());
        let mut addresses: Vec<String> = Vec::new();
        for address in control.filter_map(|address| router::ip_of(&address)) {
            let usable = local.ip().is_unspecified() || local.ip() == address;
            let text = SocketAddr::new(address, local.port()).to_string();
            if usable && !addresses.contains(&text) {
                addresses.push(text);
            }
        }
        if addresses.is_empty() {
            addresses.push(local.to_string());
        }
        addresses.truncate(driftless_protocol::wire::limits::ADDRESSES);
        addresses
    }

    /// An invitation to a session of this folder, with a ticket if this peer issues them.
    pub fn invitation(&self, session: Hash, status: &SessionStatus) -> Result<Invitation, NodeError> {
        let manifest = self.inner.folder.session(session).manifest()?;
        let charter = Charter::new(manifest.manifest().clone())?;
        let ticket = (charter.token_issuer() == Some(self.key()))
            .then(|| Ticket::issue(&self.inner.signer, session, status.status.height));
        let peer = crate::control::peer_of(&self.key());
        let known = self.inner.advertise.iter().cloned().chain(self.listen_addresses());
        let named = |address: Multiaddr| match peer {
            Some(peer) => address.with_p2p(peer).unwrap_or_else(|address| address).to_string(),
            None => address.to_string(),
        };
        let addresses = known.map(named);
        let invitation = Invitation {
            session,
            height: status.status.height,
            block: status.status.head,
            seats: status.status.seats.clone(),
            addresses: addresses.take(Invitation::MAX_ADDRESSES).collect(),
            ticket,
        };
        Ok(invitation.shortened())
    }

    /// Stops the control plane; sessions should have ended before.
    pub async fn shutdown(self) {
        self.inner.control.clone().shutdown().await;
    }
}

fn welcome(pushers: Arc<Pushers>) -> Arc<dyn Fn(PeerKey) -> Welcome + Send + Sync> {
    Arc::new(move |peer| if pushers.knows(&peer) { Welcome::Member } else { Welcome::Stranger })
}

fn acceptance(pushers: Arc<Pushers>) -> Arc<dyn Fn(PeerKey, Hash, u64) -> bool + Send + Sync> {
    Arc::new(move |from, root, length| pushers.take(&from, &root, length))
}

impl Parts {
    fn first_status(&self, status: driftless_protocol::session::Status) -> SessionStatus {
        SessionStatus {
            session: self.charter.session,
            name: self.charter.manifest.name.clone(),
            status,
            loss: None,
            steps_per_second: 0.0,
            tokens_per_second: 0.0,
            bytes_sent: 0,
            bytes_received: 0,
            disk_use: Default::default(),
            connected: 0,
            warning: None,
            disk: None,
            ended: None,
        }
    }
}

/// What stays when the session's blobs are swept up. A slot is decided soon after its deadline, so
/// what is much older than the longest belongs to none that is open.
fn sweep_of(charter: &Charter) -> Sweep {
    let longest = Duration::from_micros(charter.manifest.deadline.maximum.0);
    Sweep { pinned: founding::named_blobs(charter), grace: 2 * longest + Duration::from_secs(300) }
}

/// Everything of a session that is read from disk before it runs.
struct Prepared {
    charter: Arc<Charter>,
    manifest: Vec<u8>,
    store: SessionStore,
    sweep: Sweep,
    session: SessionSeed,
    engine: TrainerEngine,
}

struct SessionSeed {
    charter: Arc<Charter>,
    genesis: State,
    recovered: driftless_protocol::event::Recovered,
}

impl SessionSeed {
    fn make(self, signer: &Signer, options: &SessionOptions) -> Session {
        let options = Options {
            contribute: options.contribute,
            // A candidate can be dialled: that is known once somebody did.
            stand: if options.stand { None } else { Some(false) },
            invited: options.invited.clone(),
            ticket: options.ticket.clone(),
            keep_history: options.keep_history,
            checkpoint_every: options.checkpoint_every,
            writes_per_day: options.writes_per_day,
        };
        let now = driftless_protocol::time::Time(0);
        let genesis = self.genesis;
        Session::restore(now, self.charter, signer.clone(), options, || genesis, self.recovered)
    }
}

impl Prepared {
    fn load(inner: &Inner, session: Hash, options: &SessionOptions) -> Result<Prepared, NodeError> {
        let folder = inner.folder.session(session);
        let manifest = folder.manifest()?;
        let charter = Arc::new(Charter::new(manifest.manifest().clone())?);
        let store_options = StoreOptions { keep_history: options.keep_history, ..StoreOptions::default() };
        let cache = folder.path().join("tokens");
        let (store, recovered) = SessionStore::open(folder, &charter, store_options)?;
        if let Some(block) = recovered.snapshot.as_ref().and_then(|snapshot| snapshot.block.as_ref())
            && !store.committees(&charter).certifies(&charter, block)
        {
            return Err(NodeError::Uncertified { height: block.block.height });
        }
        for warning in store.warnings() {
            tracing::warn!("{warning}");
        }
        let sweep = sweep_of(&charter);
        match store.sweep(&sweep.pinned, BROKEN_OFF) {
            Ok(0) => {}
            Ok(gone) => tracing::info!(gone, "blobs that nobody needs were deleted"),
            Err(error) => tracing::warn!(%error, "blobs that nobody needs could not be deleted"),
        }
        check_size(&charter.manifest)?;
        let reader = store.reader();
        let read = |root: &Hash| reader.page(root).map_err(|error| error.to_string());
        let genesis = genesis_state(&charter, read)?;
        let files = founding::data_paths(&charter, &reader)?;
        let tokenizer = charter.manifest.tokenizer.as_ref().map(|file| reader.blobs().path(&file.root));
        let data = data_for(&charter, &files, tokenizer.as_deref(), &cache)?;
        let mut engine = TrainerEngine::new(&charter, data, options.threads)?;
        let at_genesis = recovered.blocks.is_empty()
            && recovered.snapshot.as_ref().is_none_or(|snapshot| snapshot.height() == 0);
        // Where the learning rate does not warm up, a fresh optimizer has to.
        let warms_up = charter.manifest.origin.parent().is_none();
        let begins = at_genesis && warms_up && charter.founding_seats().contains(&inner.signer.key());
        if !begins && recovered.checkpoint.is_none() {
            engine.ramp(RAMP);
        }
        let seed = SessionSeed { charter: charter.clone(), genesis, recovered };
        Ok(Prepared { charter, manifest: manifest.to_bytes(), store, sweep, session: seed, engine })
    }
}
