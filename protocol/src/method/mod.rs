//! Methods: what a peer computes between slots, how it is encoded, how it is aggregated and how
//! the outer state moves. One file per paper; everything here is arithmetic over slices.
//!
//! Replicated values come from plain f32 multiplication, addition, division and square root in a
//! fixed order: no fused multiply-add and nothing transcendental, so that all machines agree.

pub mod aggregate;
pub mod co2;
pub mod ef21;
pub mod error_feedback;
mod name;
pub mod norm;
mod numbers;
pub mod one_byte;
pub mod outer_optimizer;
pub mod robust;
pub mod sparse_loco;
pub mod streaming_diloco;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

pub use aggregate::{Aggregate, Clip, Contribution, MethodError, Rules};
pub use co2::{Co2, Unstable};
pub use ef21::Ef21;
pub use error_feedback::Residual;
pub use name::{MethodName, UnknownMethod};
pub use numbers::MethodNumberError;
pub use one_byte::OneByte;
pub use outer_optimizer::OuterOptimizer;
pub use robust::{Combine, UnknownCombine};
pub use sparse_loco::SparseLoCo;
pub use streaming_diloco::{Overrun, StreamingDiLoCo, SyncSchedule};

use crate::codec::Codec;

/// The method of a session.
#[derive(Clone, PartialEq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Douillard et al. 2025, arXiv 2501.18512.
    #[serde(rename = "streaming-diloco")]
    StreamingDiLoCo(StreamingDiLoCo),
    /// Sarfi et al. 2025, arXiv 2508.15706.
    #[serde(rename = "sparse-loco")]
    SparseLoCo(SparseLoCo),
    /// Sun et al. 2024, arXiv 2401.16265.
    #[serde(rename = "co2")]
    Co2(Co2),
    /// Richtarik et al. 2024, arXiv 2402.10774.
    #[serde(rename = "ef21")]
    Ef21(Ef21),
    /// Zelikman et al. 2023, arXiv 2306.10015.
    OneByte(OneByte),
}

impl Method {
    /// Independent sequences of slots.
    pub fn streams(&self) -> u16 {
        self.fragments()
    }

    /// Slots of one stream that may be open at once.
    pub fn window(&self) -> u32 {
        match self {
            Method::StreamingDiLoCo(_) | Method::SparseLoCo(_) | Method::Ef21(_) | Method::OneByte(_) => 1,
            Method::Co2(_) => Co2::WINDOW,
        }
    }

    /// Parts into which the parameters are cut.
    pub fn fragments(&self) -> u16 {
        match self {
            Method::StreamingDiLoCo(method) => method.fragments,
            Method::SparseLoCo(_) | Method::Co2(_) | Method::Ef21(_) | Method::OneByte(_) => 1,
        }
    }

    /// Replicated arrays of each fragment; the first is the outer parameters.
    pub fn arrays(&self) -> usize {
        match self {
            Method::StreamingDiLoCo(_) => StreamingDiLoCo::ARRAYS,
            Method::SparseLoCo(_) => SparseLoCo::ARRAYS,
            Method::Co2(_) => Co2::ARRAYS,
            Method::Ef21(_) => Ef21::ARRAYS,
            Method::OneByte(_) => OneByte::ARRAYS,
        }
    }

    /// The encoding of contributions; none where they are no differences of parameters.
    pub fn codec(&self) -> Option<Codec> {
        match self {
            Method::StreamingDiLoCo(method) => Some(method.codec),
            Method::SparseLoCo(method) => Some(method.codec),
            Method::Co2(method) => Some(method.codec),
            Method::Ef21(method) => Some(method.codec),
            Method::OneByte(_) => None,
        }
    }

    /// The encoding of a member's next contribution, by how many of its were counted.
    pub fn codec_after(&self, counted: u32) -> Option<Codec> {
        match self {
            Method::Ef21(_) if counted == 0 => Some(Ef21::FIRST),
            _ => self.codec(),
        }
    }

    /// How contributions are encoded, in words.
    pub fn encoding(&self) -> String {
        self.codec().map_or_else(|| "a byte a sample".into(), |codec| codec.to_string())
    }

    /// The numbers of the methods whose slots are batches of steps in which everybody takes part.
    pub fn one_byte(&self) -> Option<&OneByte> {
        match self {
            Method::OneByte(method) => Some(method),
            Method::StreamingDiLoCo(_) | Method::SparseLoCo(_) | Method::Co2(_) | Method::Ef21(_) => None,
        }
    }

    /// The most bytes of a contribution to a fragment of so many values.
    pub fn blob_bytes(&self, values: usize) -> u64 {
        if let Method::OneByte(method) = self {
            return method.blob_bytes();
        }
        let codecs = [self.codec(), self.codec_after(0)].into_iter().flatten();
        codecs.map(|codec| codec.encoded_len(values)).max().unwrap_or(0)
    }

    /// Bytes of a contribution to a fragment of so many values, but for a member's first where that is another.
    pub fn usual_bytes(&self, values: usize) -> u64 {
        self.codec().map_or_else(|| self.blob_bytes(values), |codec| codec.encoded_len(values))
    }

    /// Members of whose gradients something is replicated, at most; none where nothing is.
    pub fn estimates(&self) -> Option<u16> {
        match self {
            Method::Ef21(method) => Some(method.members),
            Method::StreamingDiLoCo(_) | Method::SparseLoCo(_) | Method::Co2(_) | Method::OneByte(_) => None,
        }
    }

    /// What a contributor keeps, at each contribution, of what the ones before left out; none where it
    /// keeps no residual at all.
    pub fn feedback(&self) -> Option<f32> {
        match self {
            Method::StreamingDiLoCo(method) => method.feedback,
            Method::SparseLoCo(method) => Some(method.beta),
            Method::Co2(_) | Method::Ef21(_) | Method::OneByte(_) => None,
        }
    }

    /// Steps between two synchronizations of a fragment (H).
    pub fn period(&self) -> u32 {
        match self {
            Method::StreamingDiLoCo(method) => method.period,
            Method::SparseLoCo(method) => method.period,
            Method::Co2(method) => method.period,
            Method::Ef21(method) => method.batches,
            Method::OneByte(method) => method.batch_steps,
        }
    }

    /// When the streams are due.
    pub fn schedule(&self) -> SyncSchedule {
        match self {
            Method::StreamingDiLoCo(method) => method.schedule(),
            Method::SparseLoCo(method) => method.schedule(),
            Method::Co2(method) => method.schedule(),
            Method::Ef21(method) => method.schedule(),
            Method::OneByte(method) => method.schedule(),
        }
    }

    /// Steps between a contribution and the use of what was agreed.
    pub fn tau(&self) -> u32 {
        match self {
            Method::StreamingDiLoCo(method) => method.tau,
            Method::SparseLoCo(_) | Method::Co2(_) | Method::Ef21(_) | Method::OneByte(_) => 0,
        }
    }

    /// Share of the local parameters that a merge keeps.
    pub fn alpha(&self) -> f32 {
        match self {
            Method::StreamingDiLoCo(method) => method.alpha,
            Method::SparseLoCo(_) | Method::Co2(_) | Method::Ef21(_) | Method::OneByte(_) => 0.0,
        }
    }

    /// Steps that a peer trains on, past `tau`, without the certificate that it waits for.
    pub fn overrun_steps(&self) -> u32 {
        match self {
            Method::StreamingDiLoCo(method) => method.overrun_steps(),
            // The next difference is taken against what the certificate brings.
            Method::SparseLoCo(_) | Method::Co2(_) | Method::Ef21(_) | Method::OneByte(_) => 0,
        }
    }

    /// Sets the steps between two synchronizations.
    pub fn set_period(&mut self, steps: u32) {
        match self {
            Method::StreamingDiLoCo(method) => method.period = steps,
            Method::SparseLoCo(method) => method.period = steps,
            Method::Co2(method) => method.period = steps,
            Method::Ef21(method) => method.batches = steps,
            Method::OneByte(method) => method.batch_steps = steps,
        }
    }

    /// Sets the encoding of contributions, where they have one.
    pub fn set_codec(&mut self, to: Codec) {
        match self {
            Method::StreamingDiLoCo(method) => method.codec = to,
            Method::SparseLoCo(method) => method.codec = to,
            Method::Co2(method) => method.codec = to,
            Method::Ef21(method) => method.codec = to,
            Method::OneByte(_) => {}
        }
    }

    /// Lets nobody train on without the certificate that it waits for.
    pub fn set_strict(&mut self) {
        match self {
            Method::StreamingDiLoCo(method) => method.max_overrun = Overrun::Strict,
            Method::SparseLoCo(_) | Method::Co2(_) | Method::Ef21(_) | Method::OneByte(_) => {}
        }
    }

    /// Moves a fragment's replicated arrays by a slot's contributions, given in the order of
    /// their members' keys. Without contributions the outer parameters stay where they are.
    ///
    /// On an error the arrays are as they were; it names the contribution at fault by its index.
    ///
    /// A batch of steps is replayed instead ([`OneByte::replay`]): it is more than one sum.
    ///
    /// # Panics
    /// If `arrays` are not [`Method::arrays`] many, or differ in length.
    pub fn outer_step(
        &self,
        arrays: &mut [Vec<f32>],
        contributions: &[Contribution],
        rules: Rules,
    ) -> Result<(), (usize, MethodError)> {
        assert_eq!(arrays.len(), self.arrays(), "as many arrays as the method has");
        let mut delta = vec![0.0; arrays[0].len()];
        aggregate::aggregate(rules, contributions, &mut delta)?;
        self.step(arrays, (!contributions.is_empty()).then_some(&delta[..]));
        Ok(())
    }

    /// Moves a fragment's replicated arrays by what is agreed of a slot's contributions, of the members' g_j
    /// where the method has them.
    ///
    /// # Panics
    /// If `arrays` are not [`Method::arrays`] many, or differ in length.
    pub fn step(&self, arrays: &mut [Vec<f32>], agreed: Option<&[f32]>) {
        match (self, agreed) {
            (Method::Co2(method), mean) => method.step(arrays, mean),
            (_, None) => {}
            (Method::StreamingDiLoCo(method), Some(mean)) => method.outer_optimizer().step(arrays, mean),
            (Method::SparseLoCo(method), Some(mean)) => {
                OuterOptimizer::Descent { eta: method.eta }.step(arrays, mean);
            }
            (Method::Ef21(method), Some(mean)) => {
                OuterOptimizer::Descent { eta: method.gamma }.step(arrays, mean);
            }
            (Method::OneByte(_), Some(_)) => panic!("a batch of steps is replayed"),
        }
    }

    /// Whether one of the replicated arrays is the outer parameters at first; the others are zero.
    pub fn starts_as_outer(&self, array: usize) -> bool {
        array == 0 || (matches!(self, Method::Co2(_)) && array == 2)
    }

    /// Whether a slot without contributions changes the replicated arrays too.
    pub fn moves_when_empty(&self) -> bool {
        self.window() > 1
    }

    /// Which of the replicated arrays a slot's contributions are taken against, where the next of its stream
    /// to close is `next`: with two slots open, those of the first start at the parameters before.
    pub fn base_array(&self, ordinal: u32, next: u32) -> usize {
        match self {
            Method::StreamingDiLoCo(_) | Method::SparseLoCo(_) | Method::Ef21(_) | Method::OneByte(_) => 0,
            Method::Co2(_) if ordinal == next => 2,
            Method::Co2(_) => 0,
        }
    }

    /// Refuses numbers with which the outer step may diverge, whatever is trained.
    pub fn check_stability(&self) -> Result<(), Unstable> {
        match self {
            Method::StreamingDiLoCo(_) | Method::SparseLoCo(_) | Method::Ef21(_) | Method::OneByte(_) => {
                Ok(())
            }
            Method::Co2(method) => method.check_stability(),
        }
    }

    /// Refuses numbers that no session can run with.
    pub fn check(&self) -> Result<(), MethodNumberError> {
        match self {
            Method::StreamingDiLoCo(method) => method.check(),
            Method::SparseLoCo(method) => method.check(),
            Method::Co2(method) => method.check(),
            Method::Ef21(method) => method.check(),
            Method::OneByte(method) => method.check(),
        }
    }
}

/// Whether this thread's arithmetic is IEEE 754's default: subnormals are neither flushed nor
/// read as zero, and results are rounded to the nearest.
///
/// A library that sets flush-to-zero on a thread would make its replica differ from all others;
/// a driver asks this on the thread that steps the outer state, before it does.
pub fn float_environment_is_standard() -> bool {
    let opaque = std::hint::black_box::<f32>;
    let smallest_normal = opaque(f32::MIN_POSITIVE);
    let subnormal = opaque(smallest_normal * 0.5);
    let ulp_half = opaque(f32::EPSILON * 0.5);
    // Results: not flushed. Operands: not read as zero. Rounding: to the nearest, ties to even.
    subnormal.to_bits() == 1 << 22
        && opaque(subnormal + subnormal).to_bits() == smallest_normal.to_bits()
        && opaque(opaque(1.0) + ulp_half) == 1.0
        && opaque(opaque(1.0 + f32::EPSILON) + ulp_half) == 1.0 + 2.0 * f32::EPSILON
        && opaque(opaque(-1.0) - ulp_half) == -1.0
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests compare with libm and measure speed"
)]
mod tests;
