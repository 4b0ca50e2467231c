//! The agreed mean of a slot's contributions.
//!
//! Source: the weighted mean of Douillard et al. 2025, arXiv 2501.18512, equation 2 (weights by
//! tokens are ours); clipping and capped weights are ours (DESIGN, "Who is counted").
//!
//! Contributions are decoded and added in ascending member-key order with weights
//! `tokens as f32 / total as f32`. Norms are measured on decoded values by a fixed tree. A
//! contribution whose norm is not finite is refused: then every value is below 1.9e19, and no
//! number of outer steps that can happen brings the state to infinity.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::norm::decoded_norm;
use crate::codec::{Codec, CodecError};
use crate::identity::PeerKey;

/// Norms are clipped to `factor` times their median.
#[derive(Clone, Copy, PartialEq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clip {
    /// How many medians a norm may have.
    pub factor: f32,
}

/// One counted contribution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contribution<'a> {
    /// Its author.
    pub member: PeerKey,
    /// The encoded difference.
    pub payload: &'a [u8],
    /// Its weight, as [`capped_tokens`] gives it.
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

/// Why contributions cannot be aggregated.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AggregateError {
    /// A payload does not decode.
    #[error("contribution {index}: {error}")]
    Codec {
        /// Which contribution.
        index: usize,
        /// What is wrong with it.
        error: CodecError,
    },
    /// The values are so large that their norm is not finite.
    #[error("contribution {index}: its norm is not finite")]
    Norm {
        /// Which contribution.
        index: usize,
    },
    /// Contributions are not in strictly ascending order of their members' keys.
    #[error("contribution {index} is not in member-key order")]
    Order {
        /// The first one that is not.
        index: usize,
    },
    /// The tokens add up to zero, or overflow.
    #[error("the contributions' tokens add up to zero or overflow")]
    Tokens,
}

/// What a contribution claims, and what it may at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Tokens it says it trained on.
    pub tokens: u64,
    /// Tokens of its lease; `None` where a session has no leases.
    pub leased: Option<u64>,
}

/// Weights: min(claimed, leased, 2 x the slot's median of those two), in the claims' order.
pub fn capped_tokens(claims: &[Claim]) -> Vec<u64> {
    let admitted = claims.iter().map(|claim| claim.tokens.min(claim.leased.unwrap_or(u64::MAX)));
    let mut tokens: Vec<u64> = admitted.collect();
    let mut sorted = tokens.clone();
    sorted.sort_unstable();
    let (low, high) = middle(&sorted).unwrap_or((0, 0));
    // Twice the median is exact: the sum of the two middle values.
    let cap = low.saturating_add(high);
    tokens.iter_mut().for_each(|tokens| *tokens = (*tokens).min(cap));
    tokens
}

/// Writes the weighted mean of `contributions` into `mean`, whose length is the fragment's.
///
/// Without contributions the mean is zero: such a slot takes no outer step. On an error `mean`
/// holds nothing of use.
pub fn weighted_mean(
    rules: Rules,
    contributions: &[Contribution<'_>],
    mean: &mut [f32],
) -> Result<Aggregate, AggregateError> {
    mean.fill(0.0);
    if contributions.is_empty() {
        return Ok(Aggregate { norms: Vec::new(), weights: Vec::new() });
    }
    if let Some(index) = contributions.windows(2).position(|pair| pair[0].member >= pair[1].member) {
        return Err(AggregateError::Order { index: index + 1 });
    }
    let norms = norms(rules.codec, contributions, mean.len())?;
    let weights = weights(rules, contributions, &norms)?;
    for (index, (contribution, weight)) in contributions.iter().zip(&weights).enumerate() {
        let added = rules.codec.decode_add(contribution.payload, *weight, mean);
        added.map_err(|error| AggregateError::Codec { index, error })?;
    }
    Ok(Aggregate { norms, weights })
}

fn norms(
    codec: Codec,
    contributions: &[Contribution<'_>],
    values: usize,
) -> Result<Vec<f32>, AggregateError> {
    let norm = |(index, contribution): (usize, &Contribution<'_>)| {
        let norm = decoded_norm(codec, contribution.payload, values);
        let norm = norm.map_err(|error| AggregateError::Codec { index, error })?;
        if norm.is_finite() { Ok(norm) } else { Err(AggregateError::Norm { index }) }
    };
    contributions.iter().enumerate().map(norm).collect()
}

fn weights(
    rules: Rules,
    contributions: &[Contribution<'_>],
    norms: &[f32],
) -> Result<Vec<f32>, AggregateError> {
    let total = contributions.iter().try_fold(0u64, |sum, one| sum.checked_add(one.tokens));
    let total = total.filter(|total| *total > 0).ok_or(AggregateError::Tokens)? as f32;
    let mut sorted = norms.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let (low, high) = middle(&sorted).unwrap_or((0.0, 0.0));
    let median = 0.5 * (low + high);
    let weight = |(one, norm): (&Contribution<'_>, &f32)| {
        let share = one.tokens as f32 / total;
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
