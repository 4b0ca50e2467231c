//! Texts as training and validation samples.
//!
//! The last tenth of each text by bytes is for validation, the rest for training. Texts are mapped, never read whole.

mod corpus;
mod error;
mod order;
mod text;
mod token_cache;
mod tokenizer;
mod validation;

pub use corpus::Corpus;
pub use error::DataError;
pub use tokenizer::{MAX_TOKENIZER_BYTES, Tokenizer};
pub use validation::validation_loss;
