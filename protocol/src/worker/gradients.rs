//! Contributions that are gradients at the outer parameters (EF21): a mean over batches, and momentum.
//!
//! The momentum moves when the certificate comes, as a residual does. What of the gradient was not sent is not kept
//! here: it is the difference to what the others know, which is replicated.

use std::ops::Range;

use super::{Engine, EngineFailure, Samples};
use crate::manifest::Manifest;
use crate::method::{Ef21, Method, ef21};
use crate::state::Array;

/// The gradient at the present outer parameters, as far as it is computed.
#[derive(Debug)]
pub(super) struct Gradients {
    method: Ef21,
    /// Samples of a batch.
    batch: usize,
    /// Sum over batches, in the engine's order.
    sum: Vec<f32>,
    batches: u32,
    one: Vec<f32>,
    /// The momentum (v) as of the last counted contribution, in the fragment's order, if it is known.
    counted: Option<Vec<f32>>,
    /// What it will be, once the contribution that was sent last is counted.
    sent: Option<Vec<f32>>,
}

impl Gradients {
    /// None where the method's contributions are differences of parameters.
    pub fn of(manifest: &Manifest) -> Option<Gradients> {
        let Method::Ef21(method) = &manifest.method else { return None };
        let zeros = vec![0.0; manifest.model.parameters() as usize];
        Some(Gradients {
            method: method.clone(),
            batch: manifest.training.batch as usize,
            sum: zeros.clone(),
            batches: 0,
            one: zeros,
            counted: None,
            sent: None,
        })
    }

    /// Adds the gradients of so many batches; returns their losses.
    pub fn add(
        &mut self,
        engine: &mut impl Engine,
        samples: &Samples,
        batches: usize,
    ) -> Result<Vec<f32>, EngineFailure> {
        let mut losses = Vec::with_capacity(batches);
        for index in 0..batches {
            let batch = match samples {
                Samples::Leased(positions) => {
                    let part = positions.chunks(self.batch).nth(index).unwrap_or_default();
                    Samples::Leased(part.to_vec())
                }
                Samples::Own => Samples::Own,
            };
            losses.push(engine.gradient(&batch, &mut self.one)?);
            self.sum.iter_mut().zip(&self.one).for_each(|(sum, one)| *sum += one);
            self.batches += 1;
        }
        Ok(losses)
    }

    /// The encoding of the momentum with the gradient in it, against what the others know.
    pub fn encode(
        &mut self,
        ranges: &[Range<usize>],
        estimate: Option<Array>,
        noise: u64,
    ) -> Result<Vec<u8>, EngineFailure> {
        if self.batches == 0 {
            return Err(EngineFailure::Other("no gradient was computed".into()));
        }
        let batches = self.batches as f32;
        let sums = ranges.iter().flat_map(|range| &self.sum[range.clone()]);
        let gradient: Vec<f32> = sums.map(|sum| sum / batches).collect();
        let estimate = estimate.map(|estimate| estimate.to_vec());
        let v = match self.counted.as_ref().or(estimate.as_ref()).filter(|_| self.method.eta < 1.0) {
            None => gradient,
            // Where v is not known any more, what the others know of it is nearest.
            Some(before) => {
                let mut v = before.clone();
                ef21::momentum(self.method.eta, &mut v, &gradient);
                v
            }
        };
        let encoded = ef21::encode(self.method.codec, &v, estimate.as_deref(), noise);
        let bytes = encoded.map_err(|error| EngineFailure::NotFinite(format!("the gradient ({error})")))?;
        self.sent = (self.method.eta < 1.0).then_some(v);
        Ok(bytes)
    }

    /// The contribution that was sent last is counted, and the outer parameters are others now.
    pub fn counted(&mut self) {
        self.counted = self.sent.take().or(self.counted.take());
        self.drop_work(false);
    }

    /// The outer parameters are others: what was computed at those before is of no use. `forget` says that v is
    /// not that of the last counted contribution either.
    pub fn drop_work(&mut self, forget: bool) {
        self.sum.fill(0.0);
        (self.batches, self.sent) = (0, None);
        if forget {
            self.counted = None;
        }
    }

    /// Values that a checkpoint keeps: the momentum, and whether it is known.
    pub fn saved(&self) -> Vec<f32> {
        match &self.counted {
            _ if self.method.eta >= 1.0 => Vec::new(),
            Some(v) => v.iter().copied().chain([1.0]).collect(),
            None => vec![0.0; self.saved_len()],
        }
    }

    /// How many these are.
    pub fn saved_len(&self) -> usize {
        if self.method.eta < 1.0 { self.sum.len() + 1 } else { 0 }
    }

    /// Takes them up again.
    pub fn restore(&mut self, mut values: Vec<f32>) {
        self.drop_work(true);
        let known = values.pop();
        self.counted = known.filter(|known| *known == 1.0).map(|_| values);
    }
}
