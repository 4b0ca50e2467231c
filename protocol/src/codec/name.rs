//! Codecs as manifests and commands name them.

use std::fmt;
use std::str::FromStr;

use super::{Codec, RandK, TopK};

/// A name that no codec has.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "there is no codec {0:?}: it may be f32, e3m0, int2 to int8, sign, stat2, top-K/N with N from 2 to 65536 \
     (then -whole, -stat2 or -whole-stat2 if wanted), or rand-K/N"
)]
pub struct UnknownCodec(String);

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Codec::F32 => f.write_str("f32"),
            Codec::E3M0 => f.write_str("e3m0"),
            Codec::Uniform { bits } => write!(f, "int{bits}"),
            Codec::Statistical => f.write_str("stat2"),
            Codec::Sign => f.write_str("sign"),
            Codec::TopK(TopK { keep, of, whole, statistical }) => {
                let (whole, statistical) =
                    (if *whole { "-whole" } else { "" }, if *statistical { "-stat2" } else { "" });
                write!(f, "top-{keep}/{of}{whole}{statistical}")
            }
            Codec::RandK(RandK { keep, of }) => write!(f, "rand-{keep}/{of}"),
        }
    }
}

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(text: &str) -> Result<Codec, UnknownCodec> {
        let codec = match text {
            "f32" => Some(Codec::F32),
            "e3m0" => Some(Codec::E3M0),
            "stat2" => Some(Codec::Statistical),
            "sign" => Some(Codec::Sign),
            _ => numbered(text),
        };
        // One name for each: no leading zeros, no signs.
        codec.filter(|codec| codec.to_string() == text).ok_or_else(|| UnknownCodec(text.into()))
    }
}

fn numbered(text: &str) -> Option<Codec> {
    let codec = if let Some(bits) = text.strip_prefix("int") {
        Codec::Uniform { bits: bits.parse().ok()? }
    } else if let Some(part) = text.strip_prefix("rand-") {
        let (keep, of) = fraction(part)?;
        Codec::RandK(RandK { keep, of })
    } else {
        let (part, options) = split_options(text.strip_prefix("top-")?);
        let (keep, of) = fraction(part)?;
        let (whole, statistical) = match options {
            "" => (false, false),
            "-whole" => (true, false),
            "-stat2" => (false, true),
            "-whole-stat2" => (true, true),
            _ => return None,
        };
        Codec::TopK(TopK { keep, of, whole, statistical })
    };
    codec.is_possible().then_some(codec)
}

fn split_options(text: &str) -> (&str, &str) {
    text.split_at(text.find('-').unwrap_or(text.len()))
}

fn fraction(text: &str) -> Option<(u32, u32)> {
    let (keep, of) = text.split_once('/')?;
    Some((keep.parse().ok()?, of.parse().ok()?))
}

impl Codec {
    /// Whether its numbers are within bounds: a manifest that came in bytes may say anything.
    pub fn is_possible(&self) -> bool {
        let part = |keep: u32, of: u32| (1..of).contains(&keep) && of <= TopK::MAX_CHUNK;
        match self {
            Codec::F32 | Codec::E3M0 | Codec::Statistical | Codec::Sign => true,
            Codec::Uniform { bits } => (2..=8).contains(bits),
            Codec::TopK(top) => part(top.keep, top.of),
            Codec::RandK(random) => part(random.keep, random.of),
        }
    }
}

impl TryFrom<String> for Codec {
    type Error = UnknownCodec;

    fn try_from(text: String) -> Result<Codec, UnknownCodec> {
        text.parse()
    }
}

impl From<Codec> for String {
    fn from(codec: Codec) -> String {
        codec.to_string()
    }
}
