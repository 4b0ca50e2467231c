//! The engines of a recorded session, if it is one that can be computed again at all.

use driftless_protocol::manifest::{Data, Origin, Pacing};

use super::ReplayError;
use crate::engine::CpuEngine;
use crate::session_folder::SessionFolder;

/// Makes engines on the session's own texts.
pub(super) struct Engines<'a> {
    folder: &'a SessionFolder,
}

impl Engines<'_> {
    /// Refuses sessions in which more than the chain decides what a peer computes.
    pub fn of(folder: &SessionFolder) -> Result<Engines<'_>, ReplayError> {
        let manifest = &folder.charter.manifest;
        let no = |what: &'static str| Err(ReplayError::Unfit(what));
        if matches!(manifest.data, Data::Private { .. }) {
            return no("its data is private: the folder has nobody else's");
        }
        if manifest.method.overrun_steps() > 0 {
            return no(
                "its max_overrun is not strict: how far a peer trained before a certificate came is not in the \
                 chain (`driftless demo` and max_overrun = \"strict\" are)",
            );
        }
        if matches!(manifest.pacing, Pacing::Proportional { .. }) {
            return no(
                "its pacing is proportional: the speeds that a peer measured are not all in the chain",
            );
        }
        if manifest.method.one_byte().is_some() {
            return no(
                "its peers followed lists of samples while a batch ran, which are not in the chain; its states \
                 can be computed again (`driftless verify --replay`)",
            );
        }
        match manifest.origin {
            Origin::Seed => {}
            Origin::Imported(_) => return no("it starts from an imported model"),
            Origin::Session(_) => return no("it starts from another session's state"),
        }
        if manifest.tokenizer.is_some() {
            return no("it has a tokenizer: only texts whose bytes are the tokens are read");
        }
        Ok(Engines { folder })
    }

    /// An engine on so many threads.
    pub fn engine(&self, threads: usize) -> Result<CpuEngine, ReplayError> {
        let made = CpuEngine::on_files(&self.folder.charter, &self.folder.texts(), threads);
        made.map_err(|error| ReplayError::Engine(error.to_string()))
    }
}
