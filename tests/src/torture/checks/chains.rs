//! The chains as they lie in the folders.

use std::collections::BTreeMap;

use driftless::store::{ChainReader, SessionFolder, StoreError};
use driftless_protocol::Hash;
use driftless_protocol::block::{CertifiedBlock, Item};
use driftless_protocol::charter::Charter;

use crate::failure::Failure;

/// A chain with the folder that it lies in.
pub struct Chain {
    /// The folder.
    pub name: String,
    /// The blocks by height.
    pub blocks: BTreeMap<u64, CertifiedBlock>,
}

impl Chain {
    /// Reads a folder's chain.
    pub fn read(folder: &SessionFolder, session: Hash) -> Result<Chain, Failure> {
        let name = folder.path().display().to_string();
        let broken = |error: StoreError| Failure::Broken(format!("{name}: {error}"));
        let mut blocks: BTreeMap<u64, CertifiedBlock> = BTreeMap::new();
        for read in ChainReader::open(folder, session).map_err(broken)? {
            let read = read.map_err(broken)?;
            let height = read.block.block.height;
            // Links between neighbours are checked by the reader; that nothing is left out, here.
            let before = blocks.last_key_value().map_or(0, |(height, _)| *height);
            if height != before + 1 && !read.after_gap {
                return Failure::broken(format!("{name}: height {height} follows {before}"));
            }
            blocks.insert(height, read.block);
        }
        Ok(Chain { name, blocks })
    }

    /// Its height.
    pub fn last(&self) -> u64 {
        self.blocks.last_key_value().map_or(0, |(height, _)| *height)
    }

    /// Blocks that a snapshot was taken over.
    pub fn missing(&self) -> usize {
        self.last() as usize - self.blocks.len()
    }

    /// The certified state of a height.
    pub fn digest(&self, height: u64) -> Option<Hash> {
        self.blocks.get(&height).map(|certified| certified.block.digest)
    }

    /// Every block has a quorum's signatures, and none convicts anybody.
    pub fn is_certified(&self, charter: &Charter) -> Result<(), Failure> {
        let seats = charter.founding_seats();
        let quorum = charter.quorum(seats.len());
        for (height, certified) in &self.blocks {
            if !certified.is_certified(charter.session, &seats, quorum) {
                return Failure::broken(format!("{}: height {height} has no valid certificate", self.name));
            }
            if certified.block.items.iter().any(|item| matches!(item, Item::Convict(_))) {
                return Failure::broken(format!("{}: block {height} convicts somebody", self.name));
            }
        }
        Ok(())
    }
}

/// At every height all chains have the same block.
pub fn are_one<'a>(chains: impl Iterator<Item = &'a Chain>) -> Result<(), Failure> {
    let mut known: BTreeMap<u64, (Hash, &str)> = BTreeMap::new();
    for chain in chains {
        for (height, certified) in &chain.blocks {
            let hash = certified.block.hash();
            let (other, name) = known.entry(*height).or_insert((hash, &chain.name));
            if *other != hash {
                return Failure::broken(format!(
                    "two blocks of height {height}: in {name} and in {}",
                    chain.name
                ));
            }
        }
    }
    Ok(())
}

/// Every certificate that was ever reported is in every chain that is so long, and in one at least.
pub fn hold_all(chains: &[Chain], certificates: &BTreeMap<u64, Hash>) -> Result<(), Failure> {
    for (height, digest) in certificates {
        let having = chains.iter().filter(|chain| chain.blocks.contains_key(height));
        let found: Vec<Option<Hash>> = having.map(|chain| chain.digest(*height)).collect();
        if found.is_empty() || found.iter().any(|found| *found != Some(*digest)) {
            return Failure::broken(format!(
                "height {height} was certified with state {}, the folders have {found:?}",
                digest.short()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use driftless_protocol::block::{Block, Certificate};

    use super::*;

    fn chain(states: &[&str]) -> Chain {
        let mut parent = Hash::of(b"session");
        let blocks = states.iter().zip(1..).map(|(state, height)| {
            let digest = Hash::of(state.as_bytes());
            let block = Block { height, generation: 0, parent, items: Vec::new(), digest };
            parent = block.hash();
            let certificate = Certificate { attempt: 0, precommits: Vec::new() };
            (height, CertifiedBlock { block, certificate })
        });
        Chain { name: "a folder".into(), blocks: blocks.collect() }
    }

    #[test]
    fn a_shorter_chain_is_one_with_a_longer_and_a_fork_is_not() {
        let (long, short, fork) = (chain(&["a", "b", "c"]), chain(&["a", "b"]), chain(&["a", "x"]));
        are_one([&long, &short].into_iter()).unwrap();
        let error = are_one([&long, &short, &fork].into_iter()).unwrap_err().to_string();
        assert!(error.contains("two blocks of height 2"), "{error}");
    }

    #[test]
    fn a_reported_certificate_is_never_lost() {
        let chains = [chain(&["a", "b", "c"]), chain(&["a", "b"])];
        let reported = |states: &[&str]| -> BTreeMap<u64, Hash> {
            (1..).zip(states.iter().map(|state| Hash::of(state.as_bytes()))).collect()
        };
        hold_all(&chains, &reported(&["a", "b", "c"])).unwrap();
        assert!(hold_all(&chains, &reported(&["a", "x"])).is_err());
        assert!(hold_all(&chains, &reported(&["a", "b", "c", "d"])).is_err(), "in no folder");
    }

    #[test]
    fn a_block_without_signatures_is_noticed() {
        let charter = crate::terms::tests::charter();
        let error = chain(&["a"]).is_certified(&charter).unwrap_err().to_string();
        assert!(error.contains("no valid certificate"), "{error}");
    }
}
