//! Real processes against the simulator: four peers train over sockets, and the simulator, which knows no
//! more than their chain and their text, makes every contribution and every state again, bit for bit.

use std::path::{Path, PathBuf};

use driftless::demo::{Addresses, Order};
use driftless::store::Folder;
use driftless::terms::{self, Overrides, Terms};
use driftless_protocol::committee::{Committee, QuorumRule};
use driftless_protocol::identity::Signer;
use driftless_protocol::invitation::{Invitation, Ticket};
use driftless_protocol::manifest::{Admission, DeadlineBounds, Manifest, Pacing};
use driftless_protocol::method::{Combine, MethodName};
use driftless_protocol::time::Span;
use driftless_sim::record::record;
use driftless_sim::replay::{Certificates, Options, Verdict, replay};
use driftless_sim::scenario::Scenario;
use driftless_sim::session_folder::SessionFolder;

use super::program::{Running, folder_with_text, text};

const PEERS: usize = 4;
/// Inner steps of each.
const STEPS: u64 = 24;
/// Between two contributions to a fragment.
const PERIOD: u32 = 4;

#[test]
fn the_simulator_makes_the_same_bits_as_four_processes() {
    same_bits(MethodName::StreamingDiLoCo);
}

#[test]
fn and_of_what_is_left_out_and_sent_later() {
    same_bits(MethodName::SparseLoCo);
}

#[test]
fn and_with_muon() {
    same_bits(MethodName::MuLoCo);
}

#[test]
fn and_a_round_late() {
    same_bits(MethodName::Co2);
}

#[test]
fn and_of_gradients_that_everybody_knows_a_part_of() {
    same_bits(MethodName::Ef21);
}

fn same_bits(method: MethodName) {
    let (folder, data) = folder_with_text();
    let dir = folder.path();
    let manifest = found(method, dir, &data);
    let mut peers: Vec<Running> = (0..PEERS).map(|peer| start(dir, peer, &data)).collect();
    peers.iter_mut().for_each(|peer| drop(peer.event("started")));
    let order = Order { peers: (0..PEERS).map(|peer| addresses(dir, peer)).collect() };
    peers.iter_mut().for_each(|peer| peer.tell(&order));
    for peer in &mut peers {
        assert_eq!(peer.wait(), Some(0));
    }

    let session = SessionFolder::read(&dir.join("peer-2")).unwrap();
    let heights = session.chain.len() as u64;
    let closings = session.chain.iter().flat_map(|certified| certified.block.closings());
    let contributions: usize = closings.map(|closing| closing.counted.len()).sum();
    let counted: Vec<usize> = session
        .chain
        .iter()
        .flat_map(|certified| certified.block.closings())
        .map(|closing| closing.counted.len())
        .collect();
    assert!(
        heights >= STEPS / u64::from(PERIOD) && counted.iter().all(|counted| *counted == PEERS),
        "{heights} heights, contributions by slot: {counted:?}"
    );
    for (threads, certificates) in [(1, Certificates::Early), (2, Certificates::Late)] {
        let options = Options { threads, at_once: 2, certificates };
        let report = replay(&session, options, &mut |_| ()).unwrap();
        assert_eq!(report.verdict, Verdict::Equal, "{options:?}");
        assert_eq!((report.digests, report.contributions), (heights, contributions as u64), "{options:?}");
    }
    recorded_as_a_scenario(&session, &manifest);
}

/// The demo's terms, but for slots that wait for everybody, however busy the machine is: when one that was
/// left out heard of it would not be in the chain.
fn found(method: MethodName, dir: &Path, data: &Path) -> Manifest {
    let identity =
        |peer| Folder::create(dir.join(format!("peer-{peer}"))).unwrap().identity_or_new().unwrap();
    let signers: Vec<Signer> = (0..PEERS).map(identity).collect();
    let mut keys: Vec<_> = signers.iter().map(Signer::key).collect();
    keys.sort_unstable();
    let stop_at = PEERS as u64 * STEPS * 12 * 64;
    let overrides = Overrides {
        method: Some(method),
        period: Some(PERIOD),
        strict: true,
        budget_tokens: Some(stop_at),
        ..Overrides::default()
    };
    let terms = Terms {
        pacing: Pacing::Uniform,
        name: "real and simulated".into(),
        preset: overrides.apply(Manifest::preset("gpt:tiny").unwrap()),
        data: vec![data.to_owned()],
        tokenizer: None,
        parameters: None,
        committee: Committee::Named { keys: keys.clone(), quorum: QuorumRule::TwoThirds },
        admission: Admission::Invitation { issuer: signers[0].key() },
        combine: Combine::Mean,
        stop_at: Some(stop_at),
        deadline: DeadlineBounds { minimum: Span::seconds(240), maximum: Span::seconds(600) },
    };
    let manifest = terms::found(&terms, &signers[0]).unwrap().manifest;
    std::fs::write(dir.join("manifest"), manifest.to_bytes()).unwrap();
    let session = manifest.id();
    let ticket = Some(Ticket::issue(&signers[0], session, 0));
    let invitation =
        Invitation { session, height: 0, block: session, seats: keys, addresses: Vec::new(), ticket };
    std::fs::write(dir.join("invitation"), invitation.to_text().unwrap()).unwrap();
    manifest.manifest().clone()
}

fn start(dir: &Path, peer: usize, data: &Path) -> Running {
    let [home, manifest, invitation]: [PathBuf; 3] =
        [format!("peer-{peer}"), "manifest".into(), "invitation".into()].map(|name| dir.join(name));
    let files = ["--manifest", text(&manifest), "--invitation", text(&invitation), "--data", text(data)];
    Running::listening(["--dir", text(&home), "__peer"].into_iter().chain(files))
}

fn addresses(dir: &Path, peer: usize) -> Addresses {
    let told = std::fs::read_to_string(dir.join(format!("peer-{peer}/addresses"))).unwrap();
    serde_json::from_str(&told).unwrap()
}

fn recorded_as_a_scenario(session: &SessionFolder, manifest: &Manifest) {
    let recorded = record(session).unwrap();
    let plan = Scenario::parse(&recorded.text).and_then(|scenario| scenario.plan()).unwrap();
    let found = &plan.setup.manifest;
    assert_eq!((&found.method, &found.training), (&manifest.method, &manifest.training));
    assert_eq!((found.stop_at, found.deadline), (manifest.stop_at, manifest.deadline));
    assert_eq!((plan.setup.peers.len(), plan.setup.quorum), (PEERS, QuorumRule::TwoThirds));
    assert!(plan.setup.peers.iter().all(|peer| peer.seat && peer.step > Span::ZERO));
}
