//! At one height there is one certified block, and all peers have the digest that it names.

use driftless_protocol::block::{Block, Height};
use driftless_protocol::identity::Hash;

/// Block hash and state digest of every height, from 1 on.
#[derive(Debug)]
pub struct OneDigest {
    genesis: Hash,
    chain: Vec<(Hash, Hash)>,
}

impl OneDigest {
    /// A chain that starts at a genesis state of this digest.
    #[must_use]
    pub fn new(genesis: Hash) -> OneDigest {
        OneDigest { genesis, chain: Vec::new() }
    }

    /// A peer holds a certificate over this block.
    ///
    /// # Errors
    /// If another block of its height is certified, or one below it is missing everywhere.
    pub fn observe_block(&mut self, block: &Block) -> Result<(), String> {
        let (hash, index) = (block.hash(), block.height as usize - 1);
        match self.chain.get(index) {
            Some((known, _)) if *known == hash => Ok(()),
            Some((known, _)) => Err(format!("two certified blocks: {} and {}", known.short(), hash.short())),
            None if index == self.chain.len() => {
                self.chain.push((hash, block.digest));
                Ok(())
            }
            None => Err(format!("certified above height {}, the highest known", self.chain.len())),
        }
    }

    /// A peer's state has this digest at this height.
    ///
    /// # Errors
    /// If it is not the certified one.
    pub fn compare(&self, height: Height, digest: Hash) -> Result<(), String> {
        let expected = match height {
            0 => Some(self.genesis),
            _ => self.chain.get(height as usize - 1).map(|(_, digest)| *digest),
        };
        match expected {
            Some(expected) if expected == digest => Ok(()),
            Some(expected) => Err(format!("digest {} instead of {}", digest.short(), expected.short())),
            None => Err("a state without a certified block".into()),
        }
    }
}
