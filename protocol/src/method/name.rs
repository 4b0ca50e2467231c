//! Methods as people name them.

use std::fmt;
use std::str::FromStr;

/// What a founder may choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MethodName {
    /// Streaming DiLoCo.
    StreamingDiLoCo,
    /// SparseLoCo.
    SparseLoCo,
    /// MuLoCo: Streaming DiLoCo with Muon inside and 2 bits outside.
    MuLoCo,
    /// CO2.
    Co2,
    /// One byte per sample, slopes between two points.
    Spsa,
    /// One byte per sample, rises in units of their spread.
    Fzoo,
    /// EF21.
    Ef21,
}

/// A name that is no method's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no method {found:?}: it is one of {}", MethodName::ALL.map(|name| name.as_str()).join(", "))]
pub struct UnknownMethod {
    found: String,
}

impl MethodName {
    /// All of them.
    pub const ALL: [MethodName; 7] = [
        MethodName::StreamingDiLoCo,
        MethodName::SparseLoCo,
        MethodName::MuLoCo,
        MethodName::Co2,
        MethodName::Ef21,
        MethodName::Spsa,
        MethodName::Fzoo,
    ];

    /// What a session has whose founder does not choose: the least loss of `driftless-sim table methods`, and
    /// with few bytes.
    pub const DEFAULT: MethodName = MethodName::MuLoCo;

    /// Whether it is for models that were trained before: gradients of one byte say too little for a beginning.
    pub const fn is_fine_tuning(self) -> bool {
        matches!(self, MethodName::Spsa | MethodName::Fzoo)
    }

    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            MethodName::StreamingDiLoCo => "streaming-diloco",
            MethodName::SparseLoCo => "sparse-loco",
            MethodName::MuLoCo => "muloco",
            MethodName::Co2 => "co2",
            MethodName::Spsa => "spsa",
            MethodName::Fzoo => "fzoo",
            MethodName::Ef21 => "ef21",
        }
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MethodName {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<MethodName, UnknownMethod> {
        let named = MethodName::ALL.into_iter().find(|name| name.as_str() == text);
        named.ok_or_else(|| UnknownMethod { found: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in MethodName::ALL {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        let error = "diloco".parse::<MethodName>().unwrap_err().to_string();
        assert!(
            error.ends_with("it is one of streaming-diloco, sparse-loco, muloco, co2, ef21, spsa, fzoo"),
            "{error}"
        );
    }
}
