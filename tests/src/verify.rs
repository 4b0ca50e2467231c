//! A whole run is checked from its folders, offline: what is right passes, one wrong byte anywhere
//! does not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use driftless::store::{Folder, SessionFolder};
use driftless::verify::{Problem, verify};
use serde_json::Value;

use super::program::{Running, folder_with_text, run, text};

/// Bytes that are flipped, one at a time, at least.
const FLIPS: usize = 240;

#[test]
fn a_demo_verifies_and_every_flipped_byte_is_found() {
    let (folder, data) = folder_with_text();
    let dir = folder.path().join("D");
    let arguments = ["demo", "--peers", "2", "--data", text(&data), "--period", "2", "--slots", "8"];
    let mut demo = Running::start(arguments.into_iter().chain(["--dir", text(&dir)]));
    assert_eq!(demo.wait(), Some(0));
    let summary = demo.said.last().unwrap();

    all_states_are_recomputed(&dir, summary);
    history_lists_what_was_counted(&dir, &demo);
    every_flip_is_found(&session_of(&dir.join("peer-1")));
}

fn session_of(dir: &Path) -> SessionFolder {
    Folder::open(dir).unwrap().sessions().unwrap().remove(0)
}

fn all_states_are_recomputed(dir: &Path, summary: &Value) {
    let said = run(["verify", "--replay", "--json", text(dir)]).done();
    let verified: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(verified.len(), 2);
    for (peer, told) in verified.iter().zip(summary["peers"].as_array().unwrap()) {
        assert_eq!((&peer["event"], &peer["replayed_from"]), (&"verified".into(), &0.into()));
        assert_eq!((&peer["digest"], &peer["height"]), (&told["digest"], &summary["heights"]));
        assert_eq!((&peer["problems"], &peer["first"]), (&0.into(), &1.into()));
    }
    let said = run(["verify", text(&dir.join("peer-0"))]).done();
    assert!(said.contains("no problem found") && said.contains("--replay"), "{said}");
}

fn history_lists_what_was_counted(dir: &Path, demo: &Running) {
    let peer = dir.join("peer-0");
    let said = run(["history", "--json", text(&peer)]).done();
    let rows: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let blocks: Vec<&Value> = demo.events("block").filter(|block| block["peer"] == 0).collect();
    assert_eq!(rows.len(), blocks.len());
    for (row, block) in rows.iter().zip(blocks) {
        assert_eq!((&row["height"], &row["digest"]), (&block["height"], &block["digest"]));
        let counted = row["closed"].as_array().unwrap().iter().flat_map(|c| c["counted"].as_array().unwrap());
        let counted: Vec<&Value> = counted.collect();
        let sum = |field: &str| counted.iter().map(|one| one[field].as_u64().unwrap()).sum::<u64>();
        assert_eq!(Some(sum("bytes")), block["counted_bytes"].as_u64());
        assert_eq!(row["tokens"], block["tokens"]);
        assert!(counted.iter().all(|one| one["member"].as_str().unwrap().len() == 64));
    }
    let csv = run(["history", "--csv", "--from", "2", "--to", "3", text(&peer)]).done();
    let columns = csv.lines().next().unwrap().split(',').count();
    assert!(csv.lines().count() > 2 && csv.lines().all(|line| line.split(',').count() == columns), "{csv}");
}

/// Every file of the folder has a byte flipped at its start, its end and in between, and the larger
/// ones more.
fn every_flip_is_found(session: &SessionFolder) {
    let problems = |replay| verify(session, replay, &mut |_| ()).unwrap().problems;
    assert_eq!(problems(true), []);
    let mut files = Vec::new();
    for folder in [session.chain(), session.pages(), session.blobs()] {
        files.extend(fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    }
    files.sort();
    assert!(files.len() > 20, "{files:?}");
    let mut flips = 0;
    let mut kinds = BTreeSet::new();
    // Splitmix: any generator does, as long as a failure can be repeated.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((word ^ (word >> 27)) >> 11) % below
    };
    while flips < FLIPS {
        for path in &files {
            let length = fs::metadata(path).unwrap().len();
            let offset = match flips / files.len() {
                0 => 0,
                1 => length - 1,
                _ => random(length),
            };
            let bit = random(8) as u8;
            flip(path, offset, bit);
            let found = problems(false);
            assert!(names(&found, path), "byte {offset}, bit {bit} of {}: {found:?}", path.display());
            flip(path, offset, bit);
            flips += 1;
            kinds.insert(path.extension().unwrap_or_default().to_owned());
        }
    }
    assert_eq!(kinds.len(), 3, "chain files, snapshots, blobs and pages: {kinds:?}");
    assert_eq!(problems(true), [], "all is as it was");
    a_problem_fails_the_command(session, &files[0]);
}

/// Whether the damage is told with its file and the height or root that it concerns.
fn names(problems: &[Problem], path: &Path) -> bool {
    problems
        .iter()
        .any(|problem| problem.file == path && (problem.height.is_some() || problem.root.is_some()))
}

fn flip(path: &PathBuf, offset: u64, bit: u8) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, offset).unwrap();
}

fn a_problem_fails_the_command(session: &SessionFolder, path: &Path) {
    flip(&path.to_owned(), 200, 3);
    let said = run(["verify", "--json", text(session.path())]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let first: Value = serde_json::from_str(said.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((&first["event"], &first["file"]), (&"problem".into(), &text(path).into()), "{said:?}");
    flip(&path.to_owned(), 200, 3);
}
