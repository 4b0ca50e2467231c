//! The state transition: what a block does to a state, and which blocks are valid at all.
//!
//! Two halves. [`check`] is cheap and looks at the control page only; it returns a [`Plan`].
//! [`CandidateJob`] is heavy (it decodes blobs and moves the outer state) and is handed to
//! whoever drives the session, to run where it blocks nobody. Both are pure: the meaning of these
//! files is what the manifest's `rules` number pins.

mod candidate;
mod contributions;
mod statements;

pub use candidate::{CandidateError, CandidateJob};
pub use contributions::blob_root;
pub(crate) use contributions::check_counted;
pub use statements::{JOIN_AGE, LEAVE_AGE};
pub(crate) use statements::{check_join, check_leave, guilty};

use std::sync::Arc;

use crate::block::{Block, Item, Payload, Slot};
use crate::charter::Charter;
use crate::control::Control;
use crate::identity::{Hash, PeerKey, Scope};
use crate::membership::ControlPage;
use crate::state::{Array, State};
use crate::wire;

use contributions::close;
use statements::{admit, convict, dismiss};

/// Why a block is not valid on its parent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Height, generation or parent do not continue the chain.
    #[error("the block does not continue the chain at height {expected}")]
    NotNext {
        /// The height that would.
        expected: u64,
    },
    /// Items are not in the order close, join, leave, convict, or a stream closes twice.
    #[error("item {0} is out of order")]
    ItemOrder(usize),
    /// The slot is not the next of its stream.
    #[error("slot {0:?} is not open")]
    SlotNotOpen(Slot),
    /// A contribution that may not be counted.
    #[error("the contribution of {member:?} to {slot:?}: {reason}")]
    Contribution {
        /// The slot.
        slot: Slot,
        /// Whose it is (index where the key is unknown).
        member: Option<PeerKey>,
        /// What is wrong.
        reason: &'static str,
    },
    /// A join, leave or conviction that does not hold.
    #[error("item {item}: {reason}")]
    Statement {
        /// Which item.
        item: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// The digest in the block is not that of the state after it.
    #[error("the state after the block has digest {found}, the block says {claimed}")]
    Digest {
        /// The block's digest.
        claimed: Hash,
        /// The digest computed here.
        found: Hash,
    },
}

/// What is left to do once the items are checked.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The control page after the block.
    pub control: Control,
    /// The outer steps, in order of the closings.
    pub aggregations: Arc<[Aggregation]>,
}

/// One fragment's outer step.
#[derive(Debug, Clone)]
pub struct Aggregation {
    /// The slot it closes.
    pub slot: Slot,
    /// Who contributes what, in member-key order.
    pub parts: Vec<Part>,
}

/// One contribution to an outer step.
#[derive(Debug, Clone)]
pub struct Part {
    /// Whose.
    pub member: PeerKey,
    /// The payload.
    pub payload: Payload,
    /// Weight in tokens.
    pub tokens: u64,
    /// Drawn slots of this stream missed since it was last counted.
    pub missed: u16,
}

/// The state that a block extends.
#[derive(Clone, Copy)]
pub struct Parent<'a> {
    /// The state.
    pub state: &'a State,
    /// The hash of the block that led to it.
    pub hash: Hash,
}

/// Checks `items` of a block on `parent` and plans its application.
pub fn check(charter: &Charter, parent: Parent<'_>, items: &[Item]) -> Result<Plan, Invalid> {
    let question = question(parent, items);
    if let Some(plan) = charter.memory.plan(&question) {
        return Ok(plan);
    }
    let base = |stream| Some(parent.state.outer(stream).digest());
    let plan = plan(charter, &parent.state.control, parent.hash, items, &base)?;
    charter.memory.keep_plan(question, &plan);
    Ok(plan)
}

/// Everything that the answer to [`check`] follows from, under one charter.
fn question(parent: Parent<'_>, items: &[Item]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&parent.hash.0);
    hasher.update(&parent.state.control.hash().0);
    parent.state.arrays[0].iter().map(Array::digest).for_each(|outer| {
        hasher.update(&outer.0);
    });
    items.iter().map(wire::encode).for_each(|item| {
        hasher.update(&item);
    });
    hasher.finalize().into()
}

/// Follows a chain by its control pages alone: checks everything about a block that needs no
/// parameters, and returns the control page after it with what was counted.
///
/// Left out are the signatures under contributions, which cover the parameters that they were taken
/// against, and the block's digest.
pub fn follow(
    charter: &Charter,
    control: &ControlPage,
    parent: Hash,
    block: &Block,
) -> Result<Plan, Invalid> {
    continues_page(control, parent, block)?;
    plan(charter, control, parent, &block.items, &|_| None)
}

/// `base` gives the digest of a stream's outer pages, if they are at hand.
fn plan(
    charter: &Charter,
    before: &ControlPage,
    parent: Hash,
    items: &[Item],
    base: &dyn Fn(usize) -> Option<Hash>,
) -> Result<Plan, Invalid> {
    let mut control = before.clone();
    let scope = Scope { session: charter.session, generation: control.generation };
    control.settle_draws(parent, usize::from(charter.manifest.max_contributors));
    control.height += 1;
    let mut aggregations = Vec::new();
    let mut previous = (0, 0);
    for (index, item) in items.iter().enumerate() {
        let order = item_order(item);
        if index > 0 && (order < previous || (order.0 == 0 && order == previous)) {
            return Err(Invalid::ItemOrder(index));
        }
        previous = order;
        let statement = |reason| Invalid::Statement { item: index, reason };
        match item {
            Item::Close(closing) => {
                let next = close(charter, before, base, scope, &mut control, closing)?;
                aggregations.extend(next);
            }
            Item::Join(join) => admit(charter, scope, &mut control, join).map_err(statement)?,
            Item::Leave(leave) => dismiss(scope, &mut control, leave).map_err(statement)?,
            Item::Convict(evidence) => convict(scope, &mut control, evidence).map_err(statement)?,
        }
    }
    Ok(Plan { control: control.into(), aggregations: aggregations.into() })
}

/// Whether `block` continues the chain after `parent`.
pub fn continues(parent: Parent<'_>, block: &Block) -> Result<(), Invalid> {
    continues_page(&parent.state.control, parent.hash, block)
}

fn continues_page(control: &ControlPage, parent: Hash, block: &Block) -> Result<(), Invalid> {
    let expected = control.height + 1;
    let fits = block.height == expected && block.parent == parent && block.generation == control.generation;
    if fits { Ok(()) } else { Err(Invalid::NotNext { expected }) }
}

fn item_order(item: &Item) -> (u8, u16) {
    match item {
        Item::Close(closing) => (0, closing.slot.stream),
        Item::Join(_) => (1, 0),
        Item::Leave(_) => (2, 0),
        Item::Convict(_) => (3, 0),
    }
}
