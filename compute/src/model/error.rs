//! What makes a shape impossible.

use thiserror::Error;

/// A shape that no model can have, or that this build refuses to allocate.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum ShapeError {
    /// A dimension is zero.
    #[error("model shape: {0} must be at least 1")]
    Zero(&'static str),
    /// A dimension is beyond its fixed maximum.
    #[error("model shape: {what} is {value}, the maximum is {maximum}")]
    TooLarge {
        /// The name of the dimension.
        what: &'static str,
        /// Its value.
        value: usize,
        /// The largest value admitted.
        maximum: usize,
    },
    /// A dimension is below its fixed minimum.
    #[error("model shape: {what} is {value}, the minimum is {minimum}")]
    TooSmall {
        /// The name of the dimension.
        what: &'static str,
        /// Its value.
        value: usize,
        /// The smallest value admitted.
        minimum: usize,
    },
    /// The heads do not divide the width.
    #[error("model shape: width {width} is not a multiple of {heads} heads")]
    Heads {
        /// Channels of the residual stream.
        width: usize,
        /// Heads of each block.
        heads: usize,
    },
    /// The regularization is negative or not finite.
    #[error("model shape: a regularization of {0} is not a finite number of at least zero")]
    Regularization(f32),
}

/// A dimension's name, value, minimum and maximum.
pub(super) type Bounds = (&'static str, usize, usize, usize);

/// Refuses the first dimension that is out of its bounds.
pub(super) fn check_bounds(dimensions: &[Bounds]) -> Result<(), ShapeError> {
    for &(what, value, minimum, maximum) in dimensions {
        if value == 0 && minimum == 1 {
            return Err(ShapeError::Zero(what));
        }
        if value < minimum {
            return Err(ShapeError::TooSmall { what, value, minimum });
        }
        if value > maximum {
            return Err(ShapeError::TooLarge { what, value, maximum });
        }
    }
    Ok(())
}
