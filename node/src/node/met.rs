//! Who was met in a session, and where: the file `peers` in its folder.
//!
//! A restart dials them too: the peers that the invitation names may be gone, and whoever founded a
//! session was invited by nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use driftless_protocol::PeerKey;
use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

use super::router::Router;
use crate::driver::Pushers;
use crate::store::SessionFolder;

/// Peers and addresses of each that are kept.
const PEERS: usize = 64;
const ADDRESSES: usize = 8;
/// How often the list is renewed.
const EVERY: Duration = Duration::from_secs(5);
const FILE: &str = "peers";

type Met = BTreeMap<PeerKey, Vec<Multiaddr>>;

/// One peer, as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    key: PeerKey,
    addresses: Vec<Multiaddr>,
}

/// Who was met before. A damaged file is as good as none: it is soon written again.
pub(super) fn read(folder: &SessionFolder) -> Met {
    let Ok(bytes) = std::fs::read(folder.path().join(FILE)) else { return Met::new() };
    let entries: Vec<Entry> = serde_json::from_slice(&bytes).unwrap_or_default();
    entries.into_iter().take(PEERS).map(|entry| (entry.key, entry.addresses)).collect()
}

/// Keeps the list of a running session.
pub(super) struct Keeper {
    pub folder: SessionFolder,
    pub router: Router,
    /// Who is in the session.
    pub members: Arc<Pushers>,
}

impl Keeper {
    /// Renews the list until it is dropped.
    pub async fn run(&self) {
        let mut met = read(&self.folder);
        let mut tick = tokio::time::interval(EVERY);
        loop {
            tick.tick().await;
            self.renew(&mut met).await;
        }
    }

    /// Renews it for the last time.
    pub async fn finish(&self) {
        self.renew(&mut read(&self.folder)).await;
    }

    async fn renew(&self, met: &mut Met) {
        let mut now = met.clone();
        for (peer, mut addresses) in self.router.addresses() {
            if addresses.is_empty() || !self.members.knows(&peer) {
                continue;
            }
            if now.len() >= PEERS && !now.contains_key(&peer) {
                now.retain(|key, _| self.members.knows(key));
            }
            if now.len() < PEERS || now.contains_key(&peer) {
                addresses.truncate(ADDRESSES);
                now.insert(peer, addresses);
            }
        }
        if now == *met {
            return;
        }
        let entries: Vec<Entry> =
            now.iter().map(|(key, addresses)| Entry { key: *key, addresses: addresses.clone() }).collect();
        let (folder, bytes) = (self.folder.clone(), serde_json::to_vec(&entries).unwrap_or_default());
        let written = tokio::task::spawn_blocking(move || folder.put(FILE, &bytes)).await;
        match written {
            Ok(Err(error)) => tracing::warn!(%error, "where the others are is not remembered yet"),
            _ => *met = now,
        }
    }
}
