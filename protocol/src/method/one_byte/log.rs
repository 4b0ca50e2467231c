//! A contribution: a member's bytes of those steps of a batch in which they were listed.
//!
//! Layout: a bit for each step of the batch, the first in the lowest bit of the first byte, 1 where the member was
//! listed; then the bytes of its samples, step by step.

/// A member's bytes of a batch of steps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// The steps, ascending.
    steps: Vec<u32>,
    samples: usize,
    bytes: Vec<u8>,
}

/// Why bytes are no log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LogError {
    /// Fewer bytes than the bits of the steps.
    #[error("too short to say which steps it is of")]
    Short,
    /// A step beyond the batch's.
    #[error("a step is named that the batch has not")]
    Steps,
    /// Not the samples of the steps that are named.
    #[error("{found} bytes of samples, the steps that are named have {expected}")]
    Length {
        /// Bytes that there should be.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
}

impl Log {
    /// Nothing yet.
    pub fn new(samples: u16) -> Log {
        Log { steps: Vec::new(), samples: usize::from(samples), bytes: Vec::new() }
    }

    /// Adds the samples of a later step.
    pub fn push(&mut self, step: u32, bytes: &[u8]) {
        debug_assert!(bytes.len() == self.samples && self.steps.last().is_none_or(|last| *last < step));
        self.steps.push(step);
        self.bytes.extend_from_slice(bytes);
    }

    /// Steps in which the member was listed.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it was listed nowhere.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The last step in which it was listed.
    pub fn last(&self) -> Option<u32> {
        self.steps.last().copied()
    }

    /// The bytes of its samples in a step, if it was listed.
    pub fn at(&self, step: u32) -> Option<&[u8]> {
        let index = self.steps.binary_search(&step).ok()?;
        self.bytes.get(index * self.samples..(index + 1) * self.samples)
    }

    /// As a blob of a batch of `steps`.
    pub fn encode(&self, steps: u32) -> Vec<u8> {
        let mut out = vec![0; steps.div_ceil(8) as usize];
        self.steps.iter().for_each(|step| out[*step as usize / 8] |= 1 << (step % 8));
        out.extend_from_slice(&self.bytes);
        out
    }

    /// From a blob of a batch of `steps`, with so many samples each.
    pub fn decode(bytes: &[u8], steps: u32, samples: u16) -> Result<Log, LogError> {
        let bits = steps.div_ceil(8) as usize;
        let (listed, bytes) = bytes.split_at_checked(bits).ok_or(LogError::Short)?;
        let listed = |step: &u32| listed[*step as usize / 8] & (1 << (step % 8)) != 0;
        if (steps..bits as u32 * 8).any(|step| listed(&step)) {
            return Err(LogError::Steps);
        }
        let steps: Vec<u32> = (0..steps).filter(listed).collect();
        let expected = steps.len() * usize::from(samples);
        if bytes.len() != expected {
            return Err(LogError::Length { expected, found: bytes.len() });
        }
        Ok(Log { steps, samples: usize::from(samples), bytes: bytes.to_vec() })
    }
}
