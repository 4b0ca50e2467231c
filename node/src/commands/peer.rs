//! A peer of `demo`: a node that another process started, and that does not outlive it.
//!
//! It writes where it listens to `DIR/addresses` and says so; then its standard input names the
//! others, and the session begins. The end of standard input is the order to stop.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use driftless_protocol::invitation::Invitation;
use driftless_protocol::manifest::{Manifest, SignedManifest};
use libp2p::Multiaddr;
use tokio::sync::{mpsc, oneshot};

use super::CommandError;
use super::foreground::Foreground;
use super::new::session_options;
use crate::args::PeerArguments;
use crate::config;
use crate::demo::{Addresses, Order};
use crate::node::{FoundingFiles, Node, SessionOptions};
use crate::output::Output;
use crate::store::{SessionFolder, StoreError};

/// How long an orderly stop may take once whoever started this process is gone.
const GRACE: Duration = Duration::from_secs(10);

/// Runs until the session ends, or standard input does.
pub(super) async fn run(options: &PeerArguments, dir: PathBuf, output: Output) -> Result<(), CommandError> {
    let (mut orders, gone) = listen();
    let config = config::loopback(dir, options.threads);
    let invitation =
        Invitation::from_text(&super::join::read_invitation(&options.invitation.to_string_lossy())?)?;
    let manifest = read_manifest(&options.manifest)?;
    let mut foreground = Foreground::start(&config, output).await?;
    let session = manifest.id();
    let folder = foreground.node().folder().session(session);
    if !folder.exists() {
        found(foreground.node().clone(), manifest, options.data.clone(), folder).await?;
    }
    write_addresses(foreground.node())?;
    foreground.say_started();
    let Some(Order { peers }) = orders.recv().await else { return Ok(()) };
    let me = foreground.node().key();
    let others = peers.into_iter().filter(|peer| peer.key != me);
    let peers = others.flat_map(|peer| {
        let addresses = peer.addresses.into_iter().filter_map(|text| text.parse::<Multiaddr>().ok());
        addresses.map(move |address| (Some(peer.key), address)).collect::<Vec<_>>()
    });
    let session_options = SessionOptions {
        peers: peers.collect(),
        ticket: invitation.ticket,
        keep_history: options.keep_history,
        checkpoint_every: options.checkpoint_every,
        ..session_options(&config)
    };
    foreground.open(session, session_options).await?;
    foreground
        .run(async move {
            // An error is the thread's end: standard input ended as well.
            let _ = gone.await;
        })
        .await
}

/// Reads orders on a thread of its own; the second half tells that standard input ended.
fn listen() -> (mpsc::Receiver<Order>, oneshot::Receiver<()>) {
    let (orders, receiver) = mpsc::channel(4);
    let (gone, ended) = oneshot::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(order) => {
                    // Later orders (addresses of peers that came back) are not needed: those dial us.
                    let _ = orders.try_send(order);
                }
                Err(error) => tracing::warn!(%error, "an order was not understood"),
            }
        }
        drop(orders);
        let _ = gone.send(());
        // Whoever started this process is gone: it must not stay behind.
        std::thread::sleep(GRACE);
        std::process::exit(1);
    });
    (receiver, ended)
}

fn read_manifest(path: &Path) -> Result<SignedManifest, CommandError> {
    let failed = |source| CommandError::File { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > Manifest::MAX_BYTES as u64 {
        return Err(CommandError::Failed(format!("{}: too long for a manifest", path.display())));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let wrong = |source| StoreError::Manifest { file: path.to_owned(), source };
    Ok(SignedManifest::from_bytes(&bytes).map_err(wrong)?)
}

async fn found(
    node: Node,
    manifest: SignedManifest,
    data: Vec<PathBuf>,
    folder: SessionFolder,
) -> Result<(), CommandError> {
    let made = tokio::task::spawn_blocking(move || {
        node.found(&manifest, &FoundingFiles { data, ..FoundingFiles::default() })
    });
    made.await.map_err(|error| CommandError::Failed(format!("{}: {error}", folder.path().display())))??;
    Ok(())
}

/// Where this peer listens, for whoever looks into its folder.
fn write_addresses(node: &Node) -> Result<(), CommandError> {
    let addresses = node.listen_addresses().iter().map(ToString::to_string).collect();
    let path = node.folder().path().join("addresses");
    let failed = |source| CommandError::File { path: path.clone(), source };
    let text = serde_json::to_string(&Addresses { key: node.key(), addresses });
    let text = text.map_err(|error| CommandError::Failed(error.to_string()))?;
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        std::fs::rename(&temporary, &path)
    };
    write().map_err(failed)
}
