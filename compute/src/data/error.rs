//! What can be wrong with a text, a tokenizer or a table.

use super::TableError;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a corpus or a table could not be made; every variant names the file.
#[derive(Debug, Error)]
pub enum DataError {
    /// No text was given at all.
    #[error("no text was given")]
    NoTexts,
    /// There is no such file.
    #[error("{}: no such file", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The path is a folder or a device.
    #[error("{}: not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file has no bytes.
    #[error("{}: the file is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The text does not hold one window for training and one for validation.
    #[error("{}: too short: its {part} has {tokens} tokens, {needed} are needed", path.display())]
    TooShort {
        /// The file.
        path: PathBuf,
        /// `training part` or `validation part (the last tenth)`.
        part: &'static str,
        /// Tokens of that part.
        tokens: u64,
        /// Tokens needed.
        needed: u64,
    },
    /// The operating system refused to read or write.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        #[source]
        error: io::Error,
    },
    /// A text that needs a tokenizer is not UTF-8.
    #[error("{}: not UTF-8 text: byte {offset} is invalid", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Index of the first invalid byte.
        offset: u64,
    },
    /// The tokenizer file is larger than this build reads.
    #[error("{}: the tokenizer has {bytes} bytes, at most {maximum} are read", path.display())]
    TokenizerTooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The longest accepted.
        maximum: u64,
    },
    /// The tokenizer file cannot be parsed.
    #[error("{}: not a usable tokenizer: {reason}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// The context is zero or beyond its maximum.
    #[error("a context of {0} positions is not possible")]
    Context(usize),
    /// No table was given at all.
    #[error("no file of rows was given")]
    NoTables,
    /// The file is no table, or does not go with the others.
    #[error("{}: {error}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: TableError,
    },
}

impl DataError {
    /// Names the file in an error of a table.
    pub(super) fn table(path: &Path, error: TableError) -> DataError {
        DataError::Table { path: path.into(), error }
    }
}
