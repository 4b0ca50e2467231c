//! A world: N sessions on one thread in virtual time, with everything around them.
//!
//! The queue of happenings is ordered by time, then by insertion; nothing else decides what comes
//! next. [`World::run_until`] drives it; a broken promise ends it with a [`Violation`].
//! `world.rs` is the loop, `effects.rs` what sessions' outputs do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use driftless_protocol::Hash;
use driftless_protocol::block::{CertifiedBlock, Height, Slot};
use driftless_protocol::charter::Charter;
use driftless_protocol::event::{Command, Input, Waiting};
use driftless_protocol::identity::PeerKey;
use driftless_protocol::manifest::Manifest;
use driftless_protocol::state::{Array, State};
use driftless_protocol::time::{Span, Time};
use driftless_protocol::wire::Message;
use driftless_protocol::worker::{EngineFailure, Work, WorkDone};

use crate::checkers::{Broken, Checkers, Promise, Terms};
use crate::engine::{CostModel, EngineKind, Nominal};
use crate::faults::Fault;
use crate::gossip::Gossip;
use crate::happening::Happening;
use crate::network::{Network, Reach};
use crate::peer::{Peer, SetupError};
use crate::random::Random;
use crate::setup::{Lie, Setup};
use crate::topology::Topology;
use crate::transfers::Transfers;

/// After this long peers notice that they do not reach each other any more.
const DETECTION: Span = Span::seconds(2);

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
    /// Lengths of blobs, if the model is a nominal one.
    nominal: Option<Nominal>,
    pub(crate) decided: Vec<Decided>,
    /// Certified blocks as the disks share them.
    blocks: BTreeMap<Height, Vec<Arc<CertifiedBlock>>>,
    /// The latest candidate states by the names of their jobs.
    pub(crate) candidates: VecDeque<(Hash, State)>,
    /// Validation losses by the digests of what was evaluated.
    evaluated: BTreeMap<Vec<Hash>, f64>,
    pub(crate) checkers: Checkers,
    random: Random,
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
        let manifest = Manifest { genesis: genesis.digest(), ..charter.manifest };
        let charter = Arc::new(Charter::new(manifest).map_err(|error| refused(&error))?);
        if setup.peers.iter().any(|peer| peer.seat && peer.reach != Reach::Dialable) {
            return Err(SetupError("voters have to reach each other: a peer with a seat is dialable".into()));
        }
        let reach = setup.peers.iter().map(|peer| peer.reach).collect();
        let mut network = Network::new(setup.seed, reach, setup.link);
        setup.special.iter().for_each(|(from, to, link)| network.set(*from, *to, *link));
        let nominal = setup.peers.iter().find_map(|peer| match &peer.engine {
            EngineKind::Cost(CostModel { parameters, .. }) => Some(Nominal::new(*parameters, &charter)),
            _ => None,
        });
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

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::Start(peer) => self.start(peer),
            Happening::Fault(fault) => self.fault(fault),
            Happening::Space(peer) => self.space(peer),
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
            Happening::Pushed { peer, life, root, to } if self.lives(peer, life) => {
                let holders = to.into_iter().filter(|to| self.peers[*to].disk.blob(&root).is_some());
                let to = holders.map(|holder| self.peers[holder].key).collect();
                self.input(peer, Input::Pushed { root, to })
            }
            // Of a life that is over.
            _ => Ok(()),
        }
    }

    /// Carries out an order. Replicas that are equal are evaluated once for all.
    fn work(&mut self, peer: usize, work: Work) -> WorkDone {
        let Peer { worker: Some(worker), session, setup, .. } = &mut self.peers[peer] else {
            return WorkDone::Failed(EngineFailure::Other("switched off".into()));
        };
        let Work::Evaluate { outer } = &work else { return worker.execute(work) };
        match &setup.engine {
            EngineKind::Cpu => {}
            EngineKind::StandIn { .. } => return worker.execute(work),
            EngineKind::Cost(model) => {
                let tokens = session.as_ref().map_or(0, |session| session.state().control.counted_tokens);
                return WorkDone::Evaluated(model.losses.at(tokens));
            }
        }
        let digests: Vec<Hash> = outer.iter().map(Array::digest).collect();
        if let Some(loss) = self.evaluated.get(&digests) {
            return WorkDone::Evaluated(*loss);
        }
        let done = worker.execute(work);
        if let WorkDone::Evaluated(loss) = done {
            self.evaluated.insert(digests, loss);
        }
        done
    }

    /// A height is due: could the voters have decided it? If not, they have as long again from now on.
    fn look_at_progress(&mut self) -> Result<(), Violation> {
        let control = &self.certified().control;
        let complete = self.charter.manifest.stop_at.is_some_and(|stop_at| control.counted_tokens >= stop_at);
        let seats: Vec<PeerKey> = control.seats.clone();
        let there = seats.iter().filter(|key| control.seat_of(key).is_some());
        let able: Vec<usize> =
            there.filter_map(|key| self.index(key)).filter(|peer| self.can_decide(*peer)).collect();
        let reach = |peer: &usize| able.iter().filter(|other| self.network.joins(*peer, **other)).count();
        let together = able.iter().map(reach).max().unwrap_or(0);
        let enough = together >= self.charter.quorum(seats.len());
        if enough && !complete && !self.network.loses() {
            let what = self.checkers.progress.late(self.now, together, seats.len());
            return Err(self.violation(able[0], Promise::Progress.broken(what)));
        }
        self.checkers.progress.disturbed(self.now);
        Ok(())
    }

    /// Whether a voter is up and honest, and nothing keeps it from voting but time.
    fn can_decide(&self, peer: usize) -> bool {
        let Peer { session: Some(session), setup, miscomputes, unreadable, .. } = &self.peers[peer] else {
            return false;
        };
        let status = session.status();
        let honest = matches!(setup.lie, None | Some(Lie::Boasts)) && !miscomputes && !unreadable;
        let writes = self.peers[peer].full.is_none();
        honest
            && writes
            && status.halted.is_none()
            && status.barred.is_none()
            && status.waiting != Waiting::Repair
    }

    /// Seats that the quorum does without.
    pub(crate) fn spare_seats(&self) -> usize {
        let seats = self.certified().control.seats.len();
        seats.saturating_sub(self.charter.quorum(seats))
    }

    fn lives(&self, peer: usize, life: u32) -> bool {
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
        self.drain(peer)
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
                return self.input(to, Input::Message { from, message });
            }
        };
        let answer = self.twist(to, answer);
        self.transmit(to, from, &answer, true);
        Ok(())
    }

    fn arrive(
        &mut self,
        from: usize,
        to: usize,
        life: u32,
        root: Hash,
        fetched: bool,
    ) -> Result<(), Violation> {
        if !self.lives(to, life) {
            return Ok(());
        }
        let source = &self.peers[from];
        let there = source.is_up() && self.network.joins(from, to);
        let fits = self.peers[to].full.is_none();
        match source.disk.blob(&root).filter(|_| there && fits) {
            Some(bytes) => {
                let length = self.nominal_length(bytes.len() as u64);
                self.peers[from].traffic.blobs_sent += length;
                self.peers[to].traffic.blobs_received += length;
                *self.peers[to].blobs_from.entry(from).or_default() += length;
                if fetched && self.topology.mesh(to).is_none() {
                    self.peers[to].fetched.push((root, length));
                }
                if self.peers[to].disk.received(&root) {
                    let again = self.checkers.caps.arrived_again(self.now, from, to, root);
                    self.capped(to, again)?;
                }
                self.peers[to].disk.store_blob(root, bytes);
                self.input(to, Input::BlobStored(root))
            }
            None if fetched => self.input(to, Input::BlobFailed(root)),
            None => Ok(()),
        }
    }

    fn fault(&mut self, fault: Fault) -> Result<(), Violation> {
        self.checkers.progress.disturbed(self.now);
        self.checkers.caps.failed(self.now);
        match fault {
            Fault::Crash { peer, outputs, down } => {
                if self.peers[peer].is_up() {
                    // Whoever waits acts on nothing more.
                    let outputs = if self.peers[peer].held.is_some() { 0 } else { outputs };
                    self.peers[peer].doom = Some((outputs, down));
                    self.drain(peer)?;
                }
            }
            Fault::Flip { peer, seed } => {
                self.crash(peer, Some(Span::millis(100)));
                self.peers[peer].flip = Some(seed);
            }
            Fault::Miscompute { peer } => {
                (self.peers[peer].miscomputes, self.peers[peer].odd) = (true, true);
            }
            Fault::Unreadable { peer } => self.peers[peer].unreadable = true,
            Fault::Copy { peer } => self.peers[peer].copy_disk(),
            Fault::Restore { peer, down } => {
                self.crash(peer, Some(down));
                self.peers[peer].restore_disk();
                let last = self.peers[peer].disk.blocks().last_key_value().map_or(0, |(height, _)| *height);
                self.checkers.restored(self.peers[peer].key, last);
            }
            Fault::Full { peer, lasting } => {
                let until = self.now + lasting;
                self.peers[peer].full = self.peers[peer].full.max(Some(until));
                self.schedule(until, Happening::Space(peer));
            }
            Fault::Slow { peer, factor, lasting } => {
                self.peers[peer].slow = Some((factor, self.now + lasting));
            }
            Fault::Partition(groups) => {
                self.network.part(groups);
                self.cut_flows();
                self.all_look_around();
            }
            Fault::Heal => {
                self.network.heal();
                self.all_look_around();
            }
            Fault::Loss(per_mille) => self.network.set_loss(per_mille),
        }
        Ok(())
    }

    /// A disk is not full any more: its driver goes on with what waited, in order.
    fn space(&mut self, peer: usize) -> Result<(), Violation> {
        if self.peers[peer].full.is_none_or(|until| until > self.now) {
            return Ok(());
        }
        self.peers[peer].full = None;
        self.checkers.progress.disturbed(self.now);
        if let Some(barrier) = self.peers[peer].held.take() {
            self.act(peer, barrier)?;
            self.drain(peer)?;
        }
        while let Some(happening) = self.peers[peer].waiting.pop_front() {
            self.happen(happening)?;
        }
        Ok(())
    }

    /// The power goes, and comes back after `down`.
    pub(crate) fn crash(&mut self, peer: usize, down: Option<Span>) {
        self.peers[peer].crash(&mut self.random);
        self.checkers.progress.disturbed(self.now);
        self.checkers.caps.failed(self.now);
        self.cut_flows();
        if let Some(down) = down {
            self.schedule(self.now + down, Happening::Start(peer));
        }
        self.look_around(peer);
    }

    /// Peers that `peer` reaches will soon know, and so will those that it does not reach.
    pub(crate) fn look_around(&mut self, peer: usize) {
        for other in self.topology.neighbours(peer) {
            let wait = match self.reach(peer, other) {
                true => self.network.latency(peer, other),
                false => DETECTION,
            };
            self.schedule(self.now + wait, Happening::Link { a: peer, b: other });
        }
    }

    fn all_look_around(&mut self) {
        (0..self.peers.len()).for_each(|peer| self.look_around(peer));
    }

    fn reach(&self, a: usize, b: usize) -> bool {
        self.peers[a].is_up() && self.peers[b].is_up() && self.network.joins(a, b)
    }

    /// Tells `who` about `whom`, if anything changed.
    fn meet(&mut self, who: usize, whom: usize) -> Result<(), Violation> {
        if !self.peers[who].is_up() {
            return Ok(());
        }
        let now = self.reach(who, whom).then(|| self.peers[whom].life);
        let before = self.peers[who].met.get(&whom).copied();
        let key = self.peers[whom].key;
        match now {
            Some(life) => self.peers[who].met.insert(whom, life),
            None => self.peers[who].met.remove(&whom),
        };
        match (before, now) {
            (None, Some(_)) => self.input(who, Input::Connected(key)),
            (Some(_), None) => self.input(who, Input::Disconnected(key)),
            (Some(before), Some(now)) if before != now => self.input(who, Input::Restarted(key)),
            _ => Ok(()),
        }
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

    /// Tells a peer its user's wish at a moment.
    pub fn command(&mut self, at: Time, peer: usize, command: Command) {
        let life = self.peers[peer].life;
        self.schedule(at, Happening::Input { peer, life, input: Box::new(Input::Command(command)) });
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

/// What bounds the time until the next height.
fn progress_terms(setup: &Setup, charter: &Charter, nominal: Option<&Nominal>) -> Terms {
    let links = setup.special.iter().map(|(.., link)| link).chain([&setup.link]);
    let latency = links.clone().map(|link| link.latency + link.jitter).max().unwrap_or(Span::ZERO);
    let codec = charter.manifest.method.codec();
    let lengths = charter.lengths.iter().map(|values| codec.encoded_len(*values));
    let one: u64 = lengths.map(|length| nominal.map_or(length, |nominal| nominal.length(length))).sum();
    let peers = setup.peers.len() as u64;
    // Over a path go the contributions of one peer, over a line those of all, or of one to all.
    let path = links.filter_map(|link| link.bandwidth).min().map(|rate| (one, rate));
    let rates = setup.peers.iter().flat_map(|peer| [peer.access.up, peer.access.down]);
    let line = rates.flatten().min().map(|rate| (one.saturating_mul(peers), rate));
    let time = |(bytes, rate): (u64, u64)| Span(bytes.saturating_mul(1_000_000) / rate.max(1));
    let blobs = path.map(time).into_iter().chain(line.map(time)).max().unwrap_or(Span::ZERO);
    let boasts = setup.peers.iter().any(|peer| peer.lie == Some(Lie::Boasts));
    let heartbeat = charter.manifest.heartbeat;
    Terms { heartbeat, latency, blobs, peers, boasts, elected: setup.elected }
}

pub(crate) fn read(disk: &crate::disk::Disk, root: &Hash) -> Result<Vec<u8>, String> {
    disk.blob(root).map(|bytes| bytes.to_vec()).ok_or_else(|| "not on this disk".into())
}
