//! The endpoint: one UDP socket, one identity, both directions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use driftless_protocol::{Hash, PeerKey};
use libp2p_identity::Keypair;
use quinn::{Connection, Endpoint, VarInt};
use tokio::sync::{Semaphore, mpsc};

use super::claims::Claims;
use super::peers::{self, Peers, Source, SourceError};
use super::serve;
use super::socket::{self, Traffic};
use super::store::BlobStore;
use super::transport::{self, IdentityError};
use super::uplink::Uplink;
use super::wire::{CLOSE_DONE, CLOSE_REFUSED};
use crate::bandwidth::Caps;

/// Events that wait for the driver; a push waits with its last answer when they are full.
const EVENTS: usize = 256;
/// Handshakes in progress at a time.
const HANDSHAKES: usize = 64;
/// A handshake ends after this long.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a fetch lets a push of the same blob go on.
const GRACE: Duration = Duration::from_secs(3);
/// Slices being served, pushes being received and fetches in progress at a time.
const SERVING: usize = 64;
const RECEIVING: usize = 32;
pub(super) const FETCHING: usize = 64;

/// The data plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// The key is not usable.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// What the plane asks its owner. Called on async threads: must not block.
#[derive(Clone)]
pub struct Hooks {
    /// How welcome a peer is that dialed us or asks for something.
    pub welcome: Arc<dyn Fn(PeerKey) -> Welcome + Send + Sync>,
    /// Whether to take a pushed blob: who, its root, its length in bytes. It is never asked about
    /// blobs that are here already.
    pub accept: Arc<dyn Fn(PeerKey, Hash, u64) -> bool + Send + Sync>,
}

/// How welcome a peer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Welcome {
    /// Not at all: its connection is closed.
    No,
    /// Like anybody: strangers together get a quarter of what is served at a time, and no new
    /// connections once half of them are in use. Joiners are strangers.
    Stranger,
    /// It belongs here.
    Member,
}

/// What happened without being asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlobEvent {
    /// A pushed blob is complete, verified and durable in the store.
    Received {
        /// The blob.
        root: Hash,
        /// Who pushed it.
        from: PeerKey,
    },
}

/// The data plane: serves the store to admitted peers, fetches and pushes blobs.
///
/// Cheap to clone. The endpoint closes when [`close`](DataPlane::close) is called or the last clone
/// is dropped.
#[derive(Clone)]
pub struct DataPlane {
    pub(super) inner: Arc<Inner>,
    _close_on_drop: Arc<CloseOnDrop>,
}

pub(super) struct Inner {
    pub(super) endpoint: Endpoint,
    pair: Keypair,
    key: PeerKey,
    pub(super) store: Arc<BlobStore>,
    /// Stores that are served too, but never filled.
    also: RwLock<Vec<Arc<BlobStore>>>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) caps: Caps,
    pub(super) hooks: Hooks,
    pub(super) peers: Peers,
    pub(super) claims: Arc<Claims>,
    pub(super) uplink: Arc<Uplink>,
    pub(super) serving: Semaphore,
    /// What of it strangers may have.
    pub(super) strangers: Semaphore,
    pub(super) receiving: Semaphore,
    pub(super) fetching: Semaphore,
    pub(super) events: mpsc::Sender<BlobEvent>,
}

struct CloseOnDrop(Endpoint);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close(VarInt::from_u32(CLOSE_DONE), b"");
    }
}

impl DataPlane {
    /// Listens on `listen` (port 0 takes a free one) with the identity of `seed`, serving `store`.
    /// Must be called inside a tokio runtime. Events come through the returned bounded channel, which
    /// has to be drained (or dropped, if nobody cares).
    pub fn bind(
        listen: SocketAddr,
        seed: [u8; 32],
        store: Arc<BlobStore>,
        caps: Caps,
        hooks: Hooks,
    ) -> Result<(DataPlane, mpsc::Receiver<BlobEvent>), BindError> {
        let (pair, key) = transport::keypair(seed)?;
        let traffic = Arc::new(Traffic::new(caps));
        let listen_error = |source| BindError::Listen { address: listen, source };
        let socket = socket::bind(listen, traffic.clone()).map_err(listen_error)?;
        let server = transport::server(&pair, transport::transport(caps, false))?;
        let endpoint = Endpoint::new_with_abstract_socket(
            transport::endpoint(&seed)?,
            Some(server),
            socket,
            Arc::new(quinn::TokioRuntime),
        )
        .map_err(listen_error)?;
        let (events, receiver) = mpsc::channel(EVENTS);
        let inner = Arc::new(Inner {
            endpoint: endpoint.clone(),
            pair,
            key,
            store,
            also: RwLock::default(),
            traffic,
            caps,
            hooks,
            peers: Peers::default(),
            claims: Arc::new(Claims::new(GRACE)),
            uplink: Arc::new(Uplink::new(caps)),
            serving: Semaphore::new(SERVING),
            strangers: Semaphore::new(SERVING / 4),
            receiving: Semaphore::new(RECEIVING),
            fetching: Semaphore::new(FETCHING),
            events,
        });
        tokio::spawn(accept_all(inner.clone()));
        Ok((DataPlane { inner, _close_on_drop: Arc::new(CloseOnDrop(endpoint)) }, receiver))
    }

    /// Our public key.
    pub fn key(&self) -> PeerKey {
        self.inner.key
    }

    /// Where we listen.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.inner.endpoint.local_addr()
    }

    /// The store that is served and filled.
    pub fn store(&self) -> &Arc<BlobStore> {
        &self.inner.store
    }

    /// Serves a second store too: what is fetched or pushed never goes there.
    pub fn also_serve(&self, store: Arc<BlobStore>) {
        self.inner.also.write().unwrap_or_else(PoisonError::into_inner).push(store);
    }

    /// Tells which blobs are contributions to open slots, and the step after which each slot is due: the
    /// earliest leave first. Other blobs leave before these, for whoever is behind, and pages after.
    pub fn order_uploads(&self, open: BTreeMap<Hash, u64>) {
        self.inner.uplink.order(open);
    }

    /// Bytes sent and received so far, and the buckets of the caps (other planes may charge theirs
    /// to them). Counts every UDP payload byte of all connections, living and dead.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.inner.traffic
    }

    /// Connects to a peer, or does nothing if it is connected: for peers that cannot be dialed
    /// themselves and want to be reachable.
    pub async fn connect(&self, source: &Source) -> Result<(), SourceError> {
        self.inner.connect(source).await.map(|_| ())
    }

    /// The peers that are connected, with the address they are seen at and the round-trip time.
    pub fn connected(&self) -> Vec<(PeerKey, SocketAddr, Duration)> {
        let all = self.inner.peers.connected();
        all.into_iter().map(|(key, c)| (key, c.remote_address(), c.rtt())).collect()
    }

    /// Closes the connections with a peer that were opened before `at`: its process of that time is
    /// gone.
    pub fn forget_before(&self, peer: &PeerKey, at: Instant) {
        self.inner.peers.close_before(peer, at);
    }

    /// Closes all connections in order and waits (at most a second) until the others were told.
    pub async fn close(&self) {
        self.inner.endpoint.close(VarInt::from_u32(CLOSE_DONE), b"");
        let _ = tokio::time::timeout(Duration::from_secs(1), self.inner.endpoint.wait_idle()).await;
    }
}

impl Inner {
    /// The served store that has the blob; the own one if none has.
    pub(super) fn store_with(&self, root: &Hash) -> Arc<BlobStore> {
        let also = self.also.read().unwrap_or_else(PoisonError::into_inner);
        let holder = also.iter().find(|store| store.contains(root) && !self.store.contains(root));
        holder.unwrap_or(&self.store).clone()
    }

    /// A connection to `source`, cached or dialed.
    pub(super) async fn connect(self: &Arc<Self>, source: &Source) -> Result<Connection, SourceError> {
        if source.peer == self.key {
            return Err(SourceError::Unreachable("that is this peer itself".to_owned()));
        }
        let config = || transport::client(&self.pair, &source.peer, transport::transport(self.caps, true));
        peers::connect(&self.peers, &self.endpoint, config, source, |connection| {
            self.adopt(source.peer, connection);
        })
        .await
    }

    fn has_room_for(&self, peer: PeerKey) -> bool {
        match (self.hooks.welcome)(peer) {
            Welcome::No => false,
            Welcome::Stranger => self.peers.connections() < peers::MAX_CONNECTIONS / 2,
            Welcome::Member => true,
        }
    }

    /// Remembers a connection and serves what its peer asks on it, whoever dialed.
    fn adopt(self: &Arc<Self>, peer: PeerKey, connection: Connection) {
        if self.peers.add(&peer, connection.clone()) {
            tokio::spawn(serve::connection(self.clone(), peer, connection));
        } else {
            connection.close(VarInt::from_u32(CLOSE_REFUSED), b"too many connections");
        }
    }
}

async fn accept_all(inner: Arc<Inner>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    while let Some(incoming) = inner.endpoint.accept().await {
        let Ok(permit) = handshakes.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        // Under pressure only those that prove their address are worth a signature.
        if handshakes.available_permits() < HANDSHAKES / 2 && !incoming.remote_address_validated() {
            let _ = incoming.retry();
            continue;
        }
        let inner = inner.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let Ok(connecting) = incoming.accept() else { return };
            let Ok(Ok(connection)) = tokio::time::timeout(HANDSHAKE, connecting).await else { return };
            match transport::remote_key(&connection) {
                Some(peer) if inner.has_room_for(peer) => inner.adopt(peer, connection),
                peer => {
                    tracing::debug!(?peer, address = %connection.remote_address(), "not admitted");
                    connection.close(VarInt::from_u32(CLOSE_REFUSED), b"not admitted");
                }
            }
        });
    }
}
