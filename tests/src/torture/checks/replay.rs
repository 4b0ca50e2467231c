//! The whole chain is applied again from genesis, by the simulator's checkers, which compute every
//! state and see to it that a quorum decided it and nothing is counted twice. A folder may have jumped over blocks: another
//! has them.

use std::collections::BTreeMap;
use std::sync::Arc;

use driftless::store::SessionFolder;
use driftless_protocol::Hash;
use driftless_protocol::block::CertifiedBlock;
use driftless_protocol::charter::Charter;
use driftless_sim::checkers::{CountedOnce, Fold, Quorum};

use super::chains::Chain;
use super::signed::Signed;
use crate::failure::Failure;

/// Returns the height it came to; the chains are one.
pub fn run(
    charter: &Arc<Charter>,
    folders: &[SessionFolder],
    chains: &[Chain],
    signed: &mut Signed,
) -> Result<u64, Failure> {
    let blocks: BTreeMap<u64, &CertifiedBlock> =
        chains.iter().flat_map(|chain| &chain.blocks).map(|(height, block)| (*height, block)).collect();
    let mut fold = Fold::new(charter.clone(), charter.genesis_state());
    let mut counted = CountedOnce::default();
    let mut quorum = Quorum::new(charter.session, charter.manifest.committee.quorum_rule());
    let mut read = |root: &Hash| blob(folders, root);
    for (height, certified) in blocks {
        if height != fold.height() + 1 {
            return Failure::broken(format!("no folder has the block of height {}", fold.height() + 1));
        }
        let broken = |text: String| Failure::Broken(format!("height {height}, computed again: {text}"));
        quorum.observe(certified, &fold.state().control.seats).map_err(broken)?;
        signed.contributions(fold.state(), certified)?;
        counted.observe(&fold.state().control, &certified.block).map_err(broken)?;
        fold.observe(certified, &mut read).map_err(broken)?;
    }
    Ok(fold.height())
}

fn blob(folders: &[SessionFolder], root: &Hash) -> Result<Vec<u8>, String> {
    let read = |folder: &SessionFolder| std::fs::read(folder.blobs().join(root.to_string())).ok();
    folders.iter().find_map(read).ok_or_else(|| format!("blob {root} is in no folder"))
}
