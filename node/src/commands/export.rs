//! `driftless export`: the newest outer parameters as a Hugging Face folder.

use std::io::ErrorKind;
use std::path::Path;

use driftless_compute::huggingface;
use serde_json::json;

use super::CommandError;
use super::eval::{load, no_text};
use crate::args::ExportArguments;
use crate::engine::shape_of;
use crate::output::Output;

/// Writes the folder.
pub(super) fn run(options: &ExportArguments, dir: &Path, output: Output) -> Result<(), CommandError> {
    check_empty(&options.out)?;
    let offline = load(dir, options.state.session.as_deref(), output)?;
    let shape = shape_of(&offline.charter.manifest.model);
    let shape =
        shape.gpt().ok_or_else(|| no_text(&shape, "exported: Hugging Face's folders are of transformers"))?;
    let tokenizer = offline.tokenizer();
    huggingface::export(&options.out, shape, &offline.parameters()?, tokenizer.as_deref())?;
    let (height, digest) = (offline.state.control.height, offline.state.digest());
    let object = json!({ "event": "exported", "out": options.out, "height": height, "digest": digest });
    output.result(&object, || {
        format!(
            "wrote {} (height {height}, state {}): config.json and model.safetensors, as \
             transformers' GPT2LMHeadModel reads them",
            options.out.display(),
            digest.short()
        )
    });
    Ok(())
}

/// An earlier export is replaced; other files stay what they are.
fn check_empty(out: &Path) -> Result<(), CommandError> {
    let failed = |source| CommandError::File { path: out.to_owned(), source };
    let entries = match std::fs::read_dir(out) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        result => result.map_err(failed)?,
    };
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        if !huggingface::is_exported(&name) {
            return Err(CommandError::Failed(format!(
                "{}: this folder holds {name} and is no earlier export: name a new or an empty one with --out",
                out.display(),
            )));
        }
    }
    Ok(())
}
