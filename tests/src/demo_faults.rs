//! A peer is killed; the demo is killed; Ctrl-C; a peer keeps failing.

use std::path::Path;

use super::program::{Running, await_unlocked, folder_with_text, kill, pid_of, text};

fn start(dir: &Path, data: &Path, tokens: &str) -> Running {
    Running::start(["demo", "--dir", text(dir), "--data", text(data), "--period", "4", "--tokens", tokens])
}

#[test]
fn a_killed_peer_is_started_again_and_ends_with_the_others() {
    let (folder, data) = folder_with_text();
    let dir = folder.path().join("D");
    let mut demo = start(&dir, &data, "98304");
    demo.until("a third block of peer 2", |line| {
        line["event"] == "block" && line["peer"] == 2 && line["height"] == 3
    });
    kill(pid_of(&dir.join("peer-2")), libc::SIGKILL);
    assert_eq!(demo.wait(), Some(0));
    assert_eq!(demo.events("started").filter(|line| line["peer"] == 2).count(), 2);
    let summary = demo.said.last().unwrap();
    assert_eq!(summary["replicas_identical"], true, "{summary}");
}

#[test]
fn a_killed_demo_leaves_no_process_behind() {
    let (folder, data) = folder_with_text();
    let dir = folder.path().join("D");
    let mut demo = start(&dir, &data, "100000000");
    demo.event("block");
    demo.signal(libc::SIGKILL);
    assert_eq!(demo.wait(), None, "a signal ended it");
    for peer in 0..4 {
        await_unlocked(&dir.join(format!("peer-{peer}")));
    }
}

#[test]
fn ctrl_c_stops_every_peer_in_order() {
    let (folder, data) = folder_with_text();
    let dir = folder.path().join("D");
    let mut demo = start(&dir, &data, "100000000");
    demo.event("block");
    demo.signal(libc::SIGINT);
    assert_eq!(demo.wait(), Some(1), "the session did not end");
    let stopped = demo.events("ended").filter(|line| line["ending"] == "stopped").count();
    assert_eq!(stopped, 4);
    for peer in 0..4 {
        await_unlocked(&dir.join(format!("peer-{peer}")));
    }
}

#[test]
fn a_peer_that_keeps_failing_ends_the_demo_with_its_log() {
    let (folder, data) = folder_with_text();
    let dir = folder.path().join("D");
    let mut demo = start(&dir, &data, "100000000");
    demo.event("block");
    // Its identity is damaged while it is down: it cannot come back.
    let peer = dir.join("peer-1");
    std::fs::write(peer.join("identity"), "short").unwrap();
    kill(pid_of(&peer), libc::SIGKILL);
    assert_eq!(demo.wait(), Some(1));
    let error = demo.events("error").last().unwrap()["text"].as_str().unwrap();
    assert!(error.contains("peer 1 ended 3 times in a row"), "{error}");
    assert!(error.contains("an identity has 32 bytes"), "{error}");
}

/// Nobody invited these peers: they find each other where they met.
#[test]
fn what_a_stopped_demo_began_is_finished_by_run() {
    let (folder, data) = folder_with_text();
    let dir = folder.path().join("D");
    let arguments = ["demo", "--peers", "2", "--period", "4", "--tokens", "24576", "--data", text(&data)];
    let mut demo = Running::start(arguments.into_iter().chain(["--dir", text(&dir)]));
    demo.until("a second block", |line| line["event"] == "block" && line["height"] == 2);
    demo.signal(libc::SIGINT);
    assert_eq!(demo.wait(), Some(1), "the session did not end");
    let peers = [0, 1].map(|peer| dir.join(format!("peer-{peer}")));
    let mut running = peers.each_ref().map(|peer| Running::start(["run", "--dir", text(peer)]));
    for peer in &mut running {
        assert_eq!(peer.event("ended")["ending"], "complete");
        assert_eq!(peer.wait(), Some(0));
    }
    let digest = |peer: &Running| peer.events("block").last().unwrap()["digest"].clone();
    assert_eq!(digest(&running[0]), digest(&running[1]));
}
