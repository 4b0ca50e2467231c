//! What is agreed of a slot's contributions.
//!
//! The mean here, other ways in [`robust`].
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

use super::norm::{decoded_norm, norm};
use super::one_byte::LogError;
use super::robust::{self, Combine};
use crate::codec::{Codec, CodecError};

/// Updates that are no longer have no direction: of values whose squares are no numbers of f32 any more, the norm is too
/// small, and what is divided by it too long.
const SHORTEST: f32 = 1.0e-12;

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
    /// What becomes of them.
    pub combine: Combine,
    /// Whether and how norms are clipped.
    pub clip: Option<Clip>,
    /// The most missed slots that widen a clip.
    pub max_lag: u32,
}

impl Rules {
    /// The mean, and nothing is clipped.
    pub const fn plain(codec: Codec) -> Rules {
        Rules { codec, combine: Combine::Mean, clip: None, max_lag: 0 }
    }
}

/// What became of the contributions, in their order.
#[derive(Clone, PartialEq, Debug)]
pub struct Aggregate {
    /// Norms of the decoded values.
    pub norms: Vec<f32>,
    /// The factor applied to each: its clip, times its share of the tokens where the mean is taken; its share
    /// over its norm where that of directions is.
    pub weights: Vec<f32>,
}

/// Why a contribution cannot be aggregated. Errors come with the contribution's index.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MethodError {
    /// The payload does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// It is no log of a batch of steps.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The values are so large that their norm is not finite.
    #[error("the norm of its values is not finite")]
    Norm,
    /// The tokens up to this contribution overflow, or those of all add up to zero.
    #[error("the tokens of the slot add up to zero or overflow")]
    Tokens,
}

/// Writes what the rules make of `contributions` into `out`, whose length is the fragment's.
///
/// Without contributions that is zero: such a slot takes no outer step. On an error `out` holds nothing
/// of use.
pub fn aggregate(
    rules: Rules,
    contributions: &[Contribution],
    out: &mut [f32],
) -> Result<Aggregate, (usize, MethodError)> {
    out.fill(0.0);
    if contributions.is_empty() {
        return Ok(Aggregate { norms: Vec::new(), weights: Vec::new() });
    }
    let norms = norms(rules.codec, contributions, out.len())?;
    let shares = shares(contributions)?;
    let clips = clips(rules.clip, contributions.iter().map(|one| one.missed.min(rules.max_lag)), &norms);
    let weights: Vec<f32> = match rules.combine {
        Combine::Median | Combine::TrimmedMean { .. } => {
            robust::combine(rules.combine, rules.codec, contributions, &clips, out);
            return Ok(Aggregate { norms, weights: clips });
        }
        Combine::Mean => shares.iter().zip(&clips).map(|(share, clip)| share * clip).collect(),
        // Directions: what has no length has none.
        Combine::RadialDirectional => {
            let unit = |(share, norm): (&f32, &f32)| if *norm > SHORTEST { share / norm } else { 0.0 };
            shares.iter().zip(&norms).map(unit).collect()
        }
    };
    for (index, (contribution, weight)) in contributions.iter().zip(&weights).enumerate() {
        let added = rules.codec.decode_add(&contribution.bytes, *weight, out);
        added.map_err(|error| (index, error.into()))?;
    }
    if rules.combine == Combine::RadialDirectional {
        let lengths = shares.iter().zip(&clips).zip(&norms).map(|((share, clip), norm)| share * clip * norm);
        set_length(out, lengths.fold(0.0, |sum, length| sum + length));
    }
    Ok(Aggregate { norms, weights })
}

/// Makes a mean of directions so long; opposite ones that cancel out stay 0.
fn set_length(direction: &mut [f32], length: f32) {
    let norm = norm(direction);
    if norm > 0.0 {
        let scale = length / norm;
        direction.iter_mut().for_each(|value| *value *= scale);
    }
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

fn shares(contributions: &[Contribution]) -> Result<Vec<f32>, (usize, MethodError)> {
    let mut total = 0u64;
    for (index, one) in contributions.iter().enumerate() {
        total = total.checked_add(one.tokens).ok_or((index, MethodError::Tokens))?;
    }
    if total == 0 {
        return Err((0, MethodError::Tokens));
    }
    Ok(contributions.iter().map(|one| one.tokens as f32 / total as f32).collect())
}

/// By how much each is scaled down, whose bounds are so many medians wider.
pub(super) fn clips(clip: Option<Clip>, wider: impl Iterator<Item = u32>, norms: &[f32]) -> Vec<f32> {
    let Some(clip) = clip else { return vec![1.0; norms.len()] };
    let mut sorted = norms.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let (low, high) = middle(&sorted).unwrap_or((0.0, 0.0));
    let median = 0.5 * (low + high);
    let scale = |(wider, norm): (u32, &f32)| {
        let bound = clip.factor * median * wider.saturating_add(1) as f32;
        if *norm > bound { bound / *norm } else { 1.0 }
    };
    wider.zip(norms).map(scale).collect()
}

/// The two values around the middle of a sorted list, the same one twice if its length is odd.
fn middle<T: Copy>(sorted: &[T]) -> Option<(T, T)> {
    let high = *sorted.get(sorted.len() / 2)?;
    let low = *sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(values: &[f32], tokens: u64, missed: u32) -> Contribution {
        let mut bytes = Vec::new();
        Codec::F32.encode(values, 1, &mut bytes).unwrap();
        Contribution { bytes, tokens, missed }
    }

    fn rules(factor: Option<f32>) -> Rules {
        Rules { clip: factor.map(|factor| Clip { factor }), max_lag: 4, ..Rules::plain(Codec::F32) }
    }

    #[test]
    fn the_mean_is_weighted_by_tokens_in_the_given_order() {
        let mut mean = [9.0; 2];
        let parts = [part(&[4.0, 0.0], 1, 0), part(&[0.0, 8.0], 3, 0)];
        let found = aggregate(rules(None), &parts, &mut mean).unwrap();
        assert_eq!((mean, found.weights, found.norms), ([1.0, 6.0], vec![0.25, 0.75], vec![4.0, 8.0]));
        // The order matters in the last bit, so it is part of the contract.
        let big = [part(&[1.0e8], 1, 0), part(&[-1.0e8], 1, 0), part(&[3.0], 1, 0)];
        let third = 1.0f32 / 3.0;
        let mut mean = [0.0];
        aggregate(rules(None), &big, &mut mean).unwrap();
        assert_eq!(mean[0].to_bits(), (third * 1.0e8 + third * -1.0e8 + third * 3.0).to_bits());
    }

    #[test]
    fn directions_and_lengths_are_averaged_apart() {
        let rules = Rules { combine: Combine::RadialDirectional, ..rules(None) };
        let mut mean = [9.0; 2];
        // East with length 3, north with 1, as many tokens: north-east, 2 long.
        aggregate(rules, &[part(&[3.0, 0.0], 1, 0), part(&[0.0, 1.0], 1, 0)], &mut mean).unwrap();
        assert!((mean[0] - 2.0f32.sqrt()).abs() < 1e-6 && mean[0].to_bits() == mean[1].to_bits(), "{mean:?}");
        // Alike it is the mean; opposite it is nothing; and nothing has no direction.
        aggregate(rules, &[part(&[3.0, 0.0], 3, 0), part(&[1.0, 0.0], 1, 0)], &mut mean).unwrap();
        assert_eq!(mean, [2.5, 0.0]);
        aggregate(rules, &[part(&[3.0, 0.0], 1, 0), part(&[-1.0, 0.0], 1, 0)], &mut mean).unwrap();
        assert_eq!(mean, [0.0, 0.0]);
        aggregate(rules, &[part(&[3.0, 4.0], 1, 0), part(&[0.0, 0.0], 3, 0)], &mut mean).unwrap();
        assert_eq!(mean, [0.75, 1.0]);
    }

    #[test]
    fn without_contributions_the_mean_is_zero() {
        let mut mean = [9.0; 2];
        assert_eq!(aggregate(rules(None), &[], &mut mean).unwrap().weights, []);
        assert_eq!(mean, [0.0; 2]);
    }

    #[test]
    fn norms_are_clipped_to_medians_widened_by_missed_slots() {
        let mut mean = [0.0];
        // Norms 1, 2, 64, 64: the median is 33 for four, 2 for the first three.
        let three = [part(&[1.0], 1, 0), part(&[2.0], 1, 0), part(&[64.0], 2, 0)];
        let weights = aggregate(rules(Some(2.0)), &three, &mut mean).unwrap().weights;
        assert_eq!(weights, [0.25, 0.25, 0.5 * (4.0 / 64.0)]);
        assert_eq!(mean, [2.75]);
        let lagging = [part(&[1.0], 1, 0), part(&[2.0], 1, 0), part(&[64.0], 2, 3)];
        let weights = aggregate(rules(Some(2.0)), &lagging, &mut mean).unwrap().weights;
        assert_eq!(weights[2], 0.5 * (16.0 / 64.0));
        let long_gone = [part(&[1.0], 1, 0), part(&[2.0], 1, 0), part(&[64.0], 2, 99)];
        let weights = aggregate(rules(Some(2.0)), &long_gone, &mut mean).unwrap().weights;
        assert_eq!(weights[2], 0.5 * (20.0 / 64.0));
        let four = [part(&[1.0], 1, 0), part(&[2.0], 1, 0), part(&[64.0], 1, 0), part(&[64.0], 1, 0)];
        assert_eq!(aggregate(rules(Some(2.0)), &four, &mut mean).unwrap().weights, [0.25; 4]);
        let idle = [part(&[0.0], 1, 0), part(&[0.0], 1, 0), part(&[5.0], 1, 0)];
        aggregate(rules(Some(2.0)), &idle, &mut mean).unwrap();
        assert_eq!(mean, [0.0]);
    }

    #[test]
    fn what_cannot_be_aggregated_is_named_by_index() {
        let mut mean = [0.0];
        let mut refuse = |parts: &[Contribution]| aggregate(rules(None), parts, &mut mean).unwrap_err();
        let good = part(&[1.0], 1, 0);
        let huge = part(&[1.0e20], 1, 0);
        assert_eq!(refuse(&[good.clone(), huge]), (1, MethodError::Norm));
        assert_eq!(refuse(&[part(&[1.0], 0, 0)]), (0, MethodError::Tokens));
        assert_eq!(refuse(&[part(&[1.0], u64::MAX, 0), good.clone()]), (1, MethodError::Tokens));
        let short = part(&[], 1, 0);
        assert!(matches!(refuse(&[good, short]), (1, MethodError::Codec(CodecError::Length { .. }))));
    }
}
