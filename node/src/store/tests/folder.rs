//! The data folder: identity, lock, sessions, socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use driftless_protocol::Hash;
use driftless_protocol::charter::Charter;
use driftless_protocol::codec::Codec;
use driftless_protocol::committee::Committee;
use driftless_protocol::event::{Record, Snapshot};
use driftless_protocol::identity::Signer;
use driftless_protocol::manifest::*;
use driftless_protocol::method::Method;
use driftless_protocol::time::Span;

use super::fixture::flip;
use crate::store::{Folder, Options, SessionStore, StoreError, newest_snapshot};

#[test]
fn an_identity_is_drawn_once_and_kept_private() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::create(dir.path().join("a/b")).unwrap();
    assert!(folder.identity().unwrap().is_none());
    let key = folder.identity_or_new().unwrap().key();
    assert_eq!(folder.identity_or_new().unwrap().key(), key);
    assert_eq!(folder.identity().unwrap().unwrap().key(), key);
    let path = folder.path().join("identity");
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.len()), (0o600, 32));
    assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
    let other = Folder::create(dir.path().join("c")).unwrap();
    assert_ne!(other.identity_or_new().unwrap().key(), key);
    for length in [0, 31, 33, 5000] {
        fs::write(&path, vec![1; length]).unwrap();
        let refused = [folder.identity().err(), folder.identity_or_new().err()];
        for error in refused {
            assert!(matches!(error, Some(StoreError::Identity { found, .. }) if found == length as u64));
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), length as u64, "never replaced");
    }
}

#[test]
fn a_folder_that_is_not_there_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing");
    assert!(matches!(Folder::open(&path), Err(StoreError::NoFolder { path: named }) if named == path));
    fs::write(&path, b"a file").unwrap();
    assert!(matches!(Folder::open(&path), Err(StoreError::Io { .. })));
    assert!(Folder::create(&path).is_err());
}

#[test]
fn a_second_lock_names_the_process_that_holds_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::create(dir.path()).unwrap();
    let lock = folder.lock().unwrap();
    match folder.lock() {
        Err(error @ StoreError::Locked { pid: Some(pid), .. }) if pid == std::process::id() => {
            assert!(error.to_string().contains(&pid.to_string()));
        }
        other => panic!("{other:?}"),
    }
    drop(lock);
    folder.lock().unwrap();
}

const HOLDER: &str = "DRIFTLESS_TEST_HOLD_FOLDER";

/// Not a test of its own: the other process of the one below.
#[test]
fn holds_a_folder_until_its_input_ends() {
    let Ok(path) = std::env::var(HOLDER) else { return };
    let _lock = Folder::open(path).unwrap().lock().unwrap();
    println!("\nlocked");
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    std::process::abort();
}

#[test]
fn another_process_that_holds_the_folder_is_named_and_its_lock_dies_with_it() {
    use std::io::BufRead;
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::create(dir.path()).unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["holds_a_folder_until_its_input_ends", "--nocapture"])
        .env(HOLDER, dir.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    assert!(output.lines().map_while(Result::ok).any(|line| line == "locked"));
    assert!(matches!(folder.lock(), Err(StoreError::Locked { pid: Some(pid), .. }) if pid == child.id()));
    drop(child.stdin.take());
    child.wait().unwrap();
    folder.lock().unwrap();
}

#[test]
fn a_long_path_gets_a_socket_in_the_temporary_folder() {
    let dir = tempfile::tempdir().unwrap();
    let short = Folder::create(dir.path().join("short")).unwrap();
    assert_eq!(short.new_socket().unwrap(), short.path().join("node.sock"));
    assert_eq!(short.socket(), short.path().join("node.sock"));
    let long = Folder::create(dir.path().join("long".repeat(30))).unwrap();
    let socket = long.new_socket().unwrap();
    assert!(socket.as_os_str().len() <= 100);
    assert_eq!(long.socket(), socket);
    std::os::unix::net::UnixListener::bind(&socket).unwrap();
    fs::remove_file(&socket).unwrap();
    assert_ne!(long.new_socket().unwrap(), socket);
}

fn manifest(name: &str) -> (SignedManifest, Charter) {
    let founder = Signer::from_seed([1; 32]);
    let mut preset = Manifest::preset("gpt:tiny").unwrap();
    let Method::StreamingDiLoCo(method) = &mut preset.method else { unreachable!() };
    method.codec = Codec::E3M0;
    let committee = Committee::Steward { key: founder.key() };
    let data = Data::Private { max_tokens_per_slot: 1 << 20 };
    let manifest = Manifest {
        name: name.into(),
        seed: [7; 32],
        genesis: Hash::of(b"genesis"),
        deadline: DeadlineBounds { minimum: Span::seconds(1), maximum: Span::seconds(15) },
        ..preset.manifest(committee, data)
    };
    let charter = Charter::new(manifest.clone()).unwrap();
    (SignedManifest::seal(manifest, &founder).unwrap(), charter)
}

#[test]
fn sessions_are_listed_once_their_manifest_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::create(dir.path()).unwrap();
    assert_eq!(folder.sessions().unwrap(), []);
    let (first, charter) = manifest("first");
    let (second, other) = manifest("second");
    let options = Options::default();
    SessionStore::create(&folder, &first, &charter, options).unwrap().close().unwrap();
    SessionStore::create(&folder, &second, &other, options).unwrap().close().unwrap();
    let mut expected = vec![folder.session(first.id()), folder.session(second.id())];
    expected.sort_by_key(|session| session.path().to_owned());
    assert_eq!(folder.sessions().unwrap(), expected);
    assert_eq!(folder.session(first.id()).manifest().unwrap(), first);
    for name in ["chain", "pages", "blobs", "checkpoints", "db", "log"] {
        assert!(folder.session(first.id()).path().join(name).is_dir());
    }
    assert!(matches!(
        SessionStore::create(&folder, &first, &charter, options),
        Err(StoreError::SessionExists { .. })
    ));
    assert!(matches!(
        SessionStore::open(folder.session(first.id()), &other, options),
        Err(StoreError::WrongCharter { .. })
    ));
    assert!(matches!(
        SessionStore::open(folder.session(Hash::of(b"third")), &other, options),
        Err(StoreError::NoSession { .. })
    ));
    let (_, recovered) = SessionStore::open(folder.session(first.id()), &charter, options).unwrap();
    assert!(recovered.snapshot.is_none());
    // What a process leaves that died before the manifest.
    fs::remove_file(folder.session(second.id()).manifest_path()).unwrap();
    assert_eq!(folder.sessions().unwrap(), [folder.session(first.id())]);
    SessionStore::create(&folder, &second, &other, options).unwrap();
}

#[test]
fn a_damaged_manifest_is_an_error_that_names_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::create(dir.path()).unwrap();
    let (signed, charter) = manifest("a session");
    SessionStore::create(&folder, &signed, &charter, Options::default()).unwrap();
    let session = folder.session(signed.id());
    let path = session.manifest_path();
    let whole = fs::read(&path).unwrap();
    let named = |error: StoreError| {
        assert!(error.is_corrupt() && error.to_string().starts_with(&path.display().to_string()), "{error}");
    };
    for at in 0..whole.len() {
        flip(&path, at, (at % 8) as u8);
        named(session.manifest().unwrap_err());
        flip(&path, at, (at % 8) as u8);
    }
    for length in [0, 4, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        named(session.manifest().unwrap_err());
    }
    fs::write(&path, vec![0; 1 << 20]).unwrap();
    named(session.manifest().unwrap_err());
    // Another session's manifest, whole as it is.
    fs::write(&path, manifest("another").0.to_bytes()).unwrap();
    named(SessionStore::open(session.clone(), &charter, Options::default()).unwrap_err());
}

#[test]
fn the_newest_snapshot_is_read_beside_the_store_that_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::create(dir.path()).unwrap();
    let terms = manifest("a session").0.manifest().clone();
    let state = Charter::new(terms.clone()).unwrap().genesis_state();
    let terms = Manifest { genesis: state.digest(), ..terms };
    let charter = Charter::new(terms.clone()).unwrap();
    let signed = SignedManifest::seal(terms, &Signer::from_seed([1; 32])).unwrap();
    let session = folder.session(signed.id());
    assert!(newest_snapshot(&session, &charter).unwrap().is_none());
    let mut store = SessionStore::create(&folder, &signed, &charter, Options::default()).unwrap();
    assert!(newest_snapshot(&session, &charter).unwrap().is_none());
    let snapshot = Snapshot { block: None, state };
    store.persist(&Record::Snapshot(snapshot.clone()), true).unwrap();
    let found = newest_snapshot(&session, &charter).unwrap().unwrap();
    assert_eq!((found.block, found.state), (None, snapshot.state.clone()));
    let page = session.pages().join(snapshot.state.pages().next().unwrap().hash().to_string());
    flip(&page, 5, 5);
    let damaged = newest_snapshot(&session, &charter);
    assert!(matches!(damaged, Err(StoreError::CorruptBlob { file, .. }) if file == page));
    fs::remove_file(&page).unwrap();
    assert!(matches!(newest_snapshot(&session, &charter), Err(StoreError::NotFound { .. })));
}
