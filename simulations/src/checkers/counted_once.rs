//! Nothing is counted twice: no (peer, slot), and no position of the sample order.

use std::collections::{BTreeMap, BTreeSet};

use driftless_protocol::block::{Block, Closing, Slot};
use driftless_protocol::identity::PeerKey;
use driftless_protocol::membership::ControlPage;

/// What the chain counted so far.
#[derive(Debug, Default)]
pub struct CountedOnce {
    slots: BTreeSet<(PeerKey, Slot)>,
    /// Counted ranges of positions: first position and the one after the last.
    positions: BTreeMap<u64, u64>,
}

impl CountedOnce {
    /// A block on top of `before`.
    ///
    /// # Errors
    /// What was counted twice.
    pub fn observe(&mut self, before: &ControlPage, block: &Block) -> Result<(), String> {
        block.closings().try_for_each(|closing| self.closing(before, closing))
    }

    fn closing(&mut self, before: &ControlPage, closing: &Closing) -> Result<(), String> {
        for counted in &closing.counted {
            let member = before.members.get(usize::from(counted.member)).ok_or("a member that is none")?;
            if !self.slots.insert((member.key, closing.slot)) {
                return Err(format!("{} is counted twice for {:?}", member.key.short(), closing.slot));
            }
            for piece in counted.work.samples.pieces() {
                self.range(piece.start, piece.start + u64::from(piece.samples))?;
            }
        }
        Ok(())
    }

    fn range(&mut self, start: u64, end: u64) -> Result<(), String> {
        if start == end {
            return Ok(());
        }
        let before = self.positions.range(..end).next_back();
        if before.is_some_and(|(_, before)| *before > start) {
            return Err(format!("samples {start}..{end} are counted twice, in part at least"));
        }
        self.positions.insert(start, end);
        Ok(())
    }
}
