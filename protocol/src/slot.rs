//! Open slots: who announced, whose blob is here, when to stop waiting.
//!
//! Slot k of a stream opens when slot k - w closed (w = the method's window); only the next of
//! each stream can close. Decisions return the reason with the verdict.

use std::collections::{BTreeMap, BTreeSet};

use crate::block::{Announcement, Block, Closing, Counted, Evidence, Payload, Slot};
use crate::charter::Charter;
use crate::holdings::{Tell, tell};
use crate::identity::{Domain, Hash, PeerKey, Scope, Signed};
use crate::manifest::Pacing;
use crate::membership::MAX_MEMBERS;
use crate::mutant::Mutant;
use crate::schedule::deadlines::DeadlineEstimator;
use crate::schedule::grace::Grace;
use crate::state::State;
use crate::time::{Span, Time};
use crate::transition::{blob_root, check_counted};

/// The most peers that are known to be away.
const MAX_GONE: usize = MAX_MEMBERS;

/// How long past its deadline for a slot a voter objects to a contribution that it disputes.
const OBJECTION: Span = Span::seconds(10);

/// What became of an announcement.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// New and valid.
    Accepted,
    /// Known already.
    Duplicate,
    /// For a slot that is about to open; kept until it does.
    Early,
    /// Contradicts another statement of the same key.
    Contradiction(Evidence),
    /// Not valid here and now.
    Refused(&'static str),
}

/// A contribution as a voter sees it.
#[derive(Debug, Clone)]
struct Entry {
    announcement: Signed<Announcement>,
    counted: Counted,
    held: bool,
    /// When it was here with its blob.
    arrived: Option<Time>,
    /// Why this voter would not propose it.
    rejected: Option<String>,
}

/// What this voter holds against a contribution, in others' proposals too where it is sure.
#[derive(Debug, Clone)]
struct Dispute {
    reason: String,
    sure: bool,
}

#[derive(Debug, Clone)]
struct OpenSlot {
    opened: Time,
    drawn: Vec<PeerKey>,
    entries: BTreeMap<PeerKey, Entry>,
    /// Who was seen to go while it was open, or before: nobody waits for them, though they may be back
    /// in time.
    excused: BTreeSet<PeerKey>,
    /// It was open before this peer came back: how long those drawn have had, others know better.
    older: bool,
    /// Whose contribution this voter found to be made up.
    disputed: BTreeMap<PeerKey, Dispute>,
    /// All who were drawn left, and others are there for the next: nobody is waited for.
    vacated: bool,
    complete: bool,
}

/// A slot that closed without half or more of those whom this voter waited for.
#[derive(Debug, Clone)]
struct Missed {
    ordinal: u32,
    opened: Time,
    /// Who is still to come.
    missing: BTreeSet<PeerKey>,
}

/// All open slots of a session.
#[derive(Debug)]
pub struct Slots {
    open: BTreeMap<Slot, OpenSlot>,
    /// Announcements for the slot after the last open one, at most one per stream and key.
    early: BTreeMap<(u16, PeerKey), Signed<Announcement>>,
    /// Who was here and is not any more.
    gone: BTreeSet<PeerKey>,
    /// Who lost what it worked on, here or not, and announced nothing since.
    behind: BTreeSet<PeerKey>,
    deadlines: Vec<DeadlineEstimator>,
    /// The last such slot of each stream: when all came after all, it should have lasted so long.
    missed: BTreeMap<u16, Missed>,
    /// How long this peer works on a slot and pushes its contribution, if it knows.
    own_slot_time: Option<Span>,
    /// What the members' certified speeds say, for want of that: after a restart, or on a voter that
    /// does not train, nothing else is known of how long a slot may take.
    certified_slot_time: Option<Span>,
    /// Slots of one stream that are open at a time.
    window: u32,
    /// By stream, where slots do not wait for the slow.
    graces: Vec<Grace>,
}

/// The certified ground on which slots are judged.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The charter.
    pub charter: &'a Charter,
    /// The state at the head.
    pub state: &'a State,
    /// The head block's hash.
    pub head: Hash,
}

impl Ground<'_> {
    /// The scope of statements made on this ground.
    pub fn scope(&self) -> Scope {
        Scope { session: self.charter.session, generation: self.state.control.generation }
    }

    /// Digest of the outer pages that contributions to an open slot are taken against.
    pub fn base(&self, slot: Slot) -> Hash {
        self.state.base(&self.charter.manifest.method, slot).digest()
    }

    /// Who is drawn for each of the open ordinals of all streams, stream 0 first.
    pub fn draws(&self) -> Vec<(u32, Vec<PeerKey>)> {
        let window = self.charter.manifest.method.window();
        let open = self.state.control.closed.iter().flat_map(|next| *next..next.saturating_add(window));
        open.map(|ordinal| (ordinal, self.drawn(ordinal))).collect()
    }

    /// Who is drawn for an ordinal.
    pub fn drawn(&self, ordinal: u32) -> Vec<PeerKey> {
        let maximum = usize::from(self.charter.manifest.max_contributors);
        self.state.control.drawn(ordinal, self.head, maximum)
    }
}

impl Slots {
    /// No slot is open before the first `refresh`.
    pub fn new(charter: &Charter) -> Slots {
        let bounds = charter.manifest.deadline;
        let streams = usize::from(charter.manifest.method.streams());
        Slots {
            open: BTreeMap::new(),
            early: BTreeMap::new(),
            gone: BTreeSet::new(),
            behind: BTreeSet::new(),
            deadlines: vec![DeadlineEstimator::new(bounds.minimum, bounds.maximum); streams],
            missed: BTreeMap::new(),
            own_slot_time: None,
            certified_slot_time: None,
            window: charter.manifest.method.window(),
            graces: match charter.manifest.pacing {
                Pacing::Decoupled { quorum_percent } => vec![Grace::new(quorum_percent); streams],
                Pacing::Uniform | Pacing::Proportional { .. } => Vec::new(),
            },
        }
    }

    /// Tells how much is held.
    pub fn holdings(&self, charter: &Charter, to: Tell<'_>) {
        let method = &charter.manifest.method;
        let (streams, contributors) =
            (usize::from(method.streams()), usize::from(charter.manifest.max_contributors));
        let fullest = |held: fn(&OpenSlot) -> usize| self.open.values().map(held).max().unwrap_or(0);
        // Those of the head stay while a state is rebuilt from an older one.
        tell(to, "open slots", self.open.len(), 2 * streams * method.window() as usize);
        tell(to, "contributions to a slot", fullest(|open| open.entries.len()), contributors);
        // Those who are away when it opens, or when this peer comes back, and then those who are drawn.
        let excused = 2 * MAX_GONE + contributors;
        tell(to, "members nobody waits for", fullest(|open| open.excused.len()), excused);
        tell(to, "contributors that are disputed", fullest(|open| open.disputed.len()), contributors);
        tell(to, "early announcements", self.early.len(), streams * MAX_MEMBERS);
        tell(to, "peers that are away", self.gone.len(), MAX_GONE);
        tell(to, "peers that began anew", self.behind.len(), MAX_GONE);
        let times = self.deadlines.iter().map(DeadlineEstimator::observed).max().unwrap_or(0);
        let missed = self.missed.values().map(|missed| missed.missing.len()).max().unwrap_or(0);
        tell(to, "contributors that came too late", missed, contributors);
        tell(to, "slot times", times, DeadlineEstimator::KEPT);
    }

    /// How long this peer itself needs for a slot, until others hold its contribution.
    pub fn set_own_slot_time(&mut self, span: Span) {
        self.own_slot_time = Some(span);
    }

    /// Adopts a new head: closed slots go, new ones open. Returns early announcements that now
    /// have their slot and must be received again.
    pub fn refresh(&mut self, now: Time, ground: Ground<'_>) -> Vec<Signed<Announcement>> {
        self.certified_slot_time = certified_slot_time(ground);
        self.gone.retain(|key| ground.state.control.index_of(key).is_some());
        self.behind.retain(|key| ground.state.control.index_of(key).is_some());
        let closed = &ground.state.control.closed;
        let over = self.open.extract_if(.., |slot, _| slot.ordinal < closed[usize::from(slot.stream)]);
        let graces = &mut self.graces;
        let missed = over.filter_map(|(slot, open)| {
            if let Some(grace) = graces.get_mut(usize::from(slot.stream)) {
                grace.observe(&open.arrivals(), open.drawn.len());
            }
            Some((slot.stream, open.missed(slot.ordinal)?))
        });
        self.missed.extend(missed);
        let window = self.window;
        for (stream, next) in closed.iter().enumerate() {
            for ordinal in *next..next + window {
                if !ground.state.control.has_draw(ordinal) {
                    // No stream runs ahead of stream 0, which draws the contributors of all.
                    continue;
                }
                let slot = Slot { stream: stream as u16, ordinal };
                let drawn = ground.drawn(ordinal);
                let open = self.open.entry(slot).or_insert_with(|| OpenSlot {
                    opened: now,
                    drawn: Vec::new(),
                    entries: BTreeMap::new(),
                    excused: self.gone.union(&self.behind).copied().collect(),
                    older: false,
                    disputed: BTreeMap::new(),
                    vacated: false,
                    complete: false,
                });
                open.vacated = drawn.is_empty() && !ground.state.control.members.is_empty();
                // Who left is not drawn any more, even if it is back.
                open.entries.retain(|key, _| drawn.binary_search(key).is_ok());
                open.disputed.retain(|key, _| drawn.binary_search(key).is_ok());
                open.drawn = drawn;
            }
        }
        self.reindex(ground);
        self.judge_again(ground);
        let open = &self.open;
        let (ready, early) = std::mem::take(&mut self.early)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, signed)| open.contains_key(&signed.content.slot));
        self.early = early;
        self.early.retain(|(_, key), _| ground.state.control.index_of(key).is_some());
        self.early.retain(|_, signed| {
            closed.get(usize::from(signed.content.slot.stream)).is_some_and(|next| {
                signed.content.slot.ordinal >= *next && signed.content.slot.ordinal <= next + window
            })
        });
        ready.into_values().collect()
    }

    /// Member indices move when members come and go.
    fn reindex(&mut self, ground: Ground<'_>) {
        for open in self.open.values_mut() {
            for (key, entry) in &mut open.entries {
                if let Some(index) = ground.state.control.index_of(key) {
                    entry.counted.member = index as u16;
                }
            }
        }
    }

    /// What was announced before the slot before it closed may not hold any more, such as its lease.
    fn judge_again(&mut self, ground: Ground<'_>) {
        let control = &ground.state.control;
        for (slot, open) in &mut self.open {
            for entry in open.entries.values_mut().filter(|entry| entry.rejected.is_none()) {
                let checked = check_counted(
                    ground.charter,
                    control,
                    ground.scope(),
                    *slot,
                    None,
                    &open.drawn,
                    &entry.counted,
                );
                entry.rejected = checked.err().map(str::to_owned);
            }
        }
    }

    /// Judges an announcement; its signature is checked here.
    pub fn receive(&mut self, now: Time, ground: Ground<'_>, signed: &Signed<Announcement>) -> Verdict {
        let announcement = &signed.content;
        let slot = announcement.slot;
        let Some(next) = ground.state.control.closed.get(usize::from(slot.stream)) else {
            return Verdict::Refused("no such stream");
        };
        if slot.ordinal < *next {
            self.came_too_late(now, ground.scope(), signed);
            return Verdict::Refused("the slot is closed");
        }
        let Some(index) = ground.state.control.index_of(&signed.by) else {
            return Verdict::Refused("the author is no member");
        };
        let Some(open) = self.open.get_mut(&slot) else {
            if slot.ordinal <= next + self.window {
                if !signed.holds(Domain::Announcement, ground.scope()) {
                    return Verdict::Refused("the signature does not hold");
                }
                self.early.insert((slot.stream, signed.by), signed.clone());
                return Verdict::Early;
            }
            return Verdict::Refused("the slot is not open");
        };
        if let Some(entry) = open.entries.get(&signed.by) {
            return judge_second(ground.scope(), entry, signed);
        }
        let counted = Counted {
            member: index as u16,
            payload: announcement.payload.clone(),
            work: announcement.work.clone(),
            signature: signed.signature,
        };
        let base = ground.base(slot);
        if announcement.base != base && !Mutant::TakesStaleBase.lives() {
            return Verdict::Refused("taken against other outer parameters");
        }
        let (control, scope) = (&ground.state.control, ground.scope());
        let checked = check_counted(ground.charter, control, scope, slot, Some(base), &open.drawn, &counted);
        if let Err(reason) = checked {
            return Verdict::Refused(reason);
        }
        let held = matches!(announcement.payload, Payload::Inline(_));
        let arrived = held.then_some(now);
        let rejected = open.disputed.get(&signed.by).map(|dispute| dispute.reason.clone());
        let entry = Entry { announcement: signed.clone(), counted, held, arrived, rejected };
        open.entries.insert(signed.by, entry);
        self.behind.remove(&signed.by);
        if !open.complete && open.is_announced() {
            open.complete = true;
            self.deadlines[usize::from(slot.stream)].observe(now.since(open.opened));
        }
        Verdict::Accepted
    }

    /// An announcement came after its slot had closed. A slow few are left to catch up, but a deadline that
    /// leaves half of all out is a wrong one, and would stay so if only what comes in time were looked at.
    fn came_too_late(&mut self, now: Time, scope: Scope, signed: &Signed<Announcement>) {
        let slot = signed.content.slot;
        let Some(missed) = self.missed.get_mut(&slot.stream).filter(|missed| missed.ordinal == slot.ordinal)
        else {
            return;
        };
        if missed.missing.contains(&signed.by) && signed.holds(Domain::Announcement, scope) {
            missed.missing.remove(&signed.by);
            if missed.missing.is_empty() {
                self.deadlines[usize::from(slot.stream)].observe(now.since(missed.opened));
                self.missed.remove(&slot.stream);
            }
        }
    }

    /// A peer is here.
    pub fn came(&mut self, peer: &PeerKey) {
        self.gone.remove(peer);
    }

    /// A peer that was here is away: slots that are open, and those that open before it announces again,
    /// close without it once all others announced.
    pub fn went(&mut self, peer: PeerKey) {
        if self.gone.len() < MAX_GONE {
            self.gone.insert(peer);
            self.began_anew(peer);
        }
    }

    /// This peer is back, and saw neither these slots open nor these peers go.
    pub fn came_back(&mut self, away: impl Iterator<Item = PeerKey>) {
        let away: BTreeSet<PeerKey> = away.take(MAX_GONE).collect();
        for open in self.open.values_mut() {
            open.older = true;
            open.excused.extend(&away);
        }
        self.gone = away;
    }

    /// A peer lost what it worked on.
    pub fn began_anew(&mut self, peer: PeerKey) {
        if self.behind.len() < MAX_GONE {
            self.behind.insert(peer);
        }
        // Nobody waits for others, and strangers come and go.
        for open in self.open.values_mut().filter(|open| open.drawn.binary_search(&peer).is_ok()) {
            open.excused.insert(peer);
        }
    }

    /// A blob arrived.
    pub fn blob_stored(&mut self, now: Time, root: &Hash) {
        for entry in self.open.values_mut().flat_map(|open| open.entries.values_mut()) {
            if blob_root(&entry.counted.payload) == Some(*root) {
                entry.held = true;
                entry.arrived.get_or_insert(now);
            }
        }
    }

    /// A blob that was here cannot be read any more.
    pub fn blob_lost(&mut self, root: &Hash) {
        for entry in self.open.values_mut().flat_map(|open| open.entries.values_mut()) {
            if blob_root(&entry.counted.payload) == Some(*root) {
                entry.held = false;
            }
        }
    }

    /// This voter found something wrong with a contribution: it will not propose it.
    pub fn reject(&mut self, slot: Slot, member: &PeerKey, reason: String) {
        if let Some(entry) = self.open.get_mut(&slot).and_then(|open| open.entries.get_mut(member)) {
            entry.rejected = Some(reason);
        }
    }

    /// The same for every contribution to a slot.
    pub fn reject_all(&mut self, slot: Slot, reason: &str) {
        for entry in self.open.get_mut(&slot).into_iter().flat_map(|open| open.entries.values_mut()) {
            entry.rejected = Some(reason.into());
        }
    }

    /// The same of one that may not be here yet; if this voter is sure, it will not vote for it either, until it has
    /// objected for long enough.
    pub fn dispute(&mut self, slot: Slot, member: PeerKey, reason: String, sure: bool) {
        self.reject(slot, &member, reason.clone());
        if let Some(open) = self.open.get_mut(&slot).filter(|open| open.drawn.binary_search(&member).is_ok())
        {
            let before = open.disputed.get(&member).is_some_and(|dispute| dispute.sure);
            open.disputed.insert(member, Dispute { reason, sure: sure || before });
        }
    }

    /// Whether a proposal counts what this voter disputes.
    pub fn objects(&self, now: Time, ground: Ground<'_>, closings: &[&Closing]) -> bool {
        closings.iter().any(|closing| {
            let Some(open) = self.open.get(&closing.slot) else { return false };
            let key = |counted: &Counted| {
                ground.state.control.members.get(usize::from(counted.member)).map(|member| member.key)
            };
            let disputed = |counted| {
                let dispute = key(counted).and_then(|key| open.disputed.get(&key));
                dispute.is_some_and(|dispute| dispute.sure)
            };
            closing.counted.iter().any(disputed) && self.may_object(now, ground, closing.slot)
        })
    }

    /// Whether this voter may still object to what a slot counts. After that it goes by what the others hold to be
    /// right: by then a proposal without it can have been made, and nobody had a reason to refuse that.
    pub fn may_object(&self, now: Time, ground: Ground<'_>, slot: Slot) -> bool {
        let open = self.next_to_close(ground).find(|(next, _)| **next == slot);
        open.is_some_and(|(slot, open)| now < self.deadline(*slot, open) + OBJECTION)
    }

    /// When this voter objects no longer.
    pub fn ends_of_objections<'a>(&'a self, ground: Ground<'a>) -> impl Iterator<Item = Time> + 'a {
        let disputed = self.next_to_close(ground).filter(|(_, open)| !open.disputed.is_empty());
        disputed.map(|(slot, open)| self.deadline(*slot, open) + OBJECTION)
    }

    /// What was announced does not hold any more, and is announced again.
    pub fn forget_announcements(&mut self) {
        self.open.values_mut().for_each(|open| open.entries.clear());
        self.early.clear();
    }

    /// Blobs announced and not here yet, with their authors.
    pub fn missing(&self) -> Vec<(Hash, u64, PeerKey)> {
        let entries = self.open.values().flat_map(|open| open.entries.values());
        let missing = entries.filter(|entry| !entry.held && entry.rejected.is_none());
        missing
            .filter_map(|entry| match entry.counted.payload {
                Payload::Blob { root, length } => Some((root, length, entry.announcement.by)),
                Payload::Inline(_) => None,
            })
            .collect()
    }

    /// The blobs announced for open slots.
    pub fn blobs(&self) -> impl Iterator<Item = (Slot, Hash)> {
        let entries =
            self.open.iter().flat_map(|(slot, open)| open.entries.values().map(|entry| (*slot, entry)));
        entries.filter_map(|(slot, entry)| Some((slot, blob_root(&entry.counted.payload)?)))
    }

    /// All of them.
    pub fn roots(&self) -> BTreeSet<Hash> {
        self.blobs().map(|(_, root)| root).collect()
    }

    /// What a member announced for open slots, and before it for slots that are not open yet.
    pub fn announcements_of(&self, member: &PeerKey) -> Vec<Signed<Announcement>> {
        let early = self.early.values().filter(|signed| signed.by == *member);
        let entries = self.open.values().filter_map(|open| open.entries.get(member));
        early.chain(entries.map(|entry| &entry.announcement)).cloned().collect()
    }

    /// Whether a slot is among the open ones.
    pub fn is_open(&self, slot: Slot) -> bool {
        self.open.contains_key(&slot)
    }

    /// Whether a voter should start the next height: a slot is complete or its deadline passed.
    pub fn wants_height(&self, now: Time, ground: Ground<'_>) -> bool {
        self.next_to_close(ground).any(|(slot, open)| open.is_announced() || self.is_late(now, *slot, open))
    }

    /// When the deadlines pass of the slots that can close next.
    pub fn deadlines<'a>(&'a self, ground: Ground<'a>) -> impl Iterator<Item = Time> + 'a {
        self.next_to_close(ground).map(|(slot, open)| self.deadline(*slot, open))
    }

    /// The closings that a proposer would make now: complete slots whose blobs are all here, and
    /// late ones with what is here.
    pub fn closable(&self, now: Time, ground: Ground<'_>) -> Vec<Closing> {
        let ready = self.next_to_close(ground).filter(|(slot, open)| {
            self.is_late(now, **slot, open)
                || (open.is_announced() && open.entries.values().all(Entry::is_settled))
        });
        ready.map(|(slot, open)| Closing { slot: *slot, counted: open.proposable() }).collect()
    }

    /// Whether a proposal leaves out, before this voter's own deadline, a contribution whose blob
    /// this voter holds and sees nothing wrong with, or closes a slot before those drawn had time
    /// to contribute at all. Returns whose.
    pub fn omitted(&self, now: Time, closings: &[&Closing]) -> Option<PeerKey> {
        closings.iter().find_map(|closing| {
            let open = self.open.get(&closing.slot)?;
            if self.is_late(now, closing.slot, open) {
                return None;
            }
            let too_soon = !open.older && now < self.earliest(closing.slot, open);
            let left_out = |key: &&PeerKey| match open.entries.get(key) {
                Some(entry) => {
                    let listed = |counted: &Counted| counted.signature == entry.counted.signature;
                    entry.held && entry.rejected.is_none() && !closing.counted.iter().any(listed)
                }
                None => too_soon && !open.excused.contains(*key),
            };
            open.drawn.iter().find(left_out).copied()
        })
    }

    /// Members of whom a block counts another contribution than the one they announced here.
    pub fn contradictions(&self, ground: Ground<'_>, block: &Block) -> Vec<Evidence> {
        let mut found = Vec::new();
        for closing in block.closings() {
            let base = ground.base(closing.slot);
            let Some(open) = self.open.get(&closing.slot) else { continue };
            for counted in &closing.counted {
                let member = ground.state.control.members.get(usize::from(counted.member));
                let Some(entry) = member.and_then(|member| open.entries.get(&member.key)) else { continue };
                let content = counted.announcement(closing.slot, base);
                let (by, signature) = (entry.announcement.by, counted.signature);
                let other = Signed { by, content, signature };
                if let Verdict::Contradiction(evidence) = judge_second(ground.scope(), entry, &other) {
                    found.push(evidence);
                }
            }
        }
        found
    }

    fn next_to_close<'a>(
        &'a self,
        ground: Ground<'a>,
    ) -> impl Iterator<Item = (&'a Slot, &'a OpenSlot)> + 'a {
        let closed = &ground.state.control.closed;
        self.open.iter().filter(|(slot, _)| closed[usize::from(slot.stream)] == slot.ordinal)
    }

    fn deadline(&self, slot: Slot, open: &OpenSlot) -> Time {
        let deadline = open.opened + self.deadlines[usize::from(slot.stream)].deadline(self.slot_time());
        self.grace_end(slot, open).map_or(deadline, |end| deadline.min(end))
    }

    /// When enough contributions were here for long enough.
    fn grace_end(&self, slot: Slot, open: &OpenSlot) -> Option<Time> {
        let grace = self.graces.get(usize::from(slot.stream))?;
        // The median member's time: a slow voter's own would make all wait for it after all.
        let slot_time = self.certified_slot_time.or(self.own_slot_time);
        grace.end(
            &open.arrivals(),
            open.drawn.len(),
            slot_time.map(|time| time.times(u64::from(self.window))),
        )
    }

    /// From its opening on: where the slot before is still worked on then, that comes first.
    fn slot_time(&self) -> Option<Span> {
        let one = self.own_slot_time.or(self.certified_slot_time)?;
        Some(one.times(u64::from(self.window)))
    }

    /// When a slot may close without those who did not announce.
    fn earliest(&self, slot: Slot, open: &OpenSlot) -> Time {
        open.opened + self.deadlines[usize::from(slot.stream)].earliest(self.slot_time())
    }

    fn is_late(&self, now: Time, slot: Slot, open: &OpenSlot) -> bool {
        now >= self.deadline(slot, open)
    }
}

/// The median member's time for a slot, by its last certified speed.
fn certified_slot_time(ground: Ground<'_>) -> Option<Span> {
    let speeds = ground.state.control.members.iter().map(|member| member.speed);
    let mut speeds: Vec<u32> = speeds.filter(|speed| *speed > 0).collect();
    let middle = speeds.len().checked_sub(1)? / 2;
    let speed = *speeds.select_nth_unstable(middle).1;
    let steps = u64::from(ground.charter.steps_for(speed));
    // Speeds are steps in 1000 seconds.
    Some(Span(Span::seconds(1000).0.saturating_mul(steps) / u64::from(speed)))
}

fn judge_second(scope: Scope, entry: &Entry, signed: &Signed<Announcement>) -> Verdict {
    if entry.announcement.content == signed.content {
        return Verdict::Duplicate;
    }
    let evidence = Evidence::Announcements(Box::new([entry.announcement.clone(), signed.clone()]));
    match crate::transition::guilty(scope, &evidence) {
        Some(_) => Verdict::Contradiction(evidence),
        None => Verdict::Refused("the signature does not hold"),
    }
}

impl OpenSlot {
    fn is_announced(&self) -> bool {
        let here = |key: &PeerKey| self.entries.contains_key(key) || self.excused.contains(key);
        let enough = self.entries.len() + self.excused.len() >= self.drawn.len();
        self.vacated || (enough && !self.entries.is_empty() && self.drawn.iter().all(here))
    }

    /// Those who did not come while it was open, if they are at least half of those waited for.
    fn missed(self, ordinal: u32) -> Option<Missed> {
        let waited_for = self.drawn.into_iter().filter(|key| !self.excused.contains(key));
        let (came, missing): (BTreeSet<PeerKey>, BTreeSet<PeerKey>) =
            waited_for.partition(|key| self.entries.contains_key(key));
        let wrong = !self.older && !missing.is_empty() && missing.len() >= came.len();
        wrong.then_some(Missed { ordinal, opened: self.opened, missing })
    }

    /// When what can be proposed was here, ascending.
    fn arrivals(&self) -> Vec<Time> {
        let good = self.entries.values().filter(|entry| entry.held && entry.rejected.is_none());
        let mut arrivals: Vec<Time> = good.filter_map(|entry| entry.arrived).collect();
        arrivals.sort_unstable();
        arrivals
    }

    fn proposable(&self) -> Vec<Counted> {
        let good = self.entries.values().filter(|entry| entry.held && entry.rejected.is_none());
        good.map(|entry| entry.counted.clone()).collect()
    }
}

impl Entry {
    fn is_settled(&self) -> bool {
        self.held || self.rejected.is_some()
    }
}
