//! `new --from`: a folder with a model, or a session that the new one goes on from.

use std::path::Path;

use driftless_compute::huggingface::{self, Imported};
use driftless_protocol::identity::Signer;
use driftless_protocol::manifest::Manifest;
use driftless_protocol::model::Model;

use super::CommandError;
use super::new::{admission, committee, overrides};
use super::verify::with_progress;
use crate::args::NewArguments;
use crate::offline;
use crate::output::Output;
use crate::report::ParentState;
use crate::store::{Folder, SessionFolder};
use crate::succession::{self, Wishes};
use crate::terms::Founding;

/// What a session starts from.
pub(super) enum Source {
    /// A model.
    Model(Imported),
    /// Another session's newest state.
    Session(SessionFolder),
}

/// Finds out what was typed: a folder that is no session's or node's is a model's.
pub(super) fn source(from: &Path, folder: &Folder) -> Result<Source, CommandError> {
    let is_model = from.is_dir() && !from.join("chain").is_dir() && !from.join("sessions").is_dir();
    match from.to_str() {
        Some(text) if !is_model => match offline::find(folder.path(), Some(text)) {
            Err(error) if !from.exists() => {
                Err(CommandError::Failed(format!("--from {text:?}: there is no such folder, and {error}")))
            }
            found => Ok(Source::Session(found?)),
        },
        _ => Ok(Source::Model(huggingface::import(from)?)),
    }
}

/// Founds on a session, after its folder was verified.
pub(super) fn found(
    parent: &SessionFolder,
    options: &NewArguments,
    signer: &Signer,
    output: Output,
) -> Result<Founding, CommandError> {
    if options.method.is_some() {
        let reason = "the session after --from says how its peers train: leave --method out";
        return Err(CommandError::Usage(reason.into()));
    }
    let model = options.model.as_deref().map(Model::named).transpose();
    let wishes = Wishes {
        name: options.name.clone(),
        model: model.map_err(|error| CommandError::Usage(error.to_string()))?,
        data: options.data.clone(),
        tokenizer: options.tokenizer.clone(),
        overrides: overrides(options),
        committee: committee(&options.committee, signer.key())?,
        admission: admission(options, signer),
        combine: options.combine,
        stop_at: options.stop_at,
    };
    let parent = with_progress(output, |told| succession::read_parent(parent, told))?;
    if parent.missing > 0 {
        output.note(&format!(
            "note: {} later blocks are left out: their contributions are not in the folder",
            parent.missing
        ));
    }
    let founding = succession::found_on(&parent, &wishes, signer)?;
    warn_of_budget(founding.manifest.manifest(), output);
    Ok(founding)
}

/// The state of another session that a manifest names.
pub(super) fn parent_of(manifest: &Manifest) -> Option<ParentState> {
    let parent = manifest.origin.parent()?;
    Some(ParentState {
        session: parent.session,
        height: parent.height,
        digest: parent.digest,
        tokens: parent.tokens,
    })
}

/// The learning rate stays at its lowest once its budget is used up.
fn warn_of_budget(manifest: &Manifest, output: Output) {
    let (counted, budget) = (manifest.origin.progress().tokens, manifest.training.budget_tokens);
    if counted >= budget {
        output.note(&format!(
            "note: {counted} tokens were counted and the learning rate was planned for {budget}: it stays at \
             its lowest. --tokens plans for more"
        ));
    }
}
