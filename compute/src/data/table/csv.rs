//! CSV: lines of numbers with commas between them, the label last; the first line may name the columns.

use super::error::{LineError, TableError};
use super::line::{at, feature, label, lines, number};
use super::parts::Part;
use super::{MAX_INPUTS, MAX_VALUES};

/// Fields without blanks and quotes around them.
fn fields(line: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    line.split(|byte| *byte == b',').map(|field| {
        let field = field.trim_ascii();
        field.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(field).trim_ascii()
    })
}

/// Reads a whole file. Its first line is a header if its last field is not a number.
pub(super) fn read(text: &[u8]) -> Result<Part, TableError> {
    let mut lines = lines(text).peekable();
    let first = lines.peek().map_or(&b""[..], |(_, line)| line);
    let expected = fields(first).count();
    if fields(first).next_back().is_none_or(|last| number(last).is_none()) {
        lines.next();
    }
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    for (line_number, line) in lines {
        let at = at(line_number);
        let found = fields(line).count();
        if expected < 2 {
            return Err(at(LineError::SingleField));
        }
        if found != expected {
            return Err(at(LineError::Fields { found, expected }));
        }
        if expected - 1 > MAX_INPUTS {
            return Err(at(LineError::Features { maximum: MAX_INPUTS }));
        }
        for field in fields(line).take(expected - 1) {
            features.push(feature(field).map_err(&at)?);
        }
        labels.push(label(fields(line).next_back().unwrap_or_default()).map_err(&at)?);
        if features.len() > MAX_VALUES {
            return Err(TableError::TooLarge { maximum: MAX_VALUES });
        }
    }
    Ok(Part::dense_csv(expected.saturating_sub(1), features, labels))
}
