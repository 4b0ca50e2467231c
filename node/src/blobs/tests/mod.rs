//! The data plane over loopback: real sockets, real files, no sleeps.

mod disk;
mod fetch;
mod hostile;
mod liar;
mod push;
mod traffic;
mod tree;
mod uplink;

use std::net::SocketAddr;
use std::sync::Arc;

use driftless_protocol::{Hash, PeerKey};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{BlobEvent, BlobStore, DataPlane, Hooks, Source, Welcome};
use crate::bandwidth::Caps;

const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// One peer with its own folder and port.
struct Peer {
    plane: DataPlane,
    events: mpsc::Receiver<BlobEvent>,
    store: Arc<BlobStore>,
    _folder: TempDir,
}

impl Peer {
    /// Admits everybody and takes every blob.
    fn new(seed: u8) -> Peer {
        Peer::with(seed, open_hooks())
    }

    fn with(seed: u8, hooks: Hooks) -> Peer {
        Peer::capped(seed, hooks, Caps::default())
    }

    fn capped(seed: u8, hooks: Hooks, caps: Caps) -> Peer {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(BlobStore::open(folder.path()).unwrap());
        let (plane, events) =
            DataPlane::bind(LOOPBACK.into(), [seed; 32], store.clone(), caps, hooks).unwrap();
        Peer { plane, events, store, _folder: folder }
    }

    fn source(&self) -> Source {
        Source { peer: self.plane.key(), addresses: vec![self.plane.local_addr().unwrap()] }
    }
}

fn open_hooks() -> Hooks {
    Hooks {
        welcome: Arc::new(|_: PeerKey| Welcome::Member),
        accept: Arc::new(|_: PeerKey, _: Hash, _: u64| true),
    }
}

/// Bytes without a pattern that a tree could hide.
fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut bytes);
    bytes
}

/// An address where nobody listens.
fn dead_address() -> SocketAddr {
    let socket = std::net::UdpSocket::bind(SocketAddr::from(LOOPBACK)).unwrap();
    socket.local_addr().unwrap()
}
