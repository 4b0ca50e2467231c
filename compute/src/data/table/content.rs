//! A file's content, decompressed where it is compressed, and its format.

use super::error::TableError;
use super::idx;
use crate::data::DataError;
use crate::data::text::Text;
use flate2::read::MultiGzDecoder;
use std::io::Read;
use std::ops::Deref;
use std::path::Path;

/// The most bytes that a compressed file may become.
const MAX_INFLATED: u64 = 1 << 30;

/// How gzip files start.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The bytes of a file.
pub(super) enum Content {
    Plain(Text),
    Inflated(Vec<u8>),
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Content::Plain(text) => text,
            Content::Inflated(bytes) => bytes,
        }
    }
}

impl Content {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> Result<Content, DataError> {
        let text = Text::open(path)?;
        if !text.starts_with(&GZIP) {
            return Ok(Content::Plain(text));
        }
        let bytes = inflate(&text, MAX_INFLATED).map_err(|error| DataError::table(path, error))?;
        if bytes.is_empty() {
            Err(DataError::Empty { path: path.into() })
        } else {
            Ok(Content::Inflated(bytes))
        }
    }
}

/// Decompresses at most `maximum` bytes.
fn inflate(compressed: &[u8], maximum: u64) -> Result<Vec<u8>, TableError> {
    let mut bytes = Vec::new();
    let mut decoder = MultiGzDecoder::new(compressed).take(maximum + 1);
    decoder.read_to_end(&mut bytes).map_err(TableError::Gzip)?;
    if bytes.len() as u64 > maximum { Err(TableError::TooLong { maximum }) } else { Ok(bytes) }
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Libsvm,
    Idx,
}

/// Recognises a format: by its first bytes, or by the first comma or colon of a text.
pub(super) fn recognise(content: &[u8]) -> Result<Format, TableError> {
    if idx::is_idx(content) {
        return Ok(Format::Idx);
    }
    match content.iter().find(|byte| matches!(byte, b',' | b':')) {
        Some(b',') => Ok(Format::Csv),
        Some(_) => Ok(Format::Libsvm),
        None => Err(TableError::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    #[test]
    fn what_becomes_too_long_is_refused() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&[b'1'; 1000]).unwrap();
        let compressed = encoder.finish().unwrap();
        assert_eq!(inflate(&compressed, 1000).unwrap().len(), 1000);
        assert!(matches!(inflate(&compressed, 999), Err(TableError::TooLong { maximum: 999 })));
        assert!(matches!(inflate(&compressed[..20], 1000), Err(TableError::Gzip(_))));
    }
}
