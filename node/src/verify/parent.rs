//! The session that this one was founded on, where its folder lies beside this one's.
//!
//! The manifest's word for it is checked as such when the manifest is read: its digest is that of the
//! pages. Whether that session's voters certified this digest only its own chain tells.

use driftless_protocol::Hash;
use driftless_protocol::block::Height;
use driftless_protocol::charter::Charter;
use driftless_protocol::manifest::Parent;

use super::{Followed, Problem, Verified, charter_of, follow};
use crate::offline::OfflineError;
use crate::store::SessionFolder;

/// Where a session comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundedOn {
    /// The session.
    pub session: Hash,
    /// The height of its state.
    pub height: Height,
    /// The digest of its state.
    pub digest: Hash,
    /// Whether the certificate was found, in that session's folder beside this one.
    pub certified: bool,
}

pub(super) fn check(
    folder: &SessionFolder,
    charter: &Charter,
    verified: &mut Verified,
) -> Result<(), OfflineError> {
    let Some(parent) = charter.manifest.origin.parent() else { return Ok(()) };
    let Parent { session, height, digest, .. } = *parent;
    let beside = folder.beside(session);
    let found = if beside.exists() { look_up(&beside, parent)? } else { None };
    if let Some(Err(reason)) = &found {
        let reason = format!("it was founded on session {session}, but there {reason}");
        verified.problem(Problem::at(&folder.manifest_path(), reason).of_height(height));
    }
    let certified = matches!(found, Some(Ok(())));
    verified.founded_on = Some(FoundedOn { session, height, digest, certified });
    Ok(())
}

/// What the parent's chain says; nothing if it does not have that height, or not whole.
fn look_up(beside: &SessionFolder, parent: &Parent) -> Result<Option<Result<(), String>>, OfflineError> {
    let Ok(charter) = charter_of(beside) else { return Ok(None) };
    if charter.session != parent.session {
        return Ok(None);
    }
    let mut problems = Vec::new();
    let mut found = None;
    follow(beside, &charter, &mut problems, &mut |followed| {
        if followed.read.block.block.height == parent.height {
            found = compare(followed, parent);
        }
    })?;
    let damaged = problems.iter().any(|problem| problem.height.is_none_or(|height| height <= parent.height));
    Ok(found.filter(|_| !damaged))
}

/// Nothing if the block's digest is right and the rest cannot be told, for want of earlier blocks.
fn compare(followed: &Followed, parent: &Parent) -> Option<Result<(), String>> {
    let certified = followed.read.block.block.digest;
    if certified != parent.digest {
        return Some(Err(format!("digest {certified} was certified at that height")));
    }
    let control = &followed.plan.as_ref()?.control;
    let (position, tokens) = (control.pool.next, control.counted_tokens);
    Some(match (position, tokens) == (parent.position, parent.tokens) {
        true => Ok(()),
        false => Err(format!("{tokens} tokens were counted and the order of samples was at {position}")),
    })
}
