//! Joining: from an invitation to a session's folder.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use driftless_protocol::block::Height;
use driftless_protocol::charter::Charter;
use driftless_protocol::committee::Committee;
use driftless_protocol::invitation::Invitation;
use driftless_protocol::manifest::{Data, SignedManifest};
use driftless_protocol::wire::Message;
use driftless_protocol::{Hash, PeerKey};
use libp2p::Multiaddr;

use super::{FoundingFiles, Node, NodeError};
use crate::bandwidth::Caps;
use crate::blobs::{BlobStore, DataPlane, Hooks, Source, Welcome};
use crate::driver;
use crate::engine::check_size;

/// How long an invitation's addresses may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Peers that the session's files are fetched from at most.
const SOURCES: usize = 8;

/// What joining is doing, for whoever waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinProgress {
    /// The manifest is here and checked.
    Manifest {
        /// The session's name.
        name: String,
        /// The session and height that it was founded on.
        parent: Option<(Hash, Height)>,
    },
    /// A file is being fetched.
    Fetching {
        /// Its name.
        name: String,
        /// Its length in bytes.
        length: u64,
    },
}

impl Node {
    /// Fetches the manifest and the files of the invitation's session (or takes `data`, whose
    /// hashes must match) and makes its folder.
    pub async fn join(
        &self,
        invitation: &Invitation,
        data: Vec<PathBuf>,
        caps: Caps,
        progress: &mut (dyn FnMut(JoinProgress) + Send),
    ) -> Result<Hash, NodeError> {
        let session = invitation.session;
        if self.inner.folder.session(session).exists() {
            return Ok(session);
        }
        let (manifest, peer) = self.fetch_manifest(invitation).await?;
        let charter = Charter::new(manifest.manifest().clone())?;
        let mut seats = invitation.seats.clone();
        seats.sort_unstable();
        let mut founding = charter.founding_seats();
        founding.sort_unstable();
        // Who was elected since is compared with the chain.
        let grows = matches!(charter.manifest.committee, Committee::Elected { .. }) && invitation.height > 0;
        if seats != founding && !grows {
            return Err(NodeError::Committee);
        }
        check_size(&charter.manifest)?;
        let parent = charter.manifest.origin.parent().map(|parent| (parent.session, parent.height));
        progress(JoinProgress::Manifest { name: charter.manifest.name.clone(), parent });
        let files = self.fetch_files(&charter, peer, data, caps, progress).await?;
        let this = self.clone();
        let made = tokio::task::spawn_blocking(move || this.found(&manifest, &files)).await;
        made.map_err(|error| NodeError::Crashed(error.to_string()))?
    }

    async fn fetch_manifest(&self, invitation: &Invitation) -> Result<(SignedManifest, PeerKey), NodeError> {
        for address in &invitation.addresses {
            if let Ok(address) = address.parse::<Multiaddr>() {
                self.dial(&[(None, address)]);
            }
        }
        let mut asked: BTreeMap<PeerKey, String> = BTreeMap::new();
        let mut connected = self.inner.router.connected();
        let deadline = tokio::time::Instant::now() + ANSWER;
        loop {
            let peers: Vec<PeerKey> = connected.borrow_and_update().keys().copied().collect();
            for peer in peers {
                if asked.contains_key(&peer) {
                    continue;
                }
                match self.ask_manifest(invitation.session, peer).await {
                    Ok(manifest) => return Ok((manifest, peer)),
                    Err(reason) => {
                        asked.insert(peer, reason);
                    }
                }
            }
            if tokio::time::timeout_at(deadline, connected.changed()).await.is_err() {
                return Err(match asked.is_empty() {
                    true => NodeError::Unreachable(self.inner.router.failures().join("\n")),
                    false => NodeError::Fetch {
                        what: "the manifest".into(),
                        reason: asked.into_values().collect::<Vec<_>>().join("; "),
                    },
                });
            }
        }
    }

    async fn ask_manifest(&self, session: Hash, peer: PeerKey) -> Result<SignedManifest, String> {
        let question = Message::GetManifest.to_bytes();
        let reply = self.inner.control.request(session, peer, question).await.map_err(|e| e.to_string())?;
        match Message::from_reply_bytes(&reply).map_err(|error| error.to_string())? {
            Message::Manifest(bytes) => {
                SignedManifest::open(&bytes, session).map_err(|error| error.to_string())
            }
            _ => Err("it answered something else".into()),
        }
    }

    /// Files by their roots from the session's peers, or from the user's own copies.
    async fn fetch_files(
        &self,
        charter: &Charter,
        peer: PeerKey,
        data: Vec<PathBuf>,
        caps: Caps,
        progress: &mut (dyn FnMut(JoinProgress) + Send),
    ) -> Result<FoundingFiles, NodeError> {
        let mut wanted: Vec<(String, Hash, u64)> = Vec::new();
        if let (Data::Public { files, .. }, true) = (&charter.manifest.data, data.is_empty()) {
            wanted.extend(files.iter().map(|file| (file.name.clone(), file.root, file.length)));
        }
        if let Some(file) = &charter.manifest.tokenizer {
            wanted.push((file.name.clone(), file.root, file.length));
        }
        let pages = charter.origin_pages().map(|(root, values)| (root, values as u64 * 4));
        wanted.extend(pages.map(|(root, length)| (format!("page {}", root.short()), root, length)));
        let folder = self.inner.folder.session(charter.session);
        let store = Arc::new(BlobStore::open(folder.blobs())?);
        if !wanted.is_empty() {
            self.fetch_blobs(charter.session, peer, store.clone(), caps, wanted, progress).await?;
        }
        let own = |files: &[driftless_protocol::manifest::DataFile]| {
            files.iter().map(|file| store.path(&file.root)).collect()
        };
        let data = match &charter.manifest.data {
            Data::Public { files, .. } if data.is_empty() => own(files),
            _ => data,
        };
        let tokenizer = charter.manifest.tokenizer.as_ref().map(|file| store.path(&file.root));
        Ok(FoundingFiles { data, tokenizer, pages: Vec::new() })
    }

    async fn fetch_blobs(
        &self,
        session: Hash,
        peer: PeerKey,
        store: Arc<BlobStore>,
        caps: Caps,
        wanted: Vec<(String, Hash, u64)>,
        progress: &mut (dyn FnMut(JoinProgress) + Send),
    ) -> Result<(), NodeError> {
        let sources = self.sources(session, peer).await?;
        let hooks = Hooks { welcome: Arc::new(|_| Welcome::No), accept: Arc::new(|_, _, _| false) };
        let any = SocketAddr::new(self.inner.data_listen.ip(), 0);
        let (plane, _events) = DataPlane::bind(any, self.inner.seed, store, caps, hooks)?;
        for (name, root, length) in wanted {
            progress(JoinProgress::Fetching { name: name.clone(), length });
            let fetched = plane.fetch(root, length, sources.clone()).await;
            fetched.map_err(|error| NodeError::Fetch { what: name, reason: error.to_string() })?;
        }
        plane.close().await;
        Ok(())
    }

    /// Everybody connected who is in the session, the one that had the manifest first.
    async fn sources(&self, session: Hash, first: PeerKey) -> Result<Vec<Source>, NodeError> {
        let others: Vec<PeerKey> = self.inner.router.connected().borrow().keys().copied().collect();
        let others = others.into_iter().filter(|peer| *peer != first);
        let asked = std::iter::once(first).chain(others).take(SOURCES);
        let answers = futures::future::join_all(asked.map(|peer| self.source(session, peer))).await;
        let (sources, errors): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        match (sources.is_empty(), errors.into_iter().find_map(Result::err)) {
            (true, Some(reason)) => Err(NodeError::Fetch { what: "the data".into(), reason }),
            _ => Ok(sources.into_iter().flatten().collect()),
        }
    }

    /// Where a peer's data plane listens: it says so when it is greeted.
    async fn source(&self, session: Hash, peer: PeerKey) -> Result<Source, String> {
        let question = Message::Hello { data: Vec::new(), known: false }.to_bytes();
        let reply = self.inner.control.request(session, peer, question).await;
        let reply = reply.map_err(|error| error.to_string())?;
        let Ok(Message::Hello { data, .. }) = Message::from_reply_bytes(&reply) else {
            return Err("the peer does not say where its data plane listens".into());
        };
        let told: Vec<SocketAddr> = data.iter().filter_map(|text| text.parse().ok()).collect();
        let seen = self.inner.router.connected().borrow().get(&peer).and_then(|seen| seen.address);
        Ok(driver::source(peer, seen, &told))
    }
}
