//! Four nodes in one process, over real sockets and disks.

use std::path::PathBuf;

use driftless_protocol::Hash;
use driftless_protocol::PeerKey;
use driftless_protocol::charter::Charter;
use driftless_protocol::committee::{Committee, QuorumRule};
use driftless_protocol::event::{Ending, Event};
use driftless_protocol::identity::Signer;
use driftless_protocol::manifest::{Data, DataFile, DeadlineBounds, Manifest, SignedManifest, Training};
use driftless_protocol::method::Method;
use driftless_protocol::model::{GptShape, Model};
use driftless_protocol::time::Span;
use libp2p::Multiaddr;

use super::{FoundingFiles, Listen, Node, NodeOptions, SessionHandle, SessionOptions};
use crate::bandwidth::Caps;
use crate::store::Folder;

const TEXT: &[u8] = driftless_compute::TINY_SHAKESPEARE;

fn manifest(keys: Vec<PeerKey>, stop_at: u64) -> Manifest {
    let corpus = driftless_compute::Corpus::embedded(TEXT, 32, [7; 32]).unwrap();
    let file = DataFile { name: "text".into(), length: TEXT.len() as u64, root: Hash::of(TEXT) };
    let data = Data::Public { files: vec![file], samples_per_epoch: corpus.samples() };
    let mut preset = Manifest::preset("gpt:tiny").unwrap();
    preset.model = Model::Gpt(GptShape { layers: 2, heads: 2, width: 32, context: 32, vocabulary: 256 });
    let Method::StreamingDiLoCo(method) = &mut preset.method else { unreachable!() };
    (method.fragments, method.period) = (2, 4);
    preset.training =
        Training { batch: 4, learning_rate: 3e-3, warmup: 0.05, budget_tokens: stop_at, ..preset.training };
    let mut manifest = Manifest {
        name: "test".into(),
        seed: [7; 32],
        stop_at: Some(stop_at),
        deadline: DeadlineBounds { minimum: Span::seconds(5), maximum: Span::seconds(15) },
        ..preset.manifest(Committee::Named { keys, quorum: QuorumRule::TwoThirds }, data)
    };
    let genesis = Charter::new(manifest.clone()).unwrap().genesis_state().digest();
    manifest.genesis = genesis;
    manifest
}

struct Peer {
    node: Node,
    address: Multiaddr,
}

async fn start(dir: PathBuf) -> Peer {
    let control = vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()];
    let listen = Listen::At { control, data: "127.0.0.1:0".parse().unwrap() };
    let options = NodeOptions { dir, listen, advertise: Vec::new() };
    let node = Node::start(options).await.unwrap();
    let address = node.listen_addresses()[0].clone();
    Peer { node, address }
}

fn options(peers: Vec<(Option<PeerKey>, Multiaddr)>) -> SessionOptions {
    SessionOptions {
        contribute: true,
        stand: false,
        invited: None,
        ticket: None,
        keep_history: true,
        checkpoint_every: 4,
        writes_per_day: driftless_protocol::session::WRITES_PER_DAY,
        peers,
        threads: 1,
        caps: Caps::default(),
    }
}

/// Every (height, digest) that a session certified until it ended, and its validation loss.
async fn watch(mut handle: SessionHandle) -> (Vec<(u64, Hash)>, Option<f64>, Ending) {
    let (mut blocks, mut loss) = (Vec::new(), None);
    while let Some(event) = handle.events.recv().await {
        match event.event {
            Event::Block { height, digest, .. } => blocks.push((height, digest)),
            Event::Evaluated { loss: found, .. } => loss = Some(found),
            Event::Warning(text) => eprintln!("warning: {text}"),
            _ => {}
        }
    }
    (blocks, loss, handle.wait().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_train_a_text_and_end_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, TEXT).unwrap();
    let dirs: Vec<PathBuf> = (0..4).map(|i| folder.path().join(format!("peer-{i}"))).collect();
    let signers: Vec<Signer> =
        dirs.iter().map(|dir| Folder::create(dir).unwrap().identity_or_new().unwrap()).collect();
    let mut keys: Vec<PeerKey> = signers.iter().map(Signer::key).collect();
    keys.sort_unstable();
    // 6 stream-0 slots of 4 peers x 4 steps x 4 samples x 32 tokens.
    let manifest = SignedManifest::seal(manifest(keys, 6 * 4 * 4 * 4 * 32), &signers[0]).unwrap();
    let mut peers = Vec::new();
    for dir in dirs {
        peers.push(start(dir).await);
    }
    let files = FoundingFiles { data: vec![text], ..FoundingFiles::default() };
    let known: Vec<(Option<PeerKey>, Multiaddr)> =
        peers.iter().map(|peer| (Some(peer.node.key()), peer.address.clone())).collect();
    let mut running = Vec::new();
    for peer in &peers {
        let session = peer.node.found(&manifest, &files).unwrap();
        let handle = peer.node.open(session, options(known.clone())).await.unwrap();
        running.push(tokio::spawn(watch(handle)));
    }
    let mut outcomes = Vec::new();
    for task in running {
        outcomes.push(task.await.unwrap());
    }
    let (blocks, loss, _) = outcomes[0].clone();
    assert!(blocks.len() >= 11, "two streams of six slots, the last one open: {blocks:?}");
    assert!(loss.unwrap() < 5.0);
    for (others, other_loss, ending) in &outcomes {
        assert_eq!(*ending, Ending::Complete);
        assert_eq!(*others, blocks);
        assert_eq!(*other_loss, loss);
    }
    for peer in peers {
        peer.node.shutdown().await;
    }
}
