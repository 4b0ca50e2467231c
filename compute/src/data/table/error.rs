//! What can be wrong with a table.

use std::io;
use thiserror::Error;

/// Why a file is not a table; whoever reports it names the file.
#[derive(Debug, Error)]
pub enum TableError {
    /// A line cannot be read.
    #[error("line {line}: {error}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// Why.
        #[source]
        error: LineError,
    },
    /// The content is of no known format.
    #[error(
        "neither CSV (numbers and commas, the label last), LIBSVM (label index:value ...) nor IDX: convert it to one of them"
    )]
    Unknown,
    /// There is no row, or only one where some are for validation.
    #[error("{found} rows, at least {needed} are needed")]
    TooFewRows {
        /// Rows found.
        found: usize,
        /// Rows needed.
        needed: usize,
    },
    /// There are more values than this build reads.
    #[error("more than {maximum} values, zeros included: use fewer rows or features")]
    TooLarge {
        /// The most accepted.
        maximum: usize,
    },
    /// The compressed file becomes more than this build reads.
    #[error("more than {maximum} bytes once decompressed: use fewer rows or features")]
    TooLong {
        /// The most accepted.
        maximum: u64,
    },
    /// The rows are of another size than asked for, or than those of the file before.
    #[error(
        "rows of {found} features, {expected} are needed: choose a model with {found} inputs, or other files"
    )]
    Inputs {
        /// Features of this file's rows, or the largest index.
        found: usize,
        /// Features needed.
        expected: usize,
    },
    /// The files of one table are of several formats.
    #[error("of another format than the file before it: give files of one format")]
    Mixed,
    /// A label is no class.
    #[error("label {0}: labels are 0, 1, 2, ... below 65536, or -1 and 1 only: number the classes from 0")]
    Label(i32),
    /// An IDX file is damaged or alone.
    #[error(transparent)]
    Idx(#[from] IdxError),
    /// A compressed file is damaged.
    #[error("cannot be decompressed, so it is damaged or cut off: {0}")]
    Gzip(#[source] io::Error),
}

/// Why a line of a CSV or LIBSVM file cannot be read; `text` is the beginning of what stands there.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LineError {
    /// A CSV line has more or fewer fields than the first.
    #[error("{found} fields, the first line has {expected}")]
    Fields {
        /// Its fields.
        found: usize,
        /// The first line's.
        expected: usize,
    },
    /// A CSV line is a single field.
    #[error("a single field: at least one feature and, last, the label are needed, with commas between them")]
    SingleField,
    /// There are more features than this build reads.
    #[error("more than {maximum} features")]
    Features {
        /// The most accepted.
        maximum: usize,
    },
    /// A feature is not a finite number.
    #[error("\"{text}\" is not a finite number")]
    Number {
        /// What stands there.
        text: String,
    },
    /// A label is not an integer.
    #[error("the label \"{text}\" is not an integer from -1 to 65535")]
    Label {
        /// What stands there.
        text: String,
    },
    /// A LIBSVM entry is not `index:value`.
    #[error("\"{text}\" is not index:value")]
    Entry {
        /// What stands there.
        text: String,
    },
    /// A LIBSVM index is zero, too large, or not above the one before it.
    #[error("index {index}: indices go up from 1, to at most {maximum}")]
    Index {
        /// The index.
        index: u64,
        /// The largest accepted.
        maximum: usize,
    },
}

/// What can be wrong with an IDX file.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum IdxError {
    /// The file ends in its header.
    #[error("cut off in its header")]
    Header,
    /// The values are not bytes.
    #[error("IDX values of type {0:#04x}: only bytes (0x08) are read")]
    Type(u8),
    /// The sizes say nothing, or more than this build reads.
    #[error("IDX sizes {0:?} are not possible here")]
    Sizes(Vec<u32>),
    /// The file is shorter or longer than its sizes say.
    #[error("{found} bytes, its header promises {expected}: the file is damaged or cut off")]
    Length {
        /// Bytes that follow from the header.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The images' labels were not found.
    #[error("images without labels: give the file of labels after it, or name it \"{expected}\" beside it")]
    NoLabels {
        /// The name looked for.
        expected: String,
    },
    /// Labels without images.
    #[error("labels without images: give the file of images before it")]
    NoImages,
    /// What was taken for labels is something else.
    #[error("not an IDX file of labels")]
    NotLabels,
    /// There are more or fewer labels than images.
    #[error("{labels} labels for {images} images")]
    Count {
        /// Labels.
        labels: usize,
        /// Images.
        images: usize,
    },
}
