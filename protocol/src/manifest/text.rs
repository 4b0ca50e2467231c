//! A manifest as TOML, and errors that help whoever types it.
//!
//! Durations are written with a unit (`"60s"`, `"500ms"`, `"10min"`), keys and hashes as 64 hex
//! digits, a model as its name or its shape. Fields with a general default may be left out.

use serde::{Deserialize, Serialize};

use super::{Manifest, ManifestError};
use crate::committee::{Committee, QuorumRule};
use crate::identity::PeerKey;
use crate::time::Span;

impl Manifest {
    /// Reads and checks a manifest. An unknown field is refused, with the nearest known name.
    pub fn from_toml(text: &str) -> Result<Manifest, ManifestError> {
        if text.len() > Manifest::MAX_BYTES {
            let limit = Manifest::MAX_BYTES;
            let too_long = format!("{} bytes of TOML, at most {limit} are allowed", text.len());
            return Err(ManifestError::Toml(too_long));
        }
        let manifest: Manifest =
            toml::from_str(text).map_err(|error| ManifestError::Toml(explain(text, &error)))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Writes a manifest that [`Manifest::from_toml`] reads back as itself.
    pub fn to_toml(&self) -> Result<String, ManifestError> {
        self.check()?;
        toml::to_string_pretty(self).map_err(|error| ManifestError::Toml(error.to_string()))
    }
}

/// What the parser of `text` says, with its line, and the known name nearest to an unknown one.
pub fn explain(text: &str, error: &toml::de::Error) -> String {
    let mut message = error.message().trim().to_string();
    if let Some(span) = error.span() {
        let before = text.get(..span.start).unwrap_or(text);
        message = format!("line {}: {message}", before.matches('\n').count() + 1);
    }
    if let Some(name) = nearest(error.message()) {
        message.push_str(&format!(" (did you mean `{name}`?)"));
    }
    message
}

/// Of serde's "unknown field `a`, expected one of `b`, `c`": the one nearest to `a`, if it is near.
fn nearest(message: &str) -> Option<&str> {
    if !message.starts_with("unknown ") {
        return None;
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown: Vec<char> = names.next()?.chars().take(64).collect();
    let candidates = names.map(|name| (edit_distance(&unknown, &name.chars().collect::<Vec<_>>()), name));
    let (distance, name) = candidates.min()?;
    (distance <= name.len().div_ceil(2)).then_some(name)
}

/// Levenshtein's distance.
fn edit_distance(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

/// A committee's form in TOML.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Committee", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum CommitteeForm {
    Steward {
        key: PeerKey,
    },
    Named {
        keys: Vec<PeerKey>,
        #[serde(with = "QuorumForm")]
        quorum: QuorumRule,
    },
    Elected {
        founder: PeerKey,
    },
}

/// A quorum rule's form in TOML.
#[derive(Serialize, Deserialize)]
#[serde(remote = "QuorumRule", rename_all = "kebab-case")]
pub(super) enum QuorumForm {
    TwoThirds,
    Majority,
}

/// Spans with a unit.
pub mod span {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error as _};

    /// Units from the largest, with their microseconds.
    const UNITS: [(&str, u64); 5] =
        [("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

    /// Writes a span in its largest whole unit.
    pub fn serialize<S: Serializer>(span: &Span, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = UNITS.iter().find(|(_, micros)| span.0 != 0 && span.0.is_multiple_of(*micros));
        let (unit, micros) = whole.unwrap_or(&("s", 1_000_000));
        serializer.collect_str(&format_args!("{}{unit}", span.0 / micros))
    }

    /// Reads a number with its unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "expected a duration such as \"60s\", \"500ms\" or \"10min\", found {text:?}"
            ))
        })
    }

    pub(super) fn parse(text: &str) -> Option<Span> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let (_, micros) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
        Some(Span(number.parse::<u64>().ok()?.checked_mul(*micros)?))
    }
}

/// The seed as hex digits.
pub(super) mod seed {
    use crate::identity::Hash;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        seed: &[u8; 32],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Hash(*seed).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; 32], D::Error> {
        Ok(Hash::deserialize(deserializer)?.0)
    }
}

// The general defaults.

pub(super) fn rules() -> u32 {
    super::RULES
}

pub(super) fn init_scale() -> f32 {
    0.02
}

pub(super) fn heartbeat() -> Span {
    Span::seconds(60)
}

pub(super) fn max_lag() -> u32 {
    4
}

pub(super) fn max_contributors() -> u16 {
    64
}

pub(super) fn snapshot_every() -> u32 {
    16
}

/// 1 Mbit/s.
pub(super) fn slowest_link() -> u64 {
    125_000
}

pub(super) fn five_percent() -> f32 {
    0.05
}

pub(super) fn weight_decay() -> f32 {
    0.1
}

pub(super) fn gradient_clip() -> f32 {
    1.0
}
