//! A control page as states hold it: shared until somebody changes it, and hashed once.
//!
//! With thousands of members it is hundreds of kilobytes, and every state, candidate and snapshot of
//! one height has the same.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use crate::identity::Hash;
use crate::membership::ControlPage;

/// A shared control page.
#[derive(Clone)]
pub struct Control(Arc<Hashed>);

#[derive(Clone)]
struct Hashed {
    page: ControlPage,
    hash: OnceLock<Hash>,
}

impl Control {
    /// Whether both are one and the same copy.
    pub fn is_shared_with(&self, other: &Control) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The hash of the canonical bytes.
    pub fn hash(&self) -> Hash {
        *self.0.hash.get_or_init(|| Hash::of(&self.0.page.to_bytes()))
    }
}

impl From<ControlPage> for Control {
    fn from(page: ControlPage) -> Control {
        Control(Arc::new(Hashed { page, hash: OnceLock::new() }))
    }
}

impl Deref for Control {
    type Target = ControlPage;

    fn deref(&self) -> &ControlPage {
        &self.0.page
    }
}

/// Whoever changes it gets a copy of its own, if others hold it too.
impl DerefMut for Control {
    fn deref_mut(&mut self) -> &mut ControlPage {
        let hashed = Arc::make_mut(&mut self.0);
        hashed.hash = OnceLock::new();
        &mut hashed.page
    }
}

impl PartialEq for Control {
    fn eq(&self, other: &Control) -> bool {
        self.is_shared_with(other) || self.0.page == other.0.page
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.page.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::LeaseRules;

    #[test]
    fn a_change_is_seen_by_its_author_only_and_changes_the_hash() {
        let page =
            ControlPage::genesis(1, Vec::new(), LeaseRules { target: 0, max_lag: 4, window: 1, batch: 1 });
        let one = Control::from(page.clone());
        let mut other = one.clone();
        assert_eq!((one.hash(), &one), (Hash::of(&page.to_bytes()), &other));
        other.counted_tokens += 1;
        assert_eq!((one.counted_tokens, other.counted_tokens), (0, 1));
        assert_eq!(other.hash(), Hash::of(&other.to_bytes()));
        assert!(one != other && one.hash() != other.hash());
    }
}
