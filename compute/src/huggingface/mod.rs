//! Models as Hugging Face folders: `config.json`, `model.safetensors` and, where the tokens are not bytes,
//! `tokenizer.json`, as `transformers` reads and writes them for GPT-2.

mod config;
mod error;
mod export;
mod import;

pub use error::HuggingFaceError;
pub use export::export;
pub use import::{Imported, import};

/// Names of the files of a folder.
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const TOKENIZER: &str = "tokenizer.json";
/// The files of a folder that [`export()`] writes.
pub const FILES: [&str; 3] = [CONFIG, WEIGHTS, TOKENIZER];

/// What `transformers` puts before every tensor's name in a `GPT2LMHeadModel`.
const PREFIX: &str = "transformer.";
