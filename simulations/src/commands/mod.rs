//! The commands of `driftless-sim`.

mod living;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod record;
pub mod replay;
pub mod run;
pub mod search;
pub mod sweep;
pub mod table;

use crate::session_folder::FolderError;

/// Why a command did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Asked for something that there is not: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// It went wrong: exit code 1.
    #[error("{0}")]
    Failed(String),
}

impl CommandError {
    /// A folder that was not meant is wrong use; one that is damaged is not.
    fn from_folder(error: FolderError) -> CommandError {
        match error {
            FolderError::NoSession(_) | FolderError::Several { .. } => CommandError::Usage(error.to_string()),
            damaged => CommandError::Failed(damaged.to_string()),
        }
    }
}

/// Worlds at a time: so many as the machine has cores, unless somebody says otherwise.
fn threads(wished: Option<usize>) -> usize {
    wished.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into))
}
