//! EF21: error feedback of gradients, with what the others know of each member's gradient replicated.
//!
//! Source: Richtarik et al. 2021, arXiv 2106.05203, in the form of Richtarik et al. 2024, "Error Feedback
//! Reloaded", arXiv 2402.10774 (algorithms 1 and 4); momentum of Fatkhullin et al. 2023, arXiv 2305.15155.
//!
//! | paper | here |
//! |---|---|
//! | x | `outer`, replicated; theta, the engine's, is never anything else |
//! | g_i | [`State::estimates`](crate::state::State), replicated, pages of their own |
//! | grad f_i(x) | the mean gradient of `batches` batches at x |
//! | c_i = C(grad f_i(x) - g_i) | the contribution; the first, of a member without g_i, is its gradient itself |
//! | gamma, eta (of SGDM) | `gamma`, `eta` |
//!
//! At the certificate `g_i <- g_i + c_i` for those who were counted, then
//! `x <- x - gamma mean g_j` over all members that have a g_j: who was not counted takes part with what
//! it sent before (partial participation). The mean is taken anew each time, in the order of the members'
//! keys, so nothing that was lost or has left stays in it.
//!
//! Where norms are clipped, those of the g_j are, in the mean alone: what is sent is kept as it is.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

pub mod step_size;

use super::aggregate::clips;
use super::norm::norm;
use super::numbers::{need, within};
use super::{Clip, MethodError, MethodNumberError, StreamingDiLoCo, SyncSchedule};
use crate::codec::{Codec, CodecError, TopK};

/// The method's numbers.
#[derive(Clone, PartialEq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ef21 {
    /// Batches whose mean gradient is one contribution.
    pub batches: u32,
    /// Step size.
    pub gamma: f32,
    /// Share of the new gradient in the momentum that is sent; 1 is none, plain EF21.
    pub eta: f32,
    /// The most members: all of them keep 4 bytes per parameter for each.
    pub members: u16,
    /// Encoding of what is sent, a contraction.
    pub codec: Codec,
}

impl Ef21 {
    /// Replicated arrays beside the g_j: the outer parameters.
    pub const ARRAYS: usize = 1;
    /// One value of 64, exact.
    pub const CODEC: Codec = Codec::TopK(TopK { keep: 64, of: 4096, whole: false, statistical: false });
    /// Members that a session has room for unless its founder says otherwise.
    pub const MEMBERS: u16 = 32;
    /// The encoding of a first contribution, of whose author nothing is known yet.
    pub const FIRST: Codec = Codec::F32;

    /// One exchange of everything for each gradient.
    pub fn schedule(&self) -> SyncSchedule {
        SyncSchedule { first: self.batches, stagger: self.batches, period: self.batches }
    }

    /// Refuses numbers that no session can run with.
    pub fn check(&self) -> Result<(), MethodNumberError> {
        let batches = (1..=StreamingDiLoCo::MAX_STEPS).contains(&self.batches);
        need(batches, "batches", self.batches, "1 to 1048576")?;
        let gamma = within(0.0, 1.0e6, self.gamma) && self.gamma > 0.0;
        need(gamma, "gamma", self.gamma, "above 0 and at most 1000000")?;
        need(within(0.0, 1.0, self.eta) && self.eta > 0.0, "eta", self.eta, "above 0 and at most 1")?;
        need((1..=4096).contains(&self.members), "members", self.members, "1 to 4096")?;
        need(self.codec.is_possible(), "codec", self.codec, "one that can be named")?;
        let allowed = "a contraction (top-k, rand-k, sign, stat2, e3m0, f32): what int2 to int8 round at random may \
                       be longer than what was to be sent, and g_j would not come near the gradient";
        need(self.codec.is_contraction(), "codec", self.codec, allowed)
    }
}

/// The mean of the members' g_j, in the order of their keys: each weighs the same, but for its clip.
pub fn mean(estimates: &[Vec<f32>], clip: Option<Clip>, out: &mut [f32]) {
    out.fill(0.0);
    let norms: Vec<f32> = estimates.iter().map(|values| norm(values)).collect();
    let share = 1.0 / estimates.len().max(1) as f32;
    for (values, clip) in estimates.iter().zip(clips(clip, std::iter::repeat(0), &norms)) {
        let weight = share * clip;
        out.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
    }
}

/// `v <- (1 - eta) v + eta g`.
pub fn momentum(eta: f32, v: &mut [f32], gradient: &[f32]) {
    v.iter_mut().zip(gradient).for_each(|(v, g)| *v = (1.0 - eta) * *v + eta * g);
}

/// Writes `C(v - g_i)` for a member whose g_i is known, and else v itself. What is random in it follows from
/// `noise`.
pub fn encode(codec: Codec, v: &[f32], estimate: Option<&[f32]>, noise: u64) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    match estimate {
        None => Ef21::FIRST.encode(v, noise, &mut bytes)?,
        Some(known) => {
            let change: Vec<f32> = v.iter().zip(known).map(|(v, known)| v - known).collect();
            codec.encode(&change, noise, &mut bytes)?;
        }
    }
    Ok(bytes)
}

/// `g_i <- g_i + c_i`; what was not known before is the first contribution, of so many values.
pub fn learn(
    codec: Codec,
    known: Option<Vec<f32>>,
    bytes: &[u8],
    values: usize,
) -> Result<Vec<f32>, MethodError> {
    let learned = match known {
        Some(mut known) => {
            codec.decode_add(bytes, 1.0, &mut known)?;
            known
        }
        None => {
            let mut first = vec![0.0; values];
            Ef21::FIRST.decode_into(bytes, &mut first)?;
            first
        }
    };
    if norm(&learned).is_finite() { Ok(learned) } else { Err(MethodError::Norm) }
}

#[cfg(test)]
mod tests;
