//! What must hold in every world, watched at every step. One file per promise.

mod bounds;
mod caps;
mod clock;
mod contributions;
mod counted_once;
mod fold;
mod influence;
mod innocent;
mod members;
mod one_digest;
mod progress;
mod quorum;
mod seats;
mod signed_once;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use driftless_protocol::block::{CertifiedBlock, Height};
use driftless_protocol::charter::Charter;
use driftless_protocol::event::Record;
use driftless_protocol::identity::{Domain, Hash, PeerKey, Scope};
use driftless_protocol::session::Session;
use driftless_protocol::state::State;
use driftless_protocol::time::Time;
use driftless_protocol::wire::Message;

use bounds::EVERY;
pub(crate) use caps::{Caps, Way, Write};
use clock::Clock;
pub use counted_once::CountedOnce;
pub use fold::Fold;
use influence::{Influence, Step};
use innocent::Innocent;
use members::Members;
use one_digest::OneDigest;
pub(crate) use progress::{Progress, Terms};
pub use quorum::Quorum;
use seats::Seats;
pub use signed_once::SignedOnce;

/// What every world keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// At one height there is one certified block, and all peers have its digest.
    OneDigest,
    /// Nothing is counted twice.
    CountedOnce,
    /// No honest key signs two contents for one thing.
    SignedOnce,
    /// The state is the fold of the chain.
    Fold,
    /// Nothing is certified without a quorum.
    Quorum,
    /// Nobody becomes a member unasked, or ceases to be one without a reason.
    Members,
    /// Nobody takes a seat without having earned it, or loses one without a reason.
    Seats,
    /// Whatever is counted was signed for it.
    Contributions,
    /// Whoever keeps to the protocol is neither convicted nor barred.
    Innocent,
    /// Nobody's influence is more than the manifest allows.
    Influence,
    /// Neither time nor a chain goes back.
    Clock,
    /// Nobody sends, receives or writes more than its user allows.
    Caps,
    /// After the faults end, the chain goes on.
    Progress,
    /// Every map and queue keeps to its bound.
    Bounds,
    /// Peers start, what they say decodes, and they do not spin.
    Driver,
}

impl std::fmt::Display for Promise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Promise::OneDigest => "one digest",
            Promise::CountedOnce => "counted once",
            Promise::SignedOnce => "signed once",
            Promise::Fold => "fold",
            Promise::Quorum => "quorum",
            Promise::Members => "members",
            Promise::Seats => "seats",
            Promise::Contributions => "contributions",
            Promise::Innocent => "innocent",
            Promise::Influence => "influence",
            Promise::Clock => "clock",
            Promise::Caps => "caps",
            Promise::Progress => "progress",
            Promise::Bounds => "bounds",
            Promise::Driver => "driver",
        })
    }
}

/// A promise that does not hold, and what is wrong, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// What is wrong.
    pub what: String,
}

impl Promise {
    /// What a checker found wrong breaks this promise.
    pub fn broken(self, what: String) -> Broken {
        Broken { promise: self, what }
    }
}

/// All checkers of a world.
#[derive(Debug)]
pub struct Checkers {
    charter: Arc<Charter>,
    one_digest: OneDigest,
    counted_once: CountedOnce,
    signed_once: SignedOnce,
    fold: Fold,
    quorum: Quorum,
    members: Members,
    seats: Seats,
    /// Who certifies, by the first height for which that holds.
    sitting: BTreeMap<Height, Vec<PeerKey>>,
    /// The highest that a reset began.
    generations: u32,
    innocent: Innocent,
    influence: Influence,
    clock: Clock,
    pub(crate) caps: Caps,
    pub(crate) progress: Progress,
}

impl Checkers {
    /// Checkers of a session that starts at `genesis` and in which `liars` lie.
    #[must_use]
    pub(crate) fn new(
        charter: Arc<Charter>,
        genesis: State,
        liars: BTreeSet<PeerKey>,
        terms: Terms,
    ) -> Checkers {
        let seats = genesis.control.seats.len();
        let spare = seats - charter.quorum(seats).min(seats);
        let rule = charter.manifest.committee.quorum_rule();
        Checkers {
            charter: charter.clone(),
            one_digest: OneDigest::new(genesis.digest()),
            counted_once: CountedOnce::default(),
            generations: 0,
            signed_once: SignedOnce::default(),
            quorum: Quorum::new(charter.session, rule),
            members: Members::new(charter.session, charter.manifest.max_contributors.into()),
            seats: Seats::new(charter.session, charter.manifest.committee.clone()),
            sitting: BTreeMap::from([(1, charter.founding_seats())]),
            influence: Influence::new(charter.clone()),
            clock: Clock::default(),
            caps: Caps::default(),
            progress: Progress::new(terms, spare),
            fold: Fold::new(charter, genesis),
            innocent: Innocent::new(liars),
        }
    }

    /// The certified state.
    #[must_use]
    pub fn certified(&self) -> &State {
        self.fold.state()
    }

    /// A peer's user copies its folder.
    pub fn copied(&mut self, key: PeerKey) {
        self.signed_once.copied(key);
    }

    /// A peer comes back with an older copy of its folder, whose last block has this height.
    pub fn restored(&mut self, key: PeerKey, height: Height) {
        self.innocent.restored(key);
        self.signed_once.restored(key);
        self.progress.returns();
        self.clock.restored(key, height);
    }

    /// A peer begins a life.
    ///
    /// # Errors
    /// If its chain ends below what it wrote.
    pub fn begins(&mut self, key: PeerKey, session: &Session) -> Result<(), Broken> {
        let begins = self.clock.begins(key, session.chain_end());
        begins.map_err(|what| Promise::Clock.broken(what))
    }

    /// A peer is told something.
    ///
    /// # Errors
    /// If it was told of a later moment before.
    pub fn told(&mut self, key: PeerKey, now: Time) -> Result<(), Broken> {
        self.clock.told(key, now).map_err(|what| Promise::Clock.broken(what))
    }

    /// A block that a peer wrote is durable.
    pub fn durable(&mut self, key: PeerKey, height: Height) {
        self.clock.wrote(key, height);
    }

    /// A peer writes something down. `read` finds blobs.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn persisted(
        &mut self,
        by: PeerKey,
        record: &Record,
        read: &mut dyn FnMut(&Hash) -> Result<Vec<u8>, String>,
    ) -> Result<(), Broken> {
        self.innocent.persisted(by, record).map_err(|what| Promise::Innocent.broken(what))?;
        if let Record::Reset(reset) = record {
            self.generations = self.generations.max(reset.content.generation);
        }
        let Record::Block(certified) = record else { return Ok(()) };
        let height = certified.block.height;
        let result = self.block_persisted(certified, read);
        result.map_err(|broken| broken.promise.broken(format!("block {height}: {}", broken.what)))
    }

    fn block_persisted(
        &mut self,
        certified: &CertifiedBlock,
        read: &mut dyn FnMut(&Hash) -> Result<Vec<u8>, String>,
    ) -> Result<(), Broken> {
        let block = &certified.block;
        self.one_digest.observe_block(block).map_err(|what| Promise::OneDigest.broken(what))?;
        let before = self.fold.state();
        let sitting = self.sitting.range(..=block.height).next_back();
        let seats = match block.reset() {
            Some(reset) => &reset.content.seats,
            None => sitting.map_or(&before.control.seats, |(_, seats)| seats),
        };
        self.quorum.observe(certified, seats).map_err(|what| Promise::Quorum.broken(what))?;
        if block.height == self.fold.height() + 1 {
            let seats = self.seats.observe(&before.control, block);
            let seats = seats.map_err(|what| Promise::Seats.broken(what))?;
            self.sitting.insert(block.height + 1, seats);
            let counted = self.counted_once.observe(&before.control, block);
            counted.map_err(|what| Promise::CountedOnce.broken(what))?;
            let signed = contributions::observe(&self.charter, before, block);
            signed.map_err(|what| Promise::Contributions.broken(what))?;
        }
        let before = self.fold.state().control.clone();
        self.fold.observe(certified, read).map_err(|what| Promise::Fold.broken(what))?;
        let after = &self.fold.state().control;
        if after.height > before.height {
            let members = self.members.observe(&before, block, after);
            members.map_err(|what| Promise::Members.broken(what))?;
            let step = Step { before: &before, block, after, aggregations: self.fold.aggregations() };
            self.influence.observe(step).map_err(|what| Promise::Influence.broken(what))?;
            Clock::block(&before, after).map_err(|what| Promise::Clock.broken(what))?;
        }
        let convicted = &self.fold.state().control.convicted;
        self.innocent.convicted(convicted).map_err(|what| Promise::Innocent.broken(what))
    }

    /// A peer has another state than before.
    ///
    /// # Errors
    /// If another peer's was another at its height, its chain went back, or it holds more than it may.
    pub fn state_reached(&mut self, key: PeerKey, session: &Session) -> Result<(), Broken> {
        let state = session.state();
        let same = self.one_digest.compare(state.control.height, state.digest());
        same.map_err(|what| Promise::OneDigest.broken(what))?;
        let stands = self.clock.stands(key, session.chain_end());
        stands.map_err(|what| Promise::Clock.broken(what))?;
        bounds::observe(session).map_err(|what| Promise::Bounds.broken(what))
    }

    /// A peer was told a thing, of so many in its life; its outputs are still there.
    ///
    /// # Errors
    /// If it holds more than it may.
    pub fn holds(session: &Session, told: u32) -> Result<(), Broken> {
        if !told.is_multiple_of(EVERY) {
            return Ok(());
        }
        bounds::observe(session).map_err(|what| Promise::Bounds.broken(what))
    }

    /// A peer's engine gets an order while so many are under way.
    ///
    /// # Errors
    /// If that is one too many.
    pub fn ordered(under_way: u32) -> Result<(), Broken> {
        bounds::ordered(under_way).map_err(|what| Promise::Bounds.broken(what))
    }

    /// A statement does not tell its generation, its signature does.
    fn generation_of(&self, message: &Message) -> u32 {
        let session = self.charter.session;
        let holds = |generation: &u32| {
            let scope = Scope { session, generation: *generation };
            match message {
                Message::Vote(vote) => vote.holds(Domain::Vote, scope),
                Message::Propose { proposal, .. } => proposal.holds(Domain::Proposal, scope),
                _ => false,
            }
        };
        (1..=self.generations).find(holds).unwrap_or(0)
    }

    /// A message of a peer's reached another.
    pub fn heard(&mut self, from: PeerKey, message: &Message) {
        if self.signed_once.listens_to(&from) {
            let generation = self.generation_of(message);
            self.signed_once.heard(from, generation, message);
        }
    }

    /// A message left a peer that does not mean to lie.
    ///
    /// # Errors
    /// If it contradicts one that left before.
    pub fn sent(&mut self, by: PeerKey, message: &Message) -> Result<(), Broken> {
        let generation = self.generation_of(message);
        let signed = self.signed_once.observe(by, generation, message);
        signed.map_err(|what| Promise::SignedOnce.broken(what))
    }
}
