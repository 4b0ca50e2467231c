//! Dense layers with ReLU between them, over rows of features.

use super::matmul::{Matrix, Write, multiply};
use super::reduce::{add_bias, add_column_sums};
use super::{Buffer, Score, Values, cross_entropy};
use crate::model::{Dense, MlpShape};

/// A multilayer perceptron with the buffers of one thread.
pub(crate) struct Mlp {
    layers: Vec<Dense>,
    /// (R, out) of each layer after its ReLU, the logits last; a backward pass leaves their gradients.
    outputs: Vec<Buffer>,
    /// (R, widest): the gradient on its way through a layer.
    running: Buffer,
}

impl Mlp {
    /// Buffers for `rows` rows.
    pub(crate) fn new(shape: &MlpShape, rows: usize) -> Mlp {
        let layers = shape.table().1;
        let outputs = layers.iter().map(|layer| Buffer::zeros(rows * layer.outputs)).collect();
        Mlp { outputs, running: Buffer::zeros(rows * shape.hidden), layers }
    }

    fn forward(&mut self, values: Values<'_>, features: &[f32], rows: usize) {
        for (index, layer) in self.layers.iter().enumerate() {
            let (before, after) = self.outputs.split_at_mut(index);
            let input = before.last().map_or(features, |input| input);
            let out = &mut after[0][..rows * layer.outputs];
            layer.forward(values, input, rows, out);
            if index + 1 < self.layers.len() {
                relu(out);
            }
        }
    }

    /// What the rows cost.
    pub(crate) fn score(&mut self, values: Values<'_>, features: &[f32], labels: &[u32]) -> Score {
        self.forward(values, features, labels.len());
        let classes = self.layers.last().map_or(0, |layer| layer.outputs);
        self.outputs.last().map_or(Score::default(), |logits| Score::of_logits(logits, classes, labels))
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
        let mut nats = 0.0;
        for (index, layer) in self.layers.iter().enumerate().rev() {
            let (before, after) = self.outputs.split_at_mut(index);
            let out = &mut after[0][..rows * layer.outputs];
            if index + 1 == self.layers.len() {
                nats = cross_entropy::loss_and_gradient(out, layer.outputs, labels, scale);
            }
            match before.last_mut() {
                None => layer.gradient(features, out, rows, gradients),
                Some(input) => {
                    let input = &mut input[..rows * layer.inputs];
                    layer.gradient(input, out, rows, gradients);
                    layer.backward(values, out, rows, &mut self.running);
                    relu_backward(input, &self.running);
                }
            }
        }
        nats
    }
}

impl Dense {
    /// `out` (R, out) = `input` (R, in) times the transposed weight, plus the bias.
    pub(crate) fn forward(&self, values: Values<'_>, input: &[f32], rows: usize, out: &mut [f32]) {
        let input = Matrix::new(input, rows, self.inputs, self.inputs);
        let weight =
            Matrix::new(&values.turned[self.weight.clone()], self.inputs, self.outputs, self.outputs);
        multiply(out, self.outputs, Write::Replace, 1.0, input, weight);
        add_bias(out, &values.parameters[self.bias.clone()]);
    }

    /// The gradients of weight and bias, given that of the output.
    pub(crate) fn gradient(&self, input: &[f32], out: &[f32], rows: usize, gradients: &mut [f32]) {
        let input = Matrix::new(input, rows, self.inputs, self.inputs);
        let turned = Matrix::new(out, rows, self.outputs, self.outputs).transposed();
        multiply(&mut gradients[self.weight.clone()], self.inputs, Write::Replace, 1.0, turned, input);
        let bias = &mut gradients[self.bias.clone()];
        bias.fill(0.0);
        add_column_sums(out, bias);
    }

    /// `into` (R, in) = the gradient of the input, given that of the output.
    pub(crate) fn backward(&self, values: Values<'_>, out: &[f32], rows: usize, into: &mut [f32]) {
        let out = Matrix::new(out, rows, self.outputs, self.outputs);
        let weight =
            Matrix::new(&values.parameters[self.weight.clone()], self.outputs, self.inputs, self.inputs);
        multiply(into, self.inputs, Write::Replace, 1.0, out, weight);
    }
}

vectorised! {
    /// What is below zero becomes zero; NaN stays.
    fn relu(x: &mut [f32]) {
        let _ = FMA;
        for value in x {
            *value = if *value < 0.0 { 0.0 } else { *value };
        }
    }
}

vectorised! {
    /// Replaces a ReLU's output `x` by the gradient of its input, given that of `x`.
    pub(crate) fn relu_backward(x: &mut [f32], gradient: &[f32]) {
        let _ = FMA;
        for (value, gradient) in x.iter_mut().zip(gradient) {
            *value = if *value > 0.0 { *gradient } else { 0.0 };
        }
    }
}
