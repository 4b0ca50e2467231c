//! Parameters between the core's fragments and the engine's flat buffer.

use std::ops::Range;

use driftless_protocol::charter::Charter;
use driftless_protocol::layout::LayoutError;
use driftless_protocol::state::State;

use crate::engine::shape_of;

/// Each fragment as ranges of the engine's flat buffer.
type Fragments = Vec<Vec<Range<usize>>>;

/// The fragments, and the buffer's length.
fn ranges(charter: &Charter) -> Result<(Fragments, usize), LayoutError> {
    let tensors = shape_of(&charter.manifest.model).tensors();
    let length = tensors.iter().map(|tensor| tensor.range().end).max().unwrap_or(0);
    let tensors: Vec<(&str, usize, usize)> =
        tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.offset, tensor.range().len())).collect();
    Ok((charter.layout.locate(&tensors)?, length))
}

/// The outer parameters of a state, in the engine's order.
pub fn from_state(charter: &Charter, state: &State) -> Result<Vec<f32>, LayoutError> {
    let (fragments, length) = ranges(charter)?;
    let mut flat = vec![0.0; length];
    for (fragment, ranges) in fragments.into_iter().enumerate() {
        let values = state.outer(fragment).to_vec();
        let mut at = 0;
        for range in ranges {
            let count = range.len();
            flat[range].copy_from_slice(&values[at..at + count]);
            at += count;
        }
    }
    Ok(flat)
}

/// A flat buffer, fragment by fragment.
pub fn to_fragments(charter: &Charter, flat: &[f32]) -> Result<Vec<Vec<f32>>, LayoutError> {
    let (fragments, length) = ranges(charter)?;
    if flat.len() != length {
        let name = "of the whole model".into();
        return Err(LayoutError::Size { name, offset: 0, found: flat.len(), expected: length as u64 });
    }
    let gather =
        |ranges: Vec<Range<usize>>| ranges.into_iter().flat_map(|range| flat[range].to_vec()).collect();
    Ok(fragments.into_iter().map(gather).collect())
}
