//! A small convolutional network in LeNet's form.

use super::error::check_bounds;
use super::mlp::Dense;
use super::shape::MAX_PARAMETERS;
use super::tensors::Builder;
use super::{ShapeError, Tensor};
use std::ops::Range;

/// The side of a convolution's square kernel; images are padded by one, so that they keep their size.
pub(crate) const KERNEL: usize = 3;

/// The numbers of a convolutional network: 3 x 3 convolution to `filters` maps, ReLU, 2 x 2 maximum; the same to twice as
/// many maps; a dense layer to `classes` logits. A maximum leaves an odd last row and column out.
///
/// Images are `channels` planes of `side` x `side` values, as PyTorch's (C, H, W). The tensors are those of
/// `Sequential(Conv2d, ReLU, MaxPool2d, Conv2d, ReLU, MaxPool2d, Flatten, Linear)`: `0.weight` (out, in, 3, 3), `0.bias`,
/// `3.weight`, `3.bias`, `7.weight` (out, in), `7.bias`. Weights start as normals of standard deviation
/// sqrt(2 / (9 in)), or sqrt(2 / in) for the dense layer; biases at zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CnnShape {
    /// Rows and columns of an image.
    pub side: usize,
    /// Planes of an image: 1 for grey, 3 for colours.
    pub channels: usize,
    /// Maps of the first convolution; the second has twice as many.
    pub filters: usize,
    /// Logits.
    pub classes: usize,
}

/// One convolution with its maximum.
#[derive(Clone, Debug)]
pub(crate) struct Convolution {
    /// (out, in, 3, 3)
    pub weight: Range<usize>,
    pub bias: Range<usize>,
    pub inputs: usize,
    pub outputs: usize,
    /// Rows and columns of its images.
    pub side: usize,
}

impl Convolution {
    fn push(builder: &mut Builder, index: usize, [inputs, outputs, side]: [usize; 3]) -> Convolution {
        let weight = builder.push(format!("{index}.weight"), &[outputs, inputs, KERNEL, KERNEL]);
        let bias = builder.push(format!("{index}.bias"), &[outputs]);
        Convolution { weight, bias, inputs, outputs, side }
    }

    /// Values that each output is a sum of.
    pub(crate) fn fan_in(&self) -> usize {
        self.inputs * KERNEL * KERNEL
    }

    /// Values of one image before the convolution.
    pub(crate) fn input_len(&self) -> usize {
        self.inputs * self.area()
    }

    /// Values of one map.
    pub(crate) fn area(&self) -> usize {
        self.side * self.side
    }

    /// Rows and columns after the maximum.
    pub(crate) fn pooled_side(&self) -> usize {
        self.side / 2
    }

    /// Values of one image after the maximum.
    pub(crate) fn pooled_len(&self) -> usize {
        self.outputs * self.pooled_side() * self.pooled_side()
    }
}

/// The layers of the network.
#[derive(Clone, Debug)]
pub(crate) struct CnnLayout {
    pub convolutions: [Convolution; 2],
    pub dense: Dense,
}

impl CnnShape {
    /// Checks every dimension against its bounds.
    ///
    /// # Errors
    /// [`ShapeError`] names the first dimension that is wrong.
    pub fn check(&self) -> Result<(), ShapeError> {
        check_bounds(&[
            ("side", self.side, 4, 1 << 10),
            ("channels", self.channels, 1, 256),
            ("filters", self.filters, 1, 1 << 12),
            ("classes", self.classes, 2, 1 << 16),
        ])?;
        check_bounds(&[("parameters", self.parameter_count(), 1, MAX_PARAMETERS)])
    }

    /// Values of an image.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.channels * self.side * self.side
    }

    /// All parameters.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        let [first, second] = [(self.channels, self.filters), (self.filters, 2 * self.filters)]
            .map(|(inputs, outputs)| (inputs * KERNEL * KERNEL + 1) * outputs);
        first + second + (self.flat() + 1) * self.classes
    }

    /// Values that the dense layer sees.
    fn flat(&self) -> usize {
        2 * self.filters * (self.side / 4) * (self.side / 4)
    }

    /// The tensor table in buffer order.
    #[must_use]
    pub fn tensors(&self) -> Vec<Tensor> {
        self.table().0
    }

    /// The table and its layers.
    pub(crate) fn table(&self) -> (Vec<Tensor>, CnnLayout) {
        let mut builder = Builder::default();
        let first = Convolution::push(&mut builder, 0, [self.channels, self.filters, self.side]);
        let second = Convolution::push(&mut builder, 3, [self.filters, 2 * self.filters, self.side / 2]);
        let dense = Dense::push(&mut builder, 7, self.flat(), self.classes);
        (builder.finish(), CnnLayout { convolutions: [first, second], dense })
    }
}
