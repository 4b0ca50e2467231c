//! What a session's genesis state is made of.
//!
//! A session that is founded on another one names it: which session, at which height, the digest that
//! was certified there, and the two parts of that digest, so that the pages can be no others than the
//! parent's. What is not a tensor begins anew, but for two numbers: where the order of training samples
//! goes on, and how many tokens the model has seen, which is where its learning rate stands. The order
//! itself follows from the manifest's seed, which is the parent's.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::text;
use crate::block::Height;
use crate::identity::Hash;
use crate::membership::Progress;
use crate::state::{Page, State, digest_of};

/// Where the genesis state comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Origin {
    /// The seed alone.
    #[default]
    Seed,
    /// An imported model: roots of the pages of its outer parameters, in digest order.
    Imported(Vec<Hash>),
    /// Another session's state.
    Session(Parent),
}

/// The state of another session that this one was founded on.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// The other session's id.
    pub session: Hash,
    /// The height of the state.
    pub height: Height,
    /// Its digest, as that session's voters certified it.
    pub digest: Hash,
    /// Hash of its control page.
    pub control: Hash,
    /// Roots of its pages, all arrays, in digest order.
    pub pages: Vec<Hash>,
    /// The first position in the order of samples that it had granted to nobody.
    pub position: u64,
    /// Tokens that it had counted.
    pub tokens: u64,
    /// Drawn when the session was founded: two foundings on one state are two sessions.
    #[serde(with = "text::seed")]
    pub nonce: [u8; 32],
}

impl Parent {
    /// The `state` of `session` as something to found on.
    pub fn of(session: Hash, state: &State, nonce: [u8; 32]) -> Parent {
        Parent {
            session,
            height: state.control.height,
            digest: state.digest(),
            control: state.control.hash(),
            pages: state.pages().map(Page::hash).collect(),
            position: state.control.pool.next,
            tokens: state.control.counted_tokens,
            nonce,
        }
    }

    /// Whether the digest is that of the control page and the pages.
    pub(super) fn adds_up(&self) -> bool {
        self.digest == digest_of(std::iter::once(self.control).chain(self.pages.iter().copied()))
    }
}

impl Origin {
    /// Roots of the pages that are no function of the seed: whoever joins needs them.
    pub fn pages(&self) -> &[Hash] {
        match self {
            Origin::Seed => &[],
            Origin::Imported(pages) | Origin::Session(Parent { pages, .. }) => pages,
        }
    }

    /// The session that this one was founded on.
    pub fn parent(&self) -> Option<&Parent> {
        match self {
            Origin::Session(parent) => Some(parent),
            Origin::Seed | Origin::Imported(_) => None,
        }
    }

    /// What was done before the first block.
    pub fn progress(&self) -> Progress {
        self.parent().map_or(Progress::default(), |parent| Progress {
            position: parent.position,
            tokens: parent.tokens,
        })
    }

    /// For a manifest's text, which says nothing of the usual.
    pub(super) fn is_seed(&self) -> bool {
        *self == Origin::Seed
    }
}
