//! Whether a member's bytes are what its samples say.

use crate::identity::PeerKey;

use super::{Log, Measurement, byte};

/// Share of all slopes by which two honest measurements of a step may differ: each byte is off by 6.45% at most,
/// and two machines round differently.
const ALLOWED: f32 = 0.25;

/// A member's samples of a step, measured again by somebody else at the same parameters.
#[derive(Clone, PartialEq, Debug)]
pub struct Audit {
    /// Whose samples.
    pub member: PeerKey,
    /// Of which step of the batch.
    pub step: u32,
    /// What a list says that it sent.
    pub listed: Option<Vec<u8>>,
    /// What was found.
    pub found: Measurement,
}

impl Audit {
    /// Whether the member says something else than was found, or sent something else and does not sign it. Where it was
    /// not listed it said nothing.
    pub fn contradicts(&self, log: &Log) -> bool {
        let told = log.at(self.step).or(self.listed.as_deref());
        told.is_some_and(|told| !self.found.agrees(told))
    }
}

impl Measurement {
    /// Whether another's bytes may be of the same losses.
    pub fn agrees(&self, told: &[u8]) -> bool {
        let both =
            || self.bytes.iter().zip(told).map(|(own, told)| (byte::decode(*own), byte::decode(*told)));
        let apart: f32 = both().map(|(own, told)| (own - told).abs()).sum();
        let size: f32 = both().map(|(own, told)| own.abs().max(told.abs())).sum();
        apart <= ALLOWED * size + self.noise * self.bytes.len() as f32
    }
}
