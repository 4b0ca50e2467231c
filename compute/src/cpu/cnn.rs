//! Two convolutions, each with ReLU and a 2 x 2 maximum, and a dense layer, over square images.

use super::convolution::{Scratch, Stage};
use super::{Buffer, Score, Values, cross_entropy};
use crate::model::{CnnShape, Dense};

/// A convolutional network with the buffers of one thread.
pub(crate) struct Cnn {
    stages: [Stage; 2],
    dense: Dense,
    /// (R, classes), then its gradient.
    logits: Buffer,
    scratch: Scratch,
}

impl Cnn {
    /// Buffers for `rows` images.
    pub(crate) fn new(shape: &CnnShape, rows: usize) -> Cnn {
        let layout = shape.table().1;
        Cnn {
            logits: Buffer::zeros(rows * shape.classes),
            scratch: Scratch::new(&layout.convolutions),
            stages: layout.convolutions.map(|layer| Stage::new(layer, rows)),
            dense: layout.dense,
        }
    }

    fn forward(&mut self, values: Values<'_>, features: &[f32], rows: usize) {
        let [first, second] = &mut self.stages;
        first.forward(values, features, rows, &mut self.scratch);
        second.forward(values, &first.pooled, rows, &mut self.scratch);
        self.dense.forward(values, &second.pooled, rows, &mut self.logits[..rows * self.dense.outputs]);
    }

    /// What the images cost.
    pub(crate) fn score(&mut self, values: Values<'_>, features: &[f32], labels: &[u32]) -> Score {
        self.forward(values, features, labels.len());
        Score::of_logits(&self.logits, self.dense.outputs, labels)
    }

    /// Overwrites `gradients` by those of the summed loss times `scale`; returns the sum.
    pub(crate) fn gradient(
        &mut self,
        values: Values<'_>,
        features: &[f32],
        labels: &[u32],
        scale: f32,
        gradients: &mut [f32],
    ) -> f64 {
        let rows = labels.len();
        self.forward(values, features, rows);
        let Cnn { stages: [first, second], dense, logits, scratch } = self;
        let logits = &mut logits[..rows * dense.outputs];
        let nats = cross_entropy::loss_and_gradient(logits, dense.outputs, labels, scale);
        dense.gradient(&second.pooled, logits, rows, gradients);
        dense.backward(values, logits, rows, &mut second.gradient);
        second.backward(values, &first.pooled, Some(&mut first.gradient), rows, scratch, gradients);
        first.backward(values, features, None, rows, scratch, gradients);
        nats
    }
}
