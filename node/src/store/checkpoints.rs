//! Local checkpoints: `checkpoints/NNNNNNNN.checkpoint`, numbered as they come; two are kept.

use std::path::PathBuf;
use std::sync::Arc;

use driftless_protocol::Hash;
use driftless_protocol::archive::Kind;
use driftless_protocol::event::Checkpoint;

use super::disk::{Disk, numbered, numbered_path, remove_temporaries};
use super::error::{StoreError, Warning};
use super::frame;

const SUFFIX: &str = "checkpoint";
const KEPT: usize = 2;

/// The checkpoints of a session.
#[derive(Debug)]
pub(super) struct Checkpoints {
    disk: Arc<Disk>,
    folder: PathBuf,
    session: Hash,
    /// The number of the next one.
    next: u64,
}

impl Checkpoints {
    /// Reads back the newest checkpoint that passes its check.
    pub(super) fn open(
        disk: Arc<Disk>,
        folder: PathBuf,
        session: Hash,
        warnings: &mut Vec<Warning>,
    ) -> Result<(Checkpoints, Option<Checkpoint>), StoreError> {
        remove_temporaries(&folder)?;
        let files = numbered(&folder, SUFFIX)?;
        let next = files.last().map_or(0, |(number, _)| number + 1);
        let mut newest = None;
        for (_, path) in files.iter().rev() {
            match frame::read(path, Kind::Checkpoint, session) {
                Ok((height, bytes)) => {
                    newest = Some(Checkpoint { height, bytes });
                    break;
                }
                Err(error @ (StoreError::Io { .. } | StoreError::Full { .. })) => return Err(error),
                Err(damage) => warnings.push(Warning::Checkpoint(Box::new(damage))),
            }
        }
        Ok((Checkpoints { disk, folder, session, next }, newest))
    }

    /// Stores a checkpoint durably; then older ones go.
    pub(super) fn store(&mut self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let path = numbered_path(&self.folder, self.next, SUFFIX);
        let Checkpoint { height, bytes } = checkpoint;
        frame::write(&self.disk, &path, Kind::Checkpoint, self.session, *height, bytes)?;
        self.next += 1;
        let files = numbered(&self.folder, SUFFIX)?;
        for (_, old) in &files[..files.len().saturating_sub(KEPT)] {
            self.disk.remove(old)?;
        }
        Ok(())
    }
}
