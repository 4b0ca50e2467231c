//! Engines: one whose loss is not finite, and the product's own.

use driftless_protocol::event::{Command, Event, Waiting};
use driftless_protocol::model::{GptShape, Model};
use driftless_sim::engine::{EngineKind, Landscape};
use driftless_sim::{Setup, World};

use crate::support::{at, complete, counted, told, until, world};

#[test]
fn a_loss_that_is_not_finite_stops_training_here_and_nothing_leaves() {
    let mut setup = Setup::small(1, 4);
    setup.peers[2].engine = EngineKind::StandIn { landscape: Landscape::Bowl, breaks_at: Some(15) };
    let mut world = world(setup);
    complete(&mut world, 240);
    let stopped = |event: &Event| *event == Event::Waiting(Waiting::Stopped);
    assert!(told(&world, 2, stopped) && !told(&world, 0, stopped));
    // The slots of steps 6 and 12, and no other.
    assert_eq!(counted(&world, 2).len(), 2);
}

#[test]
fn training_that_stopped_itself_begins_again_from_the_outer_parameters() {
    let mut setup = Setup::small(2, 4);
    setup.manifest.stop_at = Some(8 * 6 * 4 * 20);
    setup.peers[2].engine = EngineKind::StandIn { landscape: Landscape::Bowl, breaks_at: Some(15) };
    let mut world = world(setup);
    world.command(at(4_000), 2, Command::Resume);
    complete(&mut world, 240);
    assert!(counted(&world, 2).len() > 6, "{}", counted(&world, 2).len());
}

/// Spec S3, last item: after every certificate all outer copies are equal, bit for bit. The
/// checkers compare every peer's digest with the fold of the chain at every step; here once more
/// value by value, with the product's engine.
#[test]
fn with_the_products_engine_all_outer_copies_are_equal_after_every_certificate() {
    let mut setup = Setup::real(3, 3, "gpt:tiny", 9_000).unwrap();
    setup.manifest.model =
        Model::Gpt(GptShape { layers: 2, heads: 2, width: 32, context: 16, vocabulary: 256 });
    setup.manifest.training.batch = 4;
    setup.method().period = 5;
    let mut world = world(setup);
    let mut compared = 0;
    let mut height = 0;
    let same = |world: &World| {
        let states: Vec<_> =
            world.peers().iter().filter_map(|peer| peer.session()).map(|session| session.state()).collect();
        let together =
            states.len() == 3 && states.iter().all(|state| state.control.height == states[0].control.height);
        if !together || states[0].control.height == height {
            return false;
        }
        height = states[0].control.height;
        compared += 1;
        let bits = |state: &driftless_protocol::state::State| -> Vec<u32> {
            state.pages().flat_map(|page| page.values()).map(|value| value.to_bits()).collect()
        };
        assert!(states.iter().all(|state| bits(state) == bits(states[0])), "height {height}");
        false
    };
    let mut same = same;
    until(&mut world, 60_000, |world| same(world) || crate::support::all_ended(world));
    assert!(compared >= 15, "{compared}");
    complete(&mut world, 60);
    let loss = world.peers()[0].validation_loss().unwrap();
    assert!(loss < 5.0, "{loss}");
}
