//! What the commands keep in a session's folder for the next `run`.

use driftless_protocol::Hash;
use driftless_protocol::invitation::Invitation;

use super::CommandError;
use crate::config::ConfigError;
use crate::settings::Settings;
use crate::store::{Folder, SessionFolder, StoreError};

/// The invitation that the session was joined with.
const INVITATION: &str = "invitation";
/// What was typed when the session was founded or joined.
const OPTIONS: &str = "options.toml";
/// This peer left: `run` does not resume the session.
const LEFT: &str = "left";

/// Keeps how a session was founded or joined.
pub(super) fn keep(
    folder: &SessionFolder,
    typed: &Settings,
    invitation: Option<&str>,
) -> Result<(), CommandError> {
    if let Some(text) = invitation {
        folder.put(INVITATION, text.trim().as_bytes())?;
    }
    let text = toml::to_string(typed).map_err(|error| CommandError::Failed(error.to_string()))?;
    Ok(folder.put(OPTIONS, text.as_bytes())?)
}

/// What was typed when a session was founded or joined.
pub(super) fn settings(folder: &SessionFolder) -> Result<Settings, ConfigError> {
    Settings::read(&folder.path().join(OPTIONS))
}

/// The invitation that a session was joined with.
pub(super) fn invitation(folder: &SessionFolder) -> Option<Invitation> {
    let text = std::fs::read_to_string(folder.path().join(INVITATION)).ok()?;
    match Invitation::from_text(&text) {
        Ok(invitation) => Some(invitation),
        Err(error) => {
            tracing::warn!(%error, "the invitation that this session was joined with is not used");
            None
        }
    }
}

/// Remembers that this peer left a session, or forgets it.
pub(super) fn mark_left(folder: &Folder, session: Hash, left: bool) {
    let folder = folder.session(session);
    let path = folder.path().join(LEFT);
    let result = match left {
        true => folder.put(LEFT, b""),
        false => match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::Io { path: path.clone(), source })
            }
            _ => Ok(()),
        },
    };
    if let Err(error) = result {
        tracing::warn!(path = %path.display(), %error, "it is not remembered whether this peer left");
    }
}

/// Whether this peer left a session.
pub(super) fn has_left(folder: &SessionFolder) -> bool {
    folder.path().join(LEFT).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_comes_back_as_it_was_joined() {
        let dir = tempfile::tempdir().unwrap();
        let folder = SessionFolder::at(dir.path());
        assert_eq!(settings(&folder).unwrap(), Settings::default());
        let typed = Settings { contribute: Some(false), up: "5Mbit".parse().ok(), ..Settings::default() };
        keep(&folder, &typed, Some("driftless1-x\n")).unwrap();
        assert_eq!(settings(&folder).unwrap(), typed);
        std::fs::write(dir.path().join(OPTIONS), "follow = true").unwrap();
        let error = settings(&folder).unwrap_err().to_string();
        assert!(error.contains("options.toml: line 1") && error.contains("follow"), "{error}");
    }
}
