//! A short run of `driftless-throttled`, where networks of our own are permitted.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::program;

fn throttled(words: &str) -> Output {
    let mut throttled = Command::new(env!("CARGO_BIN_EXE_driftless-throttled"));
    throttled.args(words.split(' ')).arg("--program").arg(program::path());
    throttled.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn two_peers_on_slow_lines_are_held_against_their_plan() {
    // How near they come on a machine that does other things too is not for a test to say.
    let said = throttled(
        "--json --model gpt:tiny --peers 2 --methods sparse-loco --period 4 --slots 3 --skip 1 --allowed 100",
    );
    let error = String::from_utf8_lossy(&said.stderr);
    if error.contains("needs root") {
        return eprintln!("skipped: {error}");
    }
    assert_eq!(said.status.code(), Some(0), "{error}");
    let object: Value = serde_json::from_slice(&said.stdout).unwrap();
    let share = &object["utilization"];
    for name in ["measured", "planned"] {
        let share = share[name].as_f64().unwrap();
        assert!(share > 0.0 && share <= 1.0, "{object}");
    }
    assert_eq!(object["seconds"]["each"].as_array().map(Vec::len), Some(3), "{object}");
    let [up, sent] = [&object["lines"]["up"]["bytes"], &object["bytes_sent"]["measured"]];
    assert!(up.as_f64().unwrap() > 3.0 * sent.as_f64().unwrap(), "two peers, four periods: {object}");
}

#[test]
fn periods_are_one_for_all_methods_or_one_for_each() {
    let said = throttled("--methods co2 --period 3,4");
    assert_eq!(said.status.code(), Some(2));
    let said =
        Command::new(env!("CARGO_BIN_EXE_driftless-throttled")).args(["--program", "/nowhere"]).output();
    assert_eq!(said.unwrap().status.code(), Some(1));
}
