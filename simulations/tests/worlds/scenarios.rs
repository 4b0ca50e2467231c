//! Every scenario in the repository is a world that keeps its promises, with the stand-in model.

use std::path::Path;

use driftless_protocol::event::Ending;
use driftless_protocol::time::Time;
use driftless_sim::World;
use driftless_sim::report::Run;
use driftless_sim::scenario::Scenario;
use serde_json::json;

use crate::support::report;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

#[test]
fn every_scenario_comes_to_its_end() {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    assert!(files.len() >= 9, "{files:?}");
    for file in files {
        let text = Scenario::text(&file).unwrap();
        let mut scenario =
            Scenario::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        scenario.model = None;
        let plan = scenario.plan().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        if plan.setup.peers.len() > 200 {
            // A measurement of minutes: `crowd` is its short form.
            continue;
        }
        let voters: Vec<usize> =
            (0..plan.setup.peers.len()).filter(|peer| plan.setup.peers[*peer].seat).collect();
        let mut world = plan.world().unwrap();
        let complete = |world: &World| {
            voters.iter().all(|voter| world.peers()[*voter].ending() == Some(Ending::Complete))
        };
        let done = world.run_until(Time(scenario.limit.0), complete);
        let done = done.unwrap_or_else(|violation| panic!("{}: {violation}", file.display()));
        assert!(done, "{}\n{}", file.display(), report(&world));
        for at in moments(&text) {
            assert!(at < world.now(), "{}: it was over before what happens at {at:?}", file.display());
        }
    }
}

/// The moments of a scenario's faults and wishes.
fn moments(text: &str) -> Vec<Time> {
    let table: toml::Table = toml::from_str(text).unwrap();
    let faults = table.get("faults").and_then(|faults| faults.as_array()).into_iter().flatten();
    let at = faults.filter_map(|fault| fault.get("at")?.as_str());
    let seconds = at.map(|at| at.strip_suffix('s').unwrap().parse::<u64>().unwrap());
    seconds.map(|seconds| Time(seconds * 1_000_000)).collect()
}

#[test]
fn the_example_in_the_documentation_is_a_world() {
    let text = std::fs::read_to_string(folder().join("../../docs/scenarios.md")).unwrap();
    let example = text.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let plan = Scenario::parse(example).and_then(|scenario| scenario.plan()).unwrap();
    assert_eq!(plan.regions, ["north", "north", "south", "south"]);
}

#[test]
fn a_run_leaves_a_page_and_tables_that_agree_with_the_chain() {
    let text = Scenario::text(&folder().join("partition.toml")).unwrap();
    let mut scenario = Scenario::parse(&text).unwrap();
    scenario.tokens = 3_000;
    let plan = scenario.plan().unwrap();
    let mut world = plan.world().unwrap();
    let ended = |world: &World| world.peers().iter().all(|peer| peer.ending().is_some());
    assert!(world.run_until(Time(scenario.limit.0), ended).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let summary = json!({"event": "summary", "seed": 4});
    let run = Run {
        name: "a < b",
        about: "",
        scenario: "name = 1",
        regions: &plan.regions,
        summary: &summary,
        world: &world,
    };
    run.write(folder.path(), true).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let heights = read("heights.csv");
    let last = heights.lines().last().unwrap().split(',').map(str::to_owned).collect::<Vec<_>>();
    let control = &world.certified().control;
    assert_eq!((heights.lines().count() as u64, &last[0]), (control.height + 1, &control.height.to_string()));
    assert_eq!(last[4], control.counted_tokens.to_string());
    // What was counted of each peer, added up by hand over stream 0 and 1.
    let counted = |line: &str| line.split(',').nth(8).unwrap().parse::<u32>().unwrap();
    let table: u32 = read("peers.csv").lines().skip(1).map(counted).sum();
    let blocks = world.peers()[0].disk().blocks().values();
    let chain: usize = blocks
        .flat_map(|block| block.block.closings().map(|closing| closing.counted.len()).collect::<Vec<_>>())
        .sum();
    assert_eq!(table as usize, chain);
    let page = read("report.html");
    assert!(
        page.contains("<h1>a &lt; b</h1>") && page.matches("<svg").count() == 5 && page.contains("south")
    );
    // Names of namespaces aside, it refers to nothing outside.
    assert_eq!(page.matches("http").count(), page.matches("http://www.w3.org/2000/svg").count());
    assert!(read("counted.svg").starts_with("<svg"));
    for line in read("events.jsonl").lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["event"].is_string() && event["at"].is_number(), "{line}");
    }
}
