//! A steward's session, written down as a node does, and what is founded on its folder.

use std::fs;
use std::path::Path;

use driftless_protocol::state::PAGE_BYTES;

use super::*;
use crate::node::genesis_state;
use crate::store::{Folder, Options, SessionStore, plain};
use crate::verify::FoundedOn;
use crate::verify::tests::Run;

/// Founds on it with nothing said but a name and a text.
fn wishes() -> Wishes {
    let key = founder().key();
    Wishes {
        name: "again".into(),
        model: None,
        data: vec!["own.txt".into()],
        tokenizer: None,
        overrides: Overrides::default(),
        committee: Committee::Elected { founder: key },
        admission: Admission::Invitation { issuer: key },
        combine: None,
        stop_at: None,
    }
}

fn founder() -> Signer {
    Signer::from_seed([9; 32])
}

fn parent_of(run: &Run) -> Result<Offline, SuccessionError> {
    read_parent(&run.folder(), &mut |_| {})
}

fn found(run: &Run, wishes: &Wishes) -> Result<Founding, SuccessionError> {
    found_on(&parent_of(run)?, wishes, &founder())
}

/// The founded session's folder, beside its parent's unless `dir` is another.
fn keep(founding: &Founding, dir: &Path) -> SessionFolder {
    let charter = Charter::new(founding.manifest.manifest().clone()).unwrap();
    let folder = Folder::create(dir).unwrap();
    let store = SessionStore::create(&folder, &founding.manifest, &charter, Options::default()).unwrap();
    for page in &founding.files.pages {
        fs::write(store.folder().blobs().join(page.hash().to_string()), page.bytes()).unwrap();
    }
    let folder = store.folder().clone();
    store.close().unwrap();
    folder
}

#[test]
fn the_arrays_are_the_parents_bit_for_bit_and_the_control_page_begins_anew() {
    // The last two of five heights are after the snapshot.
    let mut run = Run::of(3);
    let (last, state) = (run.last(), run.state.clone());
    run.snapshot(last, state);
    run.go_on();
    run.go_on();
    let founding = found(&run, &wishes()).unwrap();
    let manifest = founding.manifest.manifest();
    assert_ne!(founding.manifest.id(), run.charter.session);
    assert_eq!(manifest.origin.parent().unwrap().session, run.charter.session);
    assert_eq!(manifest.origin.parent().unwrap().height, 5);
    assert_eq!(manifest.origin.parent().unwrap().digest, run.state.digest());

    let dir = tempfile::tempdir().unwrap();
    let folder = keep(&founding, dir.path());
    let charter = Charter::new(manifest.clone()).unwrap();
    let read = |root: &Hash| {
        let path = folder.blobs().join(root.to_string());
        plain::read(&path, PAGE_BYTES as u64).map_err(|error| error.to_string())
    };
    let genesis = genesis_state(&charter, read).unwrap();
    assert_eq!(genesis.digest(), manifest.genesis);
    assert_eq!(genesis.arrays, run.state.arrays);
    assert!(genesis.arrays[1].iter().any(|array| array.to_vec().iter().any(|value| *value != 0.0)));
    let (control, before) = (&genesis.control, &run.state.control);
    assert_eq!((control.height, control.generation, &control.closed), (0, 0, &vec![0, 0]));
    assert_eq!((control.seats.as_slice(), control.members.len()), (&[founder().key()][..], 1));
    assert_eq!(control.members[0].key, founder().key());
    assert_eq!((control.counted_tokens, control.pool.next), (before.counted_tokens, before.pool.next));
    assert!(before.counted_tokens > 0);
}

#[test]
fn terms_are_the_parents_but_for_what_is_said() {
    let run = Run::of(2);
    let before = &run.charter.manifest;
    let founding = found(&run, &wishes()).unwrap();
    let manifest = founding.manifest.manifest();
    assert_eq!((manifest.model, &manifest.method), (before.model, &before.method));
    assert_eq!((&manifest.training, &manifest.data), (&before.training, &before.data));
    assert_eq!((manifest.seed, manifest.stop_at), (before.seed, None));
    let overrides = Overrides { period: Some(3), budget_tokens: Some(1000), ..Overrides::default() };
    let stop_at = Some(1 << 20);
    let founding = found(&run, &Wishes { overrides, stop_at, ..wishes() }).unwrap();
    let manifest = founding.manifest.manifest();
    assert_eq!((manifest.method.period(), manifest.training.budget_tokens), (3, 1000));
    assert_eq!((manifest.stop_at, manifest.training.learning_rate), (stop_at, before.training.learning_rate));
    assert_ne!(found(&run, &wishes()).unwrap().manifest.id(), found(&run, &wishes()).unwrap().manifest.id());
}

#[test]
fn what_contradicts_the_parent_is_refused() {
    let run = Run::of(2);
    let counted = run.state.control.counted_tokens;
    let refuse = |wishes: Wishes, word: &str| {
        let error = found(&run, &wishes).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refuse(Wishes { model: Some(Model::named("gpt:tiny").unwrap()), ..wishes() }, "--model");
    let file = run.dir.path().join("tokenizer.json");
    fs::write(&file, "{}").unwrap();
    refuse(Wishes { tokenizer: Some(file), ..wishes() }, "--tokenizer");
    refuse(Wishes { stop_at: Some(counted), ..wishes() }, "--stop-at");
    found(&run, &Wishes { stop_at: Some(counted + 1), model: Some(run.charter.manifest.model), ..wishes() })
        .unwrap();
    // Its texts stay with who has them: they are not here.
    refuse(Wishes { data: Vec::new(), ..wishes() }, "private");
}

#[test]
fn nothing_is_founded_on_a_session_without_a_block() {
    assert!(matches!(found(&Run::of(0), &wishes()), Err(SuccessionError::Nothing(_))));
}

#[test]
fn nothing_is_founded_on_a_damaged_folder() {
    let mut run = Run::of(3);
    let (last, state) = (run.last(), run.state.clone());
    run.snapshot(last, state);
    run.go_on();
    let folder = run.folder();
    for place in [folder.chain(), folder.pages(), folder.blobs()] {
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            let whole = fs::read(&path).unwrap();
            let mut damaged = whole.clone();
            damaged[whole.len() / 2] ^= 1;
            fs::write(&path, &damaged).unwrap();
            let error = found(&run, &wishes()).unwrap_err();
            assert!(matches!(error, SuccessionError::Damaged { .. }), "{}: {error}", path.display());
            fs::write(&path, &whole).unwrap();
        }
    }
    found(&run, &wishes()).unwrap();
    fs::write(folder.manifest_path(), b"DLMF").unwrap();
    assert!(matches!(found(&run, &wishes()), Err(SuccessionError::Offline(_))));
}

#[test]
fn verify_says_where_a_session_comes_from_and_looks_it_up_beside_it() {
    let run = Run::of(4);
    let founding = found(&run, &wishes()).unwrap();
    let verified = |dir: &Path| verify(&keep(&founding, dir), true, &mut |_| {}).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let [far, near] = [elsewhere.path(), run.dir.path()].map(verified);
    let (session, digest) = (run.charter.session, run.state.digest());
    for (verified, certified) in [(far, false), (near, true)] {
        assert_eq!(verified.problems, []);
        assert_eq!(verified.founded_on, Some(FoundedOn { session, height: 4, digest, certified }));
    }
}

#[test]
fn verify_finds_a_manifest_that_says_of_its_parent_what_was_never_certified() {
    let run = Run::of(4);
    let terms = found(&run, &wishes()).unwrap();
    let lies: [fn(&mut Parent, &Run); 3] = [
        |parent, _| parent.tokens += 1,
        |parent, _| parent.height = 3,
        |parent, run| {
            let mut state = run.state.clone();
            state.arrays[0][0] = state.arrays[1][0].clone();
            *parent = Parent::of(parent.session, &state, parent.nonce);
        },
    ];
    for lie in lies {
        let mut manifest = terms.manifest.manifest().clone();
        let mut parent = manifest.origin.parent().unwrap().clone();
        lie(&mut parent, &run);
        manifest.origin = Origin::Session(parent);
        let manifest = SignedManifest::seal(manifest, &founder()).unwrap();
        let folder = keep(&Founding { manifest, files: FoundingFiles::default() }, run.dir.path());
        let verified = verify(&folder, false, &mut |_| {}).unwrap();
        assert_eq!(verified.problems.len(), 1, "{:?}", verified.problems);
        assert!(verified.problems[0].reason.contains("it was founded on"), "{}", verified.problems[0]);
        assert!(!verified.founded_on.unwrap().certified);
    }
}
