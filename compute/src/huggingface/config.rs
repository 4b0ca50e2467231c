//! `config.json` of a GPT-2: written for our shapes, read with every field checked that changes what the model computes.

use super::error::{HuggingFaceError, io_error};
use crate::model::GptShape;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The longest configuration that is read.
const MAX_BYTES: u64 = 1 << 20;

/// The fields that matter, with `transformers`' defaults where they may be left out.
#[derive(Deserialize)]
struct Config {
    model_type: Option<String>,
    n_layer: usize,
    n_head: usize,
    n_embd: usize,
    #[serde(alias = "n_ctx")]
    n_positions: usize,
    vocab_size: usize,
    n_inner: Option<usize>,
    activation_function: Option<String>,
    layer_norm_epsilon: Option<f64>,
    tie_word_embeddings: Option<bool>,
    scale_attn_weights: Option<bool>,
    scale_attn_by_inverse_layer_idx: Option<bool>,
    add_cross_attention: Option<bool>,
}

/// The configuration of a shape; `transformers` builds a `GPT2LMHeadModel` from it.
pub(super) fn to_json(shape: &GptShape) -> Value {
    json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_layer": shape.layers,
        "n_head": shape.heads,
        "n_embd": shape.width,
        "n_positions": shape.context,
        "n_ctx": shape.context,
        "n_inner": null,
        "vocab_size": shape.vocabulary,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "initializer_range": 0.02,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "bos_token_id": null,
        "eos_token_id": null,
        "tie_word_embeddings": true,
        "torch_dtype": "float32",
    })
}

/// Reads the shape from a configuration file.
pub(super) fn read(path: &Path) -> Result<GptShape, HuggingFaceError> {
    let file = File::open(path).map_err(|error| io_error(path, error))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| io_error(path, error))?;
    if bytes.len() as u64 > MAX_BYTES {
        let bytes = bytes.len() as u64;
        return Err(HuggingFaceError::TooLarge {
            path: path.into(),
            part: "content",
            bytes,
            maximum: MAX_BYTES,
        });
    }
    // `n_ctx` is an old name of `n_positions`, and files carry both: the new one counts.
    let mut value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| HuggingFaceError::Config { path: path.into(), reason: error.to_string() })?;
    if let Some(fields) = value.as_object_mut()
        && fields.contains_key("n_positions")
    {
        fields.remove("n_ctx");
    }
    let config: Config = serde_json::from_value(value)
        .map_err(|error| HuggingFaceError::Config { path: path.into(), reason: error.to_string() })?;
    check_supported(&config, path)?;
    let shape = GptShape {
        layers: config.n_layer,
        heads: config.n_head,
        width: config.n_embd,
        context: config.n_positions,
        vocabulary: config.vocab_size,
    };
    shape.check().map_err(|error| HuggingFaceError::Shape { path: path.into(), error })?;
    Ok(shape)
}

/// Refuses every setting under which `transformers` would compute something else than the engine.
fn check_supported(config: &Config, path: &Path) -> Result<(), HuggingFaceError> {
    let check = |field, supported: &str, found: Option<String>| match found {
        None => Ok(()),
        Some(found) => Err(HuggingFaceError::Unsupported {
            path: path.into(),
            field,
            found,
            supported: supported.into(),
        }),
    };
    let differs = |value: Option<bool>, needed: bool| value.filter(|v| *v != needed).map(|v| v.to_string());
    let model_type = config.model_type.clone().unwrap_or_else(|| "missing".into());
    check("model_type", "gpt2", Some(model_type).filter(|name| name != "gpt2"))?;
    // Two names of one formula, GELU's tanh form.
    let tanh_form = |name: &String| matches!(name.as_str(), "gelu_new" | "gelu_pytorch_tanh");
    let activation = config.activation_function.clone().filter(|name| !tanh_form(name));
    check("activation_function", "gelu_new, gelu_pytorch_tanh", activation)?;
    let epsilon = config.layer_norm_epsilon.filter(|e| (e - 1e-5).abs() > 1e-9);
    check("layer_norm_epsilon", "1e-5", epsilon.map(|e| e.to_string()))?;
    let inner = config.n_inner.filter(|n| Some(*n) != config.n_embd.checked_mul(4));
    check("n_inner", "4 x n_embd", inner.map(|n| n.to_string()))?;
    check("tie_word_embeddings", "true", differs(config.tie_word_embeddings, true))?;
    check("scale_attn_weights", "true", differs(config.scale_attn_weights, true))?;
    let by_layer = differs(config.scale_attn_by_inverse_layer_idx, false);
    check("scale_attn_by_inverse_layer_idx", "false", by_layer)?;
    check("add_cross_attention", "false", differs(config.add_cross_attention, false))
}
