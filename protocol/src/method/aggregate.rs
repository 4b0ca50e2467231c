//! The agreed mean of a slot's contributions.
//!
//! Source: the weighted mean of Douillard et al. 2025, arXiv 2501.18512, equation 2 (weights by
//! tokens are ours); clipping and capped weights are ours (DESIGN, "Who is counted").
//!
//! Contributions are decoded and added in the order given, which is that of the members' keys,
//! with weights `tokens as f32 / total as f32`. Norms are measured on decoded values by a fixed tree. A
//! contribution whose norm is not finite is refused: then every value is below 1.9e19, and no
//! number of outer steps that can happen brings the state to infinity.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::norm::decoded_norm;
use crate::codec::{Codec, CodecError};

/// Norms are clipped to `factor` times their median.
#[derive(Clone, Copy, PartialEq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clip {
    /// How many medians a norm may have.
    pub factor: f32,
}

/// One counted contribution.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contribution {
    /// The encoded difference.
    pub bytes: Vec<u8>,
    /// Its weight.
    pub tokens: u64,
    /// Slots its author was drawn for since it was last counted, and missed.
    pub missed: u32,
}

/// What the manifest says about aggregation.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rules {
    /// How contributions are encoded.
    pub codec: Codec,
    /// Whether and how norms are clipped.
    pub clip: Option<Clip>,
    /// The most missed slots that widen a clip.
    pub max_lag: u32,
}

/// What became of the contributions, in their order.
#[derive(Clone, PartialEq, Debug)]
pub struct Aggregate {
    /// Norms of the decoded values.
    pub norms: Vec<f32>,
    /// The factor applied to each: its share of the tokens, times its clip.
    pub weights: Vec<f32>,
}

/// Why a contribution cannot be aggregated. Errors come with the contribution's index.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MethodError {
    /// The payload does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The values are so large that their norm is not finite.
    #[error("the norm of its values is not finite")]
    Norm,
    /// The tokens up to this contribution overflow, or those of all add up to zero.
    #[error("the tokens of the slot add up to zero or overflow")]
    Tokens,
}

/// Writes the weighted mean of `contributions` into `mean`, whose length is the fragment's.
///
/// Without contributions the mean is zero: such a slot takes no outer step. On an error `mean`
/// holds nothing of use.
pub fn weighted_mean(
    rules: Rules,
    contributions: &[Contribution],
    mean: &mut [f32],
) -> Result<Aggregate, (usize, MethodError)> {
    mean.fill(0.0);
    if contributions.is_empty() {
        return Ok(Aggregate { norms: Vec::new(), weights: Vec::new() });
    }
    let norms = norms(rules.codec, contributions, mean.len())?;
    let weights = weights(rules, contributions, &norms)?;
    for (index, (contribution, weight)) in contributions.iter().zip(&weights).enumerate() {
        let added = rules.codec.decode_add(&contribution.bytes, *weight, mean);
        added.map_err(|error| (index, error.into()))?;
    }
    Ok(Aggregate { norms, weights })
}

fn norms(
    codec: Codec,
    contributions: &[Contribution],
    values: usize,
) -> Result<Vec<f32>, (usize, MethodError)> {
    let norm = |(index, contribution): (usize, &Contribution)| {
        let norm = decoded_norm(codec, &contribution.bytes, values);
        let norm = norm.map_err(|error| (index, error.into()))?;
        if norm.is_finite() { Ok(norm) } else { Err((index, MethodError::Norm)) }
    };
    contributions.iter().enumerate().map(norm).collect()
}

fn weights(
    rules: Rules,
    contributions: &[Contribution],
    norms: &[f32],
) -> Result<Vec<f32>, (usize, MethodError)> {
    let mut total = 0u64;
    for (index, one) in contributions.iter().enumerate() {
        total = total.checked_add(one.tokens).ok_or((index, MethodError::Tokens))?;
    }
    if total == 0 {
        return Err((0, MethodError::Tokens));
    }
    let mut sorted = norms.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let (low, high) = middle(&sorted).unwrap_or((0.0, 0.0));
    let median = 0.5 * (low + high);
    let weight = |(one, norm): (&Contribution, &f32)| {
        let share = one.tokens as f32 / total as f32;
        let Some(clip) = rules.clip else { return share };
        let bound = clip.factor * median * (1 + one.missed.min(rules.max_lag)) as f32;
        if *norm > bound { share * (bound / *norm) } else { share }
    };
    Ok(contributions.iter().zip(norms).map(weight).collect())
}

/// The two values around the middle of a sorted list, the same one twice if its length is odd.
fn middle<T: Copy>(sorted: &[T]) -> Option<(T, T)> {
    let high = *sorted.get(sorted.len() / 2)?;
    let low = *sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some((low, high))
}
