//! `new`, the local socket, an orderly stop, `run`, `leave`.

use std::path::Path;

use super::program::{Running, folder_with_text, pid_of, run, text};

/// A session of one: the founder is the steward.
fn found(dir: &Path, data: &Path) -> Running {
    Running::start([
        "new",
        "alone",
        "--dir",
        text(dir),
        "--data",
        text(data),
        "--period",
        "2",
        "--listen",
        "127.0.0.1:0",
        "--threads",
        "1",
    ])
}

#[test]
fn a_running_node_answers_pauses_resumes_stops_and_goes_on() {
    let (folder, data) = folder_with_text();
    let dir = folder.path().join("data");
    let mut node = found(&dir, &data);
    let founded = node.event("founded");
    assert!(founded["invitation"].as_str().unwrap().starts_with("driftless1-"));
    node.event("block");

    let ask = |words: &[&str]| run(words.iter().copied().chain(["--json", "--dir", text(&dir)]));
    let status = ask(&["status"]).object();
    assert_eq!((&status["name"], &status["voter"]), (&"alone".into(), &true.into()));
    assert_eq!(status["session"], founded["session"]);
    assert!(run(["status", "--dir", text(&dir)]).done().contains("alone"));
    let invited = ask(&["invite"]).object();
    assert!(invited["invitation"].as_str().unwrap().starts_with("driftless1-"));

    ask(&["pause", "alone"]).done();
    node.until("a pause", |line| {
        line["event"] == "paused" && line["reason"].as_str().unwrap().contains("user")
    });
    ask(&["resume", founded["session"].as_str().unwrap()]).done();
    node.event("resumed");

    // Every other process keeps its hands off the folder, and can read it all the same.
    let pid = pid_of(&dir).to_string();
    run(["run", "--dir", text(&dir)]).refused(1, &["in use by process", &pid]);
    run(["eval", "--dir", text(&dir), "--windows", "4"]).done();
    run(["pause", "nobody", "--dir", text(&dir)])
        .refused(1, &["no running session is called \"nobody\"", "alone"]);

    node.event("block");
    node.signal(libc::SIGTERM);
    assert_eq!(node.wait(), Some(0));
    assert_eq!(node.events("ended").last().unwrap()["ending"], "stopped");
    let height = node.events("block").last().unwrap()["height"].as_u64().unwrap();
    run(["status", "--dir", text(&dir)]).refused(1, &["no node is running", "driftless run"]);

    // It listens where it was told to when the session was founded.
    let mut again = Running::start(["run", "--dir", text(&dir)]);
    let started = again.event("started");
    let addresses = started["addresses"].as_array().unwrap();
    assert!(
        !addresses.is_empty() && addresses.iter().all(|a| a.as_str().unwrap().starts_with("/ip4/127.0.0.1/")),
        "{started}"
    );
    again
        .until("a later block", |line| line["event"] == "block" && line["height"].as_u64().unwrap() > height);
    ask(&["leave"]).done();
    assert_eq!(again.wait(), Some(0));
    assert_eq!(again.events("ended").last().unwrap()["ending"], "left");
    run(["run", "--dir", text(&dir)]).refused(1, &["no session to resume"]);
}

#[test]
fn leaving_works_without_a_node_and_says_what_that_means() {
    let (folder, data) = folder_with_text();
    let dir = folder.path().join("data");
    let mut node = found(&dir, &data);
    node.event("block");
    node.signal(libc::SIGINT);
    assert_eq!(node.wait(), Some(0));
    run(["leave", "nobody", "--dir", text(&dir)]).refused(1, &["no session here is called", "alone"]);
    let said = run(["leave", "alone", "--dir", text(&dir)]).done();
    assert!(said.contains("the others were not told"), "{said}");
    run(["leave", "--dir", text(&dir)]).refused(1, &["left alone before"]);
}

#[test]
fn an_identity_is_replaced_only_on_demand_and_not_under_a_session() {
    let (folder, data) = folder_with_text();
    let dir = folder.path().join("data");
    let key = || run(["identity", "--dir", text(&dir)]).done();
    let first = key();
    assert_eq!((first.trim().len(), key()), (64, first.clone()));
    run(["identity", "--new", "--dir", text(&dir)]).refused(2, &["--yes"]);
    run(["identity", "--new", "--yes", "--dir", text(&dir)]).done();
    assert_ne!(key(), first);

    let mut node = found(&dir, &data);
    node.event("founded");
    node.signal(libc::SIGTERM);
    assert_eq!(node.wait(), Some(0));
    run(["identity", "--new", "--yes", "--dir", text(&dir)]).refused(1, &["--force"]);
    run(["identity", "--new", "--yes", "--force", "--dir", text(&dir)]).done();
}
