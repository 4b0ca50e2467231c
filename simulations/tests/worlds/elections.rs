//! Elected committees: how they grow, how they heal, and how a founder starts one anew.

use driftless_protocol::event::{Command, Event};
use driftless_protocol::time::{Span, Time};
use driftless_sim::faults::Fault;
use driftless_sim::network::Link;
use driftless_sim::{PeerSetup, Setup, World};

use crate::support::{at, told, until, world};

/// A founder and so many candidates, in a session without an end.
fn founded(seed: u64, candidates: usize) -> Setup {
    let mut setup = Setup::small(seed, 1);
    setup.elected = true;
    setup.manifest.stop_at = None;
    setup.peers.extend(vec![PeerSetup::candidate(); candidates]);
    setup
}

/// Such a world once it has so many seats.
fn grown(seed: u64, candidates: usize, seats: usize) -> World {
    let mut world = world(founded(seed, candidates));
    assert!(until(&mut world, 300_000, |world| sitting(world) == seats), "{} seats", sitting(&world));
    world
}

fn sitting(world: &World) -> usize {
    world.certified().control.seats.len()
}

fn sits(world: &World, peer: usize) -> bool {
    world.certified().control.seats.contains(&world.peers()[peer].key)
}

fn height(world: &World) -> u64 {
    world.certified().control.height
}

/// Runs on for so many virtual seconds, or until `done`.
fn within(world: &mut World, seconds: u64, done: impl FnMut(&World) -> bool) -> bool {
    let end = (world.now() + Span::seconds(seconds)).0 / 1000;
    until(world, end, done)
}

/// Peers but the founder that sit, so many.
fn voters(world: &World, count: usize) -> Vec<usize> {
    (1..world.peers().len()).filter(|peer| sits(world, *peer)).take(count).collect()
}

/// The power goes for good.
fn vanish(world: &mut World, peers: &[usize]) {
    for peer in peers {
        world.inject(world.now(), Fault::Crash { peer: *peer, outputs: 0, down: None });
    }
}

#[test]
fn a_founder_alone_becomes_four_and_then_sixteen() {
    let mut world = world(founded(1, 17));
    let mut sizes = vec![1];
    until(&mut world, 300_000, |world| {
        if sizes.last() != Some(&sitting(world)) {
            sizes.push(sitting(world));
        }
        sitting(world) == 16
    });
    assert_eq!(sizes, [1].into_iter().chain(4..=16).collect::<Vec<_>>());
    // Nobody is displaced by the candidate that is left.
    let seats = world.certified().control.seats.clone();
    within(&mut world, 30, |_| false);
    assert_eq!(world.certified().control.seats, seats);
}

#[test]
fn voters_that_vanish_lose_their_seats_and_a_candidate_takes_one() {
    let mut world = world({
        let mut setup = founded(2, 6);
        // Comes later, and is a candidate once the others sit.
        setup.peers.push(PeerSetup { start: at(60_000), ..PeerSetup::candidate() });
        setup
    });
    assert!(until(&mut world, 300_000, |world| sitting(world) == 7));
    let gone = voters(&world, 2);
    vanish(&mut world, &gone);
    let healed = |world: &World| gone.iter().all(|peer| !sits(world, *peer));
    assert!(within(&mut world, 120, healed), "{:?}", world.certified().control.attendance);
    assert!(within(&mut world, 120, |world| sits(world, 7)), "the candidate has a seat");
    let before = height(&world);
    assert!(within(&mut world, 30, |world| height(world) > before + 10));
}

#[test]
fn a_voter_that_leaves_is_replaced_in_the_block_that_it_waits_for() {
    let mut setup = founded(3, 3);
    setup.peers.push(PeerSetup { start: at(20_000), ..PeerSetup::candidate() });
    // Not more than four seats: the fifth qualifies when one of them leaves.
    let mut world = world(setup);
    assert!(until(&mut world, 300_000, |world| sitting(world) == 4));
    let leaver = voters(&world, 1)[0];
    assert!(within(&mut world, 120, |world| sitting(world) == 5));
    world.command(world.now(), leaver, Command::Leave);
    assert!(within(&mut world, 20, |world| !sits(world, leaver)));
    assert!(within(&mut world, 20, |world| world.peers()[leaver].ending().is_some()));
    assert_eq!(sitting(&world), 4);
    // At four seats the next one is missed, and its seat counts.
    let next = voters(&world, 1)[0];
    world.command(world.now(), next, Command::Leave);
    assert!(within(&mut world, 20, |world| world.peers()[next].ending().is_some()));
    let before = height(&world);
    assert!(within(&mut world, 30, |world| height(world) > before + 10), "three of four decide");
    assert_eq!(sitting(&world), 4);
}

#[test]
fn five_of_sixteen_gone_at_once_heal_by_rule() {
    let mut world = grown(4, 15, 16);
    let gone = voters(&world, 5);
    let before = height(&world);
    vanish(&mut world, &gone);
    let healed = |world: &World| gone.iter().all(|peer| !sits(world, *peer));
    assert!(within(&mut world, 900, healed), "height {before} -> {}", height(&world));
    assert_eq!(sitting(&world), 11);
    // Three of eleven may go again.
    let gone = voters(&world, 3);
    vanish(&mut world, &gone);
    let before = height(&world);
    assert!(within(&mut world, 120, |world| height(world) > before + 20));
}

#[test]
fn six_of_sixteen_pause_the_session_and_a_reset_brings_it_back() {
    let mut world = grown(5, 15, 16);
    let gone = voters(&world, 6);
    vanish(&mut world, &gone);
    within(&mut world, 5, |_| false);
    let paused = height(&world);
    assert!(!within(&mut world, 120, |world| height(world) > paused), "nobody decides alone");
    let other = (1..16).find(|peer| !gone.contains(peer)).unwrap();
    world.command(world.now(), other, Command::Reset);
    within(&mut world, 5, |_| false);
    let refused = |event: &Event| matches!(event, Event::Warning(text) if text.contains("founder"));
    assert!(told(&world, other, refused) && height(&world) == paused);
    world.command(world.now(), 0, Command::Reset);
    assert!(within(&mut world, 30, |world| height(world) > paused + 10));
    assert_eq!((world.certified().control.generation, sitting(&world)), (1, 10));
    // All of them lose power, and one that was away comes back: the reset is on the disks, in the chain.
    for peer in (0..16).filter(|peer| !gone.contains(peer)) {
        let down = Some(Span::seconds(2));
        world.inject(world.now(), Fault::Crash { peer, outputs: 3, down });
    }
    world.switch_on(world.now() + Span::seconds(4), gone[0]);
    let before = height(&world);
    assert!(within(&mut world, 60, |world| height(world) > before + 10));
    assert!(within(&mut world, 60, |world| {
        world.peers()[gone[0]].session().is_some_and(|s| s.state().control.generation == 1)
    }));
}

#[test]
fn a_peer_that_holds_a_higher_certificate_stops_a_reset() {
    let mut world = grown(6, 15, 16);
    let [holder, ref gone @ ..] = voters(&world, 6)[..] else { panic!("sixteen sit") };
    let others: Vec<usize> = (0..16).filter(|peer| *peer != holder).collect();
    // What the holder learns, others learn later.
    for (from, to) in others.iter().flat_map(|from| others.iter().map(move |to| (*from, *to))) {
        world.network().set(from, to, Link { latency: Span::millis(80), ..Link::default() });
    }
    for other in &others {
        world.network().set(*other, holder, Link { latency: Span::millis(1), ..Link::default() });
        world.network().set(holder, *other, Link { latency: Span::millis(240), ..Link::default() });
    }
    within(&mut world, 5, |_| false);
    let at = |world: &World, peer: usize| world.peers()[peer].session().map_or(0, |s| s.status().height);
    let alone = |world: &World| others.iter().all(|other| at(world, *other) < at(world, holder));
    assert!(within(&mut world, 60, alone), "the holder decides first, once");
    // At this moment five vanish, and for two seconds nobody hears anybody.
    world.inject(world.now(), Fault::Partition((0..16).collect()));
    vanish(&mut world, gone);
    let parted = (0..16).map(|peer| u32::from(peer == holder)).collect();
    world.inject(world.now() + Span::seconds(2), Fault::Partition(parted));
    let paused = at(&world, 0);
    assert!(!within(&mut world, 60, |world| at(world, 0) > paused), "ten of sixteen do not decide");
    assert_eq!(at(&world, holder), paused + 1);
    // The founder asks for a reset just as the holder comes back.
    world.inject(world.now(), Fault::Heal);
    world.command(world.now() + Span::millis(1), 0, Command::Reset);
    assert!(within(&mut world, 60, |world| at(world, 0) > paused + 10));
    assert!(told(&world, 0, |event| matches!(event, Event::Reset { .. })), "it was signed");
    assert_eq!(world.certified().control.generation, 0, "and is void");
}

#[test]
fn a_late_joiner_is_led_to_the_seats_of_a_snapshot() {
    let mut setup = founded(7, 6);
    setup.manifest.snapshot_every = 4;
    let mut late = PeerSetup { start: at(90_000), ..PeerSetup::candidate() };
    late.options.keep_history = false;
    let mut later = PeerSetup { start: at(110_000), ..late.clone() };
    later.options.stand = None;
    setup.peers.extend([late, later]);
    let mut world = world(setup);
    assert!(until(&mut world, 89_000, |world| sitting(world) == 7));
    // Nobody but the late one is there to lead the later one.
    let joined =
        |world: &World, peer: usize| told(world, peer, |event| matches!(event, Event::Joined { .. }));
    assert!(until(&mut world, 110_000, |world| joined(world, 7)));
    let snapshots = |world: &World, peer: usize| world.peers()[peer].disk().snapshot_offer(0).is_some();
    assert!(snapshots(&world, 7) && !world.peers()[7].disk().blocks().contains_key(&1));
    assert!(until(&mut world, 140_000, |world| joined(world, 8)));
    let offer = world.peers()[8].disk().snapshot_offer(0).unwrap();
    // 1 to 4 seats, then three more.
    assert_eq!(offer.seatings.len(), 4, "it can lead others in its turn");
}

#[test]
fn a_power_cut_of_everybody_loses_no_seat() {
    for seed in 8..11 {
        let mut world = grown(seed, 6, 7);
        let seats = world.certified().control.seats.clone();
        for peer in 0..7 {
            let down = Some(Span::millis(500 + 300 * peer as u64));
            world.inject(world.now(), Fault::Crash { peer, outputs: 7 + peer as u32, down });
        }
        let before = height(&world);
        assert!(within(&mut world, 120, |world| height(world) > before + 20));
        assert_eq!(world.certified().control.seats, seats);
    }
}

#[test]
fn the_same_seed_elects_the_same_voters() {
    let trace = |_| {
        let mut world = world(founded(12, 5));
        world.run_until(Time(Span::seconds(60).0), |_| false).unwrap();
        (world.trace(), world.certified().control.seats.clone())
    };
    assert_eq!(trace(0), trace(1));
}
