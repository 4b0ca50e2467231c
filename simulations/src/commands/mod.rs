//! The commands of `driftless-sim`.

mod living;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod run;
pub mod search;
pub mod sweep;
pub mod table;

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

/// Worlds at a time: so many as the machine has cores, unless somebody says otherwise.
fn threads(wished: Option<usize>) -> usize {
    wished.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into))
}
