//! What only a check of meaning finds: everything here has the right checksums. (That no byte can be
//! changed unnoticed is tested on the folders of real processes.)

use std::fs;
use std::path::Path;
use std::sync::Arc;

use driftless_protocol::Hash;
use driftless_protocol::block::{
    Announcement, Block, Certificate, CertifiedBlock, Closing, Counted, Height, Item, Payload, Slot, Step,
    Vote, Work,
};
use driftless_protocol::charter::Charter;
use driftless_protocol::committee::Committee;
use driftless_protocol::event::{Record, Snapshot};
use driftless_protocol::identity::{Domain, Scope, Signer};
use driftless_protocol::manifest::{Data, Manifest, SignedManifest};
use driftless_protocol::method::Method;
use driftless_protocol::model::{GptShape, Model};
use driftless_protocol::state::State;
use driftless_protocol::transition::{self, CandidateJob, Parent};

use super::{Problem, Verified, verify};
use crate::store::{Folder, Options, SessionFolder, SessionStore};

/// A steward's run, written down as a node does.
pub(crate) struct Run {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) steward: Signer,
    pub(crate) charter: Arc<Charter>,
    store: SessionStore,
    pub(crate) state: State,
    head: Hash,
}

impl Run {
    fn new() -> Run {
        let dir = tempfile::tempdir().unwrap();
        let steward = Signer::from_seed([1; 32]);
        let mut preset = Manifest::preset("gpt:tiny").unwrap();
        preset.model = Model::Gpt(GptShape { layers: 2, heads: 1, width: 4, context: 8, vocabulary: 256 });
        let Method::StreamingDiLoCo(method) = &mut preset.method else { unreachable!() };
        method.fragments = 2;
        let data = Data::Private { max_tokens_per_slot: 1 << 20 };
        let manifest = preset.manifest(Committee::Steward { key: steward.key() }, data);
        let manifest = Manifest { name: "verified".into(), ..manifest };
        let genesis = Charter::new(manifest.clone()).unwrap().genesis_state().digest();
        let manifest = Manifest { genesis, ..manifest };
        let charter = Arc::new(Charter::new(manifest.clone()).unwrap());
        let signed = SignedManifest::seal(manifest, &steward).unwrap();
        let folder = Folder::create(dir.path()).unwrap();
        let store = SessionStore::create(&folder, &signed, &charter, Options::default()).unwrap();
        let (state, head) = (charter.genesis_state(), charter.session);
        Run { dir, steward, charter, store, state, head }
    }

    /// A run of so many heights.
    pub(crate) fn of(heights: Height) -> Run {
        let mut run = Run::new();
        (0..heights).for_each(|_| run.go_on());
        run
    }

    pub(crate) fn go_on(&mut self) {
        let closing = self.closing();
        let (block, next) = self.block(vec![Item::Close(closing)]);
        self.keep(block, next);
    }

    fn keep(&mut self, block: Block, next: State) {
        let certified = certify(&self.steward, self.charter.session, block);
        self.head = certified.block.hash();
        self.state = next;
        self.store.persist(&Record::Block(certified), true).unwrap();
    }

    /// The next slot, with the steward's contribution.
    fn closing(&mut self) -> Closing {
        let before = self.state.control.height;
        let slot = Slot { stream: (before % 2) as u16, ordinal: (before / 2) as u32 };
        let values = vec![0.25; self.charter.lengths[usize::from(slot.stream)]];
        let mut bytes = Vec::new();
        self.charter.manifest.method.codec().unwrap().encode(&values, 1, &mut bytes).unwrap();
        let (root, length) = (Hash::of(&bytes), bytes.len() as u64);
        self.store.persist(&Record::Blob { root, bytes }, true).unwrap();
        let work = Work { steps: 1, tokens: 8, ..Work::default() };
        let base = self.state.base(&self.charter.manifest.method, slot).digest();
        let announcement = Announcement { slot, base, payload: Payload::Blob { root, length }, work };
        let signed = self.steward.seal(Domain::Announcement, scope(self.charter.session), announcement);
        let Announcement { payload, work, .. } = signed.content;
        Closing { slot, counted: vec![Counted { member: 0, payload, work, signature: signed.signature }] }
    }

    /// The block with these items, and the state after it.
    fn block(&self, items: Vec<Item>) -> (Block, State) {
        let parent = Parent { state: &self.state, hash: self.head };
        let plan = transition::check(&self.charter, parent, &items).unwrap();
        let job = CandidateJob::new(0, self.charter.clone(), self.state.clone(), plan);
        let reader = self.store.reader();
        let next = job.run(&mut |root| reader.blob(root).map_err(|error| error.to_string())).unwrap();
        let height = self.state.control.height + 1;
        (Block { height, generation: 0, parent: self.head, items, digest: next.digest() }, next)
    }

    /// The last block as it is on disk.
    pub(crate) fn last(&self) -> CertifiedBlock {
        self.store.reader().read_blocks(self.state.control.height, 1, 1 << 20).unwrap().remove(0)
    }

    pub(crate) fn snapshot(&mut self, block: CertifiedBlock, state: State) {
        self.store.persist(&Record::Snapshot(Snapshot { block: Some(block), state }), true).unwrap();
    }

    pub(crate) fn folder(&self) -> SessionFolder {
        self.store.folder().clone()
    }

    fn verified(&self, replay: bool) -> Verified {
        verify(&self.folder(), replay, &mut |_| {}).unwrap()
    }

    /// The only problem.
    fn problem(&self, replay: bool) -> Problem {
        let mut problems = self.verified(replay).problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.remove(0)
    }
}

fn scope(session: Hash) -> Scope {
    Scope { session, generation: 0 }
}

fn certify(signer: &Signer, session: Hash, block: Block) -> CertifiedBlock {
    let vote = Vote { height: block.height, attempt: 0, step: Step::Precommit, block: Some(block.hash()) };
    let signature = signer.sign(Domain::Vote, scope(session), &vote);
    CertifiedBlock { block, certificate: Certificate { attempt: 0, precommits: vec![(0, signature)] } }
}

#[test]
fn what_is_right_has_no_problem() {
    let mut run = Run::of(6);
    let (last, state) = (run.last(), run.state.clone());
    run.snapshot(last, state);
    run.go_on();
    let verified = run.verified(true);
    assert_eq!(verified.problems, []);
    assert_eq!((verified.session, verified.height), (run.charter.session, 7));
    assert_eq!((verified.replayed_from, verified.unfollowed), (Some(0), 0));
    assert_eq!((verified.digest, verified.contributions), (run.state.digest(), 7));
}

#[test]
fn a_block_that_somebody_else_signed_is_found() {
    let mut run = Run::of(3);
    let (block, next) = run.block(Vec::new());
    let forged = certify(&Signer::from_seed([2; 32]), run.charter.session, block);
    run.store.persist(&Record::Block(forged.clone()), true).unwrap();
    (run.state, run.head) = (next, forged.block.hash());
    run.go_on();
    let problem = run.problem(false);
    assert_eq!(problem.height, Some(4));
    assert!(problem.reason.contains("quorum"), "{problem}");
}

/// One invalid block is one problem: what follows it cannot be judged until a snapshot is there.
#[test]
fn a_block_that_may_not_follow_is_found_though_it_is_certified() {
    let mut run = Run::of(3);
    let closing = run.closing();
    let again = Closing { slot: Slot { ordinal: closing.slot.ordinal + 1, ..closing.slot }, ..closing };
    let items = vec![Item::Close(again)];
    let block = Block { height: 4, generation: 0, parent: run.head, items, digest: run.state.digest() };
    let mut next = run.state.clone();
    next.control.height = 4;
    run.keep(block, next);
    let (block, next) = run.block(Vec::new());
    run.keep(block, next);
    let problem = run.problem(false);
    assert_eq!(problem.height, Some(4), "{problem}");
    assert_eq!(run.verified(false).unfollowed, 1);
}

#[test]
fn a_digest_that_was_certified_but_is_not_the_states_is_found_by_computing_it() {
    let mut run = Run::of(3);
    let closing = run.closing();
    let (block, next) = run.block(vec![Item::Close(closing)]);
    run.keep(Block { digest: Hash::of(b"another"), ..block }, next);
    assert_eq!(run.verified(false).problems, []);
    let problem = run.problem(true);
    assert_eq!(problem.height, Some(4), "{problem}");
    assert!(problem.reason.contains("certified"), "{problem}");
}

/// Its base is known only where the states are.
#[test]
fn a_contribution_that_its_author_did_not_sign_is_found_by_computing_the_states() {
    let mut run = Run::of(3);
    let mut closing = run.closing();
    let (block, next) = run.block(vec![Item::Close(closing.clone())]);
    closing.counted[0].signature.0[7] ^= 1;
    run.keep(Block { items: vec![Item::Close(closing)], ..block }, next);
    assert_eq!(run.verified(false).problems, []);
    let problem = run.problem(true);
    assert_eq!(problem.height, Some(4));
    assert!(problem.reason.contains("signature"), "{problem}");
}

#[test]
fn a_snapshot_of_another_state_is_found() {
    let mut run = Run::of(4);
    let (last, mut state) = (run.last(), run.state.clone());
    state.control.counted_tokens += 1;
    run.snapshot(last, state);
    let problems = run.verified(false).problems;
    assert!(problems.iter().all(|problem| problem.height == Some(4)), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.reason.contains("no quorum signed")), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.reason.contains("the blocks lead to")), "{problems:?}");
}

#[test]
fn a_snapshot_whose_certificate_does_not_hold_is_found() {
    let mut run = Run::of(4);
    let (mut last, state) = (run.last(), run.state.clone());
    last.certificate.precommits[0].1.0[3] ^= 1;
    run.snapshot(last, state);
    let problem = run.problem(false);
    assert_eq!(problem.height, Some(4));
    assert!(problem.reason.contains("no quorum signed"), "{problem}");
}

/// Nothing of the chain is compared with it, and all would be computed from it.
#[test]
fn a_forged_snapshot_beyond_the_chain_is_found_and_not_computed_from() {
    let mut run = Run::of(4);
    let (block, mut next) = run.block(Vec::new());
    next.control.counted_tokens = 1 << 40;
    let forged = Block { digest: next.digest(), ..block };
    let forged = certify(&Signer::from_seed([2; 32]), run.charter.session, forged);
    run.snapshot(forged, next);
    let blobs = fs::read_dir(run.folder().blobs()).unwrap();
    blobs.for_each(|blob| fs::remove_file(blob.unwrap().path()).unwrap());
    let verified = run.verified(true);
    assert!(verified.problems.iter().any(|problem| problem.reason.contains("no quorum signed")));
    assert_eq!(verified.replayed_from, None, "{:?}", verified.problems);
}

/// A joiner's chain begins at a snapshot; that one is deleted when two newer ones are there.
#[test]
fn the_folder_of_a_late_joiner_has_no_problem() {
    let mut founder = Run::of(2);
    let mut joiner = Run::new();
    (joiner.state, joiner.head) = (founder.state.clone(), founder.head);
    joiner.snapshot(founder.last(), founder.state.clone());
    for _ in 0..3 {
        for _ in 0..2 {
            founder.go_on();
            joiner.go_on();
        }
        joiner.snapshot(founder.last(), founder.state.clone());
    }
    assert_eq!(crate::store::snapshot_heights(&joiner.folder()).unwrap(), [6, 8]);
    let verified = joiner.verified(true);
    assert_eq!(verified.problems, []);
    assert_eq!((verified.gaps, verified.first, verified.height), (vec![2], 2, 8));
    // Its state at height 6 is the first that is known.
    assert_eq!((verified.unfollowed, verified.replayed_from), (5, Some(6)));
}

#[test]
fn names_and_files_that_do_not_belong_there_are_told_without_harm() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let run = Run::of(2);
    let folder = run.folder();
    fs::write(folder.blobs().join(OsStr::from_bytes(b"bad\xff\x1b[2J")), b"x").unwrap();
    let pipe = |path: &Path| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    pipe(&folder.pages().join("taking"));
    pipe(&folder.chain().join("00000099.blocks"));
    fs::remove_file(folder.db().join("acknowledged")).unwrap();
    pipe(&folder.db().join("acknowledged"));
    let verified = run.verified(true);
    let text: Vec<String> = verified.problems.iter().map(ToString::to_string).collect();
    assert!(text.iter().all(|line| !line.contains('\u{1b}')), "{text:?}");
    for part in ["bad", "taking", "00000099.blocks", "acknowledged"] {
        assert!(text.iter().any(|line| line.contains(part)), "{part}: {text:?}");
    }
    drop(run.dir);
}

/// An unfinished write is at most one record long: a long tail is damage, and is not searched.
#[test]
fn a_long_tail_of_nothing_is_damage() {
    let run = Run::of(3);
    let path = run.folder().chain().join("00000001.blocks");
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    let problem = run.verified(false).problems.remove(0);
    assert_eq!(problem.height, Some(4), "{problem}");
}
