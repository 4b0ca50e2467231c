//! What a world starts from: the session's terms, its peers, its links and its faults.

use driftless_compute::{Example, TINY_SHAKESPEARE};
use driftless_protocol::Hash;
use driftless_protocol::codec::Codec;
use driftless_protocol::committee::{Committee, QuorumRule};
use driftless_protocol::identity::{PeerKey, Signer};
use driftless_protocol::manifest::{Data, DataFile, DeadlineBounds, Manifest, Optimizer, Preset, Training};
use driftless_protocol::method::{Method, Overrun, StreamingDiLoCo};
use driftless_protocol::model::{GptShape, Model};
use driftless_protocol::session::Options;
use driftless_protocol::time::{Span, Time};

use crate::engine::{EngineKind, shape_of};
use crate::faults::Fault;
use crate::flows::Access;
use crate::network::{Link, Reach};
use crate::random::Random;

/// A whole world before it starts.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Decides everything that chance decides.
    pub seed: u64,
    /// The session's terms; its committee is filled in from the peers with seats.
    pub manifest: Manifest,
    /// How many seats decide.
    pub quorum: QuorumRule,
    /// The first peer with a seat founds the session alone, and the committee grows.
    pub elected: bool,
    /// The peers.
    pub peers: Vec<PeerSetup>,
    /// The link between any two.
    pub link: Link,
    /// Links from one peer to another that differ.
    pub special: Vec<(usize, usize, Link)>,
    /// After this long peers notice that nothing comes from another any more.
    pub detection: Span,
    /// What goes wrong.
    pub faults: Vec<(Time, Fault)>,
}

/// One peer before it starts.
#[derive(Debug, Clone)]
pub struct PeerSetup {
    /// Whether the manifest gives it a seat.
    pub seat: bool,
    /// What it wants.
    pub options: Options,
    /// When it starts.
    pub start: Time,
    /// Virtual time of one inner step.
    pub step: Span,
    /// Each step takes longer or shorter by up to so many thousandths.
    pub jitter: u32,
    /// Its clock is fast by so many millionths, or slow.
    pub drift: i32,
    /// Its line.
    pub access: Access,
    /// Who can open a connection to it.
    pub reach: Reach,
    /// What trains.
    pub engine: EngineKind,
    /// Where it departs from the protocol.
    pub lie: Option<Lie>,
}

/// What a peer's network stack makes of what its session says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Two contributions for each slot, one to each half of the voters.
    Equivocates,
    /// A chain that nobody can follow: every head is far ahead.
    Boasts,
    /// Contributions that were taken against parameters of its own.
    StaleBase,
    /// Blocks that one seat signed.
    Certifies,
    /// Samples of which it measured nothing (one byte per sample).
    Invents,
}

impl Default for PeerSetup {
    /// A voter that contributes, at 100 ms a step, with the stand-in engine.
    fn default() -> PeerSetup {
        PeerSetup {
            seat: true,
            options: Options { keep_history: true, ..Options::default() },
            start: Time(0),
            step: Span::millis(100),
            jitter: 0,
            drift: 0,
            access: Access::default(),
            reach: Reach::default(),
            engine: EngineKind::BOWL,
            lie: None,
        }
    }
}

/// As `node` notices that a connection is dead.
pub const DETECTION: Span = Span::seconds(10);

impl PeerSetup {
    /// A contributor without a seat.
    #[must_use]
    pub fn contributor() -> PeerSetup {
        PeerSetup { seat: false, ..PeerSetup::default() }
    }

    /// A contributor that takes a seat if it is elected.
    #[must_use]
    pub fn candidate() -> PeerSetup {
        let options = Options { stand: Some(true), ..PeerSetup::default().options };
        PeerSetup { seat: false, options, ..PeerSetup::default() }
    }

    /// A peer that applies blocks and contributes nothing.
    #[must_use]
    pub fn follower() -> PeerSetup {
        let options = Options { contribute: false, ..PeerSetup::default().options };
        PeerSetup { seat: false, options, ..PeerSetup::default() }
    }
}

impl Setup {
    /// `peers` voters in a quiet network, with a small model for the stand-in engine: two
    /// fragments, H 6, and 8 tokens a step.
    #[must_use]
    pub fn small(seed: u64, peers: usize) -> Setup {
        let shape = GptShape { layers: 2, heads: 1, width: 4, context: 4, vocabulary: 256 };
        let method = StreamingDiLoCo {
            fragments: 2,
            period: 6,
            tau: 1,
            alpha: 0.5,
            eta: 0.7,
            mu: 0.9,
            codec: Codec::E3M0,
            feedback: None,
            max_overrun: Overrun::Slot,
        };
        let stop_at = 8 * 6 * peers as u64 * 10;
        let training = Training {
            batch: 2,
            optimizer: Optimizer::AdamW,
            learning_rate: 1e-2,
            warmup: 0.05,
            final_share: 0.05,
            weight_decay: 0.1,
            clip: 1.0,
            budget_tokens: stop_at,
        };
        let model = Model::Gpt(shape);
        let mut manifest = terms(seed, model, Method::StreamingDiLoCo(method), training, 10_000);
        manifest.stop_at = Some(stop_at);
        manifest.deadline = DeadlineBounds { minimum: Span::seconds(1), maximum: Span::seconds(15) };
        manifest.heartbeat = Span::seconds(20);
        Setup {
            seed,
            manifest,
            quorum: QuorumRule::TwoThirds,
            elected: false,
            peers: vec![PeerSetup::default(); peers],
            link: Link::default(),
            special: Vec::new(),
            detection: DETECTION,
            faults: Vec::new(),
        }
    }

    /// `peers` voters that train `model` on the data that the program carries for it, with the product's
    /// engine and the model's defaults, `tokens` (or rows) in all.
    ///
    /// # Errors
    /// An unknown model, or one without such data.
    pub fn real(seed: u64, peers: usize, model: &str, tokens: u64) -> Result<Setup, String> {
        let Preset { model, method, training } =
            Manifest::preset(model).map_err(|error| error.to_string())?;
        let shape = shape_of(&model);
        let example = Example::of(&shape).ok_or("there is no data for such a model")?;
        let samples = driftless_compute::Data::embedded(example.bytes, &shape, [0; 32])
            .map_err(|error| error.to_string())?
            .samples();
        let training = Training { budget_tokens: tokens, ..training };
        let mut manifest = terms(seed, model, method, training, samples);
        if let Data::Public { files, .. } = &mut manifest.data {
            *files = vec![file_of(example)];
        }
        manifest.stop_at = Some(tokens);
        manifest.deadline = DeadlineBounds { minimum: Span::seconds(1), maximum: Span::seconds(15) };
        let peer = PeerSetup { engine: Setup::engine(true), ..PeerSetup::default() };
        let (peers, quorum, link) = (vec![peer; peers], QuorumRule::TwoThirds, Link::default());
        let (special, faults) = (Vec::new(), Vec::new());
        let detection = DETECTION;
        Ok(Setup { seed, manifest, quorum, elected: false, peers, link, special, detection, faults })
    }

    /// The product's engine, or the stand-in.
    #[must_use]
    pub fn engine(real: bool) -> EngineKind {
        if real { EngineKind::Cpu } else { EngineKind::BOWL }
    }

    /// The numbers of Streaming DiLoCo.
    ///
    /// # Panics
    /// If the session has another method.
    pub fn method(&mut self) -> &mut StreamingDiLoCo {
        match &mut self.manifest.method {
            Method::StreamingDiLoCo(method) => method,
            other => panic!("the session's method is {other:?}"),
        }
    }

    /// The peers' keys.
    #[must_use]
    pub fn signers(&self) -> Vec<Signer> {
        let signer = |index| Signer::from_seed(Random::key(self.seed, &format!("peer {index}")));
        (0..self.peers.len()).map(signer).collect()
    }

    /// The terms with the committee that the seats make: one seat is a steward.
    #[must_use]
    pub fn sealed_manifest(&self) -> Manifest {
        let signers = self.signers();
        let seats = self.peers.iter().zip(&signers).filter(|(peer, _)| peer.seat);
        let mut keys: Vec<PeerKey> = seats.map(|(_, signer)| signer.key()).collect();
        if let (true, Some(founder)) = (self.elected, keys.first()) {
            return Manifest { committee: Committee::Elected { founder: *founder }, ..self.manifest.clone() };
        }
        keys.sort_unstable();
        let committee = match keys[..] {
            [key] => Committee::Steward { key },
            _ => Committee::Named { keys, quorum: self.quorum },
        };
        Manifest { committee, ..self.manifest.clone() }
    }
}

fn file_of(example: Example) -> DataFile {
    let Example { name, bytes } = example;
    DataFile { name: name.into(), length: bytes.len() as u64, root: Hash::of(bytes) }
}

fn terms(seed: u64, model: Model, method: Method, training: Training, samples: u64) -> Manifest {
    let text = Example { name: "tinyshakespeare.txt", bytes: TINY_SHAKESPEARE };
    let committee = Committee::Elected { founder: PeerKey::default() };
    let data = Data::Public { files: vec![file_of(text)], samples_per_epoch: samples };
    Manifest {
        name: "simulated".into(),
        seed: Random::key(seed, "session"),
        ..Preset { model, method, training }.manifest(committee, data)
    }
}
