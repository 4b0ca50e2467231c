//! The commands, one file each, and how they end.

mod bench;
mod eval;
mod export;
mod foreground;
mod history;
mod identity;
mod import;
mod join;
mod kept;
mod manifest_file;
mod new;
mod new_from;
mod peer;
mod plan;
mod run;
mod sample;
mod sessions;
mod signals;
mod verify;

pub(crate) use sample::write_text;
pub(crate) use signals::Signals;

use std::process::ExitCode;

use crate::args::{Arguments, Command};
use crate::config::{self, ConfigError};
use crate::local_socket::AskError;
use crate::node::NodeError;
use crate::offline::OfflineError;
use crate::output::Output;
use crate::store::StoreError;
use crate::succession::SuccessionError;
use crate::terms::TermsError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It was used wrongly: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The data folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A session's state.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// A running node.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// A founding.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// A founding on a session.
    #[error(transparent)]
    Succession(#[from] SuccessionError),
    /// An invitation.
    #[error(transparent)]
    Invitation(#[from] driftless_protocol::invitation::InvitationError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] driftless_compute::EngineError),
    /// Texts.
    #[error(transparent)]
    Data(#[from] driftless_compute::DataError),
    /// A Hugging Face folder.
    #[error(transparent)]
    HuggingFace(#[from] driftless_compute::huggingface::HuggingFaceError),
    /// A benchmark of the data plane.
    #[error(transparent)]
    Bench(#[from] crate::blobs::bench::BenchError),
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Failed(String),
}

impl CommandError {
    /// 1 failed, 2 wrong use.
    fn code(&self) -> ExitCode {
        match self {
            CommandError::Usage(_)
            | CommandError::Config(ConfigError::Address { .. } | ConfigError::NotYet(_))
            | CommandError::Terms(TermsError::Model(_) | TermsError::Manifest(_))
            | CommandError::Succession(
                SuccessionError::OtherModel(_)
                | SuccessionError::OtherData(_)
                | SuccessionError::OtherTokenizer(_)
                | SuccessionError::TooSoon { .. }
                | SuccessionError::Manifest(_),
            ) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Runs what was typed and returns the process's exit code.
pub async fn run(arguments: Arguments) -> ExitCode {
    let output = Output::new(arguments.json);
    match dispatch(arguments, output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = error.to_string();
            output.object(&crate::report::Line::new(crate::report::Report::Error { text: text.clone() }));
            output.note(&format!("error: {text}"));
            error.code()
        }
    }
}

async fn dispatch(arguments: Arguments, output: Output) -> Result<(), CommandError> {
    use crate::local_socket::Verb;
    use sessions::about;
    let dir = || config::data_folder(arguments.dir.as_deref());
    match &arguments.command {
        Command::Demo(options) => {
            crate::demo::run(options, arguments.dir.as_deref(), arguments.verbose, output).await
        }
        Command::New(options) => new::run(options, dir()?, output).await,
        Command::Join(options) => join::run(options, dir()?, output).await,
        Command::Run(options) => run::run(options, dir()?, output).await,
        Command::Status(which) => sessions::status(&dir()?, which, output).await,
        Command::Reset(options) => sessions::reset(&dir()?, options, output).await,
        Command::Pause(which) => sessions::tell(&dir()?, about(Verb::Pause, which), output).await,
        Command::Resume(options) => {
            let verb = if options.vote { Verb::Vote } else { Verb::Resume };
            sessions::tell(&dir()?, about(verb, &options.which), output).await
        }
        Command::Finish(end) => sessions::end(&dir()?, Verb::Finish, end, output).await,
        Command::Leave(end) => sessions::leave(&dir()?, end, output).await,
        Command::Invite(which) => sessions::invite(&dir()?, which, output).await,
        Command::Verify(options) => verify::run(options, &dir()?, output),
        Command::History(options) => history::run(options, &dir()?, output),
        Command::Eval(options) => eval::run(options, &dir()?, output),
        Command::Sample(options) => sample::run(options, &dir()?, output),
        Command::Export(options) => export::run(options, &dir()?, output),
        Command::Import(options) => import::run(options, &dir()?, output),
        Command::Plan(options) => plan::run(options, output),
        Command::Bench(options) => bench::run(options, output).await,
        Command::Identity(options) => identity::run(options, &dir()?, output),
        Command::Peer(options) => peer::run(options, dir()?, output).await,
        Command::ServeBlobs(options) => bench::serve(options).await,
    }
}
