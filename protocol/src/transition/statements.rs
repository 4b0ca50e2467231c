//! Joins, leaves, convictions, candidacies, rolls and resets: which hold, and what they change.

use crate::block::{Evidence, Height, Join, Leave, Presence, Reset, Roll, Stand};
use crate::charter::Charter;
use crate::committee::Committee;
use crate::election;
use crate::identity::{Domain, Hash, PeerKey, Scope, Signed};
use crate::membership::{Attendance, ControlPage, MAX_MEMBERS};
use crate::mutant::Mutant;

/// How many heights old a leave may be.
pub const LEAVE_AGE: u64 = 1024;
/// How many heights old a join may be. Short: joins are public, and whoever left shall not be
/// brought back by somebody who repeats an old one.
pub const JOIN_AGE: u64 = 16;

fn is_recent(at: Height, height: Height, age: u64) -> bool {
    height < at && at - height <= age
}

/// Whether `join` may enter the block of height `at`, with these members before it.
pub(crate) fn check_join(
    charter: &Charter,
    scope: Scope,
    control: &ControlPage,
    at: Height,
    join: &Signed<Join>,
) -> Result<(), &'static str> {
    if control.index_of(&join.by).is_some() {
        return Err("the key is a member already");
    }
    if control.convicted.binary_search(&join.by).is_ok() {
        return Err("the key was convicted");
    }
    let most = charter.manifest.method.estimates().map_or(MAX_MEMBERS, usize::from);
    if control.members.len() >= most {
        return Err("the session is full");
    }
    if !is_recent(at, join.content.height, JOIN_AGE) {
        return Err("the request is too old");
    }
    if let Some(issuer) = charter.token_issuer() {
        let admittance = join.content.admittance.as_ref().ok_or("an invitation is needed")?;
        if !admittance.admits(scope.session, issuer, join.by) {
            return Err("the invitation is not the issuer's, or was given to another key");
        }
    }
    if !charter.memory.holds(&join.by, Domain::Join, scope, &join.content, &join.signature) {
        return Err("the signature does not hold");
    }
    Ok(())
}

pub(super) fn admit(
    charter: &Charter,
    scope: Scope,
    control: &mut ControlPage,
    join: &Signed<Join>,
) -> Result<(), &'static str> {
    // The page has the height of the block that is being checked already.
    check_join(charter, scope, control, control.height, join)?;
    control.admit(join.by, charter.lease_rules());
    election::seat_again(control, &join.by);
    Ok(())
}

/// Whether `leave` may enter the block of height `at`, with these members before it.
pub(crate) fn check_leave(
    scope: Scope,
    control: &ControlPage,
    at: Height,
    leave: &Signed<Leave>,
) -> Result<(), &'static str> {
    let member = control.member(&leave.by).ok_or("the key is no member")?;
    if !is_recent(at, leave.content.height, LEAVE_AGE) || leave.content.height < member.joined {
        return Err("the farewell is too old");
    }
    if !leave.holds(Domain::Leave, scope) {
        return Err("the signature does not hold");
    }
    Ok(())
}

pub(super) fn dismiss(
    scope: Scope,
    control: &mut ControlPage,
    leave: &Signed<Leave>,
) -> Result<(), &'static str> {
    check_leave(scope, control, control.height, leave)?;
    control.dismiss(&leave.by);
    election::vacate(control, &leave.by);
    Ok(())
}

pub(super) fn convict(
    scope: Scope,
    control: &mut ControlPage,
    evidence: &Evidence,
) -> Result<(), &'static str> {
    let key = guilty(scope, evidence).ok_or("the evidence proves nothing")?;
    if !control.has_part(&key) {
        return Err("the key has no part in this session");
    }
    let at = control.convicted.binary_search(&key).err().ok_or("the key was convicted before")?;
    control.convicted.insert(at, key);
    control.dismiss(&key);
    election::vacate(control, &key);
    Ok(())
}

/// Whether `word` may enter the block of height `at` on `control`.
pub(crate) fn check_stand(
    charter: &Charter,
    scope: Scope,
    control: &ControlPage,
    at: Height,
    word: &Signed<Stand>,
) -> Result<(), &'static str> {
    if !matches!(charter.manifest.committee, Committee::Elected { .. }) {
        return Err("nobody is elected in this session");
    }
    let member = control.member(&word.by).ok_or("the key is no member")?;
    if member.stands == word.content.stands {
        return Err("nothing new");
    }
    let height = word.content.height;
    if !is_recent(at, height, JOIN_AGE) || height < member.stood {
        return Err("the word is too old");
    }
    if !word.holds(Domain::Stand, scope) {
        return Err("the signature does not hold");
    }
    Ok(())
}

pub(super) fn stand(
    charter: &Charter,
    scope: Scope,
    control: &mut ControlPage,
    word: &Signed<Stand>,
) -> Result<(), &'static str> {
    check_stand(charter, scope, control, control.height, word)?;
    let index = control.index_of(&word.by).ok_or("the key is no member")?;
    control.members[index].stands = word.content.stands;
    // This word is not taken a second time.
    control.members[index].stood = word.content.height + 1;
    Ok(())
}

/// Books the roll of the proposer of the block after `parent`, who sits in `before`.
pub(super) fn book_roll(
    charter: &Charter,
    scope: Scope,
    before: &ControlPage,
    parent: Hash,
    control: &mut ControlPage,
    roll: &Signed<Roll>,
) -> Result<(), &'static str> {
    if !matches!(charter.manifest.committee, Committee::Elected { .. }) {
        return Err("no roll is called in this session");
    }
    if roll.content.height != control.height {
        return Err("the roll is of another height");
    }
    let author = before.seat_of(&roll.by).ok_or("the roll's author has no seat")?;
    let present = &roll.content.present;
    if present.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return Err("the seats are not ascending");
    }
    let presence = Presence { height: before.height, block: parent };
    let there = |(seat, signature): &(u8, _)| {
        let key = before.seats.get(usize::from(*seat));
        key.is_some_and(|key| charter.memory.holds(key, Domain::Presence, scope, &presence, signature))
    };
    if !present.iter().all(there) || !roll.holds(Domain::Roll, scope) {
        return Err("a signature does not hold");
    }
    let present: Vec<u8> = present.iter().map(|(seat, _)| *seat).collect();
    // By now seats may be vacant, but none has another number than before.
    election::call_roll(control, author, &present);
    Ok(())
}

/// A new committee takes over from the block after `parent` on.
pub(super) fn reset(
    charter: &Charter,
    parent: Hash,
    control: &mut ControlPage,
    word: &Signed<Reset>,
) -> Result<(), &'static str> {
    election::check_reset(charter, control.generation, word)?;
    let Reset { generation, height, parent: of, seats } = &word.content;
    // `control.height` is already that of the block.
    if (*height, *of) != (control.height - 1, parent) {
        return Err("the reset follows another block");
    }
    if seats.iter().any(|key| control.convicted.binary_search(key).is_ok()) {
        return Err("the reset seats a convicted key");
    }
    control.generation = *generation;
    control.seats.clone_from(seats);
    control.attendance = vec![Attendance::default(); seats.len()];
    Ok(())
}

/// Whom the evidence convicts, if it holds.
pub(crate) fn guilty(scope: Scope, evidence: &Evidence) -> Option<PeerKey> {
    match evidence {
        Evidence::Announcements(pair) => {
            contradiction(scope, Domain::Announcement, pair, |a, b| a.slot == b.slot)
        }
        Evidence::Votes(pair) => contradiction(scope, Domain::Vote, pair, |a, b| {
            (a.height, a.attempt, a.step) == (b.height, b.attempt, b.step) || Mutant::ConvictsVoters.lives()
        }),
        Evidence::Proposals(pair) => contradiction(scope, Domain::Proposal, pair, |a, b| {
            (a.height, a.attempt) == (b.height, b.attempt)
        }),
    }
}

fn contradiction<T: bincode::Encode + PartialEq>(
    scope: Scope,
    domain: Domain,
    pair: &[Signed<T>; 2],
    same: impl Fn(&T, &T) -> bool,
) -> Option<PeerKey> {
    let [a, b] = pair;
    let proves = a.by == b.by
        && a.content != b.content
        && same(&a.content, &b.content)
        && a.holds(domain, scope)
        && b.holds(domain, scope);
    proves.then_some(a.by)
}
