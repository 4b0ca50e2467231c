//! A Hugging Face `tokenizer.json`, read with care: the file comes from anywhere.

use super::DataError;
use super::text::io_error;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The longest tokenizer file that is read.
pub const MAX_TOKENIZER_BYTES: u64 = 64 << 20;

/// A tokenizer and where it came from.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    hash: blake3::Hash,
    vocabulary: usize,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("path", &self.path)
            .field("vocabulary", &self.vocabulary)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// A missing, empty, too large or malformed file.
    pub fn load(path: &Path) -> Result<Tokenizer, DataError> {
        let file = File::open(path).map_err(|error| io_error(path, error))?;
        let metadata = file.metadata().map_err(|error| io_error(path, error))?;
        if !metadata.is_file() {
            return Err(DataError::NotAFile { path: path.into() });
        }
        let too_large =
            |bytes| DataError::TokenizerTooLarge { path: path.into(), bytes, maximum: MAX_TOKENIZER_BYTES };
        if metadata.len() > MAX_TOKENIZER_BYTES {
            return Err(too_large(metadata.len()));
        }
        let mut bytes = Vec::new();
        file.take(MAX_TOKENIZER_BYTES + 1).read_to_end(&mut bytes).map_err(|error| io_error(path, error))?;
        if bytes.len() as u64 > MAX_TOKENIZER_BYTES {
            return Err(too_large(bytes.len() as u64));
        }
        if bytes.is_empty() {
            return Err(DataError::Empty { path: path.into() });
        }
        Tokenizer::parse(path, &bytes)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Tokenizer, DataError> {
        let refused = |reason: String| DataError::Tokenizer { path: path.into(), reason };
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(bytes)).map_err(refused)?;
        // A tokenizer made for a model may cut or fill its texts; a corpus is neither.
        inner.with_truncation(None).map_err(|error| refused(error.to_string()))?;
        inner.with_padding(None);
        let vocabulary = inner.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1);
        if vocabulary == 0 {
            return Err(refused("it has no tokens".into()));
        }
        if vocabulary > 1 << 20 {
            return Err(refused(format!(
                "it has token ids up to {}, at most 1048575 are read",
                vocabulary - 1
            )));
        }
        Ok(Tokenizer { inner, path: path.into(), hash: blake3::hash(bytes), vocabulary })
    }

    /// One more than the largest token id.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The file it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// BLAKE3 of the file.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        *self.hash.as_bytes()
    }

    /// The tokens of a text, without special ones.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] if the tokenizer has no token for a part of the text and no unknown token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let refused = |reason| DataError::Tokenizer { path: self.path.clone(), reason };
        let encoding = guarded(|| self.inner.encode_fast(text, false)).map_err(refused)?;
        let ids = encoding.get_ids();
        match ids.iter().find(|id| **id as usize >= self.vocabulary) {
            None => Ok(ids.to_vec()),
            Some(id) => Err(refused(format!("it made token {id}, beyond its vocabulary"))),
        }
    }

    /// The text of some tokens; unknown ids are left out.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] if the tokenizer's decoder fails.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, DataError> {
        guarded(|| self.inner.decode(tokens, false))
            .map_err(|reason| DataError::Tokenizer { path: self.path.clone(), reason })
    }
}

/// Turns both kinds of failure into words: a hostile file can make the library panic, and that must stay its own error.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the tokenizer library gave up on it".into()),
    }
}
