//! Nobody becomes a member without having asked for it, or ceases to be one without a reason: what a slot
//! missed is kept here by keys, from the blocks and the recorded draws alone.

use std::collections::{BTreeMap, BTreeSet};

use driftless_protocol::block::{Block, Closing, Evidence, Item, Join};
use driftless_protocol::identity::{Domain, Hash, PeerKey, Scope, Signed};
use driftless_protocol::membership::ControlPage;

/// Slots of one stream that a member is drawn for and misses before it has to go.
const MISSED: u32 = 8;
/// The most heights that a request may be old.
const AGE: u64 = 16;

/// Who missed how many slots of each stream since it was last counted there.
#[derive(Debug)]
pub struct Members {
    session: Hash,
    contributors: usize,
    missed: BTreeMap<(PeerKey, u16), u32>,
}

impl Members {
    /// Of a session in which so many at most are drawn for a slot.
    pub fn new(session: Hash, contributors: usize) -> Members {
        Members { session, contributors, missed: BTreeMap::new() }
    }

    /// A block leads from one control page to the next.
    ///
    /// # Errors
    /// If the members after it may not be those.
    pub fn observe(
        &mut self,
        before: &ControlPage,
        block: &Block,
        after: &ControlPage,
    ) -> Result<(), String> {
        let mut silent = BTreeSet::new();
        for closing in block.closings() {
            self.close(before, block, closing);
            if closing.slot.stream == 0 {
                // Whoever has to go goes when a slot of stream 0 closes.
                let missed = self.missed.iter().filter(|(_, missed)| **missed >= MISSED);
                silent.extend(missed.map(|((key, _), _)| *key));
            }
        }
        let scope = Scope { session: self.session, generation: before.generation };
        let keys = |page: &ControlPage| page.members.iter().map(|member| member.key).collect::<BTreeSet<_>>();
        let (old, new) = (keys(before), keys(after));
        for key in old.difference(&new) {
            if !silent.contains(key) && !block.items.iter().any(|item| shows_out(item, scope, key)) {
                return Err(format!("{} is no member any more, for no reason", key.short()));
            }
        }
        let joins: Vec<&Signed<Join>> = block.items.iter().filter_map(join).collect();
        for key in &new {
            let asked = joins.iter().find(|join| join.by == *key);
            let stays = old.contains(key) && !silent.contains(key);
            match asked {
                Some(join) => may_join(before, block, scope, join)?,
                None if stays => {}
                None if old.contains(key) => {
                    return Err(format!("{} missed {MISSED} slots and stays a member", key.short()));
                }
                None => return Err(format!("{} is a member and did not ask", key.short())),
            }
        }
        self.missed.retain(|(key, _), _| new.contains(key) && joins.iter().all(|join| join.by != *key));
        Ok(())
    }

    /// Who was drawn for a slot, and who was counted.
    fn close(&mut self, before: &ControlPage, block: &Block, closing: &Closing) {
        let slot = closing.slot;
        for key in before.drawn(slot.ordinal, block.parent, self.contributors) {
            *self.missed.entry((key, slot.stream)).or_default() += 1;
        }
        for counted in &closing.counted {
            if let Some(member) = before.members.get(usize::from(counted.member)) {
                self.missed.insert((member.key, slot.stream), 0);
            }
        }
    }
}

fn join(item: &Item) -> Option<&Signed<Join>> {
    match item {
        Item::Join(join) => Some(join),
        _ => None,
    }
}

/// Whether an item ends this member's membership: its farewell, or evidence against it.
fn shows_out(item: &Item, scope: Scope, key: &PeerKey) -> bool {
    match item {
        Item::Leave(leave) => leave.by == *key && leave.holds(Domain::Leave, scope),
        Item::Convict(evidence) => accused(evidence) == *key,
        _ => false,
    }
}

pub(super) fn accused(evidence: &Evidence) -> PeerKey {
    match evidence {
        Evidence::Announcements(pair) => pair[0].by,
        Evidence::Votes(pair) => pair[0].by,
        Evidence::Proposals(pair) => pair[0].by,
    }
}

fn may_join(before: &ControlPage, block: &Block, scope: Scope, join: &Signed<Join>) -> Result<(), String> {
    let asked_at = join.content.height;
    let recent = asked_at <= block.height && block.height - asked_at <= AGE;
    let convicted = before.convicted.contains(&join.by);
    if recent && !convicted && join.holds(Domain::Join, scope) {
        return Ok(());
    }
    Err(format!("{} joins at height {} by what it asked at {asked_at}", join.by.short(), block.height))
}
