//! One simulated peer: its session, its engine, its disk, and what it told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use driftless_protocol::Hash;
use driftless_protocol::charter::Charter;
use driftless_protocol::control::Control;
use driftless_protocol::event::{Command, Ending, Event, Output, Snapshot};
use driftless_protocol::identity::{PeerKey, Signer};
use driftless_protocol::session::Session;
use driftless_protocol::state::{Array, State};
use driftless_protocol::time::{Span, Time};
use driftless_protocol::worker::{Work, Worker};

use crate::clock::Clock;
use crate::disk::Disk;
use crate::engine::SimEngine;
use crate::gossip::Heard;
use crate::happening::Happening;
use crate::network::Reach;
use crate::random::Random;
use crate::setup::PeerSetup;

/// Why a world could not be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this world cannot start: {0}")]
pub struct SetupError(pub String);

/// Bytes of one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages that left.
    pub messages_sent: u64,
    /// Messages that arrived.
    pub messages_received: u64,
    /// Blobs that left.
    pub blobs_sent: u64,
    /// Blobs that arrived.
    pub blobs_received: u64,
}

/// A peer of a world.
pub struct Peer {
    /// What it started from.
    pub setup: PeerSetup,
    /// Its name.
    pub key: PeerKey,
    pub(crate) signer: Signer,
    pub(crate) disk: Disk,
    /// Chooses a bit of the state that changes at the next start.
    pub(crate) flip: Option<u64>,
    /// Whether its memory was not what it had written, or what it computes is wrong: nobody else computes
    /// for it.
    pub(crate) odd: bool,
    /// Whether what it computes is wrong.
    pub(crate) miscomputes: bool,
    /// Until when nothing more can be written on its disk.
    pub(crate) full: Option<Time>,
    /// The barrier at which its driver waits for space, and what came since.
    pub(crate) held: Option<Output>,
    pub(crate) waiting: VecDeque<Happening>,
    /// What its user wished while it was off.
    pub(crate) wishes: Vec<Command>,
    /// Whether its disk cannot be read while it runs.
    pub(crate) unreadable: bool,
    /// An older copy of its disk.
    copy: Option<Disk>,
    /// What its session takes for the time.
    pub(crate) clock: Clock,
    pub(crate) session: Option<Session>,
    pub(crate) worker: Option<Worker<SimEngine>>,
    /// Counts restarts: what was under way for an earlier life is void.
    pub(crate) life: u32,
    /// Peers it was told to be connected to, with the life that it met them in.
    pub(crate) met: BTreeMap<usize, u32>,
    /// Gossip that it heard lately.
    pub(crate) heard: Heard,
    /// Things that it was told, and orders that its engine has, in this life.
    pub(crate) told: u32,
    pub(crate) orders: u32,
    /// The control page of the state that was checked last.
    pub(crate) checked: Option<Control>,
    /// The timer that counts, if one is set.
    pub(crate) timer: Option<Time>,
    /// How many times as long a step takes, and until when.
    pub(crate) slow: Option<(u32, Time)>,
    /// Outputs until the power goes, and how long it is away then.
    pub(crate) doom: Option<(u32, Option<Span>)>,
    /// Blobs that it fetched, with their lengths, as often as they came.
    pub(crate) fetched: Vec<(Hash, u64)>,
    /// Bytes of blobs by the peers that they came from.
    pub(crate) blobs_from: BTreeMap<usize, u64>,
    /// Bytes that left and arrived, messages and blobs.
    pub(crate) traffic: Traffic,
    /// Virtual time of all inner steps.
    pub(crate) trained: Span,
    ending: Option<Ending>,
    events: Vec<(Time, Event)>,
    crashes: u32,
}

impl Peer {
    pub(crate) fn new(mut setup: PeerSetup, signer: Signer) -> Peer {
        if setup.reach != Reach::Dialable {
            // As in `node`: a peer stands once another dialled it.
            setup.options.stand.take_if(|stands| *stands);
        }
        Peer {
            setup,
            key: signer.key(),
            signer,
            disk: Disk::default(),
            copy: None,
            flip: None,
            odd: false,
            miscomputes: false,
            full: None,
            held: None,
            waiting: VecDeque::new(),
            wishes: Vec::new(),
            unreadable: false,
            clock: Clock::new(Time(0), 0),
            session: None,
            worker: None,
            life: 0,
            met: BTreeMap::new(),
            heard: Heard::new(),
            told: 0,
            orders: 0,
            checked: None,
            timer: None,
            slow: None,
            doom: None,
            fetched: Vec::new(),
            blobs_from: BTreeMap::new(),
            traffic: Traffic::default(),
            trained: Span::ZERO,
            ending: None,
            events: Vec::new(),
            crashes: 0,
        }
    }

    /// Switches it on, from its disk.
    pub(crate) fn start(
        &mut self,
        now: Time,
        charter: &Arc<Charter>,
        genesis: &State,
    ) -> Result<(), SetupError> {
        let engine =
            SimEngine::new(&self.setup.engine, charter).map_err(|error| SetupError(error.to_string()))?;
        let worker = Worker::new(engine, charter).map_err(|error| SetupError(error.to_string()))?;
        self.worker = Some(worker);
        self.clock = Clock::new(now, self.setup.drift);
        let now = self.clock.local(now);
        let (charter, signer, options) = (charter.clone(), self.signer.clone(), self.setup.options.clone());
        let mut recovered = self.disk.recover();
        if let Some(seed) = self.flip.take() {
            let whole = recovered.snapshot.take();
            let mut snapshot = whole.unwrap_or(Snapshot { block: None, state: genesis.clone() });
            flip_bit(&mut snapshot.state, seed);
            self.odd = true;
            recovered.snapshot = Some(snapshot);
        }
        let session = Session::restore(now, charter, signer, options, || genesis.clone(), recovered);
        self.session = Some(session);
        Ok(())
    }

    /// The power goes.
    pub(crate) fn crash(&mut self, random: &mut Random) {
        match self.full {
            Some(_) => self.disk.crash_full(),
            None => self.disk.crash(random),
        }
        self.crashes += 1;
        self.stop();
    }

    /// Its user copies the folder.
    pub(crate) fn copy_disk(&mut self) {
        self.copy = Some(self.disk.copy());
    }

    /// The copy takes the folder's place.
    pub(crate) fn restore_disk(&mut self) {
        if let Some(copy) = &self.copy {
            self.disk = copy.copy();
        }
    }

    /// It ended in order.
    pub(crate) fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.stop();
    }

    /// Whoever stopped may be switched on again.
    pub(crate) fn reopen(&mut self) {
        self.ending = None;
    }

    fn stop(&mut self) {
        self.session = None;
        self.worker = None;
        self.life += 1;
        self.met.clear();
        self.heard.clear();
        (self.told, self.orders) = (0, 0);
        self.checked = None;
        self.timer = None;
        self.doom = None;
        self.held = None;
        self.waiting.clear();
    }

    pub(crate) fn note(&mut self, now: Time, event: Event) {
        self.events.push((now, event));
    }

    /// How long an order takes in virtual time.
    pub(crate) fn duration(&self, now: Time, work: &Work, random: &mut Random) -> Span {
        let factor = self.slow.filter(|(_, until)| now < *until).map_or(1, |(factor, _)| factor);
        let step = self.setup.step.times(factor.into());
        match work {
            Work::Train { progress, .. } => {
                let steps = progress.iter().map(|_| random.around(step, self.setup.jitter));
                steps.fold(Span::ZERO, |sum, step| sum + step)
            }
            Work::Measure { .. } => random.around(step, self.setup.jitter),
            Work::Evaluate { .. } => step.times(20),
            Work::Save | Work::Restore(_) => Span::millis(5),
            Work::Encode { .. }
            | Work::Merge { .. }
            | Work::Rebase { .. }
            | Work::Begin { .. }
            | Work::PutBack { .. }
            | Work::Reset { .. } => Span::millis(1),
        }
    }

    /// Whether it runs now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.session.is_some()
    }

    /// Its session, while it runs.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// How its session ended, if it did.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// Where it stands, in a word.
    #[must_use]
    pub fn standing(&self) -> &'static str {
        match self.ending {
            Some(Ending::Complete) => "complete",
            Some(Ending::Left) => "left",
            Some(Ending::Stopped) => "stopped",
            None if self.is_up() => "running",
            None => "off",
        }
    }

    /// What it told, in order.
    #[must_use]
    pub fn events(&self) -> &[(Time, Event)] {
        &self.events
    }

    /// Its disk.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Blobs that it fetched, with their lengths, as often as they came.
    #[must_use]
    pub fn fetched(&self) -> &[(Hash, u64)] {
        &self.fetched
    }

    /// Bytes of blobs that came from a peer.
    #[must_use]
    pub fn blobs_from(&self, peer: usize) -> u64 {
        self.blobs_from.get(&peer).copied().unwrap_or(0)
    }

    /// What it sent and received.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Virtual time that it spent in inner steps.
    #[must_use]
    pub fn trained(&self) -> Span {
        self.trained
    }

    /// How often the power went.
    #[must_use]
    pub fn crashes(&self) -> u32 {
        self.crashes
    }

    /// The validation loss that it told last.
    #[must_use]
    pub fn validation_loss(&self) -> Option<f64> {
        self.events.iter().rev().find_map(|(_, event)| match event {
            Event::Evaluated { loss, .. } => Some(*loss),
            _ => None,
        })
    }

    /// The share of the validation rows whose class was told then.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        self.events.iter().rev().find_map(|(_, event)| match event {
            Event::Evaluated { accuracy, .. } => *accuracy,
            _ => None,
        })
    }

    /// Height and digest of its last certified state, running or not.
    #[must_use]
    pub fn head(&self) -> Option<(u64, driftless_protocol::Hash)> {
        self.events.iter().rev().find_map(|(_, event)| match event {
            Event::Block { height, digest, .. } => Some((*height, *digest)),
            _ => None,
        })
    }
}

/// Changes a bit of a value that the seed chooses; its page's name stays what it was.
fn flip_bit(state: &mut State, seed: u64) {
    let mut random = Random::new(seed, "flip");
    let mut arrays: Vec<&mut Array> =
        state.arrays.iter_mut().flatten().chain(state.estimates.values_mut()).collect();
    let chosen = random.below(arrays.len() as u64) as usize;
    let array = &mut *arrays[chosen];
    let page = random.below(array.pages().len() as u64) as usize;
    let value = random.below(array.pages()[page].values().len() as u64) as usize;
    // A tiny number in the place of a zero would change nothing.
    let bit = if array.pages()[page].values()[value] == 0.0 { 30 } else { 20 };
    let decayed = array.pages()[page].decayed(value, bit);
    *array = std::mem::take(array).with_page(page, decayed);
}
