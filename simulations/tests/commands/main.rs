//! `driftless-sim` as a person types it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn sim(folder: &Path, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_driftless-sim");
    Command::new(program).args(arguments).current_dir(folder).output().expect("the program starts")
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn scenario(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "scenarios", name].iter().collect();
    path.to_str().expect("a path in UTF-8").to_owned()
}

fn last_line(text: &str) -> Value {
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

#[test]
fn a_scenario_runs_into_a_folder_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let partition = scenario("partition.toml");
    let run = |more: &[&str]| {
        let arguments = [&["run", &partition, "--tokens", "1000", "--json"], more].concat();
        let (code, out, err) = said(&sim(folder.path(), &arguments));
        assert_eq!(code, Some(0), "{err}");
        last_line(&out)
    };
    let summary = run(&[]);
    assert_eq!((&summary["event"], &summary["replicas_identical"]), (&"summary".into(), &true.into()));
    for file in ["report.html", "events.jsonl", "heights.csv", "peers.csv", "scenario.toml", "summary.json"] {
        assert!(folder.path().join("partition-4").join(file).is_file(), "{file}");
    }
    // A seed replays, also from what the folder shows, and another one is another world.
    let shown = folder.path().join("partition-4/scenario.toml");
    let (code, out, _) = said(&sim(folder.path(), &["run", shown.to_str().unwrap(), "--json"]));
    assert_eq!((code, &last_line(&out)["trace"]), (Some(0), &summary["trace"]));
    assert_eq!(run(&["--out", "again"])["trace"], summary["trace"]);
    assert_ne!(run(&["--seed", "5"])["trace"], summary["trace"]);
    assert!(folder.path().join("partition-5").is_dir());
}

#[test]
fn wrong_use_is_exit_code_2_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = "name = \"x\"\ntokens = 100\n[[peers]]\nrole = \"voter\"\nstepp = \"1s\"\n";
    std::fs::write(folder.path().join("wrong.toml"), wrong).unwrap();
    let partition = scenario("partition.toml");
    let cases: [(&[&str], &str); 9] = [
        (&["run", "wrong.toml"], "did you mean `step`?"),
        (&["run", "missing.toml"], "missing.toml"),
        (&["run", &partition, "--peers", "3"], "cannot be used with"),
        (&["record", "."], "is no session's folder"),
        (&["replay", "missing"], "is no session's folder"),
        (&["record", ".", "--json"], "--out"),
        (&["sweep", &partition], "--vary"),
        (&["sweep", &partition, "--vary", "sed=1,2"], "`seed`?"),
        (&["sweep", &partition, "--vary", "seed"], "FIELD=VALUE"),
    ];
    for (arguments, words) in cases {
        let (code, _, err) = said(&sim(folder.path(), arguments));
        assert!(code == Some(2) && err.contains(words), "{arguments:?}: {code:?} {err}");
    }
    // What cannot be written is no wrong use.
    std::fs::write(folder.path().join("taken"), "").unwrap();
    let (code, _, err) = said(&sim(folder.path(), &["run", &partition, "--tokens", "100", "--out", "taken"]));
    assert!(code == Some(1) && err.contains("taken"), "{code:?} {err}");
}

#[test]
fn a_sweep_goes_on_with_the_runs_that_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    let partition = scenario("partition.toml");
    let sweep = || {
        let arguments =
            ["sweep", &partition, "--vary", "tokens=500,1000", "--vary", "seed=1,2", "--out", "s"];
        let (code, out, err) = said(&sim(folder.path(), &arguments));
        assert_eq!(code, Some(0), "{err}");
        (out, err)
    };
    let (first, _) = sweep();
    let table = std::fs::read_to_string(folder.path().join("s/sweep.csv")).unwrap();
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(folder.path().join("s/0003/report.html").is_file());
    // One was cut off while its last file was written.
    std::fs::write(folder.path().join("s/0002/summary.json"), "{\"event\": \"sum").unwrap();
    let (second, err) = sweep();
    assert!(err.contains("3 of 4 runs are there already") && err.contains("1 of 1 runs"), "{err}");
    assert_eq!(first, second);
    assert_eq!(std::fs::read_to_string(folder.path().join("s/sweep.csv")).unwrap(), table);
}

#[test]
fn the_tables_that_take_no_time_end_in_a_line_of_json() {
    let folder = tempfile::tempdir().unwrap();
    let table = |arguments: &[&str]| {
        let (code, out, err) = said(&sim(folder.path(), arguments));
        assert_eq!(code, Some(0), "{err}");
        last_line(&out)
    };
    let four = table(&["table", "streaming-diloco-4"]);
    assert_eq!(
        (&four["cells"], &four["within_one"], &four["within_two"]),
        (&75.into(), &73.into(), &75.into())
    );
    let traffic = table(&["table", "streaming-diloco-traffic", "--json"]);
    assert_eq!((&traffic["cells"], &traffic["equal"]), (&6.into(), &6.into()));
}
