//! A world from its start to its end, and what came of it in a line.

use driftless_protocol::event::Ending;
use driftless_protocol::time::{Span, Time};
use serde_json::{Value, json};

use super::CommandError;
use crate::scenario::Plan;
use crate::world::World;

/// Runs the world until its voters are at the end, and whoever else still runs. `told` hears now and then
/// how far it is: the world, and the tokens at which it ends.
pub(super) fn live(
    world: &mut World,
    plan: &Plan,
    limit: Span,
    told: &mut dyn FnMut(&World, u64),
) -> Result<(), CommandError> {
    let seats: Vec<bool> = plan.setup.peers.iter().map(|peer| peer.seat).collect();
    // Whoever else said farewell, or is off for good, is not waited for.
    let lasting = |world: &World, index: usize| seats[index] || world.peers()[index].is_up();
    let ended = |world: &World| {
        let peers = world.peers().iter().enumerate();
        peers.filter(|(index, _)| lasting(world, *index)).all(|(_, peer)| peer.ending().is_some())
    };
    let tokens = plan.setup.manifest.stop_at.unwrap_or(0).max(1);
    let mut count = 0_u64;
    let done = world.run_until(Time(limit.0), |world| {
        count += 1;
        // What is told may look at a clock.
        if count.is_multiple_of(256) {
            told(world, tokens);
        }
        ended(world)
    });
    let done = done.map_err(|violation| CommandError::Failed(violation.to_string()))?;
    let complete = (0..seats.len())
        .filter(|index| seats[*index])
        .all(|index| matches!(world.peers()[index].ending(), Some(Ending::Complete | Ending::Left)));
    if done && complete {
        return Ok(());
    }
    let seconds = limit.0 / 1_000_000;
    Err(CommandError::Failed(format!("not all came to the end within {seconds} virtual seconds")))
}

/// What came of it.
pub(super) fn summary(seed: u64, world: &World, error: Option<&CommandError>) -> Value {
    let control = &world.certified().control;
    let digest = world.certified().digest();
    let mut losses = world.peers().iter().filter_map(|peer| peer.validation_loss());
    // Whoever left or is off may be behind.
    let mut complete = world.peers().iter().filter(|peer| peer.ending() == Some(Ending::Complete));
    let identical = complete.all(|peer| peer.head() == Some((control.height, digest)));
    let traffic = world.peers().iter().map(|peer| peer.traffic());
    let sent: u64 = traffic.map(|traffic| traffic.messages_sent + traffic.blobs_sent).sum();
    let error = error.map(ToString::to_string);
    json!({"event": "summary", "error": error, "seed": seed, "heights": control.height,
        "tokens": control.counted_tokens, "seconds": world.now().0 as f64 / 1e6, "digest": digest.to_string(),
        "replicas_identical": identical, "bytes_sent": sent, "validation_loss": losses.next(),
        "trace": world.trace().to_string(), "events": world.happened()})
}
