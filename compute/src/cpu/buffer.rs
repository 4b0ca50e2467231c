//! A flat f32 buffer whose first value lies on a cache line, so that sixteen-lane loads never straddle two.

use std::ops::{Deref, DerefMut};

/// Values of one cache line, and its bytes.
const LINE: usize = 16;
const LINE_BYTES: usize = 64;

/// A zero-initialised slice of f32, 64-byte aligned. Large ones are the operating system's zero pages: what is never
/// written takes no memory.
pub(crate) struct Buffer {
    /// Never grows, so its first value stays where it is.
    values: Vec<f32>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Buffer {
        let values = vec![0.0; len + LINE - 1];
        // `align_offset` may decline; an unaligned buffer is only slower.
        let start = Some(values.as_ptr().align_offset(LINE_BYTES)).filter(|start| *start < LINE);
        Buffer { values, start: start.unwrap_or(0), len }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zero_aligned_and_of_their_length() {
        for len in [0, 1, 15, 16, 17, 100_000] {
            let buffer = Buffer::zeros(len);
            assert_eq!(buffer.len(), len);
            assert!(
                buffer.as_ptr().addr().is_multiple_of(LINE_BYTES) && buffer.iter().all(|value| *value == 0.0)
            );
        }
    }
}
