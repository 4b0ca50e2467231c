//! The local side of a method: what a session orders, and how any engine carries it out.
//!
//! Compute is I/O to the core: a session orders [`Work`] with an output and hears of
//! [`WorkDone`] with an input. [`Worker`] carries the orders out on whatever implements
//! [`Engine`], on a thread of its own in the node and inline in the simulator, so that both run
//! the same method code.

mod gradients;

use std::collections::VecDeque;
use std::ops::Range;

use crate::batch::Step;
use crate::block::Slot;
use crate::charter::Charter;
use crate::codec::{Codec, CodecError};
use crate::identity::PeerKey;
use crate::layout::LayoutError;
use crate::method::one_byte::{Measurement, Opening};
use crate::method::{Method, Residual, streaming_diloco};
use crate::state::Array;

use gradients::Gradients;
use speculation::Speculation;

/// What a session needs of a training engine. Parameters are one flat buffer of f32.
pub trait Engine {
    /// Name, offset and length of every tensor in the flat buffer.
    fn tensors(&self) -> Vec<(String, usize, usize)>;
    /// One inner step per entry of `progress` (share of the token budget, 0 to 1, which decides
    /// the learning rate). Returns the loss of each step in nats per token. After an error the
    /// parameters are those of the last good step.
    fn train(&mut self, samples: &Samples, progress: &[f32]) -> Result<Vec<f32>, EngineFailure>;
    /// The mean loss of so many samples at the present parameters, by forward passes alone.
    fn loss(&mut self, samples: &Samples) -> Result<f32, EngineFailure>;
    /// The mean loss of one batch of `samples` at the present parameters, in nats per token, and its gradient
    /// in `into`, which is as long as the parameters and laid out as they are. Nothing moves.
    fn gradient(&mut self, samples: &Samples, into: &mut [f32]) -> Result<f32, EngineFailure>;
    /// Copies a range of the parameters out.
    fn read(&mut self, range: Range<usize>, into: &mut [f32]) -> Result<(), EngineFailure>;
    /// Replaces a range of the parameters.
    fn write(&mut self, range: Range<usize>, values: &[f32]) -> Result<(), EngineFailure>;
    /// How the present parameters do, over at most `windows` validation windows, or rows.
    fn evaluate(&mut self, windows: Option<u64>) -> Result<Evaluation, EngineFailure>;
    /// Parameters and optimizer as bytes.
    fn save(&mut self) -> Result<Vec<u8>, EngineFailure>;
    /// Restores what `save` returned.
    fn load(&mut self, bytes: &[u8]) -> Result<(), EngineFailure>;
}

/// Why an engine could not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineFailure {
    /// The loss, a gradient or a parameter is NaN or infinite.
    #[error("{0} is not finite")]
    NotFinite(String),
    /// Anything else: data, device, memory.
    #[error("{0}")]
    Other(String),
}

/// How parameters do on what they were not trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Mean loss in nats per predicted token, or per row.
    pub loss: f64,
    /// Share of the rows whose class is told, where there are classes.
    pub accuracy: Option<f64>,
}

/// Which samples to train on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Samples {
    /// Positions of the session's sample order, `batch` per step.
    Leased(Vec<u64>),
    /// Private data: the engine walks its own order.
    Own,
}

/// An order to the engine.
#[derive(Debug, Clone)]
pub enum Work {
    /// Inner steps, one per entry of `progress`; where theta stays at the outer parameters, the gradients of as
    /// many batches are added to those before.
    Train {
        /// What to train on.
        samples: Samples,
        /// Share of the token budget at each step.
        progress: Vec<f32>,
    },
    /// Take the pseudo-gradient of a fragment against `outer` and encode it; or the gradient, against what
    /// the others know of it.
    Encode {
        /// For which slot.
        slot: Slot,
        /// The fragment's outer parameters.
        outer: Array,
        /// What is known of this peer's gradient, where the method keeps that and a contribution was counted.
        estimate: Option<Array>,
        /// What is random in the encoding follows from it.
        noise: u64,
    },
    /// The fragment's last contribution is counted: theta <- alpha theta + (1 - alpha) outer, and the
    /// residual is what that contribution left out.
    Merge {
        /// The fragment.
        fragment: usize,
        /// Its outer parameters.
        outer: Array,
        /// Share of the local parameters kept.
        alpha: f32,
    },
    /// theta += now - base: carries uncounted work over to newer outer parameters.
    Rebase {
        /// The fragment.
        fragment: usize,
        /// Outer parameters that theta is relative to.
        base: Array,
        /// Outer parameters that it shall be relative to.
        now: Array,
    },
    /// theta <- outer: a slot that starts at parameters of its own begins.
    Begin {
        /// The fragment.
        fragment: usize,
        /// Its outer parameters.
        outer: Array,
    },
    /// theta -= what was sent for a slot of the method's window that closed without it.
    PutBack {
        /// The slot.
        slot: Slot,
    },
    /// theta <- outer, everywhere; the inner optimizer stays.
    Reset {
        /// Outer parameters by fragment.
        outer: Vec<Array>,
        /// Nor is anything left of the residual: a contribution was counted of which it knows nothing.
        forget: bool,
    },
    /// Apply these lists to theta, then measure this step's samples at it.
    Measure {
        /// What the batch of steps opened with.
        opening: Opening,
        /// The step.
        step: u32,
        /// Whose samples.
        member: PeerKey,
        /// Lists of the steps that theta has not behind it yet.
        lists: Vec<Step>,
        /// What to measure on.
        samples: Samples,
    },
    /// Validation loss of the outer parameters; theta is untouched.
    Evaluate {
        /// Outer parameters by fragment.
        outer: Vec<Array>,
    },
    /// Save theta, the inner optimizer and the residual.
    Save,
    /// Restore what `Save` returned.
    Restore(Vec<u8>),
}

/// What came of an order.
#[derive(Debug, Clone)]
pub enum WorkDone {
    /// `Train`: the loss of each step.
    Trained(Vec<f32>),
    /// `Encode`: the payload.
    Encoded {
        /// The slot.
        slot: Slot,
        /// The codec's payload.
        bytes: Vec<u8>,
    },
    /// `Measure`.
    Measured {
        /// The step.
        step: u32,
        /// Whose samples.
        member: PeerKey,
        /// What was found.
        found: Measurement,
    },
    /// `Merge`, `Rebase`, `Begin`, `PutBack`, `Reset`, `Restore`.
    Applied,
    /// `Evaluate`.
    Evaluated(Evaluation),
    /// `Save`.
    Saved(Vec<u8>),
    /// It failed; theta is as it was, or as after the last good step.
    Failed(EngineFailure),
}

/// Carries out orders on an engine.
pub struct Worker<E> {
    engine: E,
    method: Method,
    /// Each fragment as ranges of the engine's buffer, in the fragment's order.
    ranges: Vec<Vec<Range<usize>>>,
    /// Of each fragment, where the method has error feedback.
    residuals: Vec<Residual>,
    /// What was sent last, where it may be put back.
    sent: VecDeque<(Slot, Vec<u8>)>,
    /// Where slots are batches of steps: theta, which the engine leaves to measure.
    speculation: Speculation,
    /// Where contributions are gradients at the outer parameters.
    gradients: Option<Gradients>,
}

impl<E: Engine> Worker<E> {
    /// Connects an engine to a session's layout.
    pub fn new(engine: E, charter: &Charter) -> Result<Worker<E>, LayoutError> {
        let tensors = engine.tensors();
        let tensors: Vec<(&str, usize, usize)> =
            tensors.iter().map(|(name, offset, len)| (name.as_str(), *offset, *len)).collect();
        let ranges = charter.layout.locate(&tensors)?;
        let mut worker = Worker {
            engine,
            method: charter.manifest.method.clone(),
            ranges,
            residuals: Vec::new(),
            sent: VecDeque::new(),
            speculation: Speculation::default(),
            gradients: Gradients::of(&charter.manifest),
        };
        worker.forget_residuals();
        Ok(worker)
    }

    /// The engine.
    pub fn engine(&mut self) -> &mut E {
        &mut self.engine
    }

    /// Carries out one order.
    pub fn execute(&mut self, work: Work) -> WorkDone {
        self.try_execute(work).unwrap_or_else(WorkDone::Failed)
    }

    fn try_execute(&mut self, work: Work) -> Result<WorkDone, EngineFailure> {
        match work {
            Work::Train { samples, progress } => {
                let losses = match &mut self.gradients {
                    Some(gradients) => gradients.add(&mut self.engine, &samples, progress.len())?,
                    None => self.engine.train(&samples, &progress)?,
                };
                Ok(WorkDone::Trained(losses))
            }
            Work::Encode { slot, outer, estimate, noise } => {
                let fragment = usize::from(slot.stream);
                let bytes = match &mut self.gradients {
                    Some(gradients) => gradients.encode(&self.ranges[fragment], estimate, noise)?,
                    None => self.encode(fragment, &outer, noise)?,
                };
                self.keep(slot, &bytes);
                Ok(WorkDone::Encoded { slot, bytes })
            }
            Work::Merge { fragment, outer, alpha } => {
                let mut theta = self.read(fragment)?;
                streaming_diloco::merge(&mut theta, &outer.to_vec(), alpha);
                self.residuals.get_mut(fragment).into_iter().for_each(Residual::counted);
                self.gradients.iter_mut().for_each(Gradients::counted);
                self.write(fragment, &theta)
            }
            Work::Rebase { fragment, base, now } => {
                let mut theta = self.read(fragment)?;
                streaming_diloco::rebase(&mut theta, &now.to_vec(), &base.to_vec());
                self.write(fragment, &theta)
            }
            Work::Begin { fragment, outer } => self.write(fragment, &outer.to_vec()),
            Work::PutBack { slot } => self.put_back(slot),
            Work::Reset { outer, forget } => {
                if forget {
                    self.forget_residuals();
                }
                self.begin_speculation(&outer);
                self.gradients.iter_mut().for_each(|gradients| gradients.drop_work(forget));
                self.write_all(&outer)
            }
            Work::Measure { opening, step, member, lists, samples } => {
                self.apply_lists(&opening, &lists);
                self.measure(&opening, step, member, &samples)
            }
            Work::Evaluate { outer } => self.evaluate(&outer),
            Work::Save => Ok(WorkDone::Saved(self.save()?)),
            Work::Restore(bytes) => self.restore(&bytes),
        }
    }

    fn codec(&self) -> Result<Codec, EngineFailure> {
        self.method.codec().ok_or_else(|| EngineFailure::Other("this method sends no differences".into()))
    }

    fn lengths(&self) -> impl Iterator<Item = usize> {
        self.ranges.iter().map(|ranges| ranges.iter().map(Range::len).sum())
    }

    fn forget_residuals(&mut self) {
        self.residuals.clear();
        if self.method.feedback().is_some() {
            self.residuals = self.lengths().map(Residual::new).collect();
        }
    }

    /// What the engine saves, and the residuals behind it. Of a contribution that is not decided nothing is
    /// saved: nobody who starts again knows what it left.
    fn save(&mut self) -> Result<Vec<u8>, EngineFailure> {
        if self.method.one_byte().is_some() {
            // Nothing here is this peer's own.
            return Ok(Vec::new());
        }
        let mut bytes = self.engine.save()?;
        let residuals = self.residuals.iter().flat_map(Residual::values);
        bytes.extend(residuals.flat_map(|value| value.to_le_bytes()));
        let momentum = self.gradients.iter().flat_map(Gradients::saved);
        bytes.extend(momentum.flat_map(|value| value.to_le_bytes()));
        Ok(bytes)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<WorkDone, EngineFailure> {
        if self.method.one_byte().is_some() {
            return Ok(WorkDone::Applied);
        }
        let other = |reason: &str| EngineFailure::Other(reason.into());
        let lengths: Vec<usize> = self.lengths().take(self.residuals.len()).collect();
        let momentum = self.gradients.as_ref().map_or(0, Gradients::saved_len);
        let values = lengths.iter().sum::<usize>() + momentum;
        let at = bytes.len().checked_sub(4 * values).ok_or_else(|| other("it is too short"))?;
        let (engine, residuals) = bytes.split_at(at);
        let value = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
        let mut values: Vec<f32> = residuals.as_chunks().0.iter().map(value).collect();
        if values.iter().any(|value| !value.is_finite()) {
            return Err(other("its residual is not finite"));
        }
        self.engine.load(engine)?;
        self.residuals.clear();
        for length in lengths {
            let rest = values.split_off(length);
            self.residuals.push(Residual::kept(std::mem::replace(&mut values, rest)));
        }
        self.gradients.iter_mut().for_each(|gradients| gradients.restore(std::mem::take(&mut values)));
        Ok(WorkDone::Applied)
    }

    fn encode(&mut self, fragment: usize, outer: &Array, noise: u64) -> Result<Vec<u8>, EngineFailure> {
        let mut delta = outer.to_vec();
        let theta = self.read(fragment)?;
        streaming_diloco::subtract(&mut delta, &theta);
        drop(theta);
        let codec = self.codec()?;
        let mut bytes = Vec::with_capacity(codec.encoded_len(delta.len()) as usize);
        let encoded = match (self.method.feedback(), self.residuals.get_mut(fragment)) {
            (Some(beta), Some(residual)) => residual.encode(beta, delta, codec, noise, &mut bytes),
            _ => codec.encode(&delta, noise, &mut bytes),
        };
        encoded.map_err(|error: CodecError| {
            EngineFailure::NotFinite(format!("the update of fragment {fragment} ({error})"))
        })?;
        Ok(bytes)
    }

    /// What is sent stays at hand while its slot may close without it: until the method's window closed, and
    /// the one slot more that is encoded before this peer hears of it.
    fn keep(&mut self, slot: Slot, bytes: &[u8]) {
        let window = self.method.window() as usize;
        if window > 1 {
            self.sent.retain(|(sent, _)| *sent != slot);
            self.sent.push_back((slot, bytes.to_vec()));
            self.sent.drain(..self.sent.len().saturating_sub(window + 1));
        }
    }

    fn put_back(&mut self, slot: Slot) -> Result<WorkDone, EngineFailure> {
        let other = |reason: &str| EngineFailure::Other(reason.into());
        let sent = self.sent.iter().find(|(sent, _)| *sent == slot);
        let (_, bytes) = sent.ok_or_else(|| other("what was sent is not known any more"))?;
        let (bytes, fragment) = (bytes.clone(), usize::from(slot.stream));
        let mut theta = self.read(fragment)?;
        let added = self.codec()?.decode_add(&bytes, -1.0, &mut theta);
        added.map_err(|error| other(&format!("what was sent does not decode: {error}")))?;
        self.write(fragment, &theta)
    }

    fn evaluate(&mut self, outer: &[Array]) -> Result<WorkDone, EngineFailure> {
        let fragments = 0..self.ranges.len();
        let theta = fragments.map(|fragment| self.read(fragment)).collect::<Result<Vec<_>, _>>()?;
        self.write_all(outer)?;
        let evaluation = self.engine.evaluate(None);
        for (fragment, values) in theta.iter().enumerate() {
            self.write(fragment, values)?;
        }
        Ok(WorkDone::Evaluated(evaluation?))
    }

    fn read(&mut self, fragment: usize) -> Result<Vec<f32>, EngineFailure> {
        let ranges = &self.ranges[fragment];
        let mut values = vec![0.0; ranges.iter().map(Range::len).sum()];
        let mut at = 0;
        for range in ranges {
            self.engine.read(range.clone(), &mut values[at..at + range.len()])?;
            at += range.len();
        }
        Ok(values)
    }

    fn write(&mut self, fragment: usize, values: &[f32]) -> Result<WorkDone, EngineFailure> {
        let mut at = 0;
        for range in &self.ranges[fragment] {
            self.engine.write(range.clone(), &values[at..at + range.len()])?;
            at += range.len();
        }
        Ok(WorkDone::Applied)
    }

    fn write_all(&mut self, outer: &[Array]) -> Result<WorkDone, EngineFailure> {
        for (fragment, array) in outer.iter().enumerate() {
            self.write(fragment, &array.to_vec())?;
        }
        Ok(WorkDone::Applied)
    }
}

mod speculation;
#[cfg(test)]
mod tests;
