//! A session whose peers all vote, made with the product's own code: keys, manifest, folders.
//!
//! Every folder keeps an invitation that names all other peers, as if it had been joined with it:
//! `driftless run` dials those.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftless::blobs::BlobStore;
use driftless::control::peer_of;
use driftless::store::{Folder, Options as StoreOptions, SessionStore};
use driftless::terms::{self, Founding, Terms};
use driftless_protocol::Hash;
use driftless_protocol::charter::Charter;
use driftless_protocol::committee::{Committee, QuorumRule};
use driftless_protocol::identity::Signer;
use driftless_protocol::invitation::{Invitation, Ticket};
use driftless_protocol::manifest::{Admission, DeadlineBounds, Manifest, Pacing, Preset};
use driftless_protocol::method::Combine;

use super::failure::Failure;
use super::random::Random;

/// The session that is wanted. It has no end.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What keys and samples are drawn from.
    pub seed: u64,
    /// Its name.
    pub name: String,
    /// Model, method, training.
    pub preset: Preset,
    /// The text to train on.
    pub text: PathBuf,
    /// Bounds of slot deadlines.
    pub deadline: DeadlineBounds,
    /// Control planes dial over TCP.
    pub tcp: bool,
}

/// A session that was founded.
pub struct Session {
    /// Its constitution.
    pub charter: Arc<Charter>,
    /// The peers' folders.
    pub folders: Vec<Folder>,
}

/// Founds a session in `dir`, whose peers listen at `homes`.
pub fn found(wanted: &Wanted, dir: &Path, homes: &[SocketAddr]) -> Result<Session, Failure> {
    let folders: Vec<Folder> = (0..homes.len())
        .map(|peer| Folder::create(dir.join(format!("peer-{peer}"))).map_err(Failure::setup))
        .collect::<Result<_, _>>()?;
    let signers: Vec<Signer> = folders
        .iter()
        .enumerate()
        .map(|(peer, folder)| identity(wanted.seed, peer, folder))
        .collect::<Result<_, _>>()?;
    let founding = manifest(wanted, &signers)?;
    let manifest = &founding.manifest;
    let charter = Charter::new(manifest.manifest().clone()).map_err(Failure::setup)?;
    for (peer, folder) in folders.iter().enumerate() {
        let session = folder.session(charter.session);
        let blobs = BlobStore::open(session.blobs()).map_err(Failure::setup)?;
        for path in &founding.files.data {
            blobs.insert_file(path).map_err(Failure::setup)?;
        }
        drop(blobs);
        let store = SessionStore::create(folder, manifest, &charter, StoreOptions::default());
        store.and_then(SessionStore::close).map_err(Failure::setup)?;
        let invitation = invitation(wanted, &charter, &signers, homes, peer)?;
        session.put("invitation", invitation.as_bytes()).map_err(Failure::setup)?;
    }
    Ok(Session { charter: Arc::new(charter), folders })
}

/// The peer's key, from the seed.
fn identity(seed: u64, peer: usize, folder: &Folder) -> Result<Signer, Failure> {
    let path = folder.path().join("identity");
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(&Random::key(seed, &format!("identity {peer}"))))
        .map_err(Failure::system(path.display().to_string()))?;
    folder.identity_or_new().map_err(Failure::setup)
}

/// The manifest; its seed is drawn like everything else.
pub fn manifest(wanted: &Wanted, signers: &[Signer]) -> Result<Founding, Failure> {
    let founder = signers.first().ok_or_else(|| Failure::setup("a session has peers"))?;
    let mut keys: Vec<_> = signers.iter().map(Signer::key).collect();
    keys.sort_unstable();
    let terms = Terms {
        pacing: Pacing::Uniform,
        name: wanted.name.clone(),
        preset: wanted.preset.clone(),
        data: vec![wanted.text.clone()],
        tokenizer: None,
        parameters: None,
        committee: Committee::Named { keys, quorum: QuorumRule::TwoThirds },
        admission: Admission::Invitation { issuer: founder.key() },
        combine: Combine::Mean,
        stop_at: None,
        deadline: wanted.deadline,
    };
    let drawn = terms::found(&terms, founder).map_err(Failure::setup)?;
    let manifest =
        Manifest { seed: Random::key(wanted.seed, "manifest"), ..drawn.manifest.manifest().clone() };
    terms::complete(manifest, None, drawn.files, founder).map_err(Failure::setup)
}

/// What `peer` joined with, so to say.
fn invitation(
    wanted: &Wanted,
    charter: &Charter,
    signers: &[Signer],
    homes: &[SocketAddr],
    peer: usize,
) -> Result<String, Failure> {
    let session: Hash = charter.session;
    let founder = signers.first().ok_or_else(|| Failure::setup("a session has peers"))?;
    // Of many peers not all fit: each names those after it, so that of any two one knows the other.
    let turn = signers.iter().zip(homes).enumerate().cycle().skip(peer + 1);
    let others = turn.take(signers.len() - 1);
    let address = |(_, (signer, home)): (usize, (&Signer, &SocketAddr))| {
        let id = peer_of(&signer.key()).ok_or_else(|| Failure::setup("a key is none"))?;
        let (ip, port) = (home.ip(), home.port());
        Ok(match wanted.tcp {
            true => format!("/ip4/{ip}/tcp/{port}/p2p/{id}"),
            false => format!("/ip4/{ip}/udp/{port}/quic-v1/p2p/{id}"),
        })
    };
    let addresses = others.map(address).collect::<Result<_, Failure>>()?;
    let ticket = Some(Ticket::issue(founder, session, 0));
    let seats = charter.founding_seats();
    let invitation = Invitation { session, height: 0, block: session, seats, addresses, ticket };
    invitation.shortened().to_text().map_err(Failure::setup)
}
