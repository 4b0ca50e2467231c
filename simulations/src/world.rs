//! A world: N sessions on one thread in virtual time, with everything around them.
//!
//! The queue of happenings is ordered by time, then by insertion; nothing else decides what comes
//! next. [`World::run_until`] drives it; a broken promise ends it with a [`Violation`].
//! `world.rs` is the loop, `effects.rs` what sessions' outputs do, `faults.rs` what goes wrong.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use driftless_protocol::Hash;
use driftless_protocol::block::{CertifiedBlock, Height, Slot};
use driftless_protocol::charter::Charter;
use driftless_protocol::event::{Command, Input};
use driftless_protocol::identity::PeerKey;
use driftless_protocol::manifest::Manifest;
use driftless_protocol::method::one_byte::Measurement;
use driftless_protocol::state::{Array, State};
use driftless_protocol::time::{Span, Time};
use driftless_protocol::wire::Message;
use driftless_protocol::worker::{EngineFailure, Evaluation, Work, WorkDone};

use crate::checkers::{Broken, Checkers, Promise};
use crate::engine::{CostModel, EngineKind, Nominal};
use crate::faults::Fault;
use crate::gossip::Gossip;
use crate::happening::Happening;
use crate::network::{Network, Reach};
use crate::overdue::progress_terms;
use crate::peer::{Peer, SetupError};
use crate::random::Random;
use crate::setup::{Lie, Setup};
use crate::topology::Topology;
use crate::transfers::Transfers;

/// Messages that wait for a driver, as in `node`: more are lost.
const NET: usize = 1024;

/// A promise that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, {:.6} s, peer {peer}, height {height}: {what} ({promise})", .time.0 as f64 / 1e6)]
pub struct Violation {
    /// The world's seed: the same setup with it does the same again.
    pub seed: u64,
    /// When.
    pub time: Time,
    /// Whose doing (an index).
    pub peer: usize,
    /// That peer's height.
    pub height: u64,
    /// Which promise.
    pub promise: Promise,
    /// What is wrong.
    pub what: String,
}

/// A height, from 1 on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// When the first peer wrote its block down.
    pub at: Time,
    /// The slots that it closed, with the peers that were counted.
    pub closed: Vec<(Slot, Vec<usize>)>,
    /// Tokens counted up to it.
    pub tokens: u64,
    /// Bytes that all peers sent up to that moment.
    pub sent: u64,
}

/// A simulated session with all its peers.
pub struct World {
    pub(crate) seed: u64,
    pub(crate) now: Time,
    pub(crate) charter: Arc<Charter>,
    pub(crate) genesis: State,
    pub(crate) peers: Vec<Peer>,
    index: BTreeMap<PeerKey, usize>,
    pub(crate) topology: Topology,
    pub(crate) gossip: Gossip,
    pub(crate) network: Network,
    pub(crate) transfers: Transfers,
    /// After this long peers notice that they do not reach each other any more.
    pub(crate) detection: Span,
    /// Lengths of blobs, if the model is a nominal one.
    nominal: Option<Nominal>,
    pub(crate) decided: Vec<Decided>,
    /// Certified blocks as the disks share them.
    blocks: BTreeMap<Height, Vec<Arc<CertifiedBlock>>>,
    /// The latest candidate states by the names of their jobs.
    pub(crate) candidates: VecDeque<(Hash, State)>,
    /// Validation losses by the digests of what was evaluated.
    evaluated: BTreeMap<Vec<Hash>, Evaluation>,
    pub(crate) checkers: Checkers,
    pub(crate) random: Random,
    pub(crate) steps: Random,
    queue: BTreeMap<(Time, u64), Happening>,
    next: u64,
    trace: blake3::Hasher,
    happened: u64,
}

impl World {
    /// A world in which nothing happened yet.
    ///
    /// # Errors
    /// Terms that no session can have.
    pub fn new(setup: Setup) -> Result<World, SetupError> {
        let refused = |error: &dyn std::fmt::Display| SetupError(error.to_string());
        let manifest = setup.sealed_manifest();
        let charter = Charter::new(manifest).map_err(|error| refused(&error))?;
        let genesis = charter.genesis_state();
        let nominal = setup.peers.iter().find_map(|peer| match &peer.engine {
            EngineKind::Cost(CostModel { parameters, .. }) => Some(Nominal::new(*parameters, &charter)),
            _ => None,
        });
        let link = charter.manifest.slowest_link;
        // Sessions know the stand-in's lengths.
        let slowest_link = nominal.as_ref().map_or(link, |nominal| nominal.rate(link));
        let manifest = Manifest { genesis: genesis.digest(), slowest_link, ..charter.manifest };
        let charter = Arc::new(Charter::new(manifest).map_err(|error| refused(&error))?);
        if setup.peers.iter().any(|peer| peer.seat && peer.reach != Reach::Dialable) {
            return Err(SetupError("voters have to reach each other: a peer with a seat is dialable".into()));
        }
        let reach = setup.peers.iter().map(|peer| peer.reach).collect();
        let mut network = Network::new(setup.seed, reach, setup.link);
        setup.special.iter().for_each(|(from, to, link)| network.set(*from, *to, *link));
        let terms = progress_terms(&setup, &charter, nominal.as_ref());
        let access = setup.peers.iter().map(|peer| peer.access).collect();
        let signers = setup.signers();
        let liars = setup.peers.iter().zip(&signers).filter(|(peer, _)| peer.lie.is_some());
        let liars = liars.map(|(_, signer)| signer.key()).collect();
        let seats: Vec<bool> = setup.peers.iter().map(|peer| peer.seat).collect();
        let index = signers.iter().enumerate().map(|(index, signer)| (signer.key(), index)).collect();
        let peers = signers.into_iter().zip(setup.peers);
        let mut world = World {
            seed: setup.seed,
            now: Time(0),
            // With a charter that remembers nothing: checkers work everything out again.
            checkers: Checkers::new(Arc::new((*charter).clone()), genesis.clone(), liars, terms),
            charter,
            genesis,
            peers: peers.map(|(signer, peer)| Peer::new(peer, signer)).collect(),
            index,
            topology: Topology::new(setup.seed, &seats),
            gossip: Gossip::default(),
            network,
            transfers: Transfers::new(access),
            detection: setup.detection,
            nominal,
            decided: Vec::new(),
            blocks: BTreeMap::new(),
            candidates: VecDeque::new(),
            evaluated: BTreeMap::new(),
            random: Random::new(setup.seed, "world"),
            steps: Random::new(setup.seed, "steps"),
            queue: BTreeMap::new(),
            next: 0,
            trace: blake3::Hasher::new(),
            happened: 0,
        };
        for peer in 0..world.peers.len() {
            world.schedule(world.peers[peer].setup.start, Happening::Start(peer));
        }
        for (at, fault) in setup.faults {
            world.schedule(at, Happening::Fault(fault));
        }
        Ok(world)
    }

    /// Lets things happen until `done`, or nothing more can, or `end` has come. Returns whether
    /// `done` came true.
    ///
    /// # Errors
    /// The first broken promise.
    pub fn run_until(&mut self, end: Time, mut done: impl FnMut(&World) -> bool) -> Result<bool, Violation> {
        while !done(self) {
            match self.queue.first_key_value() {
                Some(((at, _), _)) if *at <= end => self.step()?,
                _ => {
                    self.now = self.now.max(end);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Lets one thing happen, if there is one.
    fn step(&mut self) -> Result<(), Violation> {
        let Some(((at, _), happening)) = self.queue.pop_first() else { return Ok(()) };
        self.now = at;
        self.happened += 1;
        if at > self.checkers.progress.due() {
            self.look_at_progress()?;
        }
        let (kind, subject, bytes) = happening.trace();
        let mut head = [0; 17];
        head[..8].copy_from_slice(&at.0.to_le_bytes());
        head[8] = kind;
        head[9..].copy_from_slice(&(subject as u64).to_le_bytes());
        self.trace.update(&head);
        self.trace.update(&bytes);
        self.happen(happening)
    }

    pub(crate) fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::Start(peer) => self.start(peer),
            Happening::Fault(fault) => self.fault(fault),
            Happening::Space(peer) => self.space(peer),
            Happening::Wish { peer, command } => self.wish(peer, command),
            Happening::Link { a, b } => {
                self.meet(a, b)?;
                self.meet(b, a)
            }
            Happening::Deliver { to, .. } | Happening::Gossip { to, .. } if self.peers[to].held.is_some() => {
                if self.peers[to].waiting.len() < NET {
                    self.peers[to].waiting.push_back(happening);
                }
                Ok(())
            }
            Happening::Deliver { from, to, bytes, reply } => self.deliver(from, to, &bytes, reply),
            Happening::Gossip { from, to, name } => self.gossip_arrives(from, to, name),
            Happening::Arrive { from, to, life, root, fetched } => self.arrive(from, to, life, root, fetched),
            Happening::Flows { version } => self.flows_end(version),
            Happening::Timer { peer, life, at } if self.lives(peer, life) => self.timer(peer, at),
            Happening::Input { peer, life, input } if self.lives(peer, life) => self.input(peer, *input),
            Happening::Work { peer, life, work } if self.lives(peer, life) => {
                self.peers[peer].orders -= 1;
                let done = self.work(peer, work);
                self.input(peer, Input::WorkDone(done))
            }
            Happening::Compute { peer, life, job } if self.lives(peer, life) => {
                let id = job.id;
                let result = self.compute(peer, *job);
                self.input(peer, Input::Candidate { id, result })
            }
            Happening::Assemble { peer, life, job } if self.lives(peer, life) => {
                let disk = &self.peers[peer].disk;
                let result = job.run(&mut |root| read(disk, root));
                self.input(peer, Input::Assembled(result))
            }
            Happening::Push(push) => self.push_goes_on(push),
            Happening::Pushed { push, to, late } => self.pushed(push, to, late),
            // Of a life that is over.
            _ => Ok(()),
        }
    }

    /// Carries out an order. Replicas that are equal are evaluated once for all.
    fn work(&mut self, peer: usize, work: Work) -> WorkDone {
        let Peer { worker: Some(worker), session, setup, key, .. } = &mut self.peers[peer] else {
            return WorkDone::Failed(EngineFailure::Other("switched off".into()));
        };
        let Work::Evaluate { outer } = &work else {
            return match (setup.lie, worker.execute(work)) {
                (Some(Lie::Invents), WorkDone::Measured { step, member, found }) if member == *key => {
                    WorkDone::Measured { step, member, found: invented(found) }
                }
                (_, done) => done,
            };
        };
        match &setup.engine {
            EngineKind::Cpu => {}
            EngineKind::StandIn { .. } => return worker.execute(work),
            EngineKind::Cost(model) => {
                let tokens = session.as_ref().map_or(0, |session| session.state().control.counted_tokens);
                return WorkDone::Evaluated(Evaluation { loss: model.losses.at(tokens), accuracy: None });
            }
        }
        let digests: Vec<Hash> = outer.iter().map(Array::digest).collect();
        if let Some(known) = self.evaluated.get(&digests) {
            return WorkDone::Evaluated(*known);
        }
        let done = worker.execute(work);
        if let WorkDone::Evaluated(evaluation) = done {
            self.evaluated.insert(digests, evaluation);
        }
        done
    }

    pub(crate) fn lives(&self, peer: usize, life: u32) -> bool {
        self.peers[peer].life == life && self.peers[peer].is_up()
    }

    fn start(&mut self, peer: usize) -> Result<(), Violation> {
        if self.peers[peer].is_up() || self.peers[peer].ending().is_some() {
            return Ok(());
        }
        let started = self.peers[peer].start(self.now, &self.charter, &self.genesis);
        started.map_err(|error| self.violation(peer, Promise::Driver.broken(error.to_string())))?;
        let Peer { key, session: Some(session), .. } = &self.peers[peer] else { return Ok(()) };
        let begins = self.checkers.begins(*key, session);
        begins.map_err(|broken| self.violation(peer, broken))?;
        self.checkers.caps.begins(peer, self.now);
        self.checkers.progress.disturbed(self.now);
        self.look_around(peer);
        self.drain(peer)?;
        for command in std::mem::take(&mut self.peers[peer].wishes) {
            self.wish(peer, command)?;
        }
        Ok(())
    }

    fn wish(&mut self, peer: usize, command: Command) -> Result<(), Violation> {
        match self.peers[peer].is_up() {
            true => self.input(peer, Input::Command(command)),
            false => {
                if self.peers[peer].ending().is_none() {
                    self.peers[peer].wishes.push(command);
                }
                Ok(())
            }
        }
    }

    fn timer(&mut self, peer: usize, at: Time) -> Result<(), Violation> {
        if self.peers[peer].timer != Some(at) {
            return Ok(());
        }
        self.peers[peer].timer = None;
        self.tell(peer)?;
        let now = self.peers[peer].clock.local(self.now);
        let Some(session) = self.peers[peer].session.as_mut() else { return Ok(()) };
        session.handle_timeout(now);
        self.drain(peer)?;
        let next = self.peers[peer].session.as_ref().and_then(|session| session.next_timeout());
        match next {
            Some(next) if next <= now && self.peers[peer].held.is_none() => {
                let what = "a timer that is due stays due: the driver would spin".into();
                Err(self.violation(peer, Promise::Driver.broken(what)))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn input(&mut self, peer: usize, input: Input) -> Result<(), Violation> {
        if self.peers[peer].held.is_some() {
            let (life, input) = (self.peers[peer].life, Box::new(input));
            self.peers[peer].waiting.push_back(Happening::Input { peer, life, input });
            return Ok(());
        }
        self.tell(peer)?;
        if let Input::Command(command) = &input {
            self.checkers.progress.disturbed(self.now);
            if *command == Command::Stop {
                self.checkers.caps.stops(peer);
            }
        }
        let now = self.peers[peer].clock.local(self.now);
        let Some(session) = self.peers[peer].session.as_mut() else { return Ok(()) };
        session.handle_input(now, input);
        self.drain(peer)
    }

    /// A session is about to be told something.
    fn tell(&mut self, peer: usize) -> Result<(), Violation> {
        let now = self.peers[peer].clock.local(self.now);
        let told = self.checkers.told(self.peers[peer].key, now);
        told.map_err(|broken| self.violation(peer, broken))
    }

    fn deliver(&mut self, from: usize, to: usize, bytes: &[u8], reply: bool) -> Result<(), Violation> {
        if !self.peers[to].is_up() || !self.network.joins(from, to) {
            return Ok(());
        }
        self.peers[to].traffic.messages_received += bytes.len() as u64;
        let message = if reply { Message::from_reply_bytes(bytes) } else { Message::from_bytes(bytes) };
        let undecodable = |error| Promise::Driver.broken(format!("sent what does not decode: {error}"));
        let message = message.map_err(|error| self.violation(from, undecodable(error)))?;
        let answer = match &message {
            Message::GetBlocks { from } => Message::Blocks(self.peers[to].disk.block_reply(*from)),
            Message::GetSnapshot { since } => Message::Snapshot(self.peers[to].disk.snapshot_offer(*since)),
            _ => {
                let from = self.peers[from].key;
                self.checkers.heard(from, &message);
                return self.input(to, Input::Message { from, message });
            }
        };
        let answer = self.twist(to, answer);
        self.transmit(to, from, &answer, true);
        Ok(())
    }

    /// The peer of this key.
    pub(crate) fn index(&self, key: &PeerKey) -> Option<usize> {
        self.index.get(key).copied()
    }

    /// What a blob of this length would have in the nominal model.
    pub(crate) fn nominal_length(&self, length: u64) -> u64 {
        self.nominal.as_ref().map_or(length, |nominal| nominal.length(length))
    }

    /// The one copy of a certified block that all disks share.
    pub(crate) fn shared(&mut self, certified: CertifiedBlock) -> Arc<CertifiedBlock> {
        let copies = self.blocks.entry(certified.block.height).or_default();
        if let Some(copy) = copies.iter().find(|copy| ***copy == certified) {
            return copy.clone();
        }
        copies.push(Arc::new(certified));
        copies[copies.len() - 1].clone()
    }

    pub(crate) fn schedule(&mut self, at: Time, happening: Happening) {
        self.queue.insert((at.max(self.now), self.next), happening);
        self.next += 1;
    }

    pub(crate) fn violation(&self, peer: usize, broken: Broken) -> Violation {
        let Broken { promise, what } = broken;
        let height = self.peers[peer].session.as_ref().map_or(0, |session| session.state().control.height);
        Violation { seed: self.seed, time: self.now, peer, height, promise, what }
    }

    /// Tells a peer its user's wish at a moment, or once it is on.
    pub fn command(&mut self, at: Time, peer: usize, command: Command) {
        self.schedule(at, Happening::Wish { peer, command });
    }

    /// Switches a peer on again that was stopped.
    pub fn switch_on(&mut self, at: Time, peer: usize) {
        self.peers[peer].reopen();
        self.schedule(at, Happening::Start(peer));
    }

    /// Lets a message arrive at a moment, whoever made it.
    pub fn say(&mut self, at: Time, from: usize, to: usize, message: &Message) {
        let bytes = message.to_bytes().into();
        self.schedule(at, Happening::Deliver { from, to, bytes, reply: false });
    }

    /// Lets something go wrong at a moment.
    pub fn inject(&mut self, at: Time, fault: Fault) {
        self.schedule(at, Happening::Fault(fault));
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// All heights, in order.
    #[must_use]
    pub fn decided(&self) -> &[Decided] {
        &self.decided
    }

    /// The terms.
    #[must_use]
    pub fn charter(&self) -> &Charter {
        &self.charter
    }

    /// The peers.
    #[must_use]
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// The links, to change them.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// The fold of everything certified so far.
    #[must_use]
    pub fn certified(&self) -> &State {
        self.checkers.certified()
    }

    /// What names this run: equal for equal runs, and for no others.
    #[must_use]
    pub fn trace(&self) -> Hash {
        self.trace.finalize().into()
    }

    /// The longest wait for a height, in thousandths of the bound that held for it.
    #[must_use]
    pub fn slowest_height(&self) -> u64 {
        self.checkers.progress.fullest()
    }

    /// Number of things that happened.
    #[must_use]
    pub fn happened(&self) -> u64 {
        self.happened
    }
}

pub(crate) fn read(disk: &crate::disk::Disk, root: &Hash) -> Result<Vec<u8>, String> {
    disk.blob(root).map(|bytes| bytes.to_vec()).ok_or_else(|| "not on this disk".into())
}

/// As large as what was measured, and uphill.
fn invented(found: Measurement) -> Measurement {
    let bytes = found.bytes.iter().map(|byte| byte ^ 0x80).collect();
    Measurement { bytes, ..found }
}
