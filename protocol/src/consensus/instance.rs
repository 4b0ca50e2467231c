//! One height: the Tendermint driver with everything it leaves to its host.

use std::collections::VecDeque;

use arc_malachitebft_core_driver::{Driver, Input, Output};
use arc_malachitebft_core_types::{Proposal as _, Round, TimeoutKind, Validity};

use super::Seats;
use super::context::{At, Offer, Rules, Voters, attempt_of, driver_proposal, driver_vote};
use super::ledger::{Ledger, PAST_ATTEMPTS};
use super::output::{ConsensusOutput, Turn};
use super::own::Own;
use super::proposals::{PAST_PROPOSALS, Proposals};
use super::timers::{Timeouts, Timers};
use super::wal::{Timer, WalRecord};
use crate::block::{Attempt, Block, Certificate, CertifiedBlock, Height, Proposal};
use crate::identity::{Hash, PeerKey, Scope, Signed, Signer};
use crate::time::{Span, Time};
use crate::wire::Message;

/// What a height is about.
pub(super) struct Setting {
    pub height: Height,
    pub scope: Scope,
    pub parent: Hash,
    pub seats: Seats,
}

/// Consensus over one height. Its timers, votes and statements go when it goes.
pub(super) struct Instance {
    pub height: Height,
    pub scope: Scope,
    pub parent: Hash,
    pub seats: Seats,
    /// Our key if we have a seat.
    pub me: Option<PeerKey>,
    /// Signs while nothing forbids it.
    pub voice: Option<Signer>,
    pub timeouts: Timeouts,
    pub extra: Span,
    pub driver: Driver<Rules>,
    pub ledger: Ledger,
    pub proposals: Proposals,
    pub own: Own,
    pub timers: Timers,
    pub turn: Turn,
    pub entered: bool,
    pub decided: bool,
    pub replaying: bool,
    /// What this key said elsewhere is taken for its own.
    pub adopts: bool,
    /// The attempt for which the driver wants a block from us.
    pub wanted: Option<Attempt>,
}

impl Instance {
    pub fn new(
        now: Time,
        setting: Setting,
        signer: Option<&Signer>,
        timeouts: Timeouts,
        extra: Span,
    ) -> Instance {
        let Setting { height, scope, parent, seats } = setting;
        let voice = signer.filter(|signer| seats.keys.contains(&signer.key())).cloned();
        let me = voice.as_ref().map(Signer::key);
        let address = signer.map(Signer::key).unwrap_or_default();
        let voters = Voters::new(&seats.keys);
        let driver = Driver::new(Rules, At(height), voters, address, seats.thresholds());
        Instance {
            height,
            scope,
            parent,
            me,
            voice,
            timeouts,
            extra,
            driver,
            ledger: Ledger::new(&seats, now),
            seats,
            proposals: Proposals::default(),
            own: Own::default(),
            timers: Timers::default(),
            turn: Turn::default(),
            entered: false,
            decided: false,
            replaying: false,
            adopts: false,
            wanted: None,
        }
    }

    /// The current attempt; 0 before the height is entered.
    pub fn attempt(&self) -> Attempt {
        attempt_of(self.driver.round())
    }

    /// Who proposes in `attempt`.
    pub fn proposer(&self, attempt: Attempt) -> PeerKey {
        self.seats.keys[self.seats.proposer_seat(self.height, attempt)]
    }

    /// What a seat said last.
    pub fn statements_of(&self, key: &PeerKey) -> Vec<Message> {
        let Some(seat) = self.ledger.seat_of(key) else { return Vec::new() };
        let votes = self.ledger.last_votes(seat).map(|vote| Message::Vote(vote.clone()));
        let proposal = self.proposals.last_of(key).and_then(|proposal| {
            let block = self.proposals.body(proposal.content.block)?.clone();
            Some(Message::Propose { proposal: proposal.clone(), block })
        });
        votes.chain(proposal).collect()
    }

    /// Starts the first attempt, once.
    pub fn enter(&mut self, now: Time) {
        if self.entered || self.decided {
            return;
        }
        self.entered = true;
        self.log(WalRecord::Entered { height: self.height, generation: self.scope.generation });
        self.turn.rest.push(ConsensusOutput::Entered);
        self.feed(now, [Input::NewRound(At(self.height), Round::ZERO, self.proposer(0))]);
    }

    /// Runs the timers that are due. Those set meanwhile wait for the next call.
    pub fn timeout(&mut self, now: Time) {
        for (timer, attempt) in self.timers.take_due(now) {
            // The driver has no use for one whose step is over, so the log needs none either.
            let awaited = match timer {
                Timer::Propose => self.driver.step_is_propose(),
                Timer::Prevote => self.driver.step_is_prevote(),
                Timer::Precommit => true,
            };
            if awaited && attempt == self.attempt() && !self.decided {
                self.run_out(now, timer, attempt);
            }
        }
        if self.timers.take_resend(now, &self.timeouts) {
            self.resend();
        }
    }

    /// Tells the driver that a timer ran out.
    pub fn run_out(&mut self, now: Time, timer: Timer, attempt: Attempt) {
        self.log(WalRecord::Timeout { height: self.height, attempt, timer });
        let kind = match timer {
            Timer::Propose => TimeoutKind::Propose,
            Timer::Prevote => TimeoutKind::Prevote,
            Timer::Precommit => TimeoutKind::Precommit,
        };
        let timeout = arc_malachitebft_core_types::Timeout::new(Round::new(attempt), kind);
        self.feed(now, [Input::TimeoutElapsed(timeout)]);
    }

    /// Appends an outside input to the log. Observers say nothing, so they need none.
    pub fn log(&mut self, record: WalRecord) {
        if self.me.is_some() && !self.replaying {
            self.turn.records.push(record);
        }
    }

    /// Gives inputs to the driver, and back to it what follows from them.
    pub fn feed(&mut self, now: Time, inputs: impl IntoIterator<Item = Input<Rules>>) {
        let before = self.attempt();
        let mut queue: VecDeque<Input<Rules>> = inputs.into_iter().collect();
        while let Some(input) = queue.pop_front() {
            if self.decided {
                break;
            }
            // An error means that the driver has no use for the input; nothing changed then.
            for output in self.driver.process(input).unwrap_or_default() {
                self.act(now, output, &mut queue);
            }
        }
        if self.attempt() != before && !self.decided {
            self.prune();
        }
    }

    fn act(&mut self, now: Time, output: Output<Rules>, queue: &mut VecDeque<Input<Rules>>) {
        match output {
            Output::NewRound(height, round) => {
                self.wanted = None;
                queue.push_back(Input::NewRound(height, round, self.proposer(attempt_of(round))));
            }
            Output::Propose(offer) => self.state_proposal(now, offer, queue),
            Output::Vote(ballot) => self.state_vote(now, ballot, queue),
            Output::ScheduleTimeout(timeout) => {
                let timer = match timeout.kind {
                    TimeoutKind::Propose => Timer::Propose,
                    TimeoutKind::Prevote => Timer::Prevote,
                    TimeoutKind::Precommit => Timer::Precommit,
                    TimeoutKind::Rebroadcast | TimeoutKind::FinalizeHeight(_) => return,
                };
                let attempt = attempt_of(timeout.round);
                let duration = self.timeouts.duration(timer, attempt, self.extra);
                self.timers.set(timer, attempt, now + duration);
            }
            Output::GetValue(_, round, _) => {
                self.wanted = Some(attempt_of(round));
                self.ask_for_block();
            }
            // The first field is our own attempt; the one that decided is the proposal's.
            Output::Decide(_, offer) => self.decide(&offer),
        }
    }

    /// Asks the session for a block, if one is wanted and may be proposed.
    pub fn ask_for_block(&mut self) {
        if let (Some(attempt), true, false) = (self.wanted, self.voice.is_some(), self.replaying) {
            self.turn.rest.push(ConsensusOutput::NeedBlock { height: self.height, attempt });
        }
    }

    fn decide(&mut self, offer: &Offer) {
        let hash = *offer.value();
        let attempt = attempt_of(offer.round());
        let precommits = self.ledger.precommits(attempt, hash);
        self.decided = true;
        self.wanted = None;
        self.timers.clear();
        // Both hold whenever the driver decides; without them the block comes from other voters.
        let Some(block) = self.proposals.body(hash).cloned() else { return };
        if precommits.len() < self.seats.needed() {
            return;
        }
        let certificate = Certificate { attempt, precommits };
        self.turn.rest.push(ConsensusOutput::Decided(CertifiedBlock { block, certificate }));
    }

    /// A proposal for the driver, with the prevotes behind it if the driver dropped them already.
    pub fn driver_inputs(&self, proposal: &Signed<Proposal>, validity: Validity) -> Vec<Input<Rules>> {
        let mut inputs = vec![Input::Proposal(driver_proposal(proposal), validity)];
        if let Some(valid) = proposal.content.valid_attempt.filter(|valid| *valid < self.vote_floor()) {
            let proof = self.ledger.prevotes(valid, proposal.content.block);
            inputs.extend(proof.iter().map(|vote| Input::Vote(driver_vote(vote))));
        }
        inputs
    }

    /// The lowest attempt whose votes the driver still has.
    pub fn vote_floor(&self) -> Attempt {
        self.attempt().saturating_sub(PAST_ATTEMPTS)
    }

    /// The old attempt whose prevotes the current proposal rests on.
    pub fn proof_attempt(&self) -> Option<Attempt> {
        self.proposals.get(self.attempt()).and_then(|proposal| proposal.content.valid_attempt)
    }

    /// Whether a block could follow the parent at all.
    pub fn fits(&self, block: &Block) -> bool {
        block.height == self.height
            && block.generation == self.scope.generation
            && block.parent == self.parent
    }

    /// Drops what past attempts left behind.
    pub fn prune(&mut self) {
        let floor = self.vote_floor();
        let state = self.driver.round_state();
        let held: Vec<Hash> = state.valid.iter().chain(&state.locked).map(|held| held.value).collect();
        let valid = state.valid.as_ref().map(|valid| attempt_of(valid.round));
        self.ledger.prune(floor, valid);
        self.driver.prune_votes_and_certificates(Round::new(floor));
        if !self.replaying {
            self.proposals.prune(self.attempt().saturating_sub(PAST_PROPOSALS), &held);
        }
    }

    /// Ends the handling of one input.
    pub fn close(&mut self, outputs: &mut VecDeque<ConsensusOutput>) {
        if self.seats.keys.len() == 1 {
            // Nobody to tell, so nothing needs to be durable before the certificate is.
            self.turn.sends.clear();
            self.turn.stated = false;
        }
        self.turn.close(outputs);
    }
}
