//! Nothing goes wrong: four peers train to the end.

use driftless_protocol::event::Ending;
use driftless_protocol::time::Time;
use driftless_sim::{Setup, World};

const MINUTE: u64 = 60_000_000;

#[test]
fn four_peers_reach_the_end_with_one_digest() {
    let mut world = World::new(Setup::small(1, 4)).unwrap();
    let all = |world: &World| world.peers().iter().all(|peer| peer.ending().is_some());
    let done = world.run_until(Time(5 * MINUTE), all).unwrap();
    for peer in world.peers() {
        println!("{:?} {:?} {:?}", peer.ending(), peer.head(), peer.validation_loss());
        for (at, event) in peer.events().iter().rev().take(40).rev() {
            println!("  {:.3} {event:?}", at.0 as f64 / 1e6);
        }
    }
    assert!(done);
    assert!(world.peers().iter().all(|peer| peer.ending() == Some(Ending::Complete)));
}
