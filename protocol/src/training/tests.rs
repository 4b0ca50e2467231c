//! What a peer does next, order by order.

use super::*;
use crate::committee::{Committee, QuorumRule};
use crate::identity::{Hash, Signer};
use crate::manifest::{DataFile, Manifest, Origin, Parent};
use crate::method::{Method, Overrun};

const STEP: Span = Span::millis(10);

/// A member of a `strict` session of two streams with H = 4: they are due at steps 4, 8, ... and
/// 6, 10, ...
struct Peer {
    training: Training,
    state: State,
}

/// What a peer did that others see.
#[derive(Debug, PartialEq)]
enum Did {
    Contributed(Slot, u64),
    Waits(Waiting),
}

fn slot(stream: u16, ordinal: u32) -> Slot {
    Slot { stream, ordinal }
}

fn keys() -> [PeerKey; 2] {
    let mut keys = [1, 2].map(|n| Signer::from_seed([n; 32]).key());
    keys.sort();
    keys
}

fn manifest() -> Manifest {
    let mut preset = Manifest::preset("gpt:tiny").unwrap();
    let Method::StreamingDiLoCo(method) = &mut preset.method else { unreachable!() };
    (method.period, method.max_overrun) = (4, Overrun::Strict);
    let file = DataFile { name: "text".into(), length: 1 << 20, root: Hash::of(b"text") };
    Manifest {
        name: "schedule".into(),
        seed: [7; 32],
        ..preset.manifest(
            Committee::Named { keys: keys().to_vec(), quorum: QuorumRule::TwoThirds },
            Data::Public { files: vec![file], samples_per_epoch: 10_000 },
        )
    }
}

impl Peer {
    fn new() -> Peer {
        let charter = Arc::new(Charter::new(manifest()).unwrap());
        let state = charter.genesis_state();
        Peer::at(charter, state)
    }

    fn at(charter: Arc<Charter>, state: State) -> Peer {
        let mut training = Training::new(charter, keys()[0], &state);
        training.set_draws(&[(0, keys().to_vec()), (0, keys().to_vec())]);
        Peer { training, state }
    }

    /// Carries out orders until one shows.
    fn goes_on(&mut self) -> Did {
        loop {
            match self.training.next(&self.state) {
                Next::Work(Work::Train { progress, .. }) => {
                    let steps = progress.len() as u32;
                    self.training.trained(steps, STEP.times(u64::from(steps)));
                }
                Next::Work(Work::Encode { slot, .. }) => {
                    let work = self.training.claim(slot);
                    self.training.announced(slot, work);
                    return Did::Contributed(slot, self.training.step());
                }
                Next::Work(_) => {}
                Next::Wait(waiting) => return Did::Waits(waiting),
            }
        }
    }
}

#[test]
fn streams_are_contributed_to_in_turn_and_strict_waits_tau_steps_later() {
    let mut peer = Peer::new();
    assert_eq!(peer.goes_on(), Did::Contributed(slot(0, 0), 4));
    assert_eq!(peer.goes_on(), Did::Waits(Waiting::Certificate));
    assert_eq!(peer.training.step(), 5);
}

#[test]
fn a_jump_forgets_what_was_left_out_and_lost_work_does_not() {
    let mut peer = Peer::new();
    let forgets = |peer: &mut Peer| match peer.training.next(&peer.state) {
        Next::Work(Work::Reset { forget, .. }) => forget,
        other => panic!("{other:?}"),
    };
    assert!(forgets(&mut peer));
    peer.training.start_over(&peer.state);
    assert!(!forgets(&mut peer));
    peer.training.align(&peer.state);
    assert!(forgets(&mut peer));
}

#[test]
fn whoever_waits_for_a_certificate_contributes_to_earlier_slots_first() {
    let mut peer = Peer::new();
    peer.training.streams[0].due = 100;
    assert_eq!(peer.goes_on(), Did::Contributed(slot(1, 0), 6));
    assert_eq!(peer.goes_on(), Did::Contributed(slot(0, 0), 7));
    assert_eq!(peer.goes_on(), Did::Waits(Waiting::Certificate));
}

#[test]
fn a_due_stream_whose_slot_is_in_flight_hides_no_earlier_one() {
    let mut peer = Peer::new();
    peer.state.control.closed = vec![1, 0];
    peer.state.control.draws.push(crate::membership::Draw { ordinal: 1, members: None });
    peer.training.set_draws(&[(1, keys().to_vec()), (0, keys().to_vec())]);
    peer.training.streams[1].due = 100;
    assert_eq!(peer.goes_on(), Did::Contributed(slot(0, 1), 4));
    peer.training.streams[0].due = 5;
    assert_eq!(peer.goes_on(), Did::Contributed(slot(1, 0), 5));
}

#[test]
fn a_contribution_signed_before_a_restart_makes_the_next_one_due_a_slot_later() {
    let mut peer = Peer::new();
    assert_eq!(peer.goes_on(), Did::Contributed(slot(0, 0), 4));
    let work = peer.training.streams[0].in_flight.pop_front().unwrap().work;
    peer.training.streams[0].due = 4;
    peer.training.restore_announced(slot(0, 0), work);
    assert_eq!(peer.training.streams[0].due, 8);
    assert_eq!(peer.goes_on(), Did::Waits(Waiting::Certificate));
}

#[test]
fn without_samples_to_train_on_the_work_at_hand_is_contributed() {
    let mut peer = Peer::new();
    assert!(matches!(peer.training.next(&peer.state), Next::Work(Work::Reset { .. })));
    let Next::Work(Work::Train { .. }) = peer.training.next(&peer.state) else { panic!("it trains") };
    peer.training.trained(1, STEP);
    peer.training.leases.clear();
    assert_eq!(peer.goes_on(), Did::Contributed(slot(0, 0), 1));
    assert_eq!(peer.goes_on(), Did::Contributed(slot(1, 0), 1));
    assert_eq!(peer.goes_on(), Did::Waits(Waiting::Turn));

    let mut fresh = Peer::new();
    fresh.training.leases.clear();
    assert_eq!(fresh.goes_on(), Did::Waits(Waiting::Turn), "it has done nothing yet");
}

#[test]
fn only_slots_that_a_peer_is_drawn_for_are_contributed_to() {
    let mut peer = Peer::new();
    let [me, other] = keys();
    peer.training.set_draws(&[(0, vec![other]), (0, vec![other])]);
    assert_eq!(peer.goes_on(), Did::Waits(Waiting::Turn));
    // Drawn for what is left of an ordinal on stream 1, and not for the next.
    peer.state.control.closed = vec![1, 0];
    peer.state.control.draws.push(crate::membership::Draw { ordinal: 1, members: None });
    peer.training.set_draws(&[(1, vec![other]), (0, vec![me])]);
    assert_eq!(peer.goes_on(), Did::Contributed(slot(1, 0), 6));
    assert_eq!(peer.goes_on(), Did::Waits(Waiting::Certificate));
}

#[test]
fn a_last_contribution_that_comes_earlier_is_still_the_last() {
    let mut peer = Peer::new();
    peer.training.streams[0].due = 100;
    assert!(matches!(peer.training.next(&peer.state), Next::Work(Work::Reset { .. })));
    let Next::Work(Work::Train { .. }) = peer.training.next(&peer.state) else { panic!("it trains") };
    peer.training.trained(1, STEP);
    peer.training.finish();
    assert_eq!(peer.goes_on(), Did::Contributed(slot(1, 0), 6));
    assert_eq!(peer.goes_on(), Did::Contributed(slot(0, 0), 7));
    assert_eq!(peer.goes_on(), Did::Waits(Waiting::Turn));
    peer.training.streams.iter_mut().for_each(|stream| stream.in_flight.clear());
    assert!(peer.training.is_finished());
}

#[test]
fn peers_fall_into_step_with_whoever_announced_at_the_same_time() {
    let mut peer = Peer::new();
    peer.training.streams[1].due = 100;
    assert_eq!(peer.goes_on(), Did::Contributed(slot(0, 0), 4));
    // At a peer that is in step stream 1 comes 2 steps after stream 0, and stream 0 again after 4.
    peer.training.streams[0].in_flight.clear();
    peer.training.fall_into_step(slot(0, 0), 4, &[1, 0]);
    assert_eq!((peer.training.streams[0].due, peer.training.streams[1].due), (8, 6));
}

/// A peer came back in the middle of a period and trained its own four steps: the others waited for it
/// at every slot from then on.
#[test]
fn whoever_comes_back_contributes_when_the_others_do() {
    let mut peer = Peer::new();
    peer.training.start_over(&peer.state.clone());
    assert_eq!((peer.training.streams[0].due, peer.training.streams[1].due), (4, 6));
    // The others announced to stream 1 just now: stream 0 is next, 2 steps later.
    peer.training.join_in(slot(1, 0), &[1, 1]);
    assert_eq!((peer.training.streams[0].due, peer.training.streams[1].due), (2, 4));
    // A block that was late: what came after it tells better, as long as there is hardly any work.
    peer.training.join_in(slot(0, 1), &[2, 1]);
    assert_eq!((peer.training.streams[0].due, peer.training.streams[1].due), (4, 2));
    peer.training.streams.iter_mut().for_each(|stream| stream.steps = 3);
    peer.training.join_in(slot(1, 1), &[2, 2]);
    assert_eq!((peer.training.streams[0].due, peer.training.streams[1].due), (2, 2), "only sooner");
}

#[test]
fn a_session_founded_on_another_goes_on_where_its_learning_rate_and_its_samples_stood() {
    let mut before = Peer::new();
    let terms = manifest();
    before.state.control.height = 9;
    before.state.control.counted_tokens = terms.training.budget_tokens / 4;
    before.state.control.pool.next = 7_000;
    let origin = Origin::Session(Parent::of(Hash::of(b"parent"), &before.state, [1; 32]));
    let charter = Arc::new(Charter::new(Manifest { origin, ..terms }).unwrap());
    let state = State { control: charter.genesis_control().into(), arrays: before.state.arrays };
    let mut peer = Peer::at(charter, state);
    loop {
        match peer.training.next(&peer.state) {
            Next::Work(Work::Train { progress, samples, .. }) => {
                assert_eq!(progress[0], 0.25);
                let crate::worker::Samples::Leased(positions) = samples else { panic!("leased") };
                assert_eq!(positions[0], 7_000);
                return;
            }
            Next::Work(_) => {}
            Next::Wait(waiting) => panic!("{waiting:?}"),
        }
    }
}
