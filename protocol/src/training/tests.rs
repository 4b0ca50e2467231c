//! What a peer does next, order by order.

use super::*;
use crate::block::Closing;
use crate::committee::{Committee, QuorumRule};
use crate::identity::{Hash, Signer};
use crate::manifest::{DataFile, Manifest, Origin, Parent};
use crate::method::{Method, MethodName, Overrun};

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
                Next::Contribute(slot) => panic!("{slot:?} has no batch"),
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
    let state = State { control: charter.genesis_control().into(), ..before.state };
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
            Next::Contribute(slot) => panic!("{slot:?} has no batch"),
            Next::Wait(waiting) => panic!("{waiting:?}"),
        }
    }
}

/// A member of a session of CO2 with H = 4, whose outer parameters after slot k are all k.
struct Rounds {
    peer: Peer,
    /// What it did to theta since it was last asked.
    changes: Vec<String>,
}

impl Rounds {
    fn new() -> Rounds {
        let mut terms = manifest();
        terms.method = Manifest::preset("gpt:tiny").unwrap().with_method(MethodName::Co2).method;
        terms.method.set_period(4);
        let charter = Arc::new(Charter::new(terms).unwrap());
        let state = charter.genesis_state();
        let mut rounds = Rounds { peer: Peer::at(charter, state), changes: Vec::new() };
        rounds.set_draws();
        rounds
    }

    fn set_draws(&mut self) {
        let next = self.peer.state.control.closed[0];
        self.peer.training.set_draws(&[(next, keys().to_vec()), (next + 1, keys().to_vec())]);
    }

    /// Trains until it contributes or waits.
    fn goes_on(&mut self) -> Did {
        loop {
            let tell = |outer: &Array| outer.to_vec()[0];
            match self.peer.training.next(&self.peer.state) {
                Next::Contribute(slot) => panic!("{slot:?} has no batch"),
                Next::Work(Work::Train { progress, .. }) => {
                    let steps = progress.len() as u32;
                    self.peer.training.trained(steps, STEP.times(u64::from(steps)));
                }
                Next::Work(Work::Encode { slot, .. }) => {
                    let work = self.peer.training.claim(slot);
                    self.peer.training.announced(slot, work);
                    return Did::Contributed(slot, self.peer.training.step());
                }
                Next::Work(Work::Begin { outer, .. }) => self.changes.push(format!("begin {}", tell(&outer))),
                Next::Work(Work::Rebase { base, now, .. }) => {
                    self.changes.push(format!("rebase {} to {}", tell(&base), tell(&now)));
                }
                Next::Work(Work::PutBack { slot }) => self.changes.push(format!("put back {}", slot.ordinal)),
                Next::Work(_) => {}
                Next::Wait(waiting) => return Did::Waits(waiting),
            }
        }
    }

    /// The next slot closes.
    fn closes(&mut self, counted: bool) {
        let control = &mut self.peer.state.control;
        let ordinal = control.closed[0];
        let index = control.index_of(&keys()[0]).unwrap();
        let flights = &self.peer.training.streams[0].in_flight;
        if counted {
            let flight = flights.iter().find(|flight| flight.ordinal == ordinal).unwrap();
            control.book(index, &flight.work.samples, 1, 1);
        }
        control.closed[0] += 1;
        control.turn_slot(ordinal, self.peer.training.charter.lease_rules());
        let arrays = &mut self.peer.state.arrays;
        arrays[2][0] = arrays[0][0].clone();
        arrays[0][0] = Array::new(&vec![ordinal as f32 + 1.0; arrays[0][0].len()]);
        let closing = Closing { slot: slot(0, ordinal), counted: Vec::new() };
        self.peer.training.apply(&self.peer.state, [(&closing, counted)].into_iter());
        self.set_draws();
    }

    fn changes(&mut self) -> String {
        std::mem::take(&mut self.changes).join(", ")
    }

    /// Samples behind the contribution to a slot that is under way: how many, and the first.
    fn claims(&self, ordinal: u32) -> (u64, u64) {
        let flights = &self.peer.training.streams[0].in_flight;
        let work = &flights.iter().find(|flight| flight.ordinal == ordinal).unwrap().work;
        (work.samples.len(), work.samples.iter().next().unwrap())
    }
}

#[test]
fn a_round_begins_as_soon_as_the_one_before_is_sent_and_at_most_two_are_under_way() {
    let mut rounds = Rounds::new();
    assert_eq!(rounds.goes_on(), Did::Contributed(slot(0, 0), 4));
    assert_eq!(rounds.goes_on(), Did::Contributed(slot(0, 1), 8));
    let genesis = rounds.peer.state.outer(0).to_vec()[0];
    assert_eq!(rounds.changes(), format!("begin {genesis}, begin {genesis}"), "x_1 is x_0");
    assert_eq!(rounds.goes_on(), Did::Waits(Waiting::Certificate));
    rounds.closes(true);
    assert_eq!(rounds.goes_on(), Did::Contributed(slot(0, 2), 12));
    assert_eq!(rounds.changes(), "begin 1");
    rounds.closes(true);
    rounds.closes(true);
    assert_eq!(rounds.goes_on(), Did::Contributed(slot(0, 3), 16));
    assert_eq!(rounds.changes(), "begin 2", "slot 3 starts at what slot 1 led to");
    // Of the second epoch of leases: 4 steps of 12 samples each, never the same twice.
    assert_eq!((rounds.claims(3).0, rounds.goes_on()), (48, Did::Contributed(slot(0, 4), 20)));
}

#[test]
fn what_a_slot_closed_without_is_put_back_and_claimed_again_with_what_came_after() {
    let mut rounds = Rounds::new();
    assert_eq!(rounds.goes_on(), Did::Contributed(slot(0, 0), 4));
    let (_, first) = rounds.claims(0);
    assert_eq!(rounds.goes_on(), Did::Contributed(slot(0, 1), 8));
    rounds.changes();
    rounds.closes(false);
    // The next gets it at once, beside the one that is under way.
    assert_eq!(rounds.goes_on(), Did::Contributed(slot(0, 2), 8));
    assert_eq!(rounds.changes(), "begin 1, put back 0");
    assert_eq!(rounds.claims(2), (48, first));
    rounds.closes(true);
    rounds.closes(true);
    assert_eq!(rounds.goes_on(), Did::Contributed(slot(0, 3), 12));
    assert_eq!(rounds.changes(), "begin 2");
}

#[test]
fn work_at_a_round_that_closed_is_carried_to_the_next() {
    let mut rounds = Rounds::new();
    rounds.peer.training.streams[0].due = 100;
    let Next::Work(_) = rounds.peer.training.next(&rounds.peer.state) else { panic!("theta is set") };
    let Next::Work(Work::Begin { .. }) = rounds.peer.training.next(&rounds.peer.state) else { panic!() };
    let Next::Work(Work::Train { .. }) = rounds.peer.training.next(&rounds.peer.state) else { panic!() };
    rounds.peer.training.trained(1, STEP);
    rounds.closes(false);
    rounds.closes(false);
    rounds.peer.training.streams[0].due = 2;
    assert_eq!(rounds.goes_on(), Did::Contributed(slot(0, 2), 2));
    let genesis = rounds.peer.state.outer(0).to_vec()[0];
    assert!(rounds.changes().ends_with("to 1"), "{genesis}");
    assert_eq!(rounds.claims(2).0, 24);
}

#[test]
fn what_was_signed_before_a_restart_is_trained_on_by_nobody_else_and_not_put_back() {
    let mut rounds = Rounds::new();
    assert_eq!(rounds.goes_on(), Did::Contributed(slot(0, 0), 4));
    let work = rounds.peer.training.streams[0].in_flight[0].work.clone();
    let charter = rounds.peer.training.charter.clone();
    let mut back = Rounds { peer: Peer::at(charter, rounds.peer.state.clone()), changes: Vec::new() };
    back.set_draws();
    back.peer.training.restore_announced(slot(0, 0), work.clone());
    assert_eq!(back.goes_on(), Did::Contributed(slot(0, 1), 4));
    let flights = &back.peer.training.streams[0].in_flight;
    assert!(flights[1].work.samples.without(&work.samples) == flights[1].work.samples);
    back.closes(false);
    back.changes();
    assert_eq!(back.goes_on(), Did::Contributed(slot(0, 2), 8));
    assert_eq!(back.changes(), "begin 1");
    assert_eq!(back.claims(2), (48, work.samples.iter().next().unwrap()), "its samples are free again");
}

/// A session can end, and a peer stop, between a slot that closed without what was sent for it and the next: once
/// voters never came to the end there.
#[test]
fn what_is_to_be_put_back_and_cannot_be_holds_up_no_checkpoint_and_is_not_in_it() {
    let mut rounds = Rounds::new();
    assert_eq!(rounds.goes_on(), Did::Contributed(slot(0, 0), 4));
    assert_eq!(rounds.goes_on(), Did::Contributed(slot(0, 1), 8));
    rounds.closes(false);
    rounds.peer.training.set_draws(&[(1, keys().to_vec()), (2, vec![keys()[1]])]);
    assert!(rounds.peer.training.settle(&rounds.peer.state.clone()).is_none());
    assert!(rounds.peer.training.is_settled());
    let saved = rounds.peer.training.save();
    let charter = rounds.peer.training.charter.clone();
    let mut back = Rounds { peer: Peer::at(charter, rounds.peer.state.clone()), changes: Vec::new() };
    back.peer.training.restore(saved, &rounds.peer.state, false);
    assert!(matches!(back.peer.training.next(&rounds.peer.state), Next::Work(Work::Reset { .. })));
    assert_eq!(back.peer.training.streams[0].steps, 0);
}
