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
use driftless::terms::{self, Founding, Overrides, Terms};
use driftless_protocol::Hash;
use driftless_protocol::charter::Charter;
use driftless_protocol::committee::{Committee, QuorumRule};
use driftless_protocol::identity::Signer;
use driftless_protocol::invitation::{Invitation, Ticket};
use driftless_protocol::manifest::{Admission, DeadlineBounds, Manifest, Pacing};
use driftless_protocol::method::Combine;
use driftless_protocol::time::Span;

use crate::args::Arguments;
use crate::failure::Failure;
use crate::random::Random;

/// So much of the demo's text is enough for some epochs and a quick evaluation.
const TEXT: usize = 40_000;

/// A session that was founded.
pub struct Session {
    /// Its constitution.
    pub charter: Arc<Charter>,
    /// The peers' folders.
    pub folders: Vec<Folder>,
}

/// Founds the session of `args` in `dir`, whose peers listen at `homes`.
pub fn found(args: &Arguments, dir: &Path, homes: &[SocketAddr]) -> Result<Session, Failure> {
    let text = text(args, dir)?;
    let folders: Vec<Folder> = (0..homes.len())
        .map(|peer| Folder::create(dir.join(format!("peer-{peer}"))).map_err(Failure::setup))
        .collect::<Result<_, _>>()?;
    let signers: Vec<Signer> = folders
        .iter()
        .enumerate()
        .map(|(peer, folder)| identity(args.seed, peer, folder))
        .collect::<Result<_, _>>()?;
    let founding = manifest(args, &signers, text)?;
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
        let invitation = invitation(args, &charter, &signers, homes, peer)?;
        session.put("invitation", invitation.as_bytes()).map_err(Failure::setup)?;
    }
    Ok(Session { charter: Arc::new(charter), folders })
}

/// The text to train on.
fn text(args: &Arguments, dir: &Path) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.data {
        return Ok(path.clone());
    }
    let path = dir.join("text.txt");
    std::fs::write(&path, &driftless_compute::TINY_SHAKESPEARE[..TEXT])
        .map_err(Failure::system(path.display().to_string()))?;
    Ok(path)
}

/// The peer's key, from the seed.
fn identity(seed: u64, peer: usize, folder: &Folder) -> Result<Signer, Failure> {
    let path = folder.path().join("identity");
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(&Random::key(seed, &format!("identity {peer}"))))
        .map_err(Failure::system(path.display().to_string()))?;
    folder.identity_or_new().map_err(Failure::setup)
}

/// The demo's terms without an end; its seed is drawn like everything else.
fn manifest(args: &Arguments, signers: &[Signer], text: PathBuf) -> Result<Founding, Failure> {
    let founder = signers.first().ok_or_else(|| Failure::setup("a session has peers"))?;
    let mut keys: Vec<_> = signers.iter().map(Signer::key).collect();
    keys.sort_unstable();
    let preset = Manifest::preset("gpt:tiny").map_err(Failure::setup)?;
    let overrides = Overrides {
        method: args.method,
        period: Some(args.period),
        batch: args.batch,
        strict: true,
        budget_tokens: args.budget.or((args.tokens > 0).then_some(args.tokens)),
        ..Overrides::default()
    };
    let terms = Terms {
        pacing: Pacing::Uniform,
        name: "torture".into(),
        preset: overrides.apply(preset),
        data: vec![text],
        tokenizer: None,
        parameters: None,
        committee: Committee::Named { keys, quorum: QuorumRule::TwoThirds },
        admission: Admission::Invitation { issuer: founder.key() },
        combine: Combine::Mean,
        stop_at: None,
        deadline: DeadlineBounds { minimum: Span::seconds(1), maximum: Span::seconds(15) },
    };
    let drawn = terms::found(&terms, founder).map_err(Failure::setup)?;
    let manifest = Manifest { seed: Random::key(args.seed, "manifest"), ..drawn.manifest.manifest().clone() };
    terms::complete(manifest, None, drawn.files, founder).map_err(Failure::setup)
}

/// What `peer` joined with, so to say.
fn invitation(
    args: &Arguments,
    charter: &Charter,
    signers: &[Signer],
    homes: &[SocketAddr],
    peer: usize,
) -> Result<String, Failure> {
    let session: Hash = charter.session;
    let founder = signers.first().ok_or_else(|| Failure::setup("a session has peers"))?;
    let others = signers.iter().zip(homes).enumerate().filter(|(index, _)| *index != peer);
    let address = |(_, (signer, home)): (usize, (&Signer, &SocketAddr))| {
        let id = peer_of(&signer.key()).ok_or_else(|| Failure::setup("a key is none"))?;
        let (ip, port) = (home.ip(), home.port());
        Ok(match args.tcp {
            true => format!("/ip4/{ip}/tcp/{port}/p2p/{id}"),
            false => format!("/ip4/{ip}/udp/{port}/quic-v1/p2p/{id}"),
        })
    };
    let addresses = others.map(address).collect::<Result<_, Failure>>()?;
    let ticket = Some(Ticket::issue(founder, session, 0));
    let seats = charter.founding_seats();
    let invitation = Invitation { session, height: 0, block: session, seats, addresses, ticket };
    invitation.to_text().map_err(Failure::setup)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A small session's constitution.
    pub fn charter() -> Charter {
        let folder = tempfile::tempdir().unwrap();
        let args: Arguments = clap::Parser::parse_from(["t", "--seed", "3"]);
        let text = text(&args, folder.path()).unwrap();
        let signers: Vec<Signer> = (0..4).map(|seed| Signer::from_seed([seed; 32])).collect();
        let founding = manifest(&args, &signers, text).unwrap();
        Charter::new(founding.manifest.manifest().clone()).unwrap()
    }

    #[test]
    fn a_seed_is_a_session() {
        let (one, again) = (charter(), charter());
        assert_eq!(one.session, again.session);
        assert_eq!(one.genesis_state().digest(), one.manifest.genesis);
        assert_eq!((one.founding_seats().len(), one.quorum(4)), (4, 3));
    }
}
