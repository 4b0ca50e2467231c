//! Which contributions a closing may count, with which weight, and how they are booked.

use crate::block::{Closing, Counted, Payload, Slot, Work};
use crate::charter::Charter;
use crate::identity::{Domain, Hash, PeerKey, Scope};
use crate::manifest::{Data, Pacing};
use crate::membership::{ControlPage, Member, consume};
use crate::mutant::Mutant;

use super::{Aggregation, Invalid, Part};

pub(super) fn close(
    charter: &Charter,
    before: &ControlPage,
    parent: Hash,
    base: &dyn Fn(Slot) -> Option<Hash>,
    scope: Scope,
    control: &mut ControlPage,
    closing: &Closing,
) -> Result<Option<Aggregation>, Invalid> {
    let slot = closing.slot;
    let stream = usize::from(slot.stream);
    let next = before.closed.get(stream) == Some(&slot.ordinal);
    if !next || !before.has_draw(slot.ordinal) {
        return Err(Invalid::SlotNotOpen(slot));
    }
    // As of the parent: whoever another stream's closing shows out was drawn for this one.
    let drawn = before.drawn(slot.ordinal, parent, usize::from(charter.manifest.max_contributors));
    let base = base(slot);
    let mut previous = None;
    for counted in &closing.counted {
        let member = before.members.get(usize::from(counted.member)).map(|member| member.key);
        let ascending = previous.is_none_or(|last| last < counted.member);
        previous = Some(counted.member);
        check_counted(charter, before, scope, slot, base, &drawn, counted)
            .and(ascending.then_some(()).ok_or("members are not ascending"))
            .map_err(|reason| Invalid::Contribution { slot, member, reason })?;
    }
    let parts = weigh(charter, before, slot, &closing.counted);
    book(charter, control, slot, &drawn, &parts, &closing.counted);
    let moves = !parts.is_empty() || charter.manifest.method.moves_when_empty();
    Ok(moves.then_some(Aggregation { slot, drawn: drawn.len(), parts }))
}

/// Everything about one contribution that does not need its blob; its signature only where `base`, the
/// digest of the parameters it was taken against, is known.
pub(crate) fn check_counted(
    charter: &Charter,
    control: &ControlPage,
    scope: Scope,
    slot: Slot,
    base: Option<Hash>,
    drawn: &[PeerKey],
    counted: &Counted,
) -> Result<(), &'static str> {
    let member = control.members.get(usize::from(counted.member)).ok_or("no such member")?;
    if drawn.binary_search(&member.key).is_err() {
        return Err("the member was not drawn for this slot");
    }
    check_work(charter, slot, &counted.work, member)?;
    let Payload::Blob { length, .. } = &counted.payload else {
        return Err("this method sends blobs");
    };
    let values = charter.lengths[usize::from(slot.stream)];
    let method = &charter.manifest.method;
    let expected = method.codec_after(member.counted).map(|codec| codec.encoded_len(values));
    if expected.is_some_and(|expected| *length != expected) {
        return Err("the blob's length is not the codec's");
    }
    if method.one_byte().is_some_and(|method| method.steps_of(*length) != Some(counted.work.steps)) {
        return Err("the blob's length is not that of its steps");
    }
    let Some(base) = base.filter(|_| !Mutant::TakesStaleBase.lives()) else { return Ok(()) };
    let announcement = counted.announcement(slot, base);
    if !charter.memory.holds(&member.key, Domain::Announcement, scope, &announcement, &counted.signature) {
        return Err("the signature does not hold for this slot and base");
    }
    Ok(())
}

fn check_work(charter: &Charter, slot: Slot, work: &Work, member: &Member) -> Result<(), &'static str> {
    let training = &charter.manifest.training;
    if work.steps == 0 || work.tokens == 0 {
        return Err("no work is claimed");
    }
    let slots = u64::from(charter.manifest.max_lag) + 2;
    if u64::from(work.steps) > slots * u64::from(charter.manifest.largest_steps()) {
        return Err("more steps are claimed than its leases allow");
    }
    let per_step = u64::from(training.batch) * charter.tokens_per_sample();
    if work.tokens > u64::from(work.steps) * per_step {
        return Err("more tokens are claimed than the steps hold");
    }
    match &charter.manifest.data {
        Data::Private { max_tokens_per_slot } if work.tokens > *max_tokens_per_slot => {
            Err("more tokens are claimed than the manifest allows")
        }
        Data::Public { .. } if slot.stream == 0 => check_lease(charter, work, member),
        _ if work.samples.is_empty() => Ok(()),
        _ => Err("samples are claimed where none are leased"),
    }
}

fn check_lease(charter: &Charter, work: &Work, member: &Member) -> Result<(), &'static str> {
    if work.samples.is_empty() {
        return Err("no samples were used");
    }
    if !work.samples.are_distinct() {
        return Err("a sample was used twice");
    }
    if !work.samples.are_in(&member.positions()) {
        return Err("samples were used that are not leased");
    }
    // Whoever used every other sample would leave crumbs to all others. A claim that is under way cuts a lease in two.
    let most = member.leases.len() + charter.manifest.method.window() as usize;
    let left = consume(&member.leases, &work.samples).len();
    if charter.manifest.method.one_byte().is_some() {
        // Who measures a step again has to know what it was measured on: a step's samples have their place.
        let batch = u64::from(charter.manifest.training.batch);
        if work.samples.len() < u64::from(work.steps) * batch {
            return Err("fewer samples are claimed than its steps have");
        }
        if member.positions().first(work.samples.len()).joined() != work.samples {
            return Err("samples were used out of turn");
        }
    }
    if left > most { Err("its leases are cut into too many pieces") } else { Ok(()) }
}

/// Weight = min(claimed tokens, leased tokens, 2 x the slot's median of those two). Stream 0 names
/// the leased samples it used; the other streams train on the same ones, at different times.
fn weigh(charter: &Charter, control: &ControlPage, slot: Slot, counted: &[Counted]) -> Vec<Part> {
    let admitted = |counted: &Counted| {
        let samples = match &charter.manifest.data {
            Data::Private { .. } => return counted.work.tokens,
            Data::Public { .. } if slot.stream == 0 => counted.work.samples.len(),
            Data::Public { .. } => control.members[usize::from(counted.member)].leased(),
        };
        counted.work.tokens.min(samples.saturating_mul(charter.tokens_per_sample()))
    };
    let cap = match Mutant::WeighsClaims.lives() {
        true => u64::MAX,
        false => twice_the_median(counted.iter().map(admitted).collect()),
    };
    let part = |counted: &Counted| {
        let member = &control.members[usize::from(counted.member)];
        let tokens = admitted(counted).min(cap);
        let missed = member.missed.get(usize::from(slot.stream)).copied().unwrap_or(0);
        let weight = match charter.manifest.pacing {
            Pacing::Uniform | Pacing::Proportional { .. } => tokens,
            // Decoupled DiLoCo: tokens, times tokens a step.
            Pacing::Decoupled { .. } => {
                tokens.saturating_mul(admitted(counted)) / u64::from(counted.work.steps)
            }
        };
        Part { member: member.key, payload: counted.payload.clone(), tokens, weight, missed }
    };
    counted.iter().map(part).collect()
}

/// Exact also for an even number of values: the sum of the two middle ones.
fn twice_the_median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    let middle = values.len() / 2;
    match values.get(middle) {
        None => 0,
        Some(high) => high.saturating_add(values[(values.len() - 1) / 2]),
    }
}

fn book(
    charter: &Charter,
    control: &mut ControlPage,
    slot: Slot,
    drawn: &[PeerKey],
    parts: &[Part],
    counted: &[Counted],
) {
    control.closed[usize::from(slot.stream)] += 1;
    let keys: Vec<PeerKey> = parts.iter().map(|part| part.member).collect();
    control.note_counted(usize::from(slot.stream), drawn, &keys);
    if slot.stream != 0 {
        return;
    }
    for (part, counted) in parts.iter().zip(counted) {
        let index = control.index_of(&part.member).expect("checked against the parent's members");
        control.book(index, &counted.work.samples, part.tokens, counted.work.speed);
    }
    control.turn_slot(slot.ordinal, charter.lease_rules());
}

/// The blob of a payload, if it is one.
pub fn blob_root(payload: &Payload) -> Option<Hash> {
    match payload {
        Payload::Blob { root, .. } => Some(*root),
        Payload::Inline(_) => None,
    }
}
