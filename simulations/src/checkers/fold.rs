//! The state is the fold of the chain: every certified block is applied once more, from genesis,
//! by the protocol's own transition, and its digest and place are checked.

use std::sync::Arc;

use driftless_protocol::block::{CertifiedBlock, Height};
use driftless_protocol::charter::Charter;
use driftless_protocol::identity::Hash;
use driftless_protocol::state::State;
use driftless_protocol::transition::{self, Aggregation, CandidateJob, Parent};

/// The fold of all blocks seen so far.
#[derive(Debug)]
pub struct Fold {
    charter: Arc<Charter>,
    state: State,
    head: Hash,
    aggregations: Arc<[Aggregation]>,
}

impl Fold {
    /// Starts at genesis.
    #[must_use]
    pub fn new(charter: Arc<Charter>, genesis: State) -> Fold {
        Fold { head: charter.session, charter, state: genesis, aggregations: Arc::new([]) }
    }

    /// Its height.
    #[must_use]
    pub fn height(&self) -> Height {
        self.state.control.height
    }

    /// The folded state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Who moved the parameters in the last block, and with which weight.
    #[must_use]
    pub fn aggregations(&self) -> &[Aggregation] {
        &self.aggregations
    }

    /// A certified block; those at or below the fold's height are known already.
    ///
    /// # Errors
    /// If it does not continue the chain, or leads to another digest.
    pub fn observe(
        &mut self,
        certified: &CertifiedBlock,
        read: &mut dyn FnMut(&Hash) -> Result<Vec<u8>, String>,
    ) -> Result<(), String> {
        let block = &certified.block;
        if block.height <= self.height() {
            return Ok(());
        }
        let parent = Parent { state: &self.state, hash: self.head };
        transition::continues(parent, block).map_err(|error| error.to_string())?;
        let plan =
            transition::check(&self.charter, parent, &block.items).map_err(|error| error.to_string())?;
        let aggregations = plan.aggregations.clone();
        let job = CandidateJob::new(0, self.charter.clone(), self.state.clone(), plan);
        let state = job.run(read).map_err(|error| error.to_string())?;
        if state.digest() != block.digest {
            return Err(format!(
                "the fold has digest {}, not {}",
                state.digest().short(),
                block.digest.short()
            ));
        }
        self.state = state;
        self.head = block.hash();
        self.aggregations = aggregations;
        Ok(())
    }
}
