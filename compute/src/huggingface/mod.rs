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
/// Ends the name of a file that is being written.
const TEMPORARY: &str = ".tmp";

/// Whether a file of this name is one that [`export()`] writes, or what an export that died left.
pub fn is_exported(name: &str) -> bool {
    [CONFIG, WEIGHTS, TOKENIZER].contains(&name.strip_suffix(TEMPORARY).unwrap_or(name))
}

/// What `transformers` puts before every tensor's name in a `GPT2LMHeadModel`.
const PREFIX: &str = "transformer.";
