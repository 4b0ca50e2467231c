//! The manifest: everything that the peers of a session agree on before it starts.
//!
//! It is written as TOML by a person, travels as canonical bincode, and is named by the BLAKE3
//! hash of that (the session id). Every way in ([`Manifest::from_toml`],
//! [`SignedManifest::from_bytes`], [`SignedManifest::seal`]) checks every bound, so the rest of
//! the core never meets an invalid one.
//!
//! | file | idea |
//! |---|---|
//! | `mod.rs` | the fields |
//! | `check.rs` | their bounds |
//! | `origin.rs` | what the genesis state is made of; the session that this one was founded on |
//! | `text.rs` | TOML, and errors that help whoever types it |
//! | `signed.rs` | the founder's signature; the form on disk and on the wire |
//! | `preset.rs` | the defaults of the named models |

mod check;
mod origin;
mod preset;
mod signed;
#[cfg(test)]
mod tests;
pub mod text;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

pub use origin::{Origin, Parent};
pub use preset::Preset;
pub use signed::SignedManifest;

use crate::codec::Codec;
use crate::committee::{Committee, CommitteeError};
use crate::identity::{Hash, PeerKey};
use crate::layout::Layout;
use crate::method::{Clip, Combine, Method, MethodNumberError, Rules};
use crate::model::{Model, ModelError};
use crate::time::Span;
use crate::wire::{self, WireError};

/// The meaning of the state transition that this release speaks.
pub const RULES: u32 = 4;

/// The terms of a session.
#[derive(Clone, PartialEq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// For people: 1 to 64 bytes.
    pub name: String,
    /// Meaning of the state transition.
    #[serde(default = "text::rules")]
    pub rules: u32,
    /// What is trained.
    pub model: Model,
    /// The `tokenizer.json`; `None` for bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<DataFile>,
    /// What the genesis state and the order of samples are derived from.
    #[serde(with = "text::seed")]
    pub seed: [u8; 32],
    /// Digest of the genesis state; the founder fills it in.
    #[serde(default)]
    pub genesis: Hash,
    /// What the genesis state is made of.
    #[serde(default, skip_serializing_if = "Origin::is_seed")]
    pub origin: Origin,
    /// Standard deviation of the initial weights.
    #[serde(default = "text::init_scale")]
    pub init_scale: f32,
    /// How peers work together.
    pub method: Method,
    /// How each peer trains.
    pub training: Training,
    /// How many steps a slot has.
    #[serde(default)]
    pub pacing: Pacing,
    /// Who votes.
    #[serde(with = "text::CommitteeForm")]
    pub committee: Committee,
    /// Who may join.
    pub admission: Admission,
    /// What is trained on.
    pub data: Data,
    /// Counted tokens at which the session ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_at: Option<u64>,
    /// Bounds of a slot's deadline.
    #[serde(default)]
    pub deadline: DeadlineBounds,
    /// An empty block is made when no slot closed for this long.
    #[serde(with = "text::span", default = "text::heartbeat")]
    pub heartbeat: Span,
    /// Slots that a lease lives.
    #[serde(default = "text::max_lag")]
    pub max_lag: u32,
    /// Contributors drawn per slot.
    #[serde(default = "text::max_contributors")]
    pub max_contributors: u16,
    /// Heights between two snapshots.
    #[serde(default = "text::snapshot_every")]
    pub snapshot_every: u32,
    /// Clipping of norms; off where members are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<Clip>,
    /// How the contributions to a slot become one.
    #[serde(default)]
    pub combine: Combine,
    /// The slowest link admitted, in bytes per second.
    #[serde(default = "text::slowest_link")]
    pub slowest_link: u64,
}

/// The inner optimizer.
#[derive(Clone, Copy, PartialEq, Debug, Default, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Optimizer {
    /// AdamW for everything.
    #[default]
    #[serde(rename = "adamw")]
    AdamW,
    /// Muon for the matrices of the blocks, AdamW for everything else.
    Muon {
        /// Muon's peak learning rate; it rises and falls with AdamW's.
        learning_rate: f32,
    },
    /// Gradient descent at the training's learning rate, with its weight decay and clip.
    Sgd,
}

/// How each peer trains between slots. None of it touches replicated state.
#[derive(Clone, PartialEq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Samples per inner step.
    pub batch: u32,
    /// The inner optimizer.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// The peak learning rate of AdamW or gradient descent.
    pub learning_rate: f32,
    /// Share of the budget that is warm-up.
    #[serde(default = "text::five_percent")]
    pub warmup: f32,
    /// Share of the peak rate that is left at the end of the cosine.
    #[serde(default = "text::five_percent")]
    pub final_share: f32,
    /// Weight decay, per unit of learning rate.
    #[serde(default = "text::weight_decay")]
    pub weight_decay: f32,
    /// Largest norm of an inner gradient.
    #[serde(default = "text::gradient_clip")]
    pub clip: f32,
    /// Counted tokens at which the learning rate has come down.
    pub budget_tokens: u64,
}

/// How many steps a peer takes per slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Pacing {
    /// All peers the method's H.
    #[default]
    Uniform,
    /// As many as fit into the slot's time at the peer's certified speed.
    Proportional {
        /// Time that a slot should take.
        #[serde(with = "text::span")]
        slot_time: Span,
        /// The fewest steps.
        minimum: u32,
        /// The most steps.
        maximum: u32,
    },
    /// All peers the method's H, and nobody waits for the slow: a slot closes soon after enough
    /// contributed (Douillard et al. 2026, arXiv 2604.21428).
    Decoupled {
        /// How many of those drawn are enough, in hundredths.
        quorum_percent: u8,
    },
}

impl Pacing {
    /// Decoupled, as soon as half of those drawn contributed.
    pub const DECOUPLED: Pacing = Pacing::Decoupled { quorum_percent: 50 };

    /// Slots that a lease lives, unless the manifest says otherwise: longer where the slow contribute rarely.
    pub fn max_lag(self) -> u32 {
        match self {
            Pacing::Uniform | Pacing::Proportional { .. } => 4,
            Pacing::Decoupled { .. } => 16,
        }
    }
}

/// Who may become a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Admission {
    /// Anyone.
    Open,
    /// Whoever carries a token of this key.
    Invitation {
        /// Who signs tokens.
        issuer: PeerKey,
    },
}

/// What the session is trained on.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Data {
    /// Everybody has the same files; work is leased.
    Public {
        /// The files, in the order of the samples.
        files: Vec<DataFile>,
        /// Training samples of all files together.
        samples_per_epoch: u64,
    },
    /// Everybody has files of their own; nothing is leased.
    Private {
        /// The most tokens that one contribution may claim.
        max_tokens_per_slot: u64,
    },
}

/// A public file.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// Its name, without a folder.
    pub name: String,
    /// Bytes.
    pub length: u64,
    /// Its BLAKE3 root.
    pub root: Hash,
}

/// Between which bounds voters estimate a slot's deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadlineBounds {
    /// The shortest.
    #[serde(with = "text::span")]
    pub minimum: Span,
    /// The longest.
    #[serde(with = "text::span")]
    pub maximum: Span,
}

impl Default for DeadlineBounds {
    fn default() -> DeadlineBounds {
        DeadlineBounds { minimum: Span::seconds(2), maximum: Span::seconds(600) }
    }
}

/// Why a manifest was refused.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum ManifestError {
    /// The bytes do not start like a manifest.
    #[error("manifest: these bytes are not a Driftless manifest")]
    NotAManifest,
    /// A manifest of another format version.
    #[error("manifest: format version {found}, this release reads {}", signed::FORMAT)]
    Version {
        /// Its version.
        found: u8,
    },
    /// Too long, truncated, or malformed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The signature is not the founder's over this content.
    #[error("manifest: the founder's signature does not hold")]
    Signature,
    /// A manifest, but of another session.
    #[error("manifest: it belongs to session {}, not {}", found.short(), wanted.short())]
    Session {
        /// The session wanted.
        wanted: Hash,
        /// The session it belongs to.
        found: Hash,
    },
    /// The TOML text is wrong.
    #[error("manifest: {0}")]
    Toml(String),
    /// A field is outside its bounds.
    #[error("manifest: {field} is {found}, it must be {allowed}")]
    Field {
        /// Which field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// The model is wrong.
    #[error("manifest: model: {0}")]
    Model(#[from] ModelError),
    /// The method is wrong.
    #[error("manifest: method: {0}")]
    Method(#[from] MethodNumberError),
    /// The committee is wrong.
    #[error("manifest: committee: {0}")]
    Committee(#[from] CommitteeError),
}

impl Manifest {
    /// The most bytes of a manifest, as TOML or signed.
    pub const MAX_BYTES: usize = 256 << 10;

    /// The canonical bytes: what is signed and hashed.
    pub fn canonical_bytes(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// The session id.
    pub fn id(&self) -> Hash {
        Hash::of(&self.canonical_bytes())
    }

    /// The most inner steps between two contributions to a stream.
    pub fn largest_steps(&self) -> u32 {
        match self.pacing {
            Pacing::Uniform | Pacing::Decoupled { .. } => self.method.period(),
            Pacing::Proportional { maximum, .. } => maximum,
        }
    }

    /// How contributions in a codec are aggregated.
    pub fn aggregation(&self, codec: Codec) -> Rules {
        Rules { codec, combine: self.combine, clip: self.clip, max_lag: self.max_lag }
    }

    /// The cut of the model into fragments.
    pub fn layout(&self) -> Layout {
        Layout::new(&self.model.tensors(), usize::from(self.method.fragments()))
    }
}
