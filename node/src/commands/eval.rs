//! `driftless eval`: the validation loss of the newest outer parameters.

use std::path::Path;

use driftless_compute::{Data, Engine, EngineOptions, Optimizer, Shape, evaluate};
use serde_json::json;

use super::CommandError;
use crate::args::EvalArguments;
use crate::config::cores;
use crate::engine::{data_for, shape_of};
use crate::offline::{self, Offline};
use crate::output::Output;

/// Evaluates the state of a folder.
pub(super) fn run(options: &EvalArguments, dir: &Path, output: Output) -> Result<(), CommandError> {
    let offline = load(dir, options.state.session.as_deref(), output)?;
    let manifest = &offline.charter.manifest;
    let texts = offline.texts()?;
    let data = data_for(&offline.charter, &texts, offline.tokenizer().as_deref(), &offline.token_cache())?;
    // As many sequences at once as in training: evaluating needs no more.
    let mut engine = engine_of(&offline, options.threads, manifest.training.batch as usize)?;
    let all = data.validation_samples();
    let windows = options.windows.map_or(all, |most| most.min(all));
    let (what, unit) = match (&data, &manifest.tokenizer) {
        (Data::Rows(_), _) => ("rows", "row"),
        (Data::Texts(_), None) => ("windows", "byte"),
        (Data::Texts(_), Some(_)) => ("windows", "token"),
    };
    output.note(&format!("evaluating {windows} {what} at height {}", offline.state.control.height));
    let found = evaluate(&mut engine, &data, options.windows)?;
    let (loss, accuracy) = (found.loss, found.accuracy);
    let (height, digest) = (offline.state.control.height, offline.state.digest());
    let mut object = json!({
        "event": "evaluated",
        "height": height,
        "digest": digest,
        "loss": loss,
        "windows": windows,
    });
    if let Some(share) = accuracy {
        object["accuracy"] = share.into();
    }
    let told = accuracy.map(|share| format!(", {:.2}% told right", 100.0 * share)).unwrap_or_default();
    output.result(&object, || {
        format!(
            "validation loss {loss:.4} nats per {unit}{told} at height {height}, state {}",
            digest.short()
        )
    });
    Ok(())
}

/// The newest state of what `argument` names.
pub(super) fn load(dir: &Path, argument: Option<&str>, output: Output) -> Result<Offline, CommandError> {
    let offline = Offline::load(offline::find(dir, argument)?)?;
    if offline.missing > 0 {
        output.note(&format!(
            "note: {} later blocks are left out: their contributions are not in this folder",
            offline.missing
        ));
    }
    Ok(offline)
}

/// What only models of texts can be.
pub(super) fn no_text(shape: &Shape, what: &str) -> CommandError {
    CommandError::Failed(format!(
        "this session trains a {} model of tables, which cannot be {what}",
        shape.name()
    ))
}

/// An engine that holds the state's outer parameters.
pub(super) fn engine_of(
    offline: &Offline,
    threads: Option<usize>,
    batch: usize,
) -> Result<Engine, CommandError> {
    let threads = threads.unwrap_or_else(cores);
    let options = EngineOptions { threads, batch, optimizer: Optimizer::default() };
    let mut engine = Engine::new(shape_of(&offline.charter.manifest.model), options)?;
    engine.write(0..engine.parameter_count(), &offline.parameters()?);
    Ok(engine)
}
