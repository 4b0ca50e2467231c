//! The founder is gone for good: another peer founds a session that goes on from its own folder, and a
//! third one joins by the invitation alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use driftless::offline::{Offline, find};
use driftless_protocol::Hash;
use driftless_protocol::state::Page;
use serde_json::Value;
use tempfile::TempDir;

use super::program::{Running, folder_with_text, run, text};

const LISTEN: [&str; 4] = ["--listen", "127.0.0.1:0", "--threads", "1"];

/// A session whose founder vanished, and what is left of it: the folder of another peer that stopped.
struct Orphaned {
    folder: TempDir,
    /// The last block that the peer applied.
    last: Value,
}

impl Orphaned {
    fn dir(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn orphaned() -> Orphaned {
    let (folder, data) = folder_with_text();
    let [founder, heir] = ["founder", "heir"].map(|name| folder.path().join(name));
    let new =
        ["new", "plays", "--dir", text(&founder), "--data", text(&data), "--period", "2", "--batch", "2"];
    let mut new = Running::start(new.into_iter().chain(LISTEN));
    let invitation = new.event("founded")["invitation"].as_str().unwrap().to_owned();
    let mut joiner = Running::start(["join", &invitation, "--dir", text(&heir)].into_iter().chain(LISTEN));
    joiner.until("a block that counts both", |line| line["event"] == "block" && line["counted"] == 2);
    joiner.event("block");
    new.signal(libc::SIGKILL);
    new.wait();
    joiner.signal(libc::SIGINT);
    assert_eq!(joiner.wait(), Some(0));
    let last = joiner.events("block").last().unwrap().clone();
    fs::remove_dir_all(founder).unwrap();
    fs::remove_file(data).unwrap();
    Orphaned { folder, last }
}

/// Digests by height of what a peer applied in the session of this prefix.
fn digests(peer: &Running, session: &Value) -> BTreeMap<u64, String> {
    let blocks = peer.events("block").filter(|line| line["session"] == *session);
    blocks.map(|line| (line["height"].as_u64().unwrap(), line["digest"].as_str().unwrap().into())).collect()
}

fn load(dir: &Path, session: &str) -> Offline {
    Offline::load(find(dir, Some(session)).unwrap()).unwrap()
}

fn roots(offline: &Offline) -> Vec<Hash> {
    offline.state.pages().map(Page::hash).collect()
}

#[test]
fn another_peer_goes_on_from_its_folder_and_a_third_joins_it() {
    let orphaned = orphaned();
    let [heir, third] = ["heir", "third"].map(|name| orphaned.dir(name));
    let parent = load(&heir, "plays");
    let new = ["new", "again", "--from", "plays", "--dir", text(&heir)];
    let mut new = Running::start(new.into_iter().chain(LISTEN));
    let founded = new.event("founded");
    let on = &founded["founded_on"];
    assert_eq!(on["session"], parent.charter.session.to_string());
    assert_eq!((&on["height"], &on["digest"]), (&orphaned.last["height"], &orphaned.last["digest"]));
    assert_eq!(on["tokens"], orphaned.last["tokens"]);
    let first = new.event("block");
    assert!(first["height"] == 1 && first["tokens"].as_u64() > on["tokens"].as_u64(), "{first}");

    let invitation = founded["invitation"].as_str().unwrap().to_owned();
    let mut joiner = Running::start(["join", &invitation, "--dir", text(&third)].into_iter().chain(LISTEN));
    joiner.until("a block that counts both", |line| line["event"] == "block" && line["counted"] == 2);
    joiner.event("block");
    // A folder in which a node works founds nothing itself, and can be read by another one.
    let other = orphaned.dir("other");
    let in_use = ["new", "third", "--from", "again", "--dir", text(&heir)];
    run(in_use.into_iter().chain(LISTEN)).refused(1, &["in use by process"]);
    let running = find(&heir, Some("again")).unwrap();
    let read = ["new", "third", "--from", text(running.path()), "--dir", text(&other), "--print-manifest"];
    assert!(run(read).done().contains("[origin.session]"));
    joiner.signal(libc::SIGINT);
    assert_eq!(joiner.wait(), Some(0));
    new.signal(libc::SIGINT);
    assert_eq!(new.wait(), Some(0));

    let session = &founded["session"];
    let [own, others] = [&new, &joiner].map(|peer| digests(peer, session));
    let common: Vec<u64> = own.keys().copied().filter(|height| others.contains_key(height)).collect();
    assert!(common.len() > 1, "{own:?} {others:?}");
    assert!(common.iter().all(|height| own[height] == others[height]), "{own:?} {others:?}");

    // What the third peer began with, from its own files: the parent's arrays, momentum included.
    let child = load(&third, "again");
    let origin = child.charter.manifest.origin.parent().unwrap();
    assert_eq!(origin.pages, roots(&parent));
    assert_eq!((origin.session, origin.digest), (parent.charter.session, parent.state.digest()));
    for (dir, certified) in [(&heir, true), (&third, false)] {
        let verified = run(["verify", "again", "--replay", "--json", "--dir", text(dir)]).object();
        assert_eq!(verified["problems"], 0, "{verified}");
        let from = &verified["founded_on"];
        assert_eq!((&from["session"], &from["digest"]), (&on["session"], &on["digest"]));
        assert_eq!((&from["height"], &from["certified"]), (&on["height"], &certified.into()));
    }
    let said = run(["verify", "again", "--dir", text(&third)]).done();
    let line = format!("founded on session {} height {} digest", origin.session, origin.height);
    assert!(said.contains(&line) && said.contains(&origin.digest.to_string()), "{said}");

    // Its founder comes back to it, without the session that is over.
    run(["leave", "plays", "--dir", text(&heir)]).done();
    let height = own.keys().last().copied();
    let mut back = Running::start(["run", "--dir", text(&heir)]);
    back.until("a later block", |line| line["event"] == "block" && line["height"].as_u64() > height);
    assert!(back.events("block").all(|line| line["session"] == *session));
}

#[test]
fn nothing_is_founded_on_what_is_damaged_or_under_terms_that_contradict() {
    let orphaned = orphaned();
    let [heir, other] = ["heir", "other"].map(|name| orphaned.dir(name));
    let new = |from: &Path, more: &[&str]| {
        let words = ["new", "again", "--from", text(from), "--dir", text(&other)];
        run(words.into_iter().chain(LISTEN).chain(more.iter().copied()))
    };
    let in_heir = |more: &[&str]| {
        let words = ["new", "again", "--dir", text(&heir)];
        run(words.into_iter().chain(LISTEN).chain(more.iter().copied()))
    };
    in_heir(&["--from", "nobody"]).refused(1, &["no such folder", "no session here is called", "plays"]);
    in_heir(&["--from", "plays", "--model", "gpt:small"]).refused(2, &["another model", "--model"]);
    let poem = orphaned.dir("poem.txt");
    fs::write(&poem, "of other things ".repeat(1000)).unwrap();
    in_heir(&["--from", "plays", "--data", text(&poem)]).refused(2, &["other texts", "--data", "export"]);
    in_heir(&["--from", "plays", "--stop-at", "1"]).refused(2, &["--stop-at", "tokens"]);
    run(["new", "plays", "--from", "plays", "--dir", text(&heir)]).refused(1, &["another name"]);

    // Read from another peer's folder; what is not whole is named, and nothing is made of it.
    let session = find(&heir, Some("plays")).unwrap();
    let largest = |folder: &Path| {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
    };
    for file in [largest(&session.blobs()), largest(&session.chain())] {
        let whole = fs::read(&file).unwrap();
        let mut damaged = whole.clone();
        damaged[whole.len() / 3] ^= 0x10;
        fs::write(&file, &damaged).unwrap();
        new(session.path(), &[]).refused(1, &["damaged", text(&file)]);
        new(&heir, &[]).refused(1, &["damaged", "driftless verify"]);
        assert!(!other.join("sessions").exists());
        fs::write(&file, &whole).unwrap();
    }
    let manifest = new(session.path(), &["--print-manifest"]).done();
    assert!(manifest.contains("[origin.session]") && manifest.contains(&parent_line(&heir)), "{manifest}");
}

fn parent_line(dir: &Path) -> String {
    format!("session = \"{}\"", load(dir, "plays").charter.session)
}
