//! Worlds that a seed makes up (`search`).

use driftless_protocol::time::Span;
use driftless_sim::faults::Fault;
use driftless_sim::network::Reach;
use driftless_sim::search::{Draw, Finding, search, shrink, try_out};

use crate::support::at;

#[test]
fn five_hundred_random_worlds_keep_every_promise_and_come_to_their_end() {
    let found = search(0..500, 2, &|_| {});
    assert!(found.is_none(), "{found:?}");
}

/// Uploads that were slower than training (52132, 55144); a voter with an older folder that did not repeat
/// what it had to be told it said (65438); newcomers that were never drawn where three are or fewer (15295); a
/// deadline that left half of all out, slot after slot (66917).
#[test]
fn worlds_that_once_came_to_a_stop_come_to_their_end() {
    for seed in [52_132, 55_144, 65_438, 15_295, 66_917] {
        assert_eq!(try_out(&Draw::streaming(seed)), Ok(()), "seed {seed}");
    }
}

/// What happens in some worlds happens in a tenth to a quarter of them.
#[test]
fn whatever_can_go_wrong_goes_wrong_in_some_worlds() {
    let draws: Vec<Draw> = (0..1000).map(Draw::new).collect();
    let share = |of: &dyn Fn(&Draw) -> bool| draws.iter().filter(|draw| of(draw)).count();
    let faulty =
        |draw: &Draw, of: &dyn Fn(&Fault) -> bool| draw.setup.faults.iter().any(|(_, fault)| of(fault));
    let worlds = [
        share(&|draw| draw.setup.link.duplicated > 0),
        share(&|draw| draw.setup.peers.iter().any(|peer| peer.reach != Reach::Dialable)),
        share(&|draw| draw.setup.peers.iter().any(|peer| peer.drift != 0)),
        share(&|draw| draw.setup.peers.iter().any(|peer| peer.jitter > 0)),
        share(&|draw| faulty(draw, &|fault| matches!(fault, Fault::Slow { .. }))),
        share(&|draw| faulty(draw, &|fault| matches!(fault, Fault::Full { .. }))),
    ];
    assert!(worlds.iter().all(|worlds| (100..=250).contains(worlds)), "{worlds:?}");
    // Whatever begins is over when the last fault is, also where it takes voters to be elected first.
    for draw in &draws {
        let over = |(at, fault): &(driftless_protocol::time::Time, Fault)| match fault {
            Fault::Full { lasting, .. } | Fault::Slow { lasting, .. } => *at + *lasting <= draw.faults_end(),
            _ => *at <= draw.faults_end(),
        };
        assert!(draw.setup.faults.iter().all(over), "{:?}", draw.setup.faults);
    }
}

/// Two of five voters that are off for good stop them; everything else is left out.
#[test]
fn a_finding_is_shrunk_to_what_it_takes() {
    let seed = (0..100)
        .find(|seed| Draw::new(*seed).setup.peers.iter().filter(|peer| peer.seat).count() == 5)
        .unwrap();
    let mut draw = Draw::new(seed);
    draw.setup.quorum = driftless_protocol::committee::QuorumRule::TwoThirds;
    let before = draw.setup.faults.len();
    for peer in [0, 1] {
        draw.setup.faults.push((at(500), Fault::Crash { peer, outputs: 0, down: None }));
    }
    draw.setup.faults.push((at(700), Fault::Crash { peer: 2, outputs: 3, down: Some(Span::millis(50)) }));
    let finding = try_out(&draw).unwrap_err();
    assert!(matches!(finding, Finding::Stuck(_)), "{finding}");
    let (cut, finding) = shrink(&draw, finding, &mut |_| {});
    assert!(matches!(finding, Finding::Stuck(_)));
    // One that is off is enough where it is the only one.
    let left = (cut.peers, cut.faults.clone(), cut.wishes.clone());
    assert_eq!(left, (Some(1), Some(vec![before]), Some(vec![])));
    assert!(try_out(&cut.of(&draw)).is_err());
}
