//! Hugging Face folders: what is written reads back, and everything else is its own error.

use driftless_compute::huggingface::{HuggingFaceError, export, import};
use driftless_compute::{GptShape, rng};
use safetensors::tensor::{Dtype, TensorView, serialize};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

const SHAPE: GptShape = GptShape { layers: 2, heads: 2, width: 8, context: 6, vocabulary: 11 };

/// A tensor as it goes into a file.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn stored(prefix: &str) -> HashMap<String, Stored> {
    let parameters = rng::initialise(SHAPE, 3);
    let store = |tensor: driftless_compute::Tensor| {
        let bytes = parameters[tensor.range()].iter().flat_map(|value| value.to_le_bytes()).collect();
        (format!("{prefix}{}", tensor.name), Stored { dtype: Dtype::F32, shape: tensor.shape, bytes })
    };
    SHAPE.tensors().into_iter().map(store).collect()
}

fn write(folder: &Path, tensors: &HashMap<String, Stored>) {
    let views = tensors
        .iter()
        .map(|(name, t)| (name.clone(), TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap()));
    fs::write(folder.join("model.safetensors"), serialize(views, None).unwrap()).unwrap();
}

/// A good folder to spoil.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    export(folder.path(), &SHAPE, &rng::initialise(SHAPE, 3), None).unwrap();
    folder
}

fn refused(folder: &Path) -> HuggingFaceError {
    import(folder).unwrap_err()
}

#[test]
fn an_exported_folder_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("new/folder");
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizer.json");
    let parameters = rng::initialise(SHAPE, 3);
    for _ in 0..2 {
        export(&target, &SHAPE, &parameters, Some(&tokenizer)).unwrap();
    }
    let imported = import(&target).unwrap();
    assert_eq!(imported.shape, SHAPE);
    assert!(imported.parameters == parameters);
    assert_eq!(fs::read(imported.tokenizer.unwrap()).unwrap(), fs::read(tokenizer).unwrap());
    assert_eq!(fs::read_dir(&target).unwrap().count(), 3, "no temporary file is left");
    export(&target, &SHAPE, &parameters, None).unwrap();
    assert_eq!(import(&target).unwrap().tokenizer, None, "the earlier model's tokenizer is not this one's");
}

#[test]
fn names_without_prefix_masks_and_a_tied_head_are_accepted() {
    let folder = folder();
    let mut tensors = stored("");
    let mask = Stored { dtype: Dtype::U8, shape: vec![6, 6], bytes: vec![1; 36] };
    tensors.insert("h.0.attn.bias".into(), mask);
    let head = &tensors["wte.weight"];
    let head = Stored { dtype: head.dtype, shape: head.shape.clone(), bytes: head.bytes.clone() };
    tensors.insert("lm_head.weight".into(), head);
    write(folder.path(), &tensors);
    assert!(import(folder.path()).unwrap().parameters == rng::initialise(SHAPE, 3));

    tensors.get_mut("lm_head.weight").unwrap().bytes[0] ^= 1;
    write(folder.path(), &tensors);
    let error = refused(folder.path());
    assert!(matches!(error, HuggingFaceError::Unsupported { field: "lm_head.weight", .. }));
}

#[test]
fn narrow_floats_are_widened() {
    let folder = folder();
    for dtype in [Dtype::BF16, Dtype::F16] {
        let mut tensors = stored("transformer.");
        let one = if dtype == Dtype::BF16 { [0x80, 0x3f] } else { [0x00, 0x3c] };
        for tensor in tensors.values_mut() {
            tensor.dtype = dtype;
            tensor.bytes = one.repeat(tensor.bytes.len() / 4);
        }
        write(folder.path(), &tensors);
        assert!(import(folder.path()).unwrap().parameters.iter().all(|value| *value == 1.0));
    }
}

#[test]
fn bad_tensors_are_named() {
    let folder = folder();
    let name = "transformer.h.1.mlp.c_fc.weight";
    let spoil = |spoil: &dyn Fn(&mut HashMap<String, Stored>)| {
        let mut tensors = stored("transformer.");
        spoil(&mut tensors);
        write(folder.path(), &tensors);
        let error = refused(folder.path());
        assert!(error.to_string().contains("h.1.mlp.c_fc.weight"), "{error}");
        assert!(error.to_string().contains("model.safetensors"), "{error}");
        error
    };
    let error = spoil(&|tensors| {
        tensors.remove(name);
    });
    assert!(matches!(error, HuggingFaceError::TensorMissing { .. }));
    let error = spoil(&|tensors| tensors.get_mut(name).unwrap().shape = vec![32, 8]);
    assert!(matches!(error, HuggingFaceError::TensorShape { .. }));
    let error = spoil(&|tensors| tensors.get_mut(name).unwrap().dtype = Dtype::I32);
    assert!(matches!(error, HuggingFaceError::TensorType { .. }));
    for broken in [f32::NAN, f32::INFINITY] {
        let error = spoil(&|tensors| {
            tensors.get_mut(name).unwrap().bytes[8..12].copy_from_slice(&broken.to_le_bytes());
        });
        assert!(matches!(error, HuggingFaceError::NonFinite { .. }));
    }
}

#[test]
fn a_damaged_weights_file_is_refused() {
    let folder = folder();
    let path = folder.path().join("model.safetensors");
    let good = fs::read(&path).unwrap();
    for length in (0..good.len()).step_by(97).chain([7, 8, good.len() - 1]) {
        fs::write(&path, &good[..length]).unwrap();
        assert!(matches!(
            refused(folder.path()),
            HuggingFaceError::Weights { .. } | HuggingFaceError::Io { .. }
        ));
    }
    fs::write(&path, [good.as_slice(), &[0]].concat()).unwrap();
    assert!(matches!(refused(folder.path()), HuggingFaceError::Weights { .. }));
    let mut long = good.clone();
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&path, long).unwrap();
    assert!(matches!(refused(folder.path()), HuggingFaceError::TooLarge { part: "header", .. }));
    // A changed header is refused or leads to a typed error; changed numbers are finite or refused.
    for index in (0..good.len().min(4000)).step_by(5) {
        let mut bytes = good.clone();
        bytes[index] ^= 1 << (index % 7);
        fs::write(&path, bytes).unwrap();
        if let Ok(imported) = import(folder.path()) {
            assert!(imported.parameters.iter().all(|value| value.is_finite()));
        }
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(refused(folder.path()), HuggingFaceError::Missing { .. }));
}

#[test]
fn configurations_of_other_models_are_refused() {
    let folder = folder();
    let path = folder.path().join("config.json");
    let good: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let with = |field: &str, value: serde_json::Value| {
        let mut config = good.clone();
        config[field] = value;
        fs::write(&path, config.to_string()).unwrap();
        import(folder.path())
    };
    for (field, value) in [
        ("model_type", "llama".into()),
        ("activation_function", "relu".into()),
        ("layer_norm_epsilon", 1e-6.into()),
        ("n_inner", 31.into()),
        ("tie_word_embeddings", false.into()),
        ("scale_attn_weights", false.into()),
        ("scale_attn_by_inverse_layer_idx", true.into()),
        ("add_cross_attention", true.into()),
    ] {
        let error = with(field, value).unwrap_err();
        assert!(matches!(&error, HuggingFaceError::Unsupported { field: named, .. } if *named == field));
    }
    assert!(matches!(with("n_head", 3.into()), Err(HuggingFaceError::Shape { .. })));
    assert!(matches!(with("n_layer", u64::MAX.into()), Err(HuggingFaceError::Shape { .. })));
    assert!(matches!(with("n_embd", "wide".into()), Err(HuggingFaceError::Config { .. })));
    assert!(matches!(with("n_layer", 3.into()), Err(HuggingFaceError::TensorMissing { .. })));
    assert!(matches!(with("n_positions", 7.into()), Err(HuggingFaceError::TensorShape { .. })));
    assert!(with("n_inner", 32.into()).is_ok());
    assert!(with("n_ctx", 99.into()).is_ok());

    fs::write(&path, "{").unwrap();
    assert!(matches!(refused(folder.path()), HuggingFaceError::Config { .. }));
    fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(matches!(refused(folder.path()), HuggingFaceError::TooLarge { part: "content", .. }));
    fs::remove_file(&path).unwrap();
    assert!(matches!(refused(folder.path()), HuggingFaceError::Missing { .. }));
}

#[test]
fn nothing_half_written_and_nothing_broken_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let mut parameters = rng::initialise(SHAPE, 3);
    let short = export(folder.path(), &SHAPE, &parameters[1..], None);
    assert!(matches!(short, Err(HuggingFaceError::ParameterCount { .. })));
    parameters[5] = f32::NAN;
    let error = export(folder.path(), &SHAPE, &parameters, None).unwrap_err();
    assert!(matches!(&error, HuggingFaceError::NonFinite { name, .. } if name == "wte.weight"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    // A folder where the weights' file should be: the rename fails and cleans up.
    fs::create_dir_all(folder.path().join("model.safetensors/inner")).unwrap();
    let error = export(folder.path(), &SHAPE, &rng::initialise(SHAPE, 3), None).unwrap_err();
    assert!(matches!(error, HuggingFaceError::Io { .. }));
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("tmp")), "{names:?}");
}
