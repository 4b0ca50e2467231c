//! Texts and tables as training and validation samples.
//!
//! The last tenth of each text by bytes is for validation, the rest for training. Texts are mapped, never read whole. How
//! tables are read and split, [`table`] tells.

mod corpus;
mod error;
mod order;
mod samples;
mod table;
mod text;
mod token_cache;
mod tokenizer;
mod validation;

pub use corpus::Corpus;
pub use error::DataError;
pub(crate) use samples::Gathered;
pub use samples::{Data, Example, Mismatch};
pub use table::{IdxError, LineError, Scaling, Split, Table, TableError, TableOptions};
pub use tokenizer::{MAX_TOKENIZER_BYTES, Tokenizer};
pub use validation::{Evaluation, evaluate};
