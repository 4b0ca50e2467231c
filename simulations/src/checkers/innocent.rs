//! Whoever keeps to the protocol is not convicted, and bars itself only if its folder is an older copy.

use std::collections::BTreeSet;

use driftless_protocol::event::Record;
use driftless_protocol::identity::PeerKey;

/// Who may be convicted or barred.
#[derive(Debug, Default)]
pub struct Innocent {
    liars: BTreeSet<PeerKey>,
    restored: BTreeSet<PeerKey>,
}

impl Innocent {
    /// A world in which these lie.
    #[must_use]
    pub fn new(liars: BTreeSet<PeerKey>) -> Innocent {
        Innocent { liars, restored: BTreeSet::new() }
    }

    /// A peer comes back with an older copy of its folder.
    pub fn restored(&mut self, key: PeerKey) {
        self.restored.insert(key);
    }

    /// A certified state convicts these.
    ///
    /// # Errors
    /// If one of them is honest.
    pub fn convicted(&self, keys: &[PeerKey]) -> Result<(), String> {
        match keys.iter().find(|key| !self.liars.contains(key)) {
            Some(key) => Err(format!("{} is convicted and did not lie", key.short())),
            None => Ok(()),
        }
    }

    /// A peer writes something down.
    ///
    /// # Errors
    /// If it bars itself for nothing.
    pub fn persisted(&self, key: PeerKey, record: &Record) -> Result<(), String> {
        match record {
            Record::Bar(Some(bar)) if !bar.lifted && !self.restored.contains(&key) => {
                Err(format!("it bars itself with all that it wrote: {}", bar.reason))
            }
            _ => Ok(()),
        }
    }
}
