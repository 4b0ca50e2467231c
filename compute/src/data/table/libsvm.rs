//! LIBSVM: lines of `label index:value ...`, indices from 1 upwards, zeros left out; `#` starts a comment.

use super::error::{LineError, TableError};
use super::line::{at, feature, label, lines, quote};
use super::parts::{Part, Sparse};
use super::{MAX_INPUTS, MAX_VALUES};

/// Reads a whole file.
pub(super) fn read(text: &[u8]) -> Result<Part, TableError> {
    let (mut sparse, mut labels) = (Sparse::default(), Vec::new());
    for (line_number, line) in lines(text) {
        let at = at(line_number);
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let Some(first) = words.next() else { continue };
        labels.push(label(first).map_err(&at)?);
        let mut last = 0;
        for word in words {
            let (index, value) = entry(word, last).map_err(&at)?;
            sparse.entries.push((index, value));
            last = index;
        }
        sparse.end_row();
        if sparse.entries.len() > MAX_VALUES {
            return Err(TableError::TooLarge { maximum: MAX_VALUES });
        }
    }
    Ok(Part::sparse(sparse, labels))
}

/// One `index:value`, whose index has to be above `last`.
fn entry(word: &[u8], last: u32) -> Result<(u32, f32), LineError> {
    let not_an_entry = || LineError::Entry { text: quote(word) };
    let colon = word.iter().position(|byte| *byte == b':').ok_or_else(not_an_entry)?;
    let index: u64 = std::str::from_utf8(&word[..colon])
        .ok()
        .and_then(|index| index.parse().ok())
        .ok_or_else(not_an_entry)?;
    match u32::try_from(index) {
        Ok(index) if index > last && index as usize <= MAX_INPUTS => {
            Ok((index, feature(&word[colon + 1..])?))
        }
        _ => Err(LineError::Index { index, maximum: MAX_INPUTS }),
    }
}
