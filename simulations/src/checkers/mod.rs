//! What must hold in every world, watched at every step. One file per promise.

mod counted_once;
mod fold;
mod one_digest;
mod signed_once;

use std::sync::Arc;

use driftless_protocol::block::{CertifiedBlock, Height};
use driftless_protocol::charter::Charter;
use driftless_protocol::identity::{Hash, PeerKey};
use driftless_protocol::state::State;
use driftless_protocol::wire::Message;

pub use counted_once::CountedOnce;
pub use fold::Fold;
pub use one_digest::OneDigest;
pub use signed_once::SignedOnce;

/// All checkers of a world. Each returns what is wrong, in words.
#[derive(Debug)]
pub struct Checkers {
    /// One block and one digest per height.
    pub one_digest: OneDigest,
    /// Nothing is counted twice.
    pub counted_once: CountedOnce,
    /// No honest key signs two contents for one thing.
    pub signed_once: SignedOnce,
    /// The state is the fold of the chain.
    pub fold: Fold,
}

impl Checkers {
    /// Checkers of a session that starts at `genesis`.
    #[must_use]
    pub fn new(charter: Arc<Charter>, genesis: State) -> Checkers {
        Checkers {
            one_digest: OneDigest::new(genesis.digest()),
            counted_once: CountedOnce::default(),
            signed_once: SignedOnce::default(),
            fold: Fold::new(charter, genesis),
        }
    }

    /// A peer wrote a certified block down. `read` finds blobs.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn block_persisted(
        &mut self,
        certified: &CertifiedBlock,
        read: &mut dyn FnMut(&Hash) -> Result<Vec<u8>, String>,
    ) -> Result<(), String> {
        let block = &certified.block;
        self.one_digest.observe_block(block)?;
        if block.height == self.fold.height() + 1 {
            self.counted_once.observe(&self.fold.state().control, block)?;
        }
        self.fold.observe(certified, read)
    }

    /// A peer stands at a height with a state of this digest.
    ///
    /// # Errors
    /// If another peer's was another.
    pub fn state_reached(&self, height: Height, digest: Hash) -> Result<(), String> {
        self.one_digest.compare(height, digest)
    }

    /// A message left a peer that does not mean to lie.
    ///
    /// # Errors
    /// If it contradicts one that left before.
    pub fn sent(&mut self, by: PeerKey, message: &Message) -> Result<(), String> {
        self.signed_once.observe(by, message)
    }
}
