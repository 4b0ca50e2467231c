//! Several peers end with one state, and their folders are of use afterwards.

use std::collections::BTreeMap;

use driftless_protocol::invitation::Invitation;

use super::program::{Running, folder_with_text, run, text};

#[test]
fn four_processes_end_with_the_same_bits_at_every_height() {
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
        "49152",
    ]);
    assert_eq!(demo.wait(), Some(0));

    let mut digests: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for block in demo.events("block") {
        let digest = block["digest"].as_str().unwrap().to_owned();
        digests.entry(block["height"].as_u64().unwrap()).or_default().push(digest);
    }
    let summary = demo.said.last().unwrap();
    assert_eq!(summary["event"], "summary");
    assert_eq!(digests.len() as u64, summary["heights"].as_u64().unwrap());
    for (height, digests) in &digests {
        assert_eq!(digests.len(), 4, "height {height}");
        assert!(digests.iter().all(|digest| *digest == digests[0]), "height {height}: {digests:?}");
    }
    assert_eq!(summary["replicas_identical"], true);
    assert!(summary["tokens"].as_u64().unwrap() >= 49_152);
    let peers = summary["peers"].as_array().unwrap();
    assert_eq!(peers.len(), 4);
    assert!(peers.iter().all(|peer| peer["digest"] == peers[0]["digest"]));
    assert!(summary["wire_overhead"].as_f64().unwrap() < 1.5, "{summary}");

    // The folders and the invitation are kept, and any replica evaluates to the same.
    Invitation::from_text(&std::fs::read_to_string(dir.join("invitation")).unwrap()).unwrap();
    let loss = summary["validation_loss"].as_f64().unwrap();
    assert!((1.0..5.6).contains(&loss), "{loss}");
    let evaluated = run(["eval", "--json", "--dir", text(&dir.join("peer-3"))]).object();
    assert_eq!((evaluated["loss"].as_f64(), &evaluated["digest"]), (Some(loss), &peers[0]["digest"]));
    let sample = |seed| {
        let dir = dir.join("peer-1");
        run(["sample", "--dir", text(&dir), "--prompt", "KING", "--length", "20", "--seed", seed]).done()
    };
    assert!(sample("1").starts_with("KING"));
    assert_eq!(sample("1"), sample("1"));

    // It does not run over an earlier demo.
    run(["demo", "--dir", text(&dir)]).refused(1, &["an earlier demo", "another --dir"]);
}

#[test]
fn without_json_there_are_plain_lines_and_what_to_try_next() {
    let (_folder, data) = folder_with_text();
    let said = run([
        "demo",
        "--peers",
        "1",
        "--data",
        text(&data),
        "--period",
        "4",
        "--tokens",
        "6000",
        "--codec",
        "f32",
    ]);
    let said = said.done();
    for expected in
        ["block 1: one digest", "All 1 replicas are identical", "The model writes", "What to try next"]
    {
        assert!(said.contains(expected), "{expected:?} is not in {said}");
    }
    assert!(!said.contains('\u{1b}'), "no escape sequences where there is no terminal: {said:?}");
}
