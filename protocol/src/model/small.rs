//! Small models of tables: multilayer perceptron, convolutional network, logistic regression.
//!
//! Names, order and layout are those of PyTorch's `Sequential`. Labels and losses are the engine's matter.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::{Init, ModelError, Placement, Tensor, within};

/// The numbers of a multilayer perceptron: `layers` hidden layers of `hidden` units with ReLU, then a dense one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpShape {
    /// Features of a row.
    pub inputs: u32,
    /// Units of each hidden layer.
    pub hidden: u32,
    /// Hidden layers.
    #[serde(default = "one")]
    pub layers: u16,
    /// Classes.
    pub classes: u32,
}

/// The numbers of a small convolutional network: twice 3 x 3 convolution, ReLU, 2 x 2 maximum; then dense.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CnnShape {
    /// Rows and columns of an image.
    pub side: u32,
    /// Its channels.
    pub channels: u32,
    /// Filters of the first convolution; the second has twice as many.
    pub filters: u32,
    /// Classes.
    pub classes: u32,
}

/// The numbers of a logistic regression of two classes, without a bias.
#[derive(Clone, Copy, PartialEq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogisticShape {
    /// Features of a row.
    pub inputs: u32,
    /// Factor of the sum of w^2 / (1 + w^2); 0 for none.
    #[serde(default)]
    pub regularization: f32,
}

const fn one() -> u16 {
    1
}

/// A layer's weights and biases.
fn layer(place: u32, index: u16, weight: Vec<u32>, inputs: u32) -> [Tensor; 2] {
    let outputs = weight[0];
    let tensor = |what: &str, shape, init| Tensor {
        name: format!("{place}.{what}"),
        shape,
        init,
        placement: Placement::Block(index),
    };
    [tensor("weight", weight, Init::He { inputs }), tensor("bias", vec![outputs], Init::Zero)]
}

impl MlpShape {
    pub(super) fn check(&self) -> Result<(), ModelError> {
        within(&[
            ("inputs", u64::from(self.inputs), 1, 1 << 20),
            ("hidden", u64::from(self.hidden), 1, 1 << 16),
            ("layers", u64::from(self.layers), 1, 64),
            ("classes", u64::from(self.classes), 2, 1 << 16),
        ])
    }

    pub(super) fn tensors(&self) -> Vec<Tensor> {
        let width = |layer: u16| match layer {
            0 => self.inputs,
            layer if layer <= self.layers => self.hidden,
            _ => self.classes,
        };
        let dense = |index: u16| {
            let (inputs, outputs) = (width(index), width(index.saturating_add(1)));
            // ReLU has the odd places.
            layer(2 * u32::from(index), index, vec![outputs, inputs], inputs)
        };
        (0..=self.layers).flat_map(dense).collect()
    }
}

impl CnnShape {
    /// Layers with weights.
    pub(super) const LAYERS: u16 = 3;

    pub(super) fn check(&self) -> Result<(), ModelError> {
        within(&[
            ("side", u64::from(self.side), 4, 1 << 10),
            ("channels", u64::from(self.channels), 1, 1 << 10),
            ("filters", u64::from(self.filters), 1, 1 << 12),
            ("classes", u64::from(self.classes), 2, 1 << 16),
        ])
    }

    pub(super) fn tensors(&self) -> Vec<Tensor> {
        let CnnShape { side, channels, filters, classes } = *self;
        let second = filters.saturating_mul(2);
        let convolution = |place, index, outputs, inputs: u32| {
            layer(place, index, vec![outputs, inputs, 3, 3], inputs.saturating_mul(9))
        };
        let pooled = second.saturating_mul(side / 4).saturating_mul(side / 4);
        [
            convolution(0, 0, filters, channels),
            convolution(3, 1, second, filters),
            layer(7, 2, vec![classes, pooled], pooled),
        ]
        .concat()
    }
}

impl LogisticShape {
    pub(super) fn check(&self) -> Result<(), ModelError> {
        within(&[("inputs", u64::from(self.inputs), 1, 1 << 20)])?;
        let found = self.regularization;
        let field = "regularization";
        if found.is_finite() && found >= 0.0 { Ok(()) } else { Err(ModelError::Negative { field, found }) }
    }

    pub(super) fn tensors(&self) -> Vec<Tensor> {
        let shape = vec![1, self.inputs];
        vec![Tensor { name: "weight".into(), shape, init: Init::Zero, placement: Placement::Block(0) }]
    }
}
