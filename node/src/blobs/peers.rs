//! Who is connected, and how to reach who is not.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use driftless_protocol::PeerKey;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use quinn::{Connection, ConnectionError, VarInt};

use super::wire::{CLOSE_DONE, CLOSE_REFUSED};

/// Connections to one peer at most: two, when both dial at once, and as many dying ones.
const MAX_PER_PEER: usize = 4;
/// Connections in total.
pub(crate) const MAX_CONNECTIONS: usize = 512;
/// Addresses of one peer that are tried.
const MAX_ADDRESSES: usize = 8;
/// The next address is tried after this long without an answer from the earlier ones.
const STAGGER: Duration = Duration::from_millis(250);
/// A dial ends after this long.
const DIAL: Duration = Duration::from_secs(10);
/// Pushes that one peer may have in flight towards us.
const MAX_PUSHES_PER_PEER: usize = 4;

/// A peer that may have a blob, and where it may be dialed. No addresses are needed for one that is
/// connected already.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// Its key: the connection is refused if somebody else answers.
    pub peer: PeerKey,
    /// Where to dial it; the first eight are tried, in this order.
    pub addresses: Vec<SocketAddr>,
}

/// Why one peer did not deliver (or, for a push, did not take) a blob.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SourceError {
    /// No address answered.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// Somebody answered who does not hold the expected key.
    #[error("somebody else answers at its address")]
    WrongPeer,
    /// It does not admit us.
    #[error("it refuses us")]
    Refused,
    /// It does not have the blob.
    #[error("it does not have the blob")]
    NotFound,
    /// It has a blob of that root with another length: the expected length is wrong.
    #[error("it knows another length for this blob")]
    WrongLength,
    /// It serves too many others now.
    #[error("it is busy")]
    Busy,
    /// It sent bytes that do not belong to the blob. This is proof: it lies or its disk is damaged.
    #[error("it sent a wrong byte in group {group}")]
    WrongByte {
        /// The 16 KiB group that failed the check.
        group: u64,
    },
    /// The stream ended before the blob did.
    #[error("it stopped in the middle")]
    Truncated,
    /// Nothing arrived for too long.
    #[error("nothing arrived for {0:?}")]
    Stalled(Duration),
    /// Its own disk failed.
    #[error("its disk failed")]
    Failed,
    /// It does not speak this protocol properly.
    #[error("it broke the protocol")]
    Malformed,
    /// The connection was lost.
    #[error("connection lost: {0}")]
    Lost(String),
}

impl From<ConnectionError> for SourceError {
    fn from(error: ConnectionError) -> SourceError {
        match error {
            ConnectionError::ApplicationClosed(close)
                if close.error_code == VarInt::from_u32(CLOSE_REFUSED) =>
            {
                SourceError::Refused
            }
            other => SourceError::Lost(other.to_string()),
        }
    }
}

/// One peer: its connections, newest last, and the lock under which it is dialed.
#[derive(Default)]
pub(crate) struct Peer {
    dialing: tokio::sync::Mutex<()>,
    connections: Mutex<Vec<(Instant, Connection)>>,
    pushes: AtomicUsize,
}

impl Peer {
    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, Connection)>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest connection that is not known to be dead.
    fn live(&self) -> Option<Connection> {
        let connections = self.lock();
        let mut newest = connections.iter().rev().map(|(_, connection)| connection);
        newest.find(|connection| connection.close_reason().is_none()).cloned()
    }

    /// A place for one more push from this peer, if it has not too many.
    pub(crate) fn push_slot(self: &Arc<Self>) -> Option<PushSlot> {
        let taken = self.pushes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < MAX_PUSHES_PER_PEER).then_some(count + 1)
        });
        taken.ok().map(|_| PushSlot(self.clone()))
    }
}

/// Counts one push until it is dropped.
pub(crate) struct PushSlot(Arc<Peer>);

impl Drop for PushSlot {
    fn drop(&mut self) {
        self.0.pushes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All peers with a connection, or being dialed.
#[derive(Default)]
pub(crate) struct Peers {
    map: Mutex<HashMap<PeerKey, Arc<Peer>>>,
}

impl Peers {
    fn lock(&self) -> MutexGuard<'_, HashMap<PeerKey, Arc<Peer>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, peer: &PeerKey) -> Arc<Peer> {
        self.lock().entry(*peer).or_default().clone()
    }

    /// The peers that are connected now, by key.
    pub(crate) fn connected(&self) -> Vec<(PeerKey, Connection)> {
        let mut all: Vec<_> =
            self.lock().iter().filter_map(|(key, peer)| Some((*key, peer.live()?))).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }

    pub(crate) fn live(&self, peer: &PeerKey) -> Option<Connection> {
        self.lock().get(peer)?.live()
    }

    /// Connections to all peers together.
    pub(crate) fn connections(&self) -> usize {
        self.lock().values().map(|peer| peer.lock().len()).sum()
    }

    /// Remembers a connection; too many to one peer cost the oldest. False if there are too many
    /// in total.
    pub(crate) fn add(&self, peer: &PeerKey, connection: Connection) -> bool {
        if self.connections() >= MAX_CONNECTIONS {
            return false;
        }
        let peer = self.get(peer);
        let mut connections = peer.lock();
        if connections.len() >= MAX_PER_PEER {
            connections.remove(0).1.close(VarInt::from_u32(CLOSE_DONE), b"replaced");
        }
        connections.push((Instant::now(), connection));
        true
    }

    /// Closes a peer's connections that are older than `at`.
    pub(crate) fn close_before(&self, peer: &PeerKey, at: Instant) {
        let Some(peer) = self.lock().get(peer).cloned() else { return };
        for (_, connection) in peer.lock().iter().filter(|(opened, _)| *opened < at) {
            connection.close(VarInt::from_u32(CLOSE_DONE), b"restarted");
        }
    }

    /// Forgets a connection, and the peer with its last one.
    pub(crate) fn remove(&self, peer: &PeerKey, connection: &Connection) {
        let mut map = self.lock();
        let Some(entry) = map.get(peer) else { return };
        entry.lock().retain(|(_, known)| known.stable_id() != connection.stable_id());
        // The map's reference only: nobody is dialing or pushing.
        if entry.lock().is_empty() && Arc::strong_count(entry) == 1 {
            map.remove(peer);
        }
    }

    /// Forgets a peer that could not be dialed.
    fn forget(&self, key: &PeerKey, peer: Arc<Peer>) {
        let mut map = self.lock();
        if peer.lock().is_empty() && Arc::strong_count(&peer) == 2 {
            map.remove(key);
        }
    }
}

/// The connection to `source`, and whether it was dialed just now (then it must be adopted).
pub(crate) async fn connect(
    peers: &Peers,
    endpoint: &quinn::Endpoint,
    config: impl FnOnce() -> Result<quinn::ClientConfig, super::IdentityError>,
    source: &Source,
    adopt: impl FnOnce(Connection),
) -> Result<Connection, SourceError> {
    if let Some(connection) = peers.live(&source.peer) {
        return Ok(connection);
    }
    let peer = peers.get(&source.peer);
    let dialed = async {
        let _dialing = peer.dialing.lock().await;
        if let Some(connection) = peer.live() {
            return Ok(connection);
        }
        let config = config().map_err(|error| SourceError::Unreachable(error.to_string()))?;
        let connection = dial(endpoint, config, source).await?;
        adopt(connection.clone());
        Ok(connection)
    }
    .await;
    peers.forget(&source.peer, peer);
    dialed
}

/// Dials the addresses one after the other, each without waiting long for the ones before.
async fn dial(
    endpoint: &quinn::Endpoint,
    config: quinn::ClientConfig,
    source: &Source,
) -> Result<Connection, SourceError> {
    let mut attempts: FuturesUnordered<_> = source
        .addresses
        .iter()
        .take(MAX_ADDRESSES)
        .enumerate()
        .map(|(index, address)| {
            let config = config.clone();
            async move {
                tokio::time::sleep(STAGGER * index as u32).await;
                // The name is not looked at: the key is what is checked.
                let connecting = endpoint
                    .connect_with(config, *address, "l")
                    .map_err(|error| SourceError::Unreachable(format!("{address}: {error}")))?;
                connecting.await.map_err(|error| dial_error(*address, error))
            }
        })
        .collect();
    let mut failure = SourceError::Unreachable("no address is known".to_owned());
    let all = async {
        while let Some(result) = attempts.next().await {
            match result {
                Ok(connection) => return Some(connection),
                Err(error) => {
                    // That somebody else answers says more than silence elsewhere.
                    if failure != SourceError::WrongPeer {
                        failure = error;
                    }
                }
            }
        }
        None
    };
    match tokio::time::timeout(DIAL, all).await {
        Ok(Some(connection)) if super::transport::remote_key(&connection) == Some(source.peer) => {
            Ok(connection)
        }
        Ok(Some(connection)) => {
            connection.close(VarInt::from_u32(CLOSE_REFUSED), b"");
            Err(SourceError::WrongPeer)
        }
        Ok(None) => Err(failure),
        Err(_) => Err(SourceError::Unreachable(format!("no answer in {} s", DIAL.as_secs()))),
    }
}

fn dial_error(address: SocketAddr, error: ConnectionError) -> SourceError {
    // TLS alerts live at 0x100 and above; ours is a certificate with another key.
    const CRYPTO: std::ops::Range<u64> = 0x100..0x200;
    match &error {
        ConnectionError::TransportError(cause) if CRYPTO.contains(&u64::from(cause.code)) => {
            SourceError::WrongPeer
        }
        ConnectionError::ApplicationClosed(_) => SourceError::from(error),
        _ => SourceError::Unreachable(format!("{address}: {error}")),
    }
}
