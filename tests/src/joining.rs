//! A fifth process joins a running session by the invitation alone.

use super::program::{Running, folder_with_text, text};

#[test]
fn a_fifth_process_is_counted_and_ends_with_the_same_digest() {
    let (folder, data) = folder_with_text();
    let dir = folder.path().join("D");
    let mut demo = Running::start([
        "demo",
        "--dir",
        text(&dir),
        "--data",
        text(&data),
        "--period",
        "4",
        "--tokens",
        "245760",
    ]);
    demo.until("a second block", |line| line["event"] == "block" && line["height"] == 2);

    let invitation = std::fs::read_to_string(dir.join("invitation")).unwrap();
    let fifth = folder.path().join("fifth");
    let listen = "127.0.0.1:0";
    let mut joiner =
        Running::start(["join", &invitation, "--dir", text(&fifth), "--listen", listen, "--threads", "1"]);
    joiner.event("joined");
    joiner.event("announced");

    assert_eq!(demo.wait(), Some(0));
    assert_eq!(joiner.wait(), Some(0));
    let summary = demo.said.last().unwrap();
    assert_eq!(summary["replicas_identical"], true, "{summary}");
    let mut slots = demo.events("block").flat_map(|block| block["closed"].as_array().unwrap());
    assert!(slots.any(|slot| slot["counted"] == 5), "the fifth was never counted");
    let last = joiner.events("block").last().unwrap();
    assert_eq!((&last["digest"], &last["last"]), (&summary["peers"][0]["digest"], &true.into()));
    assert_eq!(joiner.events("ended").last().unwrap()["ending"], "complete");
}
