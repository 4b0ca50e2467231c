//! The corpus: windows of T + 1 tokens over one or more texts.
//!
//! Training windows do not overlap in what they predict (stride T), are shifted by an offset that each epoch draws
//! anew, and come in an order that each epoch permutes anew. Validation windows start at the part's first token.

use super::DataError;
use super::order::Epoch;
use super::text::Text;
use super::token_cache;
use super::tokenizer::Tokenizer;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The longest context admitted, as in a model's shape.
const MAX_CONTEXT: usize = 65_536;

/// What a token is made of.
#[derive(Debug)]
pub(super) enum Tokens {
    /// A token is a byte.
    Bytes(Text),
    /// A token is a little-endian u32 of a mapped cache file, behind a header of `skip` bytes.
    Words { words: Text, skip: usize },
}

impl Tokens {
    /// Copies the tokens from index `start` on.
    fn copy(&self, start: u64, into: &mut [u32]) {
        let range = start as usize..start as usize + into.len();
        match self {
            Tokens::Bytes(text) => {
                for (into, byte) in into.iter_mut().zip(&text[range]) {
                    *into = u32::from(*byte);
                }
            }
            Tokens::Words { words, skip } => {
                let (words, _) = words[skip + range.start * 4..skip + range.end * 4].as_chunks::<4>();
                for (into, word) in into.iter_mut().zip(words) {
                    *into = u32::from_le_bytes(*word);
                }
            }
        }
    }
}

/// One text: its tokens and the two parts of them.
#[derive(Debug)]
pub(super) struct Source {
    pub tokens: Tokens,
    pub training: Range<u64>,
    pub validation: Range<u64>,
    pub path: PathBuf,
}

/// The byte where the validation part of a text of `len` bytes starts.
pub(super) fn split(len: u64) -> u64 {
    len - len.div_ceil(10)
}

impl Source {
    /// A text whose bytes are its tokens.
    fn bytes(text: Text, path: PathBuf) -> Source {
        let len = text.len() as u64;
        let split = split(len);
        Source { tokens: Tokens::Bytes(text), training: 0..split, validation: split..len, path }
    }

    /// Training windows of every epoch: as many as fit at the largest offset, T - 1.
    fn training_windows(&self, context: u64) -> u64 {
        (self.training.end - self.training.start).saturating_sub(context) / context
    }

    fn validation_windows(&self, context: u64) -> u64 {
        (self.validation.end - self.validation.start).saturating_sub(1) / context
    }

    fn check(&self, context: u64) -> Result<(), DataError> {
        let too_short = |part, range: &Range<u64>, needed| {
            Err(DataError::TooShort {
                path: self.path.clone(),
                part,
                tokens: range.end - range.start,
                needed,
            })
        };
        if self.training_windows(context) == 0 {
            return too_short("training part", &self.training, 2 * context);
        }
        if self.validation_windows(context) == 0 {
            return too_short("validation part (the last tenth)", &self.validation, context + 1);
        }
        Ok(())
    }
}

/// Texts as numbered samples; cheap to keep, since texts are mapped.
#[derive(Debug)]
pub struct Corpus {
    sources: Vec<Source>,
    /// Training windows up to and including each source.
    training_ends: Vec<u64>,
    /// Validation windows up to and including each source.
    validation_ends: Vec<u64>,
    context: usize,
    vocabulary: usize,
    seed: [u8; 32],
}

impl Corpus {
    /// Files whose bytes are the tokens, in the order given, for windows of `context` predicted tokens; `seed` decides
    /// the order of the samples.
    ///
    /// # Errors
    /// No, missing, empty or too short files.
    pub fn open(paths: &[PathBuf], context: usize, seed: [u8; 32]) -> Result<Corpus, DataError> {
        let sources = paths
            .iter()
            .map(|path| Ok(Source::bytes(Text::open(path)?, path.clone())))
            .collect::<Result<_, DataError>>()?;
        Corpus::new(sources, 256, context, seed)
    }

    /// Files whose tokens a tokenizer makes: once, into files in `cache` that later runs map.
    ///
    /// # Errors
    /// No, missing, empty, too short or non-UTF-8 files, a tokenizer that fails on them, or a full disk.
    pub fn tokenised(
        paths: &[PathBuf],
        tokenizer: &Tokenizer,
        cache: &Path,
        context: usize,
        seed: [u8; 32],
    ) -> Result<Corpus, DataError> {
        let sources = paths
            .iter()
            .map(|path| token_cache::source(path, tokenizer, cache))
            .collect::<Result<_, DataError>>()?;
        Corpus::new(sources, tokenizer.vocabulary(), context, seed)
    }

    /// A text that is part of the binary.
    ///
    /// # Errors
    /// An empty or too short text.
    pub fn embedded(text: &'static [u8], context: usize, seed: [u8; 32]) -> Result<Corpus, DataError> {
        let path = PathBuf::from("(embedded text)");
        if text.is_empty() {
            return Err(DataError::Empty { path });
        }
        Corpus::new(vec![Source::bytes(Text::Static(text), path)], 256, context, seed)
    }

    pub(super) fn new(
        sources: Vec<Source>,
        vocabulary: usize,
        context: usize,
        seed: [u8; 32],
    ) -> Result<Corpus, DataError> {
        if !(1..=MAX_CONTEXT).contains(&context) {
            return Err(DataError::Context(context));
        }
        if sources.is_empty() {
            return Err(DataError::NoTexts);
        }
        let t = context as u64;
        let (mut training, mut validation) = (0, 0);
        let (mut training_ends, mut validation_ends) = (Vec::new(), Vec::new());
        for source in &sources {
            source.check(t)?;
            training += source.training_windows(t);
            validation += source.validation_windows(t);
            training_ends.push(training);
            validation_ends.push(validation);
        }
        Ok(Corpus { sources, training_ends, validation_ends, context, vocabulary, seed })
    }

    /// Training samples of an epoch; the same for every epoch, at least 1.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.training_ends.last().copied().unwrap_or(0)
    }

    /// Predicted tokens of a sample (T).
    #[must_use]
    pub fn context(&self) -> usize {
        self.context
    }

    /// Tokens are below this number: 256 for bytes.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The files, in order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.sources.iter().map(|source| source.path.as_path())
    }

    /// Fills `into` (T + 1 tokens) with sample number `global_index`, counted through all epochs.
    ///
    /// # Panics
    /// If `into` does not hold T + 1 tokens: that is the caller's own number.
    pub fn fill(&self, global_index: u64, into: &mut [u32]) {
        assert_eq!(into.len(), self.context + 1, "a sample has T + 1 tokens");
        let (epoch, place) = (global_index / self.samples(), global_index % self.samples());
        let order = Epoch::new(self.seed, epoch, self.samples(), self.context as u64);
        let (source, window) = self.locate(&self.training_ends, order.sample(place));
        let start = source.training.start + order.offset + window * self.context as u64;
        source.tokens.copy(start, into);
    }

    /// Validation samples.
    #[must_use]
    pub fn validation_windows(&self) -> u64 {
        self.validation_ends.last().copied().unwrap_or(0)
    }

    /// Fills `into` (T + 1 tokens) with validation sample `index`.
    ///
    /// # Panics
    /// If `index` is not below [`Corpus::validation_windows`] or `into` does not hold T + 1 tokens.
    pub fn fill_validation(&self, index: u64, into: &mut [u32]) {
        assert_eq!(into.len(), self.context + 1, "a sample has T + 1 tokens");
        assert!(index < self.validation_windows(), "validation sample beyond the last");
        let (source, window) = self.locate(&self.validation_ends, index);
        source.tokens.copy(source.validation.start + window * self.context as u64, into);
    }

    /// The source of a window, and the window's number there.
    fn locate(&self, ends: &[u64], window: u64) -> (&Source, u64) {
        let index = ends.partition_point(|end| *end <= window);
        let before = if index == 0 { 0 } else { ends[index - 1] };
        (&self.sources[index], window - before)
    }
}
