//! Worlds that a seed makes up: committee, peers, links and faults. After the last fault they must
//! come to their end within a bound.

use driftless_protocol::committee::QuorumRule;
use driftless_protocol::event::{Command, Ending};
use driftless_protocol::manifest::Pacing;
use driftless_protocol::method::Overrun;
use driftless_protocol::time::Span;
use driftless_sim::faults::{self, Fault};
use driftless_sim::network::Link;
use driftless_sim::random::Random;
use driftless_sim::{Lie, PeerSetup, Setup};

use crate::support::{at, report, until, world};

/// Faults happen before this moment, in milliseconds.
const FAULTS: u64 = 25_000;
/// The end must have come by then: a bound on liveness.
const END: u64 = 600_000;

fn peers(random: &mut Random, setup: &mut Setup) {
    for _ in 0..random.below(3) {
        let start = at(random.below(8_000));
        let peer = if random.chance(700) { PeerSetup::contributor() } else { PeerSetup::follower() };
        setup.peers.push(PeerSetup { start, ..peer });
    }
    if random.chance(100) {
        let boaster = random.below(setup.peers.len() as u64) as usize;
        setup.peers[boaster].lie = Some(Lie::Boasts);
    }
    for peer in &mut setup.peers {
        peer.step = Span::millis(50 + random.below(200));
        peer.options.keep_history = random.chance(500);
        peer.options.checkpoint_every = 1 + random.below(4) as u32;
    }
}

fn terms(random: &mut Random, setup: &mut Setup) {
    setup.manifest.snapshot_every = [2, 4, 16, 1_000][random.below(4) as usize];
    setup.quorum = [QuorumRule::TwoThirds, QuorumRule::Majority][usize::from(random.chance(250))];
    setup.manifest.max_lag = 1 + random.below(5) as u32;
    setup.manifest.max_contributors = [2, 64, 64][random.below(3) as usize];
    setup.method().max_overrun =
        [Overrun::Strict, Overrun::Slot, Overrun::Steps(3)][random.below(3) as usize];
    setup.method().tau = 1 + random.below(3) as u32;
    if random.chance(300) {
        let slot_time = Span::millis(600 + random.below(600));
        setup.manifest.pacing = Pacing::Proportional { slot_time, minimum: 1, maximum: 12 };
    }
}

fn links(random: &mut Random, setup: &mut Setup) {
    setup.link = Link {
        latency: Span::millis(1 + random.below(60)),
        jitter: Span::millis(random.below(150)),
        loss: random.below(120) as u32,
        bandwidth: random.chance(300).then_some(3_000),
    };
}

fn random_faults(random: &mut Random, setup: &mut Setup) {
    let (seed, count) = (setup.seed, setup.peers.len());
    let (cuts, parts) = (random.below(8) as usize, random.below(4) as usize);
    setup.faults = faults::crashes(seed, count, cuts, at(FAULTS), Span::seconds(6));
    setup.faults.extend(faults::partitions(seed, count, parts, at(FAULTS), Span::seconds(8)));
    setup.faults.push((at(FAULTS), Fault::Loss(0)));
    if random.chance(250) {
        let peer = random.below(count as u64) as usize;
        setup.faults.push((at(random.below(FAULTS)), Fault::Flip { peer, seed }));
    }
    let seats = setup.peers.iter().filter(|peer| peer.seat).count();
    let peer = random.below(count as u64) as usize;
    // Where every voter is needed, one that comes back with less than it said has to be told by the
    // others what that was, and they may have missed it. In a majority whoever knows may be away.
    let told = seats > 3 && setup.quorum == QuorumRule::TwoThirds;
    if (told || !setup.peers[peer].seat) && random.chance(300) {
        let copied = random.below(FAULTS / 2);
        let restored = copied + random.below(FAULTS / 2);
        setup.faults.push((at(copied), Fault::Copy { peer }));
        setup.faults.push((
            at(restored),
            Fault::Restore { peer, down: random.span(Span::millis(1), Span::seconds(4)) },
        ));
    }
}

fn survive(seed: u64) {
    let mut random = Random::new(seed, "random world");
    let mut setup = Setup::small(seed, 1 + random.below(5) as usize);
    peers(&mut random, &mut setup);
    terms(&mut random, &mut setup);
    links(&mut random, &mut setup);
    random_faults(&mut random, &mut setup);
    setup.manifest.stop_at = Some(8 * 6 * setup.peers.len() as u64 * 12);
    let seats = setup.peers.iter().filter(|peer| peer.seat).count();
    let last = setup.peers.len() - 1;
    let mut world = world(setup);
    if random.chance(400) {
        let peer = random.below(last as u64 + 1) as usize;
        let from = at(random.below(8_000));
        world.command(from, peer, Command::Pause);
        world.command(from + Span::seconds(3), peer, Command::Resume);
    }
    if last >= seats && random.chance(400) {
        let wish = if random.chance(500) { Command::Leave } else { Command::Finish };
        world.command(at(random.below(15_000)), last, wish);
    }
    until(&mut world, FAULTS + 12_000, |_| false);
    // Whoever is barred by then is told that its newer folder is gone.
    (0..=last).for_each(|peer| world.command(world.now(), peer, Command::VoteAgain));
    // Voters come to the end; others may have lost their last words to the end of the others.
    let done =
        until(&mut world, END, |world| world.peers()[..seats].iter().all(|peer| peer.ending().is_some()));
    assert!(done, "seed {seed}: not at the end\n{}", report(&world));
    assert!(world.peers()[..seats].iter().all(|peer| peer.ending() == Some(Ending::Complete)), "seed {seed}");
}

#[test]
fn a_hundred_random_worlds_keep_every_promise_and_come_to_their_end() {
    (0..100).for_each(survive);
}

/// `DRIFTLESS_SEEDS=1000..3000 cargo test -p driftless-sim --test worlds -- --ignored many_random`
#[test]
#[ignore = "by hand, with a range of seeds"]
fn many_random_worlds_keep_every_promise() {
    let range = std::env::var("DRIFTLESS_SEEDS").expect("a range such as 1000..2000");
    let (from, to) = range.split_once("..").expect("a range such as 1000..2000");
    let seeds = from.parse::<u64>().unwrap()..to.parse().unwrap();
    let failed: Vec<u64> =
        seeds.filter(|seed| std::panic::catch_unwind(|| survive(*seed)).is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
}
