//! What can be wrong with a Hugging Face folder.

use crate::model::ShapeError;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a folder could not be read or written; every variant names the file.
#[derive(Debug, Error)]
pub enum HuggingFaceError {
    /// There is no such file.
    #[error("{}: no such file", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
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
    /// A file, or the header of a weights file, is longer than is read.
    #[error("{}: its {part} has {bytes} bytes, at most {maximum} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// `content` or `header`.
        part: &'static str,
        /// Its length.
        bytes: u64,
        /// The longest accepted.
        maximum: u64,
    },
    /// `config.json` is not what it should be.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The configuration describes a model that this build cannot run.
    #[error("{}: {field} is {found}; supported: {supported}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        supported: String,
    },
    /// The model's shape is impossible.
    #[error("{}: {error}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: ShapeError,
    },
    /// The weights file is truncated or malformed.
    #[error("{}: not a usable safetensors file: {reason}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// A tensor is missing.
    #[error("{}: tensor {name} is missing", path.display())]
    TensorMissing {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{}: tensor {name} has shape {found:?}, the configuration needs {expected:?}", path.display())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
        /// The shape that the configuration needs.
        expected: Vec<usize>,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A tensor's numbers are of a type that is not read.
    #[error("{}: tensor {name} holds {found}; supported: F32, F16, BF16", path.display())]
    TensorType {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
        /// Its type.
        found: String,
    },
    /// A tensor holds a NaN or an infinity.
    #[error("{}: tensor {name} holds a number that is not finite", path.display())]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
    },
    /// The parameters to export do not fit the shape.
    #[error("the model needs {expected} parameters, got {got}")]
    ParameterCount {
        /// What the shape needs.
        expected: usize,
        /// Length of the slice.
        got: usize,
    },
}

/// Names the file in an error of the operating system.
pub(super) fn io_error(path: &Path, error: io::Error) -> HuggingFaceError {
    if error.kind() == io::ErrorKind::NotFound {
        HuggingFaceError::Missing { path: path.into() }
    } else {
        HuggingFaceError::Io { path: path.into(), error }
    }
}
