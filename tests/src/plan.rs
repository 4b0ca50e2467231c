//! `plan` compares methods and refuses what does not fit; `new` founds nothing that does not fit by the same plan.

use serde_json::Value;

use super::program::{Running, folder_with_text, run, text};

fn objects(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_method_is_planned_and_one_is_recommended() {
    let arguments = ["plan", "--model", "gpt:small", "--peers", "8", "--steps-per-second", "4"];
    let said = run(arguments).done();
    assert!(said.contains("Recommended: muloco") && said.contains("sparse-loco"), "{said}");
    let said = objects(&run(arguments.into_iter().chain(["--json"])).done());
    let (recommended, plans) = said.split_last().unwrap();
    assert_eq!((&recommended["event"], &recommended["method"]), (&"recommended".into(), &"muloco".into()));
    assert!(plans.len() >= 3 && plans.iter().all(|plan| plan["event"] == "plan" && plan["fits"] == true));
    for plan in plans {
        let blobs: Vec<f64> =
            plan["blobs"].as_array().unwrap().iter().map(|blob| blob.as_f64().unwrap()).collect();
        let received = plan["roles"]["voter"]["per_slot"]["blobs_received"].as_f64().unwrap();
        let mean = blobs.iter().sum::<f64>() / blobs.len() as f64;
        // Where a byte a sample is sent, everybody has the contributions from the lists.
        let fetched = if plan["codec"] == "a byte a sample" { 0.0 } else { 7.0 * mean };
        assert!((received - fetched).abs() < 1.0, "{plan}");
        assert!(plan["utilization"].as_f64().is_some_and(|share| share > 0.0 && share <= 1.0), "{plan}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_sum_and_what_does_fit() {
    let plan = ["plan", "--model", "gpt:gpt2", "--method", "muloco", "--memory", "2GB"];
    let outcome = run(plan);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    for words in ["optimizer moments", "and there are 2.0 GB", "--model gpt:small fits"] {
        assert!(outcome.stderr.contains(words), "{words:?}: {outcome:?}");
    }
    run(["plan", "--peers", "2", "--voters", "3"]).refused(2, &["--voters 3", "2 peers"]);
    run(["plan", "--steps-per-second", "0"]).refused(2, &["--steps-per-second"]);
    run(["plan", "--model", "gpt:huge"]).refused(2, &["gpt:huge", "gpt:tiny"]);
    run(["plan", "--period", "0"]).refused(2, &["period"]);
}

#[test]
fn new_founds_nothing_that_does_not_fit_unless_it_is_made_to() {
    let (folder, data) = folder_with_text();
    let dir = folder.path().join("data");
    let new = ["new", "crowd", "--dir", text(&dir), "--data", text(&data), "--listen", "127.0.0.1:0"];
    // 1500 contributors, of whom 64 are drawn: no matter. A cap below the slowest line admitted is one.
    let slow = ["--up", "100kB", "--peers", "1500"];
    run(new.iter().chain(&slow)).refused(1, &["does not fit", "100.0 kB/s", "125.0 kB/s", "--force"]);
    assert!(std::fs::read_dir(dir.join("sessions")).is_err(), "nothing is left behind");
    let mut node = Running::start(new.iter().chain(&slow).chain(&["--force"]).copied());
    node.event("founded");
    node.signal(libc::SIGTERM);
    assert_eq!(node.wait(), Some(0));
}
