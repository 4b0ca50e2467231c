//! Every state computed again from the kept blobs, as every peer computed it.

use std::sync::Arc;

use driftless_protocol::Hash;
use driftless_protocol::block::{Block, Height};
use driftless_protocol::charter::Charter;
use driftless_protocol::election::Committees;
use driftless_protocol::state::State;

use super::{Problem, Step, Verified, blobs};
use crate::offline::{self, OfflineError};
use crate::store::{
    ChainReader, ReadBlock, SessionFolder, read_committees, read_listing, read_snapshot, snapshot_heights,
};

pub(super) fn replay(
    folder: &SessionFolder,
    charter: &Arc<Charter>,
    verified: &mut Verified,
    told: &mut dyn FnMut(Step),
) -> Result<(), OfflineError> {
    let Some((from, mut state, mut head)) = begin(folder, charter, verified)? else { return Ok(()) };
    verified.replayed_from = Some(from);
    for read in whole_blocks(folder, charter) {
        let block = &read.block.block;
        if block.height <= from {
            continue;
        }
        let problem = |reason: String| Problem::at(&read.file, reason).of_height(block.height);
        match offline::apply(folder, charter, &state, head, &read.block) {
            Ok(Some(next)) => (state, head) = (next, read.hash),
            Ok(None) => {
                let gone = || problem("a contribution vanished while it was read".into());
                verified.problem(unreadable(folder, charter, block).unwrap_or_else(gone));
                break;
            }
            Err(error) => {
                verified.problem(problem(error.to_string()));
                break;
            }
        }
        // A node beside this may have gone on since the chain was followed.
        told(Step::State(block.height - from, verified.height.saturating_sub(from)));
    }
    Ok(())
}

/// The chain up to the first damage, which is listed already, with all that it concerns.
fn whole_blocks(folder: &SessionFolder, charter: &Charter) -> impl Iterator<Item = ReadBlock> {
    let reader = ChainReader::open(folder, charter.session);
    reader.into_iter().flatten().map_while(Result::ok)
}

/// The state to begin with: the oldest from which all blobs are here.
fn begin(
    folder: &SessionFolder,
    charter: &Charter,
    verified: &mut Verified,
) -> Result<Option<(Height, State, Hash)>, OfflineError> {
    let mut incomplete = 0;
    for read in whole_blocks(folder, charter) {
        let block = &read.block.block;
        let missing = blobs(block).any(|root| !folder.blobs().join(root.to_string()).is_file());
        if missing || (read.after_gap && block.height > 1) {
            incomplete = block.height;
        }
    }
    if incomplete == 0 {
        return match offline::genesis(folder, charter) {
            Ok(state) => Ok(Some((0, state, charter.session))),
            Err(error) => {
                verified.problem(Problem::at(&folder.manifest_path(), error.to_string()));
                Ok(None)
            }
        };
    }
    let committees = read_committees(folder, charter).unwrap_or_else(|_| Committees::founding(charter));
    let mut heights = snapshot_heights(folder)?;
    // Others are listed among the problems already.
    heights.retain(|height| {
        read_listing(folder, charter.session, *height)
            .is_ok_and(|listing| listing.is_certified(charter, &committees))
    });
    // Where even the blobs after the newest are missing, that is found when they are needed.
    let fitting = heights.iter().copied().find(|height| *height >= incomplete);
    let Some(height) = fitting.or(heights.last().copied()) else {
        let reason =
            "no snapshot is here, and contributions are missing that the states would be computed from";
        verified.problem(Problem::at(&folder.pages(), reason).of_height(incomplete));
        return Ok(None);
    };
    match read_snapshot(folder, charter, height) {
        Ok(snapshot) => {
            let head = snapshot.block.as_ref().map_or(charter.session, |block| block.block.hash());
            Ok(Some((height, snapshot.state, head)))
        }
        Err(error) => {
            verified.problem(Problem::from_store(error, folder).of_height(height));
            Ok(None)
        }
    }
}

/// The first blob of a block that is missing or damaged.
fn unreadable(folder: &SessionFolder, charter: &Charter, block: &Block) -> Option<Problem> {
    let damaged = |root: &Hash| offline::read_contribution(folder, charter, root).is_none();
    let root = blobs(block).find(damaged)?;
    let reason = "the state cannot be computed: this contribution is missing or damaged";
    Some(Problem::at(&folder.blobs().join(root.to_string()), reason).of_height(block.height).of_root(root))
}
