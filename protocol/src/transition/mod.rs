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
pub(crate) use statements::{check_join, check_leave, check_stand, guilty};

use std::sync::Arc;

use crate::block::{Block, Item, Payload, Seating, Slot};
use crate::charter::Charter;
use crate::committee::Committee;
use crate::control::Control;
use crate::election;
use crate::identity::{Hash, PeerKey, Scope};
use crate::membership::ControlPage;
use crate::state::State;
use crate::wire;

use contributions::close;
use statements::{admit, book_roll, convict, dismiss, reset, stand};

/// Why a block is not valid on its parent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Height, generation or parent do not continue the chain.
    #[error("the block does not continue the chain at height {expected}")]
    NotNext {
        /// The height that would.
        expected: u64,
    },
    /// Items are not in the order reset, close, join, leave, convict, stand, roll, seats, or one comes
    /// twice of which there is one.
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
    /// A join, leave, conviction or the like that does not hold.
    #[error("item {item}: {reason}")]
    Statement {
        /// Which item.
        item: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// The seats that the block names are not those after it.
    #[error("the block does not name the seats after it")]
    Seats,
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
    /// How many were drawn for it.
    pub drawn: usize,
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
    /// Tokens that are counted.
    pub tokens: u64,
    /// Its weight among the others: the tokens, unless the pacing says otherwise.
    pub weight: u64,
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
    let plan = plan_on(charter, parent, items)?;
    names_seats(&parent.state.control, &plan.control, items).map(|()| plan)
}

/// Plans the application of a new block: where `items` change the seats, that is added to them.
pub(crate) fn compose(charter: &Charter, parent: Parent<'_>, items: &mut Vec<Item>) -> Result<Plan, Invalid> {
    let plan = plan_on(charter, parent, items)?;
    items.extend(seating(&parent.state.control, &plan.control).map(Item::Seats));
    Ok(plan)
}

fn plan_on(charter: &Charter, parent: Parent<'_>, items: &[Item]) -> Result<Plan, Invalid> {
    let question = question(charter, parent, items);
    if let Some(plan) = charter.memory.plan(&question) {
        return Ok(plan);
    }
    let base = |slot| Some(parent.state.base(&charter.manifest.method, slot).digest());
    let plan = plan(charter, &parent.state.control, parent.hash, items, &base)?;
    charter.memory.keep_plan(question, &plan);
    Ok(plan)
}

/// Everything that the answer to [`check`] follows from, under one charter.
fn question(charter: &Charter, parent: Parent<'_>, items: &[Item]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&parent.hash.0);
    hasher.update(&parent.state.control.hash().0);
    for (stream, ordinal) in parent.state.control.closed.iter().enumerate() {
        let next = Slot { stream: stream as u16, ordinal: *ordinal };
        hasher.update(&parent.state.base(&charter.manifest.method, next).digest().0);
    }
    items.iter().map(wire::encode).for_each(|item| {
        hasher.update(&item);
    });
    hasher.finalize().into()
}

/// What a block has to say about the seats.
fn seating(before: &ControlPage, after: &ControlPage) -> Option<Seating> {
    let changed = after.seats_changed == after.height;
    changed.then(|| Seating { seats: after.seats.clone(), before: before.seats_changed })
}

fn names_seats(before: &ControlPage, after: &ControlPage, items: &[Item]) -> Result<(), Invalid> {
    let named = items.iter().find_map(|item| match item {
        Item::Seats(seating) => Some(seating),
        _ => None,
    });
    if named == seating(before, after).as_ref() { Ok(()) } else { Err(Invalid::Seats) }
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
    let plan = plan(charter, control, parent, &block.items, &|_| None)?;
    names_seats(control, &plan.control, &block.items).map(|()| plan)
}

/// `base` gives the digest of the outer pages that the next slot of a stream is taken against, if they are
/// at hand.
fn plan(
    charter: &Charter,
    before: &ControlPage,
    parent: Hash,
    items: &[Item],
    base: &dyn Fn(Slot) -> Option<Hash>,
) -> Result<Plan, Invalid> {
    let mut control = before.clone();
    let scope = Scope { session: charter.session, generation: control.generation };
    control.settle_draws(parent, usize::from(charter.manifest.max_contributors));
    control.height += 1;
    let mut aggregations = Vec::new();
    check_order(items)?;
    for (index, item) in items.iter().enumerate() {
        let statement = |reason| Invalid::Statement { item: index, reason };
        match item {
            Item::Reset(word) => reset(charter, parent, &mut control, word).map_err(statement)?,
            Item::Close(closing) => {
                let next = close(charter, before, parent, base, scope, &mut control, closing)?;
                aggregations.extend(next);
            }
            Item::Join(join) => admit(charter, scope, &mut control, join).map_err(statement)?,
            Item::Leave(leave) => dismiss(scope, &mut control, leave).map_err(statement)?,
            Item::Convict(evidence) => convict(scope, &mut control, evidence).map_err(statement)?,
            Item::Stand(word) => stand(charter, scope, &mut control, word).map_err(statement)?,
            Item::Roll(roll) => {
                book_roll(charter, scope, before, parent, &mut control, roll).map_err(statement)?;
            }
            // Compared with what comes out in the end.
            Item::Seats(_) => {}
        }
    }
    let elected = matches!(charter.manifest.committee, Committee::Elected { .. });
    let is_reset = control.generation != before.generation;
    if is_reset || (elected && election::turn_seats(&mut control)) {
        control.seats_changed = control.height;
    }
    Ok(Plan { control: control.into(), aggregations: aggregations.into() })
}

/// Nothing but the seats comes with a reset; a stream closes once, and there is one roll.
fn check_order(items: &[Item]) -> Result<(), Invalid> {
    for (index, pair) in items.windows(2).enumerate() {
        let (before, after) = (item_order(&pair[0]), item_order(&pair[1]));
        let once = matches!(pair[1], Item::Close(_) | Item::Roll(_) | Item::Seats(_) | Item::Reset(_));
        let alone = matches!(pair[0], Item::Reset(_)) && !matches!(pair[1], Item::Seats(_));
        if after < before || (once && after == before) || alone {
            return Err(Invalid::ItemOrder(index + 1));
        }
    }
    Ok(())
}

/// Whether `block` continues the chain after `parent`.
pub fn continues(parent: Parent<'_>, block: &Block) -> Result<(), Invalid> {
    continues_page(&parent.state.control, parent.hash, block)
}

fn continues_page(control: &ControlPage, parent: Hash, block: &Block) -> Result<(), Invalid> {
    let expected = control.height + 1;
    let generation = block.reset().map_or(control.generation, |reset| reset.content.generation);
    let fits = block.height == expected && block.parent == parent && block.generation == generation;
    if fits { Ok(()) } else { Err(Invalid::NotNext { expected }) }
}

fn item_order(item: &Item) -> (u8, u16) {
    match item {
        Item::Reset(_) => (0, 0),
        Item::Close(closing) => (1, closing.slot.stream),
        Item::Join(_) => (2, 0),
        Item::Leave(_) => (3, 0),
        Item::Convict(_) => (4, 0),
        Item::Stand(_) => (5, 0),
        Item::Roll(_) => (6, 0),
        Item::Seats(_) => (7, 0),
    }
}

#[cfg(test)]
mod tests;
