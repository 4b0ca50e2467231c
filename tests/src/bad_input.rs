//! Every wrong file, word and port has an error of its own, and the program never panics.

use std::path::Path;

use driftless_protocol::identity::Signer;
use driftless_protocol::invitation::Invitation;

use super::program::{Running, folder_with_text, run, text};

fn new<'a>(dir: &'a Path, more: &[&'a str]) -> super::program::Outcome {
    run(["new", "x", "--dir", text(dir)].iter().copied().chain(more.iter().copied()))
}

#[test]
fn data_files_that_are_missing_empty_or_short_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("some.txt");
    let dir = folder.path().join("data");
    let data = ["--data", text(&file), "--listen", "127.0.0.1:0"];
    new(&dir, &[]).refused(1, &["--data"]);
    new(&dir, &data).refused(1, &["some.txt: no such file"]);
    run(["demo", "--data", text(&file)]).refused(1, &["some.txt: no such file"]);
    std::fs::write(&file, "").unwrap();
    new(&dir, &data).refused(1, &["some.txt: the file is empty"]);
    std::fs::write(&file, "short").unwrap();
    new(&dir, &data).refused(1, &["some.txt: too short"]);
    let sessions = std::fs::read_dir(dir.join("sessions"));
    assert!(sessions.is_err(), "nothing is left behind");
}

#[test]
fn wrong_words_are_wrong_use() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let refused = |arguments: &[&str], words: &[&str]| run(arguments).refused(2, words);
    refused(&["fly"], &["fly"]);
    refused(&["demo", "--peers", "0"], &["--peers"]);
    refused(&["demo", "--model", "gpt:huge"], &["gpt:huge", "gpt:tiny"]);
    refused(&["demo", "--codec", "zip"], &["zip", "e3m0"]);
    refused(&["join", "x", "--up", "fast"], &["fast", "10Mbit"]);
    refused(&["bench", "blobs", "--size", "large"], &["64MiB"]);
    new(dir, &["--committee", "named:12", "--data", "x"]).refused(2, &["64 hex digits"]);
    new(dir, &["--listen", "70000", "--data", "x"]).refused(2, &["70000", "IP:PORT"]);
    new(dir, &["--hours", "22-7", "--data", "x"]).refused(2, &["--hours is not available yet"]);
    new(dir, &["--monthly", "50GB", "--data", "x"]).refused(2, &["--monthly is not available yet"]);
    new(dir, &["--device", "gpu", "--data", "x"]).refused(2, &["not available yet"]);
    let (_text, data) = folder_with_text();
    new(dir, &["--period", "0", "--data", text(&data)]).refused(2, &["period"]);
}

#[test]
fn a_port_in_use_is_named() {
    let (folder, data) = folder_with_text();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = address.port().to_string();
    let listen = format!("/ip4/127.0.0.1/tcp/{port}");
    new(&folder.path().join("data"), &["--data", text(&data), "--listen", &listen])
        .refused(1, &[&port, "another program uses this port"]);
}

#[test]
fn invitations_that_are_damaged_foreign_or_of_the_future_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let join = |argument: &str| run(["join", argument, "--dir", text(&dir), "--listen", "127.0.0.1:0"]);
    let session = driftless_protocol::Hash::of(b"some session");
    // Many seats: longer than the name of any file may be.
    let seats = (1..=8).map(|n| Signer::from_seed([n; 32]).key()).collect();
    let invitation =
        Invitation { session, height: 0, block: session, seats, addresses: Vec::new(), ticket: None };
    let good = invitation.to_text().unwrap();
    join("nonsense").refused(1, &["nonsense", "neither an invitation nor a file"]);
    let headless = good.replace("driftless1-", "");
    assert!(headless.len() > 255);
    let said = join(&headless);
    assert!(!said.stderr.contains(&headless[..30]), "a secret does not go into logs");
    said.refused(1, &["neither an invitation nor a file"]);
    join(&good[..good.len() - 3]).refused(1, &["copied whole"]);
    let flipped: String = good
        .chars()
        .rev()
        .enumerate()
        .map(|(i, c)| if i == 9 { if c == 'a' { 'b' } else { 'a' } } else { c })
        .collect();
    join(&flipped.chars().rev().collect::<String>()).refused(1, &["copied whole"]);
    join(&good.replace("driftless1-", "driftless2-")).refused(1, &["format 2"]);
    join(&format!("{good}{}", "a".repeat(2000))).refused(1, &["characters"]);
    let file = folder.path().join("invitation.txt");
    std::fs::write(&file, "https://example.org").unwrap();
    join(text(&file)).refused(1, &["not an invitation"]);
    assert!(!dir.join("sessions").exists(), "nothing is left behind");
}

#[test]
fn a_damaged_manifest_in_a_folder_is_named_and_the_other_sessions_run() {
    let (folder, data) = folder_with_text();
    let dir = folder.path().join("data");
    let listen = ["--listen", "127.0.0.1:0", "--threads", "1"];
    let mut ids = Vec::new();
    for name in ["first", "second"] {
        let mut node = Running::start(
            ["new", name, "--dir", text(&dir), "--data", text(&data), "--period", "2"].iter().chain(&listen),
        );
        ids.push(node.event("founded")["session"].as_str().unwrap().to_owned());
        node.signal(libc::SIGTERM);
        assert_eq!(node.wait(), Some(0));
    }
    run(["eval", "--dir", text(&dir)]).refused(1, &["several sessions", "first", "second"]);
    run(["eval", "third", "--dir", text(&dir)]).refused(1, &["no session here is called \"third\""]);

    let path = dir.join("sessions").join(&ids[0]).join("manifest");
    let whole = std::fs::read(&path).unwrap();
    let middle = whole.len() / 2;
    let flipped = [&whole[..middle], &[whole[middle] ^ 1], &whole[middle + 1..]].concat();
    let future = [&whole[..4], &[9], &whole[5..]].concat();
    for (bytes, words) in [
        (flipped, "manifest"),
        (whole[..middle].to_vec(), "malformed"),
        (b"name = \"x\"".to_vec(), "not a Driftless manifest"),
        (future, "format version 9"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        run(["eval", &ids[0], "--dir", text(&dir)]).refused(1, &[words, "manifest"]);
    }
    let mut both = Running::start(["run", "--dir", text(&dir)].iter().chain(&listen));
    let error = both.event("error");
    assert!(error["text"].as_str().unwrap().contains("format version 9"), "{error}");
    both.until("a block of the other session", |line| {
        line["event"] == "block" && line["session"] == ids[1].as_str()
    });
    both.signal(libc::SIGTERM);
    assert_eq!(both.wait(), Some(1), "one of them failed");
    let again = ["--data", text(&data), "--listen", "127.0.0.1:0"];
    run(["new", "second", "--dir", text(&dir)].iter().chain(&again))
        .refused(1, &["there is a session called second", "driftless run"]);
}

#[test]
fn manifest_files_and_settings_with_unknown_words_are_refused_with_their_place() {
    let (folder, data) = folder_with_text();
    let dir = folder.path().join("data");
    let printed = new(&dir, &["--data", text(&data), "--print-manifest"]).done();
    let file = folder.path().join("session.toml");
    let from = ["--manifest", text(&file), "--data", text(&data), "--print-manifest"];
    std::fs::write(&file, &printed).unwrap();
    new(&dir, &from).done();
    std::fs::write(&file, printed.replace("max_lag", "max_leg")).unwrap();
    new(&dir, &from).refused(1, &["session.toml", "max_leg", "did you mean `max_lag`?"]);
    std::fs::write(&file, printed.replace("max_lag = 4", "max_lag = 400")).unwrap();
    new(&dir, &from).refused(1, &["session.toml", "max_lag is 400"]);
    std::fs::write(&file, "= what").unwrap();
    new(&dir, &from).refused(1, &["session.toml"]);
    std::fs::write(dir.join("config.toml"), "uq = \"1Mbit\"").unwrap();
    new(&dir, &["--data", text(&data)]).refused(1, &["config.toml: line 1", "uq"]);
}

#[test]
fn folders_that_are_not_there_are_told_apart_from_empty_ones() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    for command in ["status", "run", "eval", "sample", "leave"] {
        run([command, "--dir", text(&nowhere)]).refused(1, &["no data folder", "--dir"]);
    }
    assert!(!nowhere.exists());
    run(["status", "--dir", text(folder.path())]).refused(1, &["no node is running", "driftless new"]);
    run(["sample", "--dir", text(folder.path())]).refused(1, &["no session in"]);
    run(["run", "--dir", text(folder.path()), "--listen", "127.0.0.1:0"])
        .refused(1, &["no session to resume"]);
    let import = run(["import", text(&nowhere), "--dir", text(folder.path())]);
    import.refused(1, &["config.json: no such file"]);
}
