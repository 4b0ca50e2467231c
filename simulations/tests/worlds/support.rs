//! What the tests share.

use driftless_protocol::block::{Closing, Counted};
use driftless_protocol::event::{Ending, Event};
use driftless_protocol::time::{Span, Time};
use driftless_sim::{Setup, World};

/// A moment so many milliseconds after the start.
pub fn at(millis: u64) -> Time {
    Time(Span::millis(millis).0)
}

/// Whether every peer's session ended.
pub fn all_ended(world: &World) -> bool {
    world.peers().iter().all(|peer| peer.ending().is_some())
}

/// A world that nothing happened in.
pub fn world(setup: Setup) -> World {
    World::new(setup).expect("valid terms")
}

/// Runs a world until all peers ended; they must all be complete within `limit` virtual seconds,
/// at the certified state.
pub fn complete(world: &mut World, limit: u64) {
    let done = world.run_until(at(limit * 1000), all_ended).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(done, "not at the end after {limit} s\n{}", report(world));
    let end = Some((world.certified().control.height, world.certified().digest()));
    for peer in world.peers() {
        assert_eq!((peer.ending(), peer.head()), (Some(Ending::Complete), end), "{}", report(world));
    }
}

/// Runs a world until `limit` virtual milliseconds, or until `done`.
pub fn until(world: &mut World, limit: u64, done: impl FnMut(&World) -> bool) -> bool {
    world.run_until(at(limit), done).unwrap_or_else(|violation| panic!("{violation}"))
}

/// The last events of every peer.
pub fn report(world: &World) -> String {
    let mut text = format!("{:.3} s\n", world.now().0 as f64 / 1e6);
    for (index, peer) in world.peers().iter().enumerate() {
        let status = peer.session().map(|session| session.status());
        text.push_str(&format!("peer {index} {:?}: {:?} {status:?}\n", peer.key.short(), peer.ending()));
        let events: Vec<_> =
            peer.events().iter().filter(|(_, event)| !matches!(event, Event::Trained { .. })).collect();
        for (at, event) in events.iter().rev().take(12).rev() {
            text.push_str(&format!("    {:.3} {event:?}\n", at.0 as f64 / 1e6));
        }
    }
    text
}

/// All closings of stream 0 on the chain of peer 0.
pub fn closings(world: &World) -> Vec<Closing> {
    closings_of(world, 0)
}

/// All closings of a stream on the chain of peer 0.
pub fn closings_of(world: &World, stream: usize) -> Vec<Closing> {
    let blocks = world.peers()[0].disk().blocks().values();
    let closings = blocks.flat_map(|certified| certified.block.closings().cloned().collect::<Vec<_>>());
    closings.filter(|closing| usize::from(closing.slot.stream) == stream).collect()
}

/// Every contribution of a peer to stream 0, if its index among the members never changed.
pub fn counted(world: &World, peer: usize) -> Vec<Counted> {
    let mut keys: Vec<_> = world.peers().iter().map(|peer| peer.key).collect();
    keys.sort_unstable();
    let index = keys.iter().position(|key| *key == world.peers()[peer].key);
    let all = closings(world).into_iter().flat_map(|closing| closing.counted);
    all.filter(|counted| Some(usize::from(counted.member)) == index).collect()
}

/// Whether a peer ever told such an event.
pub fn told(world: &World, peer: usize, wanted: impl Fn(&Event) -> bool) -> bool {
    world.peers()[peer].events().iter().any(|(_, event)| wanted(event))
}
