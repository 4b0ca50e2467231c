//! SparseLoCo.
//!
//! Source: Sarfi et al. 2025, "Communication efficient LLM pre-training with SparseLoCo", arXiv
//! 2508.15706, algorithm 1.
//!
//! | paper | here |
//! |---|---|
//! | theta, theta_r | `outer`, replicated; `theta`, the engine's |
//! | Delta_r = theta - theta_r | [`subtract`](super::streaming_diloco::subtract) |
//! | e_r, beta | [`Residual`](super::Residual), `beta` |
//! | Q(TopK(.)) | `codec` |
//! | outer rate alpha, H | `eta`, `period` |
//!
//! A peer adds its difference to what the last contributions left out, sends the largest values of the
//! sum, and keeps the rest: `e <- beta e + delta; sent = Q(TopK(e)); e <- e - sent`. The agreed mean moves
//! the outer parameters, `outer <- outer - eta mean(sent)`, over all contributors and not over those
//! who sent that coordinate, and everybody goes on from them: `theta <- outer`. So a peer waits for the
//! certificate of each contribution.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::numbers::{need, within};
use super::{MethodNumberError, StreamingDiLoCo, SyncSchedule};
use crate::codec::{Codec, TopK};

/// The method's numbers.
#[derive(Clone, PartialEq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SparseLoCo {
    /// Inner steps between two exchanges (H).
    pub period: u32,
    /// Outer learning rate (the paper's alpha).
    pub eta: f32,
    /// What is kept of the residual at each contribution; 0 is no error feedback, to compare with.
    pub beta: f32,
    /// Encoding of what is sent.
    pub codec: Codec,
}

impl SparseLoCo {
    /// Replicated arrays: the outer parameters.
    pub const ARRAYS: usize = 1;
    /// The paper's codec: the 64 largest of each 4096 values, in 2 bits. (The paper's chunks are tiles of
    /// 64 x 64 of a matrix, ours are runs of the flat fragment.)
    pub const CODEC: Codec = Codec::TopK(TopK { keep: 64, of: 4096, whole: false, statistical: true });

    /// One exchange of everything each period.
    pub fn schedule(&self) -> SyncSchedule {
        SyncSchedule { first: self.period, stagger: self.period, period: self.period }
    }

    /// Refuses numbers that no session can run with.
    pub fn check(&self) -> Result<(), MethodNumberError> {
        let period = (1..=StreamingDiLoCo::MAX_STEPS).contains(&self.period);
        need(period, "period", self.period, "1 to 1048576")?;
        need(within(0.0, 100.0, self.eta) && self.eta > 0.0, "eta", self.eta, "above 0 and at most 100")?;
        need(within(0.0, 1.0, self.beta), "beta", self.beta, "0 to 1")?;
        need(self.codec.is_possible(), "codec", self.codec, "one that can be named")
    }
}
