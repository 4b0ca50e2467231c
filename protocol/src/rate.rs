//! Speeds as people write them: of a user's caps, of a simulated line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Largest rate that [`Rate`] holds: 1 Tbit/s, in bytes per second.
const MAX_RATE: u64 = 125_000_000_000;

/// A speed in bytes per second; zero means unlimited.
///
/// Reads `10Mbit`, `500kbit`, `1Gbit`, `2MB`, `300kB`, `8000bit` or `unlimited` (per second, powers
/// of 1000).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate(u64);

/// Text that is not a [`Rate`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a rate; write for example 10Mbit, 500kbit, 2MB or unlimited")]
pub struct RateError {
    text: String,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Rate = Rate(0);

    /// `bytes` per second, clamped to 1 Tbit/s; zero means unlimited.
    pub const fn bytes_per_second(bytes: u64) -> Rate {
        Rate(if bytes > MAX_RATE { MAX_RATE } else { bytes })
    }

    /// Bytes per second, or `None` when unlimited.
    pub const fn limit(self) -> Option<u64> {
        if self.0 == 0 { None } else { Some(self.0) }
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Rate, RateError> {
        const UNITS: [(&str, f64); 8] = [
            ("Gbit", 1.25e8),
            ("Mbit", 1.25e5),
            ("kbit", 125.0),
            ("bit", 0.125),
            ("GB", 1e9),
            ("MB", 1e6),
            ("kB", 1e3),
            ("B", 1.0),
        ];
        let error = || RateError { text: text.to_owned() };
        if text == "unlimited" {
            return Ok(Rate::UNLIMITED);
        }
        let (number, unit) =
            UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit))).ok_or_else(error)?;
        let number: f64 = number.trim().parse().map_err(|_| error())?;
        let bytes = number * unit;
        if !bytes.is_finite() || bytes < 1.0 || bytes > MAX_RATE as f64 {
            return Err(error());
        }
        Ok(Rate(bytes as u64))
    }
}

impl TryFrom<String> for Rate {
    type Error = RateError;

    fn try_from(text: String) -> Result<Rate, RateError> {
        text.parse()
    }
}

impl From<Rate> for String {
    /// Exact, where the text for people may be rounded.
    fn from(rate: Rate) -> String {
        rate.limit().map_or_else(|| rate.to_string(), |bytes| format!("{bytes}B"))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit() {
            None => f.write_str("unlimited"),
            Some(bytes) if bytes >= 125_000 => write!(f, "{}Mbit", bytes as f64 / 1.25e5),
            Some(bytes) => write!(f, "{}kbit", bytes as f64 / 125.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        assert_eq!("10Mbit".parse(), Ok(Rate::bytes_per_second(1_250_000)));
        assert_eq!("0.5Mbit".parse(), Ok(Rate::bytes_per_second(62_500)));
        assert_eq!("2MB".parse(), Ok(Rate::bytes_per_second(2_000_000)));
        assert_eq!("300 kB".parse(), Ok(Rate::bytes_per_second(300_000)));
        assert_eq!("unlimited".parse(), Ok(Rate::UNLIMITED));
        for wrong in ["", "10", "Mbit", "-1Mbit", "NaNMbit", "infMB", "0bit", "9999999Gbit"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
        assert_eq!(Rate::bytes_per_second(1_250_000).to_string(), "10Mbit");
        assert_eq!(Rate::bytes_per_second(12_500).to_string(), "100kbit");
    }
}
