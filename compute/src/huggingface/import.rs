//! Reads a folder that `transformers` or [`export`](super::export()) wrote for a GPT-2.

use super::error::{HuggingFaceError, io_error};
use super::{CONFIG, PREFIX, TOKENIZER, WEIGHTS, config};
use crate::model::{GptShape, Tensor};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The longest header of a weights file that is read.
const MAX_HEADER: u64 = 4 << 20;

/// A model from a folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// Its shape, from the configuration.
    pub shape: GptShape,
    /// Its parameters, in the engine's order.
    pub parameters: Vec<f32>,
    /// The folder's `tokenizer.json`, if it has one; not read yet.
    pub tokenizer: Option<PathBuf>,
}

/// Reads `config.json` and `model.safetensors` of `directory`. Tensor names may have the prefix `transformer.`; masks
/// (`attn.bias`) and a tied `lm_head.weight` are left out; f16 and bf16 are widened.
///
/// # Errors
/// A missing, truncated, oversized or malformed file, a model that the engine does not run, a tensor that is missing, of
/// a wrong shape or type or not finite: each names the file and the tensor.
pub fn import(directory: &Path) -> Result<Imported, HuggingFaceError> {
    let shape = config::read(&directory.join(CONFIG))?;
    let path = directory.join(WEIGHTS);
    let file = File::open(&path).map_err(|error| io_error(&path, error))?;
    // SAFETY: the map is only read, as bytes, which any bit pattern is. Like every mapping of a user's file it relies on
    // nobody truncating the file meanwhile: that would end the process by a signal, not read foreign memory.
    let map = unsafe { Mmap::map(&file) }.map_err(|error| io_error(&path, error))?;
    let parameters = read_weights(&map, &shape, &path)?;
    let tokenizer = Some(directory.join(TOKENIZER)).filter(|path| path.is_file());
    Ok(Imported { shape, parameters, tokenizer })
}

fn read_weights(bytes: &[u8], shape: &GptShape, path: &Path) -> Result<Vec<f32>, HuggingFaceError> {
    let refused = |reason: String| HuggingFaceError::Weights { path: path.into(), reason };
    let header = bytes.first_chunk().map(|length| u64::from_le_bytes(*length));
    let header = header.ok_or_else(|| refused("it is shorter than 8 bytes".into()))?;
    if header > MAX_HEADER {
        let (path, part) = (path.into(), "header");
        return Err(HuggingFaceError::TooLarge { path, part, bytes: header, maximum: MAX_HEADER });
    }
    let weights = SafeTensors::deserialize(bytes).map_err(|error| refused(error.to_string()))?;
    let tensors = shape.tensors();
    // Everything is checked before anything is allocated.
    let views: Vec<TensorView<'_>> =
        tensors.iter().map(|tensor| find(&weights, tensor, path)).collect::<Result<_, _>>()?;
    check_head(&weights, &views[0], path)?;
    let mut parameters = vec![0.0; shape.parameter_count()];
    for (tensor, view) in tensors.iter().zip(views) {
        let into = &mut parameters[tensor.range()];
        widen(&view, into);
        if !into.iter().all(|value| value.is_finite()) {
            return Err(HuggingFaceError::NonFinite { path: path.into(), name: tensor.name.clone() });
        }
    }
    Ok(parameters)
}

/// The tensor by either name, with the right shape and a type that can be widened.
fn find<'a>(
    weights: &SafeTensors<'a>,
    tensor: &Tensor,
    path: &Path,
) -> Result<TensorView<'a>, HuggingFaceError> {
    let name = tensor.name.clone();
    let view = weights
        .tensor(&format!("{PREFIX}{name}"))
        .or_else(|_| weights.tensor(&name))
        .map_err(|_| HuggingFaceError::TensorMissing { path: path.into(), name: name.clone() })?;
    if view.shape() != tensor.shape {
        let (expected, found) = (tensor.shape.clone(), view.shape().to_vec());
        return Err(HuggingFaceError::TensorShape { path: path.into(), name, expected, found });
    }
    match view.dtype() {
        Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(view),
        other => Err(HuggingFaceError::TensorType { path: path.into(), name, found: format!("{other:?}") }),
    }
}

/// A head of its own must be the token table again, since the engine's is tied.
fn check_head(
    weights: &SafeTensors<'_>,
    table: &TensorView<'_>,
    path: &Path,
) -> Result<(), HuggingFaceError> {
    match weights.tensor("lm_head.weight") {
        Ok(head) if head.data() != table.data() => Err(HuggingFaceError::Unsupported {
            path: path.into(),
            field: "lm_head.weight",
            found: "different from wte.weight".into(),
            supported: "a tied head".into(),
        }),
        _ => Ok(()),
    }
}

/// Converts a checked view's bytes; `into` has as many values.
fn widen(view: &TensorView<'_>, into: &mut [f32]) {
    match view.dtype() {
        Dtype::F16 => copy(view.data(), into, |bytes| half(u16::from_le_bytes(bytes))),
        Dtype::BF16 => copy(view.data(), into, |[low, high]| f32::from_le_bytes([0, 0, low, high])),
        _ => copy(view.data(), into, f32::from_le_bytes),
    }
}

fn copy<const N: usize>(bytes: &[u8], into: &mut [f32], convert: impl Fn([u8; N]) -> f32) {
    for (into, bytes) in into.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *into = convert(*bytes);
    }
}

/// An IEEE half-precision number, exactly.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10 & 0x1f);
    let fraction = u32::from(bits & 0x3ff);
    match exponent {
        // Zero and subnormal: the fraction counts units of 2^-24.
        0 => f32::from_bits((fraction as f32 / 16_777_216.0).to_bits() | sign),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_widened_exactly() {
        for (bits, value) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65_504.0), (0x0001, 5.960_464_5e-8), (0x8000, -0.0)]
        {
            assert_eq!(half(bits).to_bits(), f32::to_bits(value), "{bits:#x}");
        }
        assert_eq!(half(0x03ff), 1023.0 / 16_777_216.0);
        assert_eq!(half(0x7c00), f32::INFINITY);
        assert!(half(0x7e00).is_nan());
    }
}
