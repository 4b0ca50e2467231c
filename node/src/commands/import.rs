//! `driftless import`: checks a Hugging Face GPT-2 folder and keeps it, for `new --from`.

use std::path::Path;

use driftless_compute::huggingface;
use serde_json::json;

use super::CommandError;
use crate::args::ImportArguments;
use crate::output::{Output, bytes};
use crate::store::Folder;

/// Checks and copies the folder, as 32-bit numbers with plain names, into `DIR/imports/NAME`.
pub(super) fn run(options: &ImportArguments, dir: &Path, output: Output) -> Result<(), CommandError> {
    let imported = huggingface::import(&options.folder)?;
    let absolute = std::path::absolute(&options.folder)
        .map_err(|source| CommandError::File { path: options.folder.clone(), source })?;
    let own = || absolute.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let name = options.name.clone().or_else(own).unwrap_or_else(|| "model".into());
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
        return Err(CommandError::Usage(format!("--name {name:?} is no plain folder name")));
    }
    let kept = Folder::create(dir)?.path().join("imports").join(&name);
    if kept.exists() {
        return Err(CommandError::Failed(format!(
            "{} exists: choose another --name, or remove it",
            kept.display()
        )));
    }
    huggingface::export(&kept, &imported.shape, &imported.parameters, imported.tokenizer.as_deref())?;
    let shape = imported.shape;
    let object = json!({
        "event": "imported",
        "from": kept,
        "parameters": shape.parameter_count(),
        "layers": shape.layers,
        "heads": shape.heads,
        "width": shape.width,
        "context": shape.context,
        "vocabulary": shape.vocabulary,
        "tokenizer": imported.tokenizer.is_some(),
    });
    output.result(&object, || {
        format!(
            "imported a GPT-2 of {} layers, width {}, context {}: {} parameters, {}.\nFound a session with it:\n\n  \
             driftless new NAME --from {} --data FILE...\n",
            shape.layers,
            shape.width,
            shape.context,
            shape.parameter_count(),
            bytes(4 * shape.parameter_count() as u64),
            kept.display()
        )
    });
    Ok(())
}
