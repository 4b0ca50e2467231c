//! Which files of `blobs/` nobody needs any more.
//!
//! A blob stays while one of these holds: the manifest names it; a block since the older of the two
//! snapshots names it (with `keep_history` any block); a proposal of the running height names it;
//! it is an own contribution to a slot that did not close; it is a page of a snapshot that is being
//! fetched; or it is young, and may be any of these
//! soon. A page that was fetched goes once a snapshot has its own copy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use driftless_protocol::Hash;
use driftless_protocol::block::{Announcement, Block, Slot};
use driftless_protocol::consensus::WalRecord;
use driftless_protocol::event::Recovered;
use driftless_protocol::identity::Signed;
use driftless_protocol::transition::blob_root;

use super::error::StoreError;
use super::session::SessionStore;

/// What is not certified yet and needed all the same.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Own contributions by slot.
    own: BTreeMap<Slot, Hash>,
    /// What proposals of the running height name.
    proposed: BTreeSet<Hash>,
}

impl Pending {
    pub(super) fn of(recovered: &Recovered) -> Pending {
        let mut pending = Pending::default();
        recovered.signed.iter().for_each(|signed| pending.signed(signed));
        recovered.wal.iter().for_each(|record| pending.logged(record));
        pending
    }

    pub(super) fn signed(&mut self, signed: &Signed<Announcement>) {
        if let Some(root) = blob_root(&signed.content.payload) {
            self.own.insert(signed.content.slot, root);
        }
    }

    pub(super) fn logged(&mut self, record: &WalRecord) {
        if let WalRecord::Proposal { block: Some(block), .. }
        | WalRecord::OwnProposal { block: Some(block), .. } = record
        {
            self.proposed.extend(roots(block));
        }
    }

    pub(super) fn certified(&mut self, block: &Block) {
        self.proposed.clear();
        for closing in block.closings() {
            let Slot { stream, ordinal } = closing.slot;
            self.own.retain(|slot, _| slot.stream != stream || slot.ordinal > ordinal);
        }
    }

    fn names(&self, root: &Hash) -> bool {
        self.proposed.contains(root) || self.own.values().any(|own| own == root)
    }
}

/// The blobs that a block names.
fn roots(block: &Block) -> impl Iterator<Item = Hash> {
    block.closings().flat_map(|closing| &closing.counted).filter_map(|counted| blob_root(&counted.payload))
}

impl SessionStore {
    /// Deletes blobs that nobody needs, but none of `pinned` and none younger than `grace`.
    /// Returns how many went.
    pub fn sweep(&self, pinned: &BTreeSet<Hash>, grace: Duration) -> Result<usize, StoreError> {
        let mut gone = self.blobs.older_than(grace)?;
        gone.retain(|root| !self.pending.names(root));
        if let Some(offer) = self.snapshots.taking() {
            offer.pages.iter().for_each(|page| {
                gone.remove(page);
            });
        }
        if !gone.is_empty() {
            self.chain.index().visit(self.needed_from(), |block| {
                roots(&block.block).for_each(|root| {
                    gone.remove(&root);
                });
            })?;
        }
        let copied = self.pages.list()?.into_iter().map(|(root, _)| root);
        gone.extend(copied.filter(|root| self.blobs.contains(root)));
        gone.retain(|root| !pinned.contains(root));
        self.blobs.remove_all(&gone)?;
        Ok(gone.len())
    }

    /// The first height whose block may still have to be applied again.
    fn needed_from(&self) -> u64 {
        match self.snapshots.heights().as_slice() {
            [older, .., _] if !self.options.keep_history => older + 1,
            _ => 0,
        }
    }
}
