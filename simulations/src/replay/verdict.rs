//! What comes of computing a session again.

use driftless_protocol::block::{Height, Work};
use driftless_protocol::identity::Hash;
use driftless_protocol::transition::{CandidateError, Invalid};

/// Why a session cannot be computed again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// More than the chain decides what its peers computed.
    #[error("this session cannot be computed again: {0}")]
    Unfit(&'static str),
    /// The genesis state is another one here.
    #[error("the genesis state is not the manifest's")]
    Genesis,
    /// No engine for it.
    #[error("the engine: {0}")]
    Engine(String),
    /// No quorum signed a block.
    #[error("block {0} has no valid certificate")]
    NotCertified(Height),
    /// A block is not valid where it stands.
    #[error("block {height} is not valid: {reason}")]
    Invalid {
        /// Its height.
        height: Height,
        /// Why.
        reason: Invalid,
    },
    /// The outer step fails.
    #[error("the state after block {height} cannot be computed: {reason}")]
    Candidate {
        /// The block's height.
        height: Height,
        /// Why.
        reason: CandidateError,
    },
}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Heights done.
    pub height: Height,
    /// Of so many.
    pub of: Height,
    /// Inner steps of all peers.
    pub steps: u64,
    /// Tokens counted up to here.
    pub counted_tokens: u64,
}

/// What was compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The last height whose state was computed.
    pub heights: Height,
    /// Contributions with the recorded root, steps, tokens and samples.
    pub contributions: u64,
    /// States with the recorded digest.
    pub digests: u64,
    /// Inner steps of a peer.
    pub steps: u64,
    /// How it ended.
    pub verdict: Verdict,
}

/// How a comparison ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Verdict {
    /// Nothing differs.
    #[default]
    Equal,
    /// Something does.
    Differs(Difference),
    /// From this height on, what the peers computed depends on when messages arrived.
    Unknowable {
        /// The height.
        height: Height,
        /// What is not known.
        reason: String,
    },
}

/// The first difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// At which height.
    pub height: Height,
    /// Whose contribution; the state's digest if nobody's.
    pub whose: Option<String>,
    /// To which slot of which stream.
    pub slot: Option<(u16, u32)>,
    /// What the chain says.
    pub recorded: String,
    /// What comes out here.
    pub found: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Difference { height, recorded, found, .. } = self;
        match (&self.whose, self.slot) {
            (Some(whose), Some((stream, slot))) => {
                let whose = whose.get(..8).unwrap_or(whose);
                write!(f, "height {height}: the contribution of {whose} to slot {slot} of stream {stream}")?;
            }
            _ => write!(f, "height {height}: the digest of the state")?,
        }
        write!(f, " is {found}, recorded was {recorded}")
    }
}

/// A contribution in words that are the same exactly if it is; the speed that its author measured is left
/// out.
pub(super) fn told(root: Option<Hash>, work: &Work) -> String {
    let Work { steps, tokens, samples, speed: _ } = work;
    let first = samples.iter().next().unwrap_or_default();
    let samples = format!("{} samples in {} pieces from {first}", samples.len(), samples.pieces().len());
    let root = root.map_or("no blob".into(), |root| root.to_string());
    format!("{root} ({steps} steps, {tokens} tokens, {samples})")
}
