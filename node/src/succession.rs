//! Founding on a session: a new one goes on from the newest certified state of another one's folder.
//!
//! It takes all arrays bit for bit, the terms of model, method, training and data, the order of samples
//! from the first position that nobody was granted, and the count of tokens, so that the learning rate
//! goes on where it stood. Members, leases, seats and heights begin anew, under a new session id.

use std::path::PathBuf;

use driftless_protocol::Hash;
use driftless_protocol::charter::Charter;
use driftless_protocol::committee::Committee;
use driftless_protocol::identity::Signer;
use driftless_protocol::manifest::{
    Admission, Data, DataFile, Manifest, ManifestError, Origin, Parent, Preset, SignedManifest,
};
use driftless_protocol::method::Combine;
use driftless_protocol::model::Model;
use driftless_protocol::state::State;

use crate::node::FoundingFiles;
use crate::offline::{Offline, OfflineError};
use crate::store::SessionFolder;
use crate::terms::{Founding, Overrides, TermsError, clip_for, draw_seed, list_file};
use crate::verify::{Problem, Step, verify};

/// What a founder says of a session that goes on from another one's state.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// The new session's name.
    pub name: String,
    /// The model, where it was named: there is only one that is right.
    pub model: Option<Model>,
    /// Own copies of the texts.
    pub data: Vec<PathBuf>,
    /// An own copy of the tokenizer.
    pub tokenizer: Option<PathBuf>,
    /// What becomes of the updates of a slot, if not what became of them before.
    pub combine: Option<Combine>,
    /// Numbers that are to be others from now on.
    pub overrides: Overrides,
    /// Who votes.
    pub committee: Committee,
    /// Who may join.
    pub admission: Admission,
    /// Counted tokens, the other session's included, at which the new one ends.
    pub stop_at: Option<u64>,
}

/// Why nothing is founded on a session.
#[derive(Debug, thiserror::Error)]
pub enum SuccessionError {
    /// Its state cannot be read.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// Its folder is damaged.
    #[error(
        "nothing is founded on a folder that is damaged ({count} found by `driftless verify`). The first: \
         {problem}"
    )]
    Damaged {
        /// What is wrong first.
        problem: Box<Problem>,
        /// How much is wrong.
        count: usize,
    },
    /// It has no block.
    #[error("nothing was decided in session {} yet: there is no certified state to found on", .0.short())]
    Nothing(Hash),
    /// Another model.
    #[error(
        "session {} trains another model: leave --model out to go on with its own, or --from to begin anew",
        .0.short()
    )]
    OtherModel(Hash),
    /// Other texts.
    #[error(
        "session {} trains on other texts than those given: leave --data out to go on with its own; for others, \
         `driftless export` its model and give the exported folder to `new --from`, with --data",
        .0.short()
    )]
    OtherData(Hash),
    /// Another tokenizer.
    #[error("session {} has another tokenizer, or none: leave --tokenizer out to go on with its own", .0.short())]
    OtherTokenizer(Hash),
    /// It reached its end.
    #[error(
        "session {} reached its end of {stop_at} tokens (it counted {tokens}): say with --stop-at how far the \
         new one goes, these included",
        .session.short()
    )]
    Over {
        /// The session.
        session: Hash,
        /// What it counted.
        tokens: u64,
        /// Its end.
        stop_at: u64,
    },
    /// An end that is behind.
    #[error(
        "--stop-at {stop_at} is behind the {tokens} tokens that session {} counted: the new one goes on from these",
        .session.short()
    )]
    TooSoon {
        /// The session.
        session: Hash,
        /// What it counted.
        tokens: u64,
        /// The end that was typed.
        stop_at: u64,
    },
    /// A file, or randomness.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The new manifest is not valid.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// The newest state of a session's folder, after everything in the folder was verified.
pub fn read_parent(folder: &SessionFolder, told: &mut dyn FnMut(Step)) -> Result<Offline, SuccessionError> {
    let verified = verify(folder, false, told)?;
    let count = verified.problems.len();
    if let Some(problem) = verified.problems.into_iter().next() {
        return Err(SuccessionError::Damaged { problem: Box::new(problem), count });
    }
    let parent = Offline::load(folder.clone())?;
    match parent.state.control.height {
        0 => Err(SuccessionError::Nothing(parent.charter.session)),
        _ => Ok(parent),
    }
}

/// Writes the manifest of a session that goes on from `parent` and signs it.
pub fn found_on(parent: &Offline, wishes: &Wishes, founder: &Signer) -> Result<Founding, SuccessionError> {
    let session = parent.charter.session;
    let terms = &parent.charter.manifest;
    if wishes.model.is_some_and(|model| model != terms.model) {
        return Err(SuccessionError::OtherModel(session));
    }
    let files = files_of(parent, wishes)?;
    let origin = Parent::of(session, &parent.state, draw_seed()?);
    let Preset { method, training, .. } = wishes.overrides.apply(Preset {
        model: terms.model,
        method: terms.method.clone(),
        training: terms.training.clone(),
    });
    let manifest = Manifest {
        name: wishes.name.clone(),
        method,
        training,
        committee: wishes.committee.clone(),
        admission: wishes.admission,
        combine: wishes.combine.unwrap_or(terms.combine),
        stop_at: stop_at(session, terms, wishes, origin.tokens)?,
        clip: terms.clip.or(clip_for(&wishes.committee)),
        origin: Origin::Session(origin),
        ..terms.clone()
    };
    let control = Charter::new(manifest.clone())?.genesis_control();
    let genesis = State { control: control.into(), ..parent.state.clone().without_estimates() }.digest();
    Ok(Founding { manifest: SignedManifest::seal(Manifest { genesis, ..manifest }, founder)?, files })
}

/// Where the new session ends: where it is told to, else where the other one would have.
fn stop_at(
    session: Hash,
    terms: &Manifest,
    wishes: &Wishes,
    tokens: u64,
) -> Result<Option<u64>, SuccessionError> {
    match (wishes.stop_at, terms.stop_at) {
        (Some(stop_at), _) if stop_at <= tokens => Err(SuccessionError::TooSoon { session, tokens, stop_at }),
        (None, Some(stop_at)) if stop_at <= tokens => Err(SuccessionError::Over { session, tokens, stop_at }),
        (told, before) => Ok(told.or(before)),
    }
}

/// The parent's files, as they lie in its folder or where the founder says.
fn files_of(parent: &Offline, wishes: &Wishes) -> Result<FoundingFiles, SuccessionError> {
    let session = parent.charter.session;
    let terms = &parent.charter.manifest;
    let data = match &terms.data {
        _ if wishes.data.is_empty() => parent.texts()?,
        Data::Public { files, .. } if are(files, &wishes.data)? => wishes.data.clone(),
        Data::Public { .. } => return Err(SuccessionError::OtherData(session)),
        Data::Private { .. } => wishes.data.clone(),
    };
    let tokenizer = match &wishes.tokenizer {
        None => parent.tokenizer(),
        Some(path) if are(terms.tokenizer.as_slice(), std::slice::from_ref(path))? => Some(path.clone()),
        Some(_) => return Err(SuccessionError::OtherTokenizer(session)),
    };
    Ok(FoundingFiles { data, tokenizer, pages: parent.state.pages().cloned().collect() })
}

/// Whether the files at `paths` are those of the list, in its order.
fn are(files: &[DataFile], paths: &[PathBuf]) -> Result<bool, TermsError> {
    let given = paths.iter().map(|path| list_file(path)).collect::<Result<Vec<_>, _>>()?;
    Ok(files.iter().map(|file| file.root).eq(given.iter().map(|file| file.root)))
}

#[cfg(test)]
mod tests;
