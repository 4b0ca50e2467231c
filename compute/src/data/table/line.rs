//! Lines of a text, and the numbers in them.

use super::MAX_CLASSES;
use super::error::{LineError, TableError};

/// Characters of a file that an error quotes.
const QUOTED: usize = 24;

/// The lines that are not blank, with their numbers from 1.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let lines = text.split(|byte| *byte == b'\n').zip(1..);
    lines.map(|(line, number)| (number, line.trim_ascii())).filter(|(_, line)| !line.is_empty())
}

/// Names the line in an error.
pub(super) fn at(line: u64) -> impl Fn(LineError) -> TableError {
    move |error| TableError::Line { line, error }
}

/// The beginning of what stands in the file.
pub(super) fn quote(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * QUOTED)]);
    text.chars().take(QUOTED).collect()
}

/// A finite number.
pub(super) fn number(text: &[u8]) -> Option<f32> {
    let number: f32 = std::str::from_utf8(text).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}

/// A finite number, or why not.
pub(super) fn feature(text: &[u8]) -> Result<f32, LineError> {
    number(text).ok_or_else(|| LineError::Number { text: quote(text) })
}

/// A label: an integer, also written as 1.0 or +1.
pub(super) fn label(text: &[u8]) -> Result<i32, LineError> {
    // Integers up to the largest class are exact as f32.
    let label =
        number(text).filter(|label| label.fract() == 0.0 && (-1.0..MAX_CLASSES as f32).contains(label));
    label.map(|label| label as i32).ok_or_else(|| LineError::Label { text: quote(text) })
}
