//! Nobody takes a seat without having earned it, or loses one without a reason: the rolls are kept
//! here by keys, from the blocks alone, and compared with what the blocks make of the seats.

use std::collections::{BTreeMap, BTreeSet};

use driftless_protocol::block::{Block, Item};
use driftless_protocol::committee::Committee;
use driftless_protocol::identity::{Domain, Hash, PeerKey, Scope};
use driftless_protocol::membership::ControlPage;

use super::members::accused;

/// Counted slots of a candidate, and those of its last 64 in which it was counted.
const EARNED: u32 = 64;
const RECENT: u32 = 58;

/// Who sits, and who was missed.
#[derive(Debug)]
pub struct Seats {
    session: Hash,
    committee: Committee,
    /// By seat holder: whoever did not hear it, in each of the last blocks, up to the last that did.
    missed: BTreeMap<PeerKey, Vec<PeerKey>>,
}

impl Seats {
    /// A session whose voters are chosen like this.
    pub fn new(session: Hash, committee: Committee) -> Seats {
        Seats { session, committee, missed: BTreeMap::new() }
    }

    /// A block follows `before`; returns the seats after it.
    ///
    /// # Errors
    /// If they may not be those.
    pub fn observe(&mut self, before: &ControlPage, block: &Block) -> Result<Vec<PeerKey>, String> {
        let named = block.items.iter().find_map(|item| match item {
            Item::Seats(seating) => Some(seating.seats.clone()),
            _ => None,
        });
        let after = named.unwrap_or_else(|| before.seats.clone());
        let Committee::Elected { founder } = self.committee else {
            let fixed = after == self.committee.founding_seats();
            return if fixed { Ok(after) } else { Err("fixed seats changed".into()) };
        };
        if let Some(reset) = block.reset() {
            self.missed.clear();
            let scope = Scope { session: self.session, generation: reset.content.generation };
            let signed = reset.by == founder && reset.holds(Domain::Reset, scope);
            let right = signed && reset.content.seats == after;
            return if right { Ok(after) } else { Err("a reset that is not the founder's".into()) };
        }
        self.take_roll(before, block);
        let gone: Vec<&PeerKey> = before.seats.iter().filter(|key| !after.contains(key)).collect();
        let came: Vec<&PeerKey> = after.iter().filter(|key| !before.seats.contains(key)).collect();
        gone.iter().try_for_each(|key| self.may_go(before, block, key))?;
        came.iter().try_for_each(|key| may_come(before, block, key))?;
        let grown = came.len().saturating_sub(gone.len());
        match (before.seats.len(), after.len()) {
            (_, 0) => Err("nobody sits".into()),
            (1, 4) => Ok(after),
            (1..4, n) | (n, 1..4) if n != before.seats.len() => Err(format!("the seats became {n}")),
            (_, 17..) => Err("more than 16 seats".into()),
            _ if grown > 1 => Err(format!("{grown} seats more in one block")),
            _ => Ok(after),
        }
    }

    fn take_roll(&mut self, before: &ControlPage, block: &Block) {
        self.missed.retain(|key, _| before.seats.contains(key));
        let Some(roll) = block.items.iter().find_map(|item| match item {
            Item::Roll(roll) => Some(roll),
            _ => None,
        }) else {
            return;
        };
        for (seat, key) in before.seats.iter().enumerate() {
            let heard = roll.content.present.iter().any(|(heard, _)| usize::from(*heard) == seat);
            if heard || *key == roll.by {
                self.missed.remove(key);
            } else {
                self.missed.entry(*key).or_default().push(roll.by);
            }
        }
    }

    fn may_go(&self, before: &ControlPage, block: &Block, key: &PeerKey) -> Result<(), String> {
        let seats = before.seats.len();
        let missed = self.missed.get(key).map_or(&[][..], Vec::as_slice);
        let by: BTreeSet<&PeerKey> = missed.iter().collect();
        let silent = missed.len() >= seats && by.len() > (seats - 1) / 3;
        let left = before.seat_of(key).is_none()
            || block.items.iter().any(|item| matches!(item, Item::Leave(leave) if leave.by == *key));
        let convicted = block.items.iter().any(|item| match item {
            Item::Convict(evidence) => accused(evidence) == *key,
            _ => false,
        });
        if silent || left || convicted {
            return Ok(());
        }
        Err(format!(
            "{} lost its seat, missed in {} blocks by {} voters",
            key.short(),
            missed.len(),
            by.len()
        ))
    }
}

fn may_come(before: &ControlPage, block: &Block, key: &PeerKey) -> Result<(), String> {
    let member = before.member(key).ok_or_else(|| format!("{} is no member and sits", key.short()))?;
    // The block itself may count it once more, and say that it stands.
    let says = |item: &Item| matches!(item, Item::Stand(word) if word.by == *key && word.content.stands);
    let stands = member.stands || block.items.iter().any(says);
    let recent = member.recent.count_ones();
    let earned = member.counted + 1 >= EARNED && recent + 1 >= RECENT;
    if stands && earned && !before.convicted.contains(key) {
        return Ok(());
    }
    let counted = member.counted;
    Err(format!("{} sits: stands {stands}, counted in {counted} slots, {recent} of the last 64", key.short()))
}
