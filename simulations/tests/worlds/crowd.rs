//! More peers than can all know each other, with a cost model.

use driftless_sim::World;
use driftless_sim::scenario::Scenario;

use crate::support::{complete, report};

const CROWD: &str = r#"
name = "crowd"
tokens = 6_000
seed = 5
[cost-model]
parameters = 1_000_000_000
loss = [[0, 11.0], [6_000, 5.0]]
[session]
max_contributors = 16
[network]
latency = "40ms"
jitter = "30ms"
[[peers]]
count = 4
role = "voter"
step = "500ms"
keep-history = false
[[peers]]
count = 76
role = "contributor"
step = "500ms"
start = "1s"
every = "50ms"
keep-history = false
"#;

fn world() -> World {
    Scenario::parse(CROWD).unwrap().plan().unwrap().world().unwrap()
}

#[test]
fn gossip_reaches_a_crowd_along_few_links_and_its_blobs_weigh_what_the_model_does() {
    let mut world = world();
    complete(&mut world, 600);
    assert!(world.peers().iter().all(|peer| peer.validation_loss() == Some(5.0)), "{}", report(&world));
    let heights = world.decided().len() as u64;
    for peer in &world.peers()[4..] {
        let control = peer.traffic().messages_sent + peer.traffic().messages_received;
        assert!(control / heights < 60_000, "{control} bytes in {heights} heights");
    }
    // Half of the model at 4 bits and a bit more: 258 MB.
    let counted: usize = world.decided().iter().flat_map(|one| &one.closed).map(|(_, by)| by.len()).sum();
    let received = world.peers()[20].traffic().blobs_received as f64 / counted as f64;
    assert!((200e6..300e6).contains(&received), "{received}");
}

#[test]
fn a_seed_replays_its_crowd() {
    let traces = [(); 2].map(|()| {
        let mut world = world();
        complete(&mut world, 600);
        world.trace()
    });
    assert_eq!(traces[0], traces[1]);
}
