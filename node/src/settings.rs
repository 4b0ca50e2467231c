//! How a node shall run, as it was written: typed, kept in a session's folder, or in
//! `DIR/config.toml`. Raw: `config` resolves it.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::args::{Device, NetworkArguments};
use crate::bandwidth::Rate;
use crate::config::ConfigError;

/// Settings that were written down; what was not is `None` or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Settings {
    /// Where to listen.
    pub listen: Vec<String>,
    /// Addresses that others shall dial.
    pub advertise: Vec<String>,
    /// Cap on what is sent.
    pub up: Option<Rate>,
    /// Cap on what is received.
    pub down: Option<Rate>,
    /// What to compute on.
    pub device: Option<Device>,
    /// Compute threads.
    pub threads: Option<usize>,
    /// Keep every blob.
    pub keep_history: Option<bool>,
    /// Bytes that may be written in a day.
    pub writes_per_day: Option<u64>,
    /// Take part in training; else only follow.
    pub contribute: Option<bool>,
    /// Take a seat among the voters if elected.
    pub stand: Option<bool>,
}

impl From<&NetworkArguments> for Settings {
    fn from(arguments: &NetworkArguments) -> Settings {
        Settings {
            listen: arguments.listen.clone(),
            advertise: arguments.advertise.clone(),
            up: arguments.up,
            down: arguments.down,
            device: arguments.device,
            threads: arguments.threads,
            keep_history: arguments.keep_history.then_some(true),
            writes_per_day: arguments.writes_per_day,
            contribute: None,
            stand: arguments.stand.then_some(true),
        }
    }
}

impl Settings {
    /// These settings, and those of `other` where these say nothing.
    pub fn or(self, other: Settings) -> Settings {
        let list = |own: Vec<String>, other: Vec<String>| if own.is_empty() { other } else { own };
        Settings {
            listen: list(self.listen, other.listen),
            advertise: list(self.advertise, other.advertise),
            up: self.up.or(other.up),
            down: self.down.or(other.down),
            device: self.device.or(other.device),
            threads: self.threads.or(other.threads),
            keep_history: self.keep_history.or(other.keep_history),
            writes_per_day: self.writes_per_day.or(other.writes_per_day),
            contribute: self.contribute.or(other.contribute),
            stand: self.stand.or(other.stand),
        }
    }

    /// Reads a TOML file; one that is not there says nothing.
    pub fn read(path: &Path) -> Result<Settings, ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Settings::default()),
            result => result.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?,
        };
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
            let line = before.matches('\n').count() + 1;
            ConfigError::File { path: path.to_owned(), reason: format!("line {line}: {}", error.message()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_gives_way_to_what_was_said_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("options.toml");
        assert_eq!(Settings::read(&path).unwrap(), Settings::default());
        let kept = Settings {
            listen: vec!["4001".into()],
            up: "3333B".parse().ok(),
            down: Some(Rate::UNLIMITED),
            threads: Some(2),
            keep_history: Some(true),
            writes_per_day: Some(50_000_000_000),
            contribute: Some(false),
            stand: Some(true),
            ..Settings::default()
        };
        std::fs::write(&path, toml::to_string(&kept).unwrap()).unwrap();
        assert_eq!(Settings::read(&path).unwrap(), kept);
        let typed = Settings { threads: Some(5), ..Settings::default() };
        assert_eq!(typed.or(kept.clone()), Settings { threads: Some(5), ..kept });
    }

    #[test]
    fn unknown_and_wrong_settings_name_the_file_and_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("options.toml");
        for (text, word) in [("threads = 3\nupp = 1", "upp"), ("\nup = \"fast\"", "fast"), ("\n= 1", "key")] {
            std::fs::write(&path, text).unwrap();
            let error = Settings::read(&path).unwrap_err().to_string();
            assert!(error.contains("options.toml: line 2") && error.contains(word), "{error}");
        }
    }
}
