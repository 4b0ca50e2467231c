//! The state transition: what a block does to a state, and which blocks are valid at all.
//!
//! Two halves. [`check`] is cheap and looks at the control page only; it returns a [`Plan`].
//! [`CandidateJob`] is heavy (it decodes blobs and moves the outer state) and is handed to
//! whoever drives the session, to run where it blocks nobody. Both are pure: the meaning of this
//! file is what the manifest's `rules` number pins.

use std::sync::Arc;

use crate::block::{Block, Closing, Counted, Evidence, Item, Join, Leave, Payload, Slot, Work};
use crate::charter::Charter;
use crate::identity::{Domain, Hash, PeerKey, Scope, Signed};
use crate::manifest::Data;
use crate::membership::{ControlPage, MAX_MEMBERS, Member};
use crate::method::{Contribution, MethodError};
use crate::state::{Array, State};

/// How many heights old a leave may be.
pub const LEAVE_AGE: u64 = 1024;
/// How many heights old a join may be. Short: joins are public, and whoever left shall not be
/// brought back by somebody who repeats an old one.
pub const JOIN_AGE: u64 = 16;

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
    pub control: ControlPage,
    /// The outer steps, in order of the closings.
    pub aggregations: Vec<Aggregation>,
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
    let mut control = parent.state.control.clone();
    let scope = Scope { session: charter.session, generation: control.generation };
    control.settle_draws(parent.hash, usize::from(charter.manifest.max_contributors));
    control.height += 1;
    let mut plan = Plan { control, aggregations: Vec::new() };
    let mut previous = (0, 0);
    for (index, item) in items.iter().enumerate() {
        let order = item_order(item);
        if index > 0 && (order < previous || (order.0 == 0 && order == previous)) {
            return Err(Invalid::ItemOrder(index));
        }
        previous = order;
        let statement = |reason| Invalid::Statement { item: index, reason };
        match item {
            Item::Close(closing) => close(charter, parent.state, scope, &mut plan, closing)?,
            Item::Join(join) => admit(charter, scope, &mut plan.control, join).map_err(statement)?,
            Item::Leave(leave) => dismiss(scope, &mut plan.control, leave).map_err(statement)?,
            Item::Convict(evidence) => convict(scope, &mut plan.control, evidence).map_err(statement)?,
        }
    }
    Ok(plan)
}

/// Whether `block` continues the chain after `parent`.
pub fn continues(parent: Parent<'_>, block: &Block) -> Result<(), Invalid> {
    let expected = parent.state.control.height + 1;
    let fits = block.height == expected
        && block.parent == parent.hash
        && block.generation == parent.state.control.generation;
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

fn close(
    charter: &Charter,
    state: &State,
    scope: Scope,
    plan: &mut Plan,
    closing: &Closing,
) -> Result<(), Invalid> {
    let slot = closing.slot;
    let stream = usize::from(slot.stream);
    let next = state.control.closed.get(stream) == Some(&slot.ordinal);
    if !next || !state.control.has_draw(slot.ordinal) {
        return Err(Invalid::SlotNotOpen(slot));
    }
    let drawn = plan.control.drawn(slot.ordinal, Hash::default(), usize::MAX);
    let base = state.outer(stream).digest();
    let mut previous = None;
    for counted in &closing.counted {
        let member = state.control.members.get(usize::from(counted.member)).map(|member| member.key);
        let ascending = previous.is_none_or(|last| last < counted.member);
        previous = Some(counted.member);
        check_counted(charter, state, scope, slot, base, &drawn, counted)
            .and(ascending.then_some(()).ok_or("members are not ascending"))
            .map_err(|reason| Invalid::Contribution { slot, member, reason })?;
    }
    let parts = weigh(charter, &state.control, slot, &closing.counted);
    book(charter, plan, slot, &drawn, &parts, &closing.counted);
    if !parts.is_empty() {
        plan.aggregations.push(Aggregation { slot, parts });
    }
    Ok(())
}

/// Everything about one contribution that does not need its blob.
pub(crate) fn check_counted(
    charter: &Charter,
    state: &State,
    scope: Scope,
    slot: Slot,
    base: Hash,
    drawn: &[PeerKey],
    counted: &Counted,
) -> Result<(), &'static str> {
    let member = state.control.members.get(usize::from(counted.member)).ok_or("no such member")?;
    if drawn.binary_search(&member.key).is_err() {
        return Err("the member was not drawn for this slot");
    }
    check_work(charter, slot, &counted.work, member)?;
    let Payload::Blob { length, .. } = &counted.payload else {
        return Err("this method sends blobs");
    };
    let values = charter.lengths[usize::from(slot.stream)];
    if *length != charter.manifest.method.codec().encoded_len(values) {
        return Err("the blob's length is not the codec's");
    }
    let announcement = counted.announcement(slot, base);
    if !member.key.verify(Domain::Announcement, scope, &announcement, &counted.signature) {
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
        Data::Public { .. } if slot.stream == 0 => check_lease(work, member),
        _ => Ok(()),
    }
}

fn check_lease(work: &Work, member: &Member) -> Result<(), &'static str> {
    match member.leases.first() {
        _ if work.samples == 0 => Err("no samples were used"),
        Some(front) if front.start != work.first => Err("its lease moved on"),
        Some(_) if u64::from(work.samples) <= member.leased() => Ok(()),
        _ => Err("more samples were used than are leased"),
    }
}

/// Weight = min(claimed tokens, leased tokens, 2 x the slot's median of those two). Stream 0 names
/// the leased samples it used; the other streams train on the same ones, at different times.
fn weigh(charter: &Charter, control: &ControlPage, slot: Slot, counted: &[Counted]) -> Vec<Part> {
    let admitted = |counted: &Counted| {
        let samples = match &charter.manifest.data {
            Data::Private { .. } => return counted.work.tokens,
            Data::Public { .. } if slot.stream == 0 => u64::from(counted.work.samples),
            Data::Public { .. } => control.members[usize::from(counted.member)].leased(),
        };
        counted.work.tokens.min(samples.saturating_mul(charter.tokens_per_sample()))
    };
    let cap = twice_the_median(counted.iter().map(admitted).collect());
    let part = |counted: &Counted| {
        let member = &control.members[usize::from(counted.member)];
        let tokens = admitted(counted).min(cap);
        let missed = member.missed.get(usize::from(slot.stream)).copied().unwrap_or(0);
        Part { member: member.key, payload: counted.payload.clone(), tokens, missed }
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
    plan: &mut Plan,
    slot: Slot,
    drawn: &[PeerKey],
    parts: &[Part],
    counted: &[Counted],
) {
    let control = &mut plan.control;
    control.closed[usize::from(slot.stream)] += 1;
    let keys: Vec<PeerKey> = parts.iter().map(|part| part.member).collect();
    control.note_counted(usize::from(slot.stream), drawn, &keys);
    if slot.stream != 0 {
        return;
    }
    for (part, counted) in parts.iter().zip(counted) {
        let index = control.index_of(&part.member).expect("checked against the parent's members");
        control.book(index, counted.work.samples, part.tokens, counted.work.speed);
    }
    control.turn_slot(slot.ordinal, charter.lease_rules());
}

fn is_recent(control: &ControlPage, height: u64, age: u64) -> bool {
    // `control.height` is already the height of the block that is being checked.
    height < control.height && control.height - height <= age
}

/// Whether `join` may enter the block that leads to `control`.
pub(crate) fn check_join(
    charter: &Charter,
    scope: Scope,
    control: &ControlPage,
    join: &Signed<Join>,
) -> Result<(), &'static str> {
    if control.index_of(&join.by).is_some() {
        return Err("the key is a member already");
    }
    if control.convicted.binary_search(&join.by).is_ok() {
        return Err("the key was convicted");
    }
    if control.members.len() >= MAX_MEMBERS {
        return Err("the session is full");
    }
    if !is_recent(control, join.content.height, JOIN_AGE) {
        return Err("the request is too old");
    }
    if let Some(issuer) = charter.token_issuer() {
        let admittance = join.content.admittance.as_ref().ok_or("an invitation is needed")?;
        if !admittance.admits(scope.session, issuer, join.by) {
            return Err("the invitation is not the issuer's, or was given to another key");
        }
    }
    if !join.holds(Domain::Join, scope) {
        return Err("the signature does not hold");
    }
    Ok(())
}

fn admit(
    charter: &Charter,
    scope: Scope,
    control: &mut ControlPage,
    join: &Signed<Join>,
) -> Result<(), &'static str> {
    check_join(charter, scope, control, join)?;
    control.admit(join.by, charter.lease_rules());
    Ok(())
}

/// Whether `leave` may enter the block that leads to `control`.
pub(crate) fn check_leave(
    scope: Scope,
    control: &ControlPage,
    leave: &Signed<Leave>,
) -> Result<(), &'static str> {
    let member = control.member(&leave.by).ok_or("the key is no member")?;
    if !is_recent(control, leave.content.height, LEAVE_AGE) || leave.content.height < member.joined {
        return Err("the farewell is too old");
    }
    if !leave.holds(Domain::Leave, scope) {
        return Err("the signature does not hold");
    }
    Ok(())
}

fn dismiss(scope: Scope, control: &mut ControlPage, leave: &Signed<Leave>) -> Result<(), &'static str> {
    check_leave(scope, control, leave)?;
    control.dismiss(&leave.by);
    Ok(())
}

fn convict(scope: Scope, control: &mut ControlPage, evidence: &Evidence) -> Result<(), &'static str> {
    let key = guilty(scope, evidence).ok_or("the evidence proves nothing")?;
    if control.index_of(&key).is_none() && !control.seats.contains(&key) {
        return Err("the key has no part in this session");
    }
    let at = control.convicted.binary_search(&key).err().ok_or("the key was convicted before")?;
    control.convicted.insert(at, key);
    control.dismiss(&key);
    Ok(())
}

/// Whom the evidence convicts, if it holds.
pub(crate) fn guilty(scope: Scope, evidence: &Evidence) -> Option<PeerKey> {
    match evidence {
        Evidence::Announcements(pair) => {
            contradiction(scope, Domain::Announcement, pair, |a, b| a.slot == b.slot)
        }
        Evidence::Votes(pair) => contradiction(scope, Domain::Vote, pair, |a, b| {
            (a.height, a.attempt, a.step) == (b.height, b.attempt, b.step)
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

/// The heavy half of a transition, to be run by whoever drives the session.
#[derive(Debug, Clone)]
pub struct CandidateJob {
    /// Names the job to the session.
    pub id: u64,
    charter: Arc<Charter>,
    state: State,
    plan: Plan,
}

/// Why a candidate state could not be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CandidateError {
    /// A blob could not be read.
    #[error("blob {root} of {member}: {reason}")]
    Missing {
        /// Whose blob.
        member: PeerKey,
        /// Its name.
        root: Hash,
        /// What the store said.
        reason: String,
    },
    /// A blob does not decode to a finite update.
    #[error("the contribution of {member} to {slot:?}: {reason}")]
    Contribution {
        /// Whose contribution.
        member: PeerKey,
        /// To which slot.
        slot: Slot,
        /// What is wrong.
        reason: MethodError,
    },
    /// This thread rounds or flushes small numbers otherwise than all others do.
    #[error("this thread's floating point settings are not the standard ones: a library changed them")]
    FloatEnvironment,
    /// The aggregate moves the outer state out of the finite numbers.
    #[error("the outer step of {0:?} is not finite")]
    NotFinite(Slot),
}

impl CandidateJob {
    /// Prepares the job.
    pub fn new(id: u64, charter: Arc<Charter>, state: State, plan: Plan) -> CandidateJob {
        CandidateJob { id, charter, state, plan }
    }

    /// The blobs it reads.
    pub fn blobs(&self) -> Vec<Hash> {
        let parts = self.plan.aggregations.iter().flat_map(|aggregation| &aggregation.parts);
        parts.filter_map(|part| blob_root(&part.payload)).collect()
    }

    /// Computes the state after the block. `read` returns a blob's bytes by root.
    ///
    /// Contributions are added in member-key order; the arithmetic is plain f32 (no fused
    /// multiply-add, no transcendental), so every machine gets the same bits.
    pub fn run(
        mut self,
        read: &mut dyn FnMut(&Hash) -> Result<Vec<u8>, String>,
    ) -> Result<State, CandidateError> {
        if !crate::method::float_environment_is_standard() {
            return Err(CandidateError::FloatEnvironment);
        }
        for aggregation in std::mem::take(&mut self.plan.aggregations) {
            self.outer_step(&aggregation, read)?;
        }
        self.state.control = self.plan.control;
        Ok(self.state)
    }

    fn outer_step(
        &mut self,
        aggregation: &Aggregation,
        read: &mut dyn FnMut(&Hash) -> Result<Vec<u8>, String>,
    ) -> Result<(), CandidateError> {
        let slot = aggregation.slot;
        let fragment = usize::from(slot.stream);
        let payloads = aggregation.parts.iter().map(|part| payload_bytes(part, read));
        let payloads = payloads.collect::<Result<Vec<_>, _>>()?;
        let contribution = |(part, bytes): (&Part, Vec<u8>)| Contribution {
            bytes,
            tokens: part.tokens,
            missed: u32::from(part.missed),
        };
        let contributions: Vec<_> = aggregation.parts.iter().zip(payloads).map(contribution).collect();
        let mut arrays: Vec<Vec<f32>> =
            self.state.arrays.iter().map(|array| array[fragment].to_vec()).collect();
        let manifest = &self.charter.manifest;
        let stepped =
            manifest.method.outer_step(&mut arrays, &contributions, manifest.clip, manifest.max_lag);
        stepped.map_err(|(index, reason)| {
            let member = aggregation.parts[index].member;
            CandidateError::Contribution { member, slot, reason }
        })?;
        if arrays.iter().flatten().any(|value| !value.is_finite()) {
            return Err(CandidateError::NotFinite(slot));
        }
        for (array, values) in self.state.arrays.iter_mut().zip(&arrays) {
            array[fragment] = Array::new(values);
        }
        Ok(())
    }
}

fn payload_bytes(
    part: &Part,
    read: &mut dyn FnMut(&Hash) -> Result<Vec<u8>, String>,
) -> Result<Vec<u8>, CandidateError> {
    match &part.payload {
        Payload::Inline(bytes) => Ok(bytes.clone()),
        Payload::Blob { root, .. } => {
            read(root).map_err(|reason| CandidateError::Missing { member: part.member, root: *root, reason })
        }
    }
}

/// The blob of a payload, if it is one.
pub fn blob_root(payload: &Payload) -> Option<Hash> {
    match payload {
        Payload::Blob { root, .. } => Some(*root),
        Payload::Inline(_) => None,
    }
}
