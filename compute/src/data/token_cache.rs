//! A text's tokens as a mapped file, made once and checked before every use.
//!
//! Layout, little-endian: magic (8), tokens of the training part u64, of the validation part u64, BLAKE3 of the tokens
//! (32), padding to 64; then the tokens as u32. The name is a hash of the text's and the tokenizer's content, so another
//! text or tokenizer makes another file, and a damaged file is made again.

use super::DataError;
use super::corpus::{Source, Tokens, split};
use super::text::{Text, io_error};
use super::tokenizer::Tokenizer;
use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"drfttok1";
const HEADER: usize = 64;

/// Text that is tokenised at once, at least; a piece grows to the next place where cutting does no harm.
const PIECE: usize = 64 << 10;
/// Where no such place comes, a piece is cut here.
const LONGEST_PIECE: usize = 1 << 20;

/// The tokens of a text file, from the cache in `folder` or put there now.
pub(super) fn source(path: &Path, tokenizer: &Tokenizer, folder: &Path) -> Result<Source, DataError> {
    let text = Text::open(path)?;
    let mut hasher = blake3::Hasher::new_derive_key("driftless token cache 1");
    hasher.update(&tokenizer.hash());
    hasher.update(blake3::hash(&text).as_bytes());
    let cache = folder.join(format!("{}.tokens", hasher.finalize().to_hex()));
    if let Some(source) = open(&cache, path)? {
        return Ok(source);
    }
    write(&text, path, tokenizer, folder, &cache)?;
    let lost = || std::io::Error::other("the file just written does not read back");
    open(&cache, path)?.ok_or_else(|| io_error(&cache, lost()))
}

/// Maps a cache file; `None` if there is none or it is damaged.
fn open(cache: &Path, path: &Path) -> Result<Option<Source>, DataError> {
    let text = match Text::open(cache) {
        Ok(text) => text,
        Err(DataError::Missing { .. } | DataError::Empty { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some((header, tokens)) = text.split_first_chunk::<HEADER>() else { return Ok(None) };
    let number = |at: usize| header[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let (training, validation) = (number(8), number(16));
    let bytes = training.checked_add(validation).and_then(|count| count.checked_mul(4));
    let intact = header[..8] == MAGIC
        && bytes == Some(tokens.len() as u64)
        && blake3::hash(tokens).as_bytes()[..] == header[24..56];
    Ok(intact.then(|| Source {
        tokens: Tokens::Words { words: text, skip: HEADER },
        training: 0..training,
        validation: training..training + validation,
        path: path.into(),
    }))
}

/// Tokenises piece by piece into a temporary file, then gives it its name.
fn write(
    text: &Text,
    path: &Path,
    tokenizer: &Tokenizer,
    folder: &Path,
    cache: &Path,
) -> Result<(), DataError> {
    fs::create_dir_all(folder).map_err(|error| io_error(folder, error))?;
    let temporary = Temporary(cache.with_extension(format!("tmp-{}", std::process::id())));
    let failed = |error| io_error(&temporary.0, error);
    let mut file = BufWriter::new(File::create(&temporary.0).map_err(failed)?);
    file.write_all(&[0; HEADER]).map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    let split = boundary(text, split(text.len() as u64) as usize);
    let mut counts = [0_u64; 2];
    for (count, (from, to)) in counts.iter_mut().zip([(0, split), (split, text.len())]) {
        let mut start = from;
        while start < to {
            let end = piece_end(&text[..to], start);
            let piece = std::str::from_utf8(&text[start..end]).map_err(|error| DataError::NotUtf8 {
                path: path.into(),
                offset: (start + error.valid_up_to()) as u64,
            })?;
            let tokens: Vec<u8> = tokenizer.encode(piece)?.into_iter().flat_map(u32::to_le_bytes).collect();
            hasher.update(&tokens);
            file.write_all(&tokens).map_err(failed)?;
            *count += tokens.len() as u64 / 4;
            start = end;
        }
    }
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&counts[0].to_le_bytes());
    header[16..24].copy_from_slice(&counts[1].to_le_bytes());
    header[24..56].copy_from_slice(hasher.finalize().as_bytes());
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    file.write_all(&header).map_err(failed)?;
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    fs::rename(&temporary.0, cache).map_err(failed)
}

/// A file that goes away unless it was renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename there is nothing to remove, and a failure to clean up is no reason to stop.
        let _ = fs::remove_file(&self.0);
    }
}

/// The first character boundary at or after `at`.
fn boundary(text: &[u8], mut at: usize) -> usize {
    while at < text.len() && text[at] & 0xc0 == 0x80 {
        at += 1;
    }
    at
}

/// Where the piece that starts at `start` ends: after a line's end that no white space follows, so that no tokenizer
/// would have joined what the cut parts.
fn piece_end(text: &[u8], start: usize) -> usize {
    let limit = text.len().min(start + LONGEST_PIECE);
    let mut at = start + PIECE;
    while at < limit {
        if text[at - 1] == b'\n' && !text[at].is_ascii_whitespace() {
            return boundary(text, at);
        }
        at += 1;
    }
    boundary(text, limit)
}
