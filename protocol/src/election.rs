//! Elected committees: who loses a seat, and who takes one. Pure functions of the certified state.
//!
//! A session starts with its founder's seat alone, has 4 as soon as 3 candidates qualify, and grows to
//! 16 then, a seat a block. Seats are kept, not rotated: newcomers cannot displace. A seat falls free
//! when its holder leaves, is convicted, or is silent; it is refilled in the same block, or goes. From
//! 4 seats on down it stays, and still counts towards the quorum: a silent holder may come back.

use std::cmp::Reverse;

use crate::block::{CertifiedBlock, Height, Reset};
use crate::charter::Charter;
use crate::committee::{Committee, MAX_SEATS};
use crate::identity::{Domain, PeerKey, Scope, Signed};
use crate::membership::{Attendance, ControlPage, Member};
use crate::mutant::Mutant;

/// Seats below which none goes, and which a founder alone waits for.
const FEWEST: usize = 4;
/// Counted slots that a candidate has.
const CANDIDATE_SLOTS: u32 = 64;
/// Of its last 64 drawn slots, those in which a candidate was counted: 90%.
const CANDIDATE_RECENT: u32 = 58;

/// Books whom the proposer on seat `author` heard.
pub(crate) fn call_roll(control: &mut ControlPage, author: usize, present: &[u8]) {
    for (seat, attendance) in control.attendance.iter_mut().enumerate() {
        if seat == author || present.iter().any(|heard| usize::from(*heard) == seat) {
            (attendance.missed, attendance.by) = (0, 0);
        } else {
            attendance.missed = attendance.missed.saturating_add(1);
            attendance.by |= 1 << author;
        }
    }
}

/// Nobody sits on the seat of `key` any more.
pub(crate) fn vacate(control: &mut ControlPage, key: &PeerKey) {
    if let Some(seat) = control.seat_of(key) {
        control.attendance[seat].vacant = true;
    }
}

/// Whoever left and joins again has its seat back, if nobody took it.
pub(crate) fn seat_again(control: &mut ControlPage, key: &PeerKey) {
    if let Some(seat) = control.seats.iter().position(|seat| seat == key) {
        control.attendance[seat] = Attendance::default();
    }
}

/// Seats whose holders were absent from as many blocks in a row as there are seats, by the word of
/// proposers of whom at least one is honest.
pub fn silent_seats(control: &ControlPage) -> impl Iterator<Item = usize> + '_ {
    let seats = control.seats.len();
    let liars = seats.saturating_sub(1) / 3;
    let is_silent = move |attendance: &Attendance| {
        usize::from(attendance.missed) >= seats && attendance.by.count_ones() as usize > liars
    };
    control.attendance.iter().enumerate().filter(move |(_, held)| is_silent(held)).map(|(seat, _)| seat)
}

/// Ends a block of an elected session: seats that fell free are refilled or go, then the committee
/// grows. Returns whether the seats are others than before.
pub(crate) fn turn_seats(control: &mut ControlPage) -> bool {
    let before = control.seats.clone();
    let mut candidates = candidates(control).into_iter();
    let mut free: Vec<usize> = silent_seats(control).collect();
    for seat in &free {
        stands_no_more(control, *seat);
    }
    free.extend((0..control.seats.len()).filter(|seat| control.attendance[*seat].vacant));
    free.sort_unstable();
    free.dedup();
    if free.is_empty() {
        grow(control, &candidates.collect::<Vec<_>>());
        return control.seats != before;
    }
    let unfilled: Vec<usize> = free
        .into_iter()
        .filter(|seat| match candidates.next() {
            Some(key) => {
                replace(control, *seat, key);
                false
            }
            None => true,
        })
        .collect();
    for seat in unfilled.iter().rev().take(control.seats.len().saturating_sub(FEWEST)) {
        remove(control, *seat);
    }
    control.seats != before
}

/// Those who may take a seat, best first: ranked by counted slots, then by key.
pub(crate) fn candidates(control: &ControlPage) -> Vec<PeerKey> {
    let earned = |member: &Member| {
        member.counted >= CANDIDATE_SLOTS
            && member.recent & 1 == 1
            && member.recent.count_ones() >= CANDIDATE_RECENT
    };
    let qualifies = |member: &&Member| {
        let earned = earned(member) || Mutant::SeatsAnybody.lives();
        member.stands && earned && !control.seats.contains(&member.key)
    };
    let mut qualified: Vec<&Member> = control.members.iter().filter(qualifies).collect();
    qualified.sort_by_key(|member| (Reverse(member.counted), member.key));
    qualified.into_iter().map(|member| member.key).collect()
}

fn grow(control: &mut ControlPage, candidates: &[PeerKey]) {
    let wanted = match control.seats.len() {
        seats if seats < FEWEST => FEWEST - seats,
        seats => usize::from(seats < MAX_SEATS),
    };
    if candidates.len() >= wanted {
        for key in &candidates[..wanted] {
            control.seats.push(*key);
            control.attendance.push(Attendance::default());
        }
    }
}

/// Whoever lost a seat by silence has to stand again: its old counts would give it the next one.
fn stands_no_more(control: &mut ControlPage, seat: usize) {
    if let Some(index) = control.index_of(&control.seats[seat]) {
        control.members[index].stands = false;
    }
}

fn replace(control: &mut ControlPage, seat: usize, key: PeerKey) {
    control.seats[seat] = key;
    // What its former holder saw of others is not the new one's word.
    control.attendance.iter_mut().for_each(|attendance| attendance.by &= !(1 << seat));
    control.attendance[seat] = Attendance::default();
}

fn remove(control: &mut ControlPage, seat: usize) {
    control.seats.remove(seat);
    control.attendance.remove(seat);
    let below = (1 << seat) - 1;
    for attendance in &mut control.attendance {
        attendance.by = (attendance.by & below) | (attendance.by >> 1 & !below);
    }
}

/// Whether the founder may put `reset` in the place of the committee of `generation`.
pub(crate) fn check_reset(
    charter: &Charter,
    generation: u32,
    reset: &Signed<Reset>,
) -> Result<(), &'static str> {
    let Committee::Elected { founder } = charter.manifest.committee else {
        return Err("only elected committees are reset");
    };
    let mut keys = reset.content.seats.clone();
    keys.sort_unstable();
    keys.dedup();
    if !(1..=MAX_SEATS).contains(&keys.len()) || keys.len() != reset.content.seats.len() {
        return Err("a reset seats 1 to 16 keys, each once");
    }
    if reset.content.generation <= generation {
        return Err("the reset's generation is not higher");
    }
    let scope = Scope { session: charter.session, generation: reset.content.generation };
    if reset.by != founder || !reset.holds(Domain::Reset, scope) {
        return Err("the reset is not the founder's");
    }
    Ok(())
}

/// Who certifies what follows a height: enough of a state to walk a chain by the blocks that change
/// seats, without the states between them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sitting {
    /// The height at which the seats last changed.
    pub since: Height,
    /// Their generation.
    pub generation: u32,
    /// The seats.
    pub seats: Vec<PeerKey>,
}

impl Sitting {
    /// Those whom the manifest names.
    pub fn founding(charter: &Charter) -> Sitting {
        Sitting { since: 0, generation: 0, seats: charter.founding_seats() }
    }

    /// Those of a state.
    pub fn of(control: &ControlPage) -> Sitting {
        let (since, generation) = (control.seats_changed, control.generation);
        Sitting { since, generation, seats: control.seats.clone() }
    }

    /// Whether these seats, or those that a reset puts in their place with it, certified a later block.
    pub fn certifies(&self, charter: &Charter, certified: &CertifiedBlock) -> bool {
        let block = &certified.block;
        let seats = match block.reset() {
            Some(reset) if check_reset(charter, self.generation, reset).is_ok() => &reset.content.seats,
            None if block.generation == self.generation => &self.seats,
            _ => return false,
        };
        let quorum = charter.quorum(seats.len());
        block.height > self.since
            && certified.is_certified_with(charter.session, seats, quorum, &|key, scope, vote, signature| {
                charter.memory.holds(key, Domain::Vote, scope, vote, signature)
            })
    }

    /// Goes on to the seats after a block, if these seats certified it and it leaves no change out.
    pub fn advance(&mut self, charter: &Charter, certified: &CertifiedBlock) -> bool {
        let block = &certified.block;
        let next = block.seating().is_none_or(|seating| seating.before == self.since);
        if !next || !self.certifies(charter, certified) {
            return false;
        }
        if let Some(seating) = block.seating() {
            let (since, generation) = (block.height, block.generation);
            *self = Sitting { since, generation, seats: seating.seats.clone() };
        }
        true
    }
}

/// Who certified at which height, from genesis on: what it takes to check any block by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committees {
    /// At least the founding one, ascending.
    sittings: Vec<Sitting>,
}

impl Committees {
    /// Those of a session whose seats did not change yet.
    pub fn founding(charter: &Charter) -> Committees {
        Committees { sittings: vec![Sitting::founding(charter)] }
    }

    /// Goes on to the next block that changed the seats. Returns whether it follows and is certified.
    pub fn follow(&mut self, charter: &Charter, certified: &CertifiedBlock) -> bool {
        let mut sitting = self.sittings[self.sittings.len() - 1].clone();
        let follows = certified.block.seating().is_some() && sitting.advance(charter, certified);
        if follows {
            self.sittings.push(sitting);
        }
        follows
    }

    /// The seats that nobody changed since.
    pub fn last(&self) -> &[PeerKey] {
        &self.sittings[self.sittings.len() - 1].seats
    }

    /// Whether those who sat at its height certified a block.
    pub fn certifies(&self, charter: &Charter, certified: &CertifiedBlock) -> bool {
        let before = self.sittings.iter().rev().find(|sitting| sitting.since < certified.block.height);
        before.is_some_and(|sitting| sitting.certifies(charter, certified))
    }
}

#[cfg(test)]
mod tests;
