//! Why a run ends early.

use std::io;
use std::process::ExitCode;

/// A promise that broke, or something that kept us from looking.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A promise broke.
    #[error("{0}")]
    Broken(String),
    /// The run itself could not be set up.
    #[error("{0}")]
    Setup(String),
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        /// What we wanted.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

/// The exit code of a run that tells whether all was as it has to be.
pub fn exit_code(ended: Result<bool, Failure>) -> ExitCode {
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

impl Failure {
    /// A promise that broke, in words.
    pub fn broken<T>(text: impl Into<String>) -> Result<T, Failure> {
        Err(Failure::Broken(text.into()))
    }

    /// Anything of the product's own code that fails before the session runs.
    pub fn setup(error: impl std::fmt::Display) -> Failure {
        Failure::Setup(error.to_string())
    }

    /// A refusal of the system while we did `what`.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
        let what = what.into();
        move |source| Failure::System { what, source }
    }
}
