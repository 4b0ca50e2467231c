//! A session's folder is computed again, and becomes a scenario. (Folders that real processes left are in
//! the end-to-end tests.)

use driftless_compute::TINY_SHAKESPEARE;
use driftless_protocol::event::Command;
use driftless_protocol::identity::Hash;
use driftless_protocol::method::Overrun;
use driftless_protocol::model::{GptShape, Model};
use driftless_protocol::time::Span;
use driftless_sim::record::record;
use driftless_sim::replay::{Certificates, Options, ReplayError, Report, Verdict, replay};
use driftless_sim::scenario::Scenario;
use driftless_sim::session_folder::{FolderError, SessionFolder};
use driftless_sim::{PeerSetup, Setup, World};
use tempfile::TempDir;

use crate::support::{all_ended, at, complete, until, world};

/// Three voters with the product's engine and a model that takes no time.
fn small_gpt(seed: u64) -> Setup {
    let mut setup = Setup::real(seed, 3, "gpt:tiny", 4_500).unwrap();
    let shape = GptShape { layers: 2, heads: 2, width: 32, context: 16, vocabulary: 256 };
    setup.manifest.model = Model::Gpt(shape);
    setup.manifest.training.batch = 4;
    (setup.method().period, setup.method().max_overrun) = (5, Overrun::Strict);
    setup
}

/// What the first peer would have in its folder, with `text` as the session's.
fn folder_of(world: &World, text: &[u8]) -> (TempDir, SessionFolder) {
    let folder = tempfile::tempdir().unwrap();
    let blobs = folder.path().join("blobs");
    std::fs::create_dir(&blobs).unwrap();
    std::fs::write(blobs.join(Hash::of(TINY_SHAKESPEARE).to_string()), text).unwrap();
    let chain = world.peers()[0].disk().blocks().values().map(|block| block.as_ref().clone()).collect();
    let path = folder.path().to_owned();
    (folder, SessionFolder { path, charter: world.charter().clone().into(), chain })
}

fn again(folder: &SessionFolder, threads: usize, certificates: Certificates) -> Result<Report, ReplayError> {
    replay(folder, Options { threads, at_once: 2, certificates }, &mut |_| ())
}

#[test]
fn every_contribution_and_digest_is_the_same_whenever_certificates_come() {
    let mut world = world(small_gpt(5));
    complete(&mut world, 600);
    let (_kept, folder) = folder_of(&world, TINY_SHAKESPEARE);
    for (threads, certificates) in [(1, Certificates::Early), (2, Certificates::Late)] {
        let report = again(&folder, threads, certificates).unwrap();
        assert_eq!(report.verdict, Verdict::Equal);
        let heights = world.certified().control.height;
        assert_eq!((report.heights, report.digests), (heights, heights));
        assert_eq!(report.contributions, 3 * heights);
    }
    // Another letter in the text, and nothing is the same.
    let mut text = TINY_SHAKESPEARE.to_vec();
    text[..1_000_000].make_ascii_uppercase();
    let (_kept, other) = folder_of(&world, &text);
    let report = again(&other, 1, Certificates::Early).unwrap();
    let Verdict::Differs(first) = report.verdict else { panic!("{report:?}") };
    assert_eq!((first.height, first.slot, report.contributions), (1, Some((0, 0)), 0), "{first}");
}

#[test]
fn where_more_than_the_chain_decides_it_says_so() {
    let mut slow = small_gpt(6);
    slow.peers[2].step = Span::millis(900);
    let mut world_with_misses = world(slow);
    until(&mut world_with_misses, 60_000, |world| world.certified().control.height > 4);
    let (_kept, folder) = folder_of(&world_with_misses, TINY_SHAKESPEARE);
    let verdict = again(&folder, 1, Certificates::Early).unwrap().verdict;
    assert!(matches!(verdict, Verdict::Unknowable { .. }), "{verdict:?}");

    let mut loose = small_gpt(7);
    loose.method().max_overrun = Overrun::Slot;
    let (_kept, folder) = folder_of(&world(loose), TINY_SHAKESPEARE);
    assert!(matches!(again(&folder, 1, Certificates::Early), Err(ReplayError::Unfit(_))));
}

#[test]
fn a_recorded_session_has_its_terms_peers_and_times_and_runs() {
    let mut setup = Setup::small(8, 4);
    setup.manifest.stop_at = Some(8 * 6 * 4 * 20);
    setup.manifest.training.budget_tokens = 8 * 6 * 4 * 20;
    setup.peers[1].step = Span::millis(110);
    setup.peers.push(PeerSetup { start: at(4_000), ..PeerSetup::contributor() });
    let mut world = world(setup.clone());
    world.command(at(9_000), 4, Command::Leave);
    assert!(until(&mut world, 240_000, all_ended));
    let (_kept, folder) = folder_of(&world, TINY_SHAKESPEARE);
    let recorded = record(&folder).unwrap();
    assert_eq!((recorded.heights, recorded.peers), (world.certified().control.height, 5));
    let text = &recorded.text;
    assert!(text.contains("no wall clock") && text.contains("It joined at height"), "{text}");

    let plan = Scenario::parse(text).and_then(|scenario| scenario.plan()).unwrap();
    let (found, known) = (&plan.setup.manifest, world.charter().manifest.clone());
    assert_eq!((&found.method, &found.model, found.seed), (&known.method, &known.model, known.seed));
    assert_eq!((&found.training, found.stop_at), (&known.training, known.stop_at));
    assert_eq!((found.heartbeat, found.deadline), (known.heartbeat, known.deadline));
    let seats: Vec<bool> = plan.setup.peers.iter().map(|peer| peer.seat).collect();
    assert_eq!(seats, [true, true, true, true, false]);
    let mut steps: Vec<u64> = plan.setup.peers.iter().map(|peer| peer.step.0 / 1000).collect();
    steps[..4].sort_unstable();
    assert_eq!(steps, [100, 100, 100, 110, 100]);
    // The clock of the estimate stands still while slots are decided.
    let start = plan.setup.peers[4].start;
    assert!((at(2_500)..=at(6_000)).contains(&start), "{start:?}");
    let [leave] = plan.wishes[..] else { panic!("{:?}", plan.wishes) };
    assert_eq!((leave.peer, leave.command), (4, Command::Leave));
    assert!((at(6_000)..=at(12_000)).contains(&leave.at), "{leave:?}");

    let mut again = plan.world().unwrap();
    assert!(until(&mut again, 240_000, all_ended));
    assert!(again.certified().control.counted_tokens >= recorded.tokens.min(8 * 6 * 4 * 20));
}

#[test]
fn a_folder_that_is_no_session_is_told_apart_from_a_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    let read = || SessionFolder::read(folder.path());
    assert!(matches!(read(), Err(FolderError::NoSession(_))));
    std::fs::create_dir(folder.path().join("chain")).unwrap();
    std::fs::write(folder.path().join("manifest"), "no manifest").unwrap();
    assert!(matches!(read(), Err(FolderError::Manifest { .. })));
}
