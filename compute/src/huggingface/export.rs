//! Writes a folder that `transformers` loads as a `GPT2LMHeadModel`.

use super::error::{HuggingFaceError, io_error};
use super::{CONFIG, PREFIX, TEMPORARY, TOKENIZER, WEIGHTS, config};
use crate::model::{GptShape, Tensor};
use safetensors::tensor::{Dtype, SafeTensorError, View, serialize_to_file};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A tensor of the flat buffer, converted to little-endian bytes when its turn comes.
struct Values<'a> {
    shape: &'a [usize],
    values: &'a [f32],
}

impl View for Values<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        4 * self.values.len()
    }
}

/// Writes `config.json`, `model.safetensors` and, if there is one, a copy of `tokenizer` to `directory`, which is made if
/// need be. Each file is written under a temporary name and renamed when it is whole; the weights come last.
///
/// # Errors
/// A number of parameters that does not fit the shape, a NaN or infinity among them, or the file that could not be
/// written.
pub fn export(
    directory: &Path,
    shape: &GptShape,
    parameters: &[f32],
    tokenizer: Option<&Path>,
) -> Result<(), HuggingFaceError> {
    shape.check().map_err(|error| HuggingFaceError::Shape { path: directory.into(), error })?;
    let expected = shape.parameter_count();
    if parameters.len() != expected {
        return Err(HuggingFaceError::ParameterCount { expected, got: parameters.len() });
    }
    let tensors = shape.tensors();
    let broken = |tensor: &&Tensor| !parameters[tensor.range()].iter().all(|value| value.is_finite());
    if let Some(tensor) = tensors.iter().find(broken) {
        return Err(HuggingFaceError::NonFinite { path: directory.into(), name: tensor.name.clone() });
    }
    fs::create_dir_all(directory).map_err(|error| io_error(directory, error))?;
    match tokenizer {
        Some(tokenizer) if !tokenizer.is_file() => {
            return Err(HuggingFaceError::Missing { path: tokenizer.into() });
        }
        Some(tokenizer) => put(&directory.join(TOKENIZER), |path| fs::copy(tokenizer, path).map(|_| ()))?,
        // That of an earlier export would be taken for this model's.
        None => remove(&directory.join(TOKENIZER))?,
    }
    let text = format!("{:#}\n", config::to_json(shape));
    put(&directory.join(CONFIG), |path| fs::write(path, &text))?;
    put(&directory.join(WEIGHTS), |path| {
        let views = tensors.iter().map(|tensor| {
            let values = Values { shape: &tensor.shape, values: &parameters[tensor.range()] };
            (format!("{PREFIX}{}", tensor.name), values)
        });
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        serialize_to_file(views, Some(metadata), path).map_err(|error| match error {
            SafeTensorError::IoError(error) => error,
            other => io::Error::other(other.to_string()),
        })
    })
}

fn remove(path: &Path) -> Result<(), HuggingFaceError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(path, error)),
        _ => Ok(()),
    }
}

/// Writes a file through a temporary one beside it; what an export that died left of one is replaced.
fn put(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), HuggingFaceError> {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    let temporary = PathBuf::from(name);
    // Whoever writes or copies may choose a mode of its own; the user's umask is what counts.
    let created = File::create(&temporary).and_then(|file| file.metadata());
    let done = created
        .and_then(|created| {
            write(&temporary)?;
            fs::set_permissions(&temporary, created.permissions())
        })
        .and_then(|()| File::options().write(true).open(&temporary)?.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    done.map_err(|error| {
        // The first error is the one to tell; the half-written file is of no use.
        let _ = fs::remove_file(&temporary);
        HuggingFaceError::Io { path: path.into(), error }
    })
}
