//! Coordinate-wise median and trimmed mean: what a few members send cannot move a value beyond what the others sent.
//!
//! Source: Yin et al. 2018, "Byzantine-robust distributed learning: towards optimal statistical rates",
//! arXiv 1803.01498, definitions 1 and 2.
//!
//! Every member counts as one, whatever its tokens. Values are sorted and added from the lowest up, so that the order
//! of the contributions does not matter and all machines get the same bits. The payloads are decoded chunk by
//! chunk: memory is one chunk of each contribution.

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::Contribution;
use crate::codec::Codec;

/// How the contributions to a slot become one.
#[derive(Clone, Copy, PartialEq, Debug, Default, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Combine {
    /// Their mean, weighted by tokens.
    #[default]
    Mean,
    /// The median of each value.
    Median,
    /// The mean of what is left of each value's lowest and highest.
    TrimmedMean {
        /// Share of the contributions that is left out at either end, rounded down.
        trim: f32,
    },
    /// The mean of the directions, as long as the updates are in the mean, both weighted by tokens: peers that
    /// go different ways do not make each other's steps short (Douillard et al. 2026, arXiv 2604.21428).
    RadialDirectional,
}

/// What cannot be read as a [`Combine`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{found:?} is not mean, radial-directional, median, or trimmed-mean-SHARE such as trimmed-mean-0.1")]
pub struct UnknownCombine {
    found: String,
}

impl Combine {
    /// The largest share that is left out at either end.
    pub const MAX_TRIM: f32 = 0.49;

    /// Whether the share that is trimmed leaves something.
    pub fn is_possible(self) -> bool {
        match self {
            Combine::Mean | Combine::Median | Combine::RadialDirectional => true,
            Combine::TrimmedMean { trim } => (0.0..=Combine::MAX_TRIM).contains(&trim),
        }
    }

    /// One value of sorted ones.
    fn reduce(self, sorted: &[f32]) -> f32 {
        let count = sorted.len();
        match self {
            Combine::Median => 0.5 * (sorted[(count - 1) / 2] + sorted[count / 2]),
            Combine::Mean | Combine::RadialDirectional => sum(sorted) / count as f32,
            Combine::TrimmedMean { trim } => {
                let out = (trim * count as f32) as usize;
                sum(&sorted[out..count - out]) / (count - 2 * out) as f32
            }
        }
    }
}

fn sum(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |sum, value| sum + value)
}

impl fmt::Display for Combine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Combine::Mean => f.write_str("mean"),
            Combine::Median => f.write_str("median"),
            Combine::RadialDirectional => f.write_str("radial-directional"),
            Combine::TrimmedMean { trim } => write!(f, "trimmed-mean-{trim}"),
        }
    }
}

impl FromStr for Combine {
    type Err = UnknownCombine;

    fn from_str(text: &str) -> Result<Combine, UnknownCombine> {
        let unknown = || UnknownCombine { found: text.to_owned() };
        let combine = match (text, text.strip_prefix("trimmed-mean-")) {
            ("mean", _) => Combine::Mean,
            ("median", _) => Combine::Median,
            ("radial-directional", _) => Combine::RadialDirectional,
            (_, Some(share)) => Combine::TrimmedMean { trim: share.parse().map_err(|_| unknown())? },
            _ => return Err(unknown()),
        };
        if combine.is_possible() { Ok(combine) } else { Err(unknown()) }
    }
}

/// Writes what `combine` makes of `contributions`, each times its scale, into `out`. Their payloads are
/// checked, at least one of them is there, and the codec sends every value.
pub(super) fn combine(
    combine: Combine,
    codec: Codec,
    contributions: &[Contribution],
    scales: &[f32],
    out: &mut [f32],
) {
    let chunk = codec.chunk_values();
    let mut decoded = vec![0.0; contributions.len() * chunk];
    let mut column = vec![0.0; contributions.len()];
    for (index, out) in out.chunks_mut(chunk).enumerate() {
        let rows = decoded.chunks_mut(chunk).zip(contributions).zip(scales);
        for ((row, contribution), scale) in rows {
            let row = &mut row[..out.len()];
            codec.decode_part(&contribution.bytes, index, row);
            row.iter_mut().for_each(|value| *value *= scale);
        }
        for (place, out) in out.iter_mut().enumerate() {
            let values = decoded.iter().skip(place).step_by(chunk);
            column.iter_mut().zip(values).for_each(|(into, value)| *into = *value);
            column.sort_unstable_by(f32::total_cmp);
            *out = combine.reduce(&column);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::aggregate::{Rules, aggregate};
    use super::*;

    fn parts(rows: &[Vec<f32>], codec: Codec) -> Vec<Contribution> {
        let part = |values: &Vec<f32>| {
            let mut bytes = Vec::new();
            codec.encode(values, 1, &mut bytes).unwrap();
            Contribution { bytes, tokens: 1, missed: 0 }
        };
        rows.iter().map(part).collect()
    }

    fn combined(rows: &[Vec<f32>], combine: Combine, codec: Codec) -> Vec<f32> {
        let mut out = vec![9.0; rows[0].len()];
        aggregate(Rules { combine, ..Rules::plain(codec) }, &parts(rows, codec), &mut out).unwrap();
        out
    }

    #[test]
    fn medians_and_trimmed_means_by_hand() {
        let rows = [vec![1.0, -8.0], vec![2.0, 0.0], vec![4.0, 0.5], vec![1e9, 1.0]];
        assert_eq!(combined(&rows, Combine::Median, Codec::F32), [3.0, 0.25]);
        assert_eq!(combined(&rows[..3], Combine::Median, Codec::F32), [2.0, 0.0]);
        let trimmed = |trim| combined(&rows, Combine::TrimmedMean { trim }, Codec::F32);
        assert_eq!(trimmed(0.25), [3.0, 0.25]);
        assert_eq!(trimmed(0.24), [(1.0 + 2.0 + 4.0 + 1e9) / 4.0, -6.5 / 4.0]);
        assert_eq!(trimmed(0.49), [3.0, 0.25]);
        assert_eq!(combined(&rows[..1], Combine::TrimmedMean { trim: 0.49 }, Codec::F32), [1.0, -8.0]);
    }

    #[test]
    fn names_are_read_as_they_are_written_and_others_refused() {
        for name in ["mean", "median", "trimmed-mean-0.1"] {
            assert_eq!(name.parse::<Combine>().unwrap().to_string(), name);
        }
        for name in
            ["", "Median", "trimmed-mean-", "trimmed-mean-0.5", "trimmed-mean-NaN", "trimmed-mean--0.1"]
        {
            assert!(name.parse::<Combine>().is_err(), "{name}");
        }
    }

    proptest! {
        /// Fewer than half of the members, whatever they send, move a median nowhere outside of what the others
        /// sent; nor, up to the share that is trimmed, a trimmed mean. Whoever comes first does not matter.
        #[test]
        fn a_few_liars_stay_within_what_the_others_sent(
            honest in prop::collection::vec(prop::collection::vec(-1e3f32..1e3, 300), 5),
            lies in prop::collection::vec(prop::collection::vec(-1e15f32..1e15, 300), 2),
            turn in 0usize..7,
            codec in prop::sample::select(vec![Codec::F32, Codec::E3M0, Codec::Statistical]),
        ) {
            let mut rows: Vec<Vec<f32>> = honest.iter().chain(&lies).cloned().collect();
            // What the others' contributions say, decoded.
            let decode = |part: &Contribution| {
                let mut values = vec![0.0; 300];
                codec.decode_into(&part.bytes, &mut values).unwrap();
                values
            };
            let said: Vec<Vec<f32>> = parts(&honest, codec).iter().map(decode).collect();
            for combine in [Combine::Median, Combine::TrimmedMean { trim: 0.3 }] {
                let found = combined(&rows, combine, codec);
                for (place, value) in found.iter().enumerate() {
                    let column = said.iter().map(|row| row[place]);
                    let (low, high) = column.fold((f32::MAX, f32::MIN), |(low, high), value| {
                        (low.min(value), high.max(value))
                    });
                    prop_assert!(low <= *value && *value <= high, "{combine}: {low} {value} {high}");
                }
                rows.rotate_left(turn);
                prop_assert_eq!(combined(&rows, combine, codec), found);
            }
        }
    }
}
