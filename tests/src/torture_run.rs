//! A short run of `driftless-torture`: five times processes are killed, and every promise holds.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::program;

#[test]
fn five_kills_lose_nothing() {
    let mut torture = Command::new(env!("CARGO_BIN_EXE_driftless-torture"));
    // Over TCP the end of a process is noticed at once, which saves this test half a minute.
    torture
        .args("--json --seed 42 --kills 4 --double-kills 1 --period 2 --batch 2 --tcp --program".split(' '));
    let said = torture.arg(program::path()).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&said.stderr));
    let summary: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(summary["event"], "summary");
    let faults = &summary["faults"];
    assert_eq!((&faults["kill"], &faults["double-kill"]), (&4.into(), &1.into()), "{summary}");
    let count = |name: &str| summary[name].as_u64().unwrap();
    // Three heights before the first kill, two after each, two after the last recovery.
    assert!(count("height") >= 3 + 5 * 2 + 2, "{summary}");
    assert!(count("certificates") >= count("height") && count("replayed") >= count("height"), "{summary}");
    assert!(count("counted") > 0 && count("jumped_over") == 0, "{summary}");
}

#[test]
fn wrong_use_is_told_from_a_broken_promise() {
    let code = |words: &[&str]| {
        let mut torture = Command::new(env!("CARGO_BIN_EXE_driftless-torture"));
        torture.args(words).output().unwrap().status.code()
    };
    assert_eq!(code(&["--peers", "3"]), Some(2));
    assert_eq!(code(&["--kills", "1", "--program", "/nowhere/driftless"]), Some(1));
}
