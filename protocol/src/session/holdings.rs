//! What this session holds, part by part.

use crate::committee::MAX_SEATS;
use crate::holdings::{Tell, tell};
use crate::wire::limits;

use super::Session;

/// Contributions that one block can name: none takes fewer bytes of it than this.
const SMALLEST_COUNTED: usize = 96;
/// Outputs of one call beside fetches: records, statements and events.
const FEW: usize = 1024;

impl Session {
    /// Tells how much is held of everything, and how much may be. Cheap: it looks at lengths only.
    pub fn holdings(&self, to: Tell<'_>) {
        let pages = self.charter.shape().most_pages();
        let blocks = super::chain::MAX_CHECKING + 1;
        let fetched = self.announced_at_most() + pages + blocks * (limits::BLOCK / SMALLEST_COUNTED);
        tell(to, "peers in reach", self.connected.len(), super::MAX_IN_REACH);
        tell(to, "voters heard", self.heard_at.len(), MAX_SEATS);
        tell(to, "blobs held", self.held.len(), self.held_at_most());
        tell(to, "blobs asked for", self.fetching.len(), fetched);
        tell(to, "joins", self.joins.len(), super::MAX_PENDING);
        tell(to, "farewells", self.leaves.len(), super::MAX_PENDING);
        tell(to, "evidence", self.evidence.len(), super::MAX_PENDING);
        tell(to, "outputs of one call", self.outputs.len(), fetched + FEW);
        self.slots.holdings(&self.charter, to);
        self.voting.consensus.holdings(to);
        if let Some(observer) = &self.observer {
            observer.holdings(to);
        }
        self.elections.holdings(to);
        self.resets.holdings(to);
        self.recall.holdings(to);
        self.candidates.holdings(to);
        self.snapshots.holdings(to);
        self.catch_up.holdings(pages, to);
        self.contributing.holdings(self.slots_at_most(), to);
        self.training.holdings(to);
        let drawn = usize::from(self.charter.manifest.max_contributors);
        self.stepping.holdings(self.charter.manifest.method.one_byte(), drawn, to);
        if let Some(batch) = self.training.batch() {
            batch.holdings(to);
        }
        self.charter.memory.holdings(to);
    }

    /// Slots that are open at one time.
    fn slots_at_most(&self) -> usize {
        let method = &self.charter.manifest.method;
        usize::from(method.streams()) * method.window() as usize
    }

    /// Contributions to open slots, twice while a state is rebuilt from an older one.
    fn announced_at_most(&self) -> usize {
        2 * self.slots_at_most() * usize::from(self.charter.manifest.max_contributors)
    }

    /// Blobs that are known to be in the store: as many were pushed here before they are announced.
    pub(super) fn held_at_most(&self) -> usize {
        2 * self.announced_at_most() + super::MAX_PENDING
    }
}
