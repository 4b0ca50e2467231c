//! Dense layers with ReLU between them.

use super::error::check_bounds;
use super::shape::MAX_PARAMETERS;
use super::tensors::Builder;
use super::{ShapeError, Tensor};
use std::ops::Range;

/// The numbers of a multilayer perceptron: `layers` hidden layers of `hidden` units, ReLU after each, and a dense layer
/// to `classes` logits.
///
/// Its tensors are those of PyTorch's `Sequential(Linear, ReLU, Linear, ...)`: `0.weight` (out, in), `0.bias`,
/// `2.weight`, and so on. Weights start as normals of standard deviation sqrt(2 / in) (He et al. 2015), biases at zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MlpShape {
    /// Features of a row.
    pub inputs: usize,
    /// Units of each hidden layer.
    pub hidden: usize,
    /// Hidden layers.
    pub layers: usize,
    /// Logits.
    pub classes: usize,
}

/// One dense layer.
#[derive(Clone, Debug)]
pub(crate) struct Dense {
    /// (out, in)
    pub weight: Range<usize>,
    pub bias: Range<usize>,
    pub inputs: usize,
    pub outputs: usize,
}

impl Dense {
    /// The layer at place `index` of PyTorch's `Sequential`.
    pub(super) fn push(builder: &mut Builder, index: usize, inputs: usize, outputs: usize) -> Dense {
        let weight = builder.push(format!("{index}.weight"), &[outputs, inputs]);
        let bias = builder.push(format!("{index}.bias"), &[outputs]);
        Dense { weight, bias, inputs, outputs }
    }
}

impl MlpShape {
    /// Checks every dimension against its maximum.
    ///
    /// # Errors
    /// [`ShapeError`] names the first dimension that is wrong.
    pub fn check(&self) -> Result<(), ShapeError> {
        check_bounds(&[
            ("inputs", self.inputs, 1, 1 << 20),
            ("hidden", self.hidden, 1, 1 << 16),
            ("layers", self.layers, 1, 64),
            ("classes", self.classes, 2, 1 << 16),
        ])?;
        check_bounds(&[("parameters", self.parameter_count(), 1, MAX_PARAMETERS)])
    }

    /// All parameters.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.sizes().map(|(inputs, outputs)| (inputs + 1) * outputs).sum()
    }

    /// The tensor table in buffer order.
    #[must_use]
    pub fn tensors(&self) -> Vec<Tensor> {
        self.table().0
    }

    /// Inputs and outputs of every dense layer.
    fn sizes(&self) -> impl Iterator<Item = (usize, usize)> {
        let MlpShape { inputs, hidden, layers, classes } = *self;
        let width = move |layer: usize| match layer {
            0 => inputs,
            layer if layer <= layers => hidden,
            _ => classes,
        };
        (0..=layers).map(move |layer| (width(layer), width(layer + 1)))
    }

    /// The table and its layers.
    pub(crate) fn table(&self) -> (Vec<Tensor>, Vec<Dense>) {
        let mut builder = Builder::default();
        let layers = self.sizes().enumerate().map(|(layer, (inputs, outputs))| {
            // ReLU has the odd places.
            Dense::push(&mut builder, 2 * layer, inputs, outputs)
        });
        let layers = layers.collect();
        (builder.finish(), layers)
    }
}
