//! Contributing: drives the engine, encodes, pushes, signs once, announces, and passes on what
//! others announced.

use std::collections::BTreeMap;

use crate::block::{Announcement, Block, Height, Payload, Slot, Work as ClaimedWork};
use crate::event::{Checkpoint, Event, Output, Record, Waiting};
use crate::holdings::{Tell, tell};
use crate::identity::{Domain, Hash, PeerKey, Scope, Signed, Signer};
use crate::method::one_byte::Measurement;
use crate::mutant::Mutant;
use crate::slot::Verdict;
use crate::time::{Span, Time};
use crate::training::{Next, SavedTraining};
use crate::wire::{self, Message, limits};
use crate::worker::{EngineFailure, Evaluation, Work, WorkDone};

use super::Session;

/// An own announcement is sent again after half the time that the last one waited until its slot closed,
/// then after twice as long, ...: but never sooner than this, ...
const RESEND_MINIMUM: Span = Span::seconds(1);
/// ... or later than this. (Connections lose nothing while they last, and who comes back is told at once.)
const RESEND_MAXIMUM: Span = Span::seconds(20);
/// Peers that hold a blob before it is announced.
const COPIES: usize = 2;
/// What a push may take beside the time of its bytes: until both sides found each other.
const FINDING: Span = Span::seconds(5);

/// The kind of order in progress.
#[derive(Debug)]
enum Order {
    Train,
    /// With the work that is in theta at the moment of the order: a block may give some back before the answer.
    Encode {
        slot: Slot,
        work: ClaimedWork,
    },
    Change,
    Restore,
    /// With what belongs to theta at the moment of the order: blocks may come before the answer.
    Save(Height, SavedTraining),
    Evaluate,
    /// Of a batch's slot.
    Measure(Slot),
}

/// A contribution between encoding and its announcement.
#[derive(Debug)]
struct Prepared {
    slot: Slot,
    base: Hash,
    root: Hash,
    length: u64,
    work: ClaimedWork,
    since: Time,
    /// How long the push takes on the slowest link admitted: a mirror that hangs tells nothing of this
    /// peer's own line.
    longest: Span,
}

/// An own announcement until its slot closes.
#[derive(Debug)]
struct Own {
    signed: Signed<Announcement>,
    mirrors: Vec<PeerKey>,
    since: Time,
    again: Time,
    delay: Span,
}

/// This peer's contributions.
#[derive(Debug, Default)]
pub(super) struct Contributing {
    order: Option<(Order, Time)>,
    prepared: Vec<Prepared>,
    /// Blobs of prepared ones that came to nothing: their pushes only take the line from what comes next.
    dropped: Vec<Hash>,
    /// How long the last two pushes took.
    pushes: [Span; 2],
    own: BTreeMap<Slot, Own>,
    /// How long the last one waited until its slot closed.
    waited: Span,
    /// A checkpoint is due as soon as theta is settled.
    save: bool,
    /// Engine bytes of a checkpoint to load first.
    pub restore: Option<Vec<u8>>,
    /// The validation loss of the final state.
    pub evaluate: bool,
    pub evaluated: bool,
    pub saved: bool,
}

impl Contributing {
    /// A block was applied. Every so many slots of stream 0 a checkpoint follows, if it `may`.
    pub fn applied(&mut self, now: Time, block: &Block, counted: &[bool], checkpoint_every: u32, may: bool) {
        for (closing, counted) in block.closings().zip(counted) {
            if let Some(own) = self.own.get(&closing.slot) {
                self.waited = now.since(own.since);
            }
            if !Mutant::HoardsAnnouncements.lives() {
                self.own.remove(&closing.slot);
            }
            if let Some(late) = self.prepared.iter().find(|prepared| prepared.slot == closing.slot) {
                // Nobody knows how long it would have taken.
                self.push_took(now.since(late.since).times(2).min(late.longest));
            }
            self.keep_prepared(|slot| *slot != closing.slot);
            let turn = closing.slot.ordinal % checkpoint_every.max(1) == checkpoint_every.max(1) - 1;
            self.save |= *counted && closing.slot.stream == 0 && turn && may;
        }
    }

    /// The state jumped: slots below `closed` are over.
    pub fn jumped(&mut self, closed: &[u32]) {
        let open =
            |slot: &Slot| closed.get(usize::from(slot.stream)).is_some_and(|next| slot.ordinal >= *next);
        self.own.retain(|slot, _| open(slot));
        self.keep_prepared(open);
    }

    /// Whether an own contribution to an open slot was signed.
    pub fn announced(&self, slot: Slot) -> bool {
        self.own.contains_key(&slot)
    }

    /// How many were signed for open slots of a stream.
    pub fn announced_count(&self, stream: u16) -> usize {
        self.own.keys().filter(|slot| slot.stream == stream).count()
    }

    pub fn is_working(&self) -> bool {
        self.order.is_some()
    }

    pub fn request_save(&mut self) {
        self.save = true;
        self.saved = false;
    }

    /// Nothing that is not signed yet may be.
    pub fn drop_prepared(&mut self) {
        self.keep_prepared(|_| false);
    }

    fn push_took(&mut self, span: Span) {
        self.pushes = [self.pushes[1], span];
    }

    /// How long pushes take: a single one that hangs says nothing.
    fn push_time(&self) -> Span {
        self.pushes[0].min(self.pushes[1])
    }

    fn keep_prepared(&mut self, keep: impl Fn(&Slot) -> bool) {
        let drop = self.prepared.extract_if(.., |prepared| !keep(&prepared.slot));
        self.dropped.extend(drop.map(|prepared| prepared.root));
    }

    /// Blobs whose pushes are of no use any more.
    pub fn take_dropped(&mut self) -> Vec<Hash> {
        let mut dropped = std::mem::take(&mut self.dropped);
        dropped.retain(|root| self.prepared.iter().all(|prepared| prepared.root != *root));
        dropped
    }

    /// A voter came that may not know of the announcements yet.
    pub fn resend_now(&mut self) {
        self.own.values_mut().for_each(|own| own.again = Time::default());
    }

    /// Signs the open announcements again, in another scope.
    pub fn renew(&mut self, now: Time, signer: &Signer, scope: Scope) -> Vec<Signed<Announcement>> {
        for own in self.own.values_mut() {
            own.signed = signer.seal(Domain::Announcement, scope, own.signed.content.clone());
            own.again = now;
        }
        self.own.values().map(|own| own.signed.clone()).collect()
    }

    /// Tells how much is held, for slots of which so many are open at one time.
    pub fn holdings(&self, slots: usize, to: Tell<'_>) {
        tell(to, "own contributions", self.own.len(), slots);
        tell(to, "contributions being pushed", self.prepared.len(), slots);
    }

    /// Own contributions to open slots, announced or not.
    pub fn blobs(&self) -> impl Iterator<Item = (Slot, Hash)> {
        let announced = self.own.iter().filter_map(|(slot, own)| match own.signed.content.payload {
            Payload::Blob { root, .. } => Some((*slot, root)),
            Payload::Inline(_) => None,
        });
        announced.chain(self.prepared.iter().map(|prepared| (prepared.slot, prepared.root)))
    }

    pub fn next_resend(&self) -> Option<Time> {
        self.own.values().map(|own| own.again).min()
    }
}

impl Session {
    /// Gives the engine its next order, if it is idle.
    pub(super) fn drive_engine(&mut self, now: Time) {
        if self.contributing.is_working() || self.restoring.is_some() {
            return;
        }
        if self.repair.is_going_on() {
            return self.set_waiting(Waiting::Repair);
        }
        if let Some(bytes) = self.contributing.restore.take() {
            return self.order(now, Order::Restore, Work::Restore(bytes));
        }
        if self.contributing.evaluate {
            self.contributing.evaluate = false;
            let outer = self.state.arrays[0].clone();
            return self.order(now, Order::Evaluate, Work::Evaluate { outer });
        }
        let ending = self.is_complete() || self.is_stopping();
        if ending && let Some(work) = self.training.settle(&self.state) {
            return self.order(now, Order::Change, work);
        }
        if self.contributing.save && self.training.is_settled() {
            self.contributing.save = false;
            let order = Order::Save(self.height(), self.training.save());
            return self.order(now, order, Work::Save);
        }
        if ending {
            return;
        }
        if !self.recall.may_sign() {
            return self.set_waiting(self.why_silent());
        }
        match self.training.next(&self.state) {
            Next::Work(work) => {
                self.set_waiting(Waiting::No);
                let order = match &work {
                    Work::Train { .. } => Order::Train,
                    Work::Encode { slot, .. } => {
                        Order::Encode { slot: *slot, work: self.training.claim(*slot) }
                    }
                    Work::Measure { opening, .. } => {
                        Order::Measure(Slot { stream: 0, ordinal: opening.ordinal })
                    }
                    _ => Order::Change,
                };
                self.order(now, order, work);
            }
            Next::Contribute(_) => self.contribute_batch(now),
            Next::Wait(waiting) => self.set_waiting(self.explain(now, waiting)),
        }
    }

    /// Why this peer signs nothing at present.
    fn why_silent(&self) -> Waiting {
        match self.recall.bar() {
            Some(_) => Waiting::Barred,
            None if self.catch_up.target() > self.height() => Waiting::CatchUp,
            None => Waiting::Quorum,
        }
    }

    /// A wait for a certificate has deeper reasons that a user can do something about.
    fn explain(&self, now: Time, waiting: Waiting) -> Waiting {
        match waiting {
            Waiting::Certificate | Waiting::Turn if self.catch_up.is_behind(self.height()) => {
                Waiting::CatchUp
            }
            Waiting::Certificate | Waiting::Turn if !self.hears_quorum(now) => Waiting::Quorum,
            other => other,
        }
    }

    /// Whether so many voters said something lately that they could decide.
    fn hears_quorum(&self, now: Time) -> bool {
        // What was certified a moment ago was decided by a quorum.
        if now.since(self.head_at) < super::SILENT {
            return true;
        }
        let voters = self.voters();
        let speaks = |key: &&PeerKey| **key == self.me || self.speaks(now, key);
        let quorum = self.charter.quorum(voters.len());
        voters.iter().filter(speaks).take(quorum).count() >= quorum
    }

    fn set_waiting(&mut self, waiting: Waiting) {
        if self.waiting != waiting {
            self.waiting = waiting;
            self.event(Event::Waiting(waiting));
        }
    }

    fn order(&mut self, now: Time, order: Order, work: Work) {
        self.contributing.order = Some((order, now));
        self.outputs.push_back(Output::Work(work));
    }

    /// The engine answers.
    pub(super) fn work_done(&mut self, now: Time, done: WorkDone) {
        let Some((order, since)) = self.contributing.order.take() else { return };
        match (order, done) {
            (Order::Train, WorkDone::Trained(losses)) => {
                self.training.trained(losses.len() as u32, now.since(since));
                if let Some(span) = self.training.slot_time() {
                    self.slots.set_own_slot_time(span + self.contributing.push_time());
                }
                let mean = losses.iter().sum::<f32>() / losses.len().max(1) as f32;
                let (step, speed) = (self.training.step(), self.training.speed());
                self.event(Event::Trained { step, loss: mean, speed });
            }
            (Order::Encode { slot, work }, WorkDone::Encoded { bytes, .. }) => {
                self.encoded(now, slot, work, bytes);
            }
            (Order::Measure(slot), WorkDone::Measured { step, member, found }) if member != self.me => {
                self.audited(slot, step, member, found);
            }
            (Order::Measure(slot), WorkDone::Measured { step, found, .. }) => {
                let Measurement { bytes, loss, .. } = found;
                self.training.measured();
                if bytes.is_empty() {
                    self.warn(format!("step {step}: a loss is not finite, nothing of it is sent"));
                } else {
                    let (step, speed) = (self.training.step(), self.training.speed());
                    self.event(Event::Trained { step, loss, speed });
                }
                self.measured(now, slot, step, bytes);
            }
            (Order::Evaluate, WorkDone::Evaluated(Evaluation { loss, accuracy })) => {
                self.contributing.evaluated = true;
                self.event(Event::Evaluated { height: self.height(), loss, accuracy });
            }
            (Order::Save(height, saved), WorkDone::Saved(engine)) => {
                self.checkpoint(now, height, saved, &engine)
            }
            (order, WorkDone::Failed(failure)) => self.engine_failed(order, failure),
            _ => {}
        }
    }

    fn engine_failed(&mut self, order: Order, failure: EngineFailure) {
        match order {
            Order::Train | Order::Encode { .. } | Order::Change | Order::Measure(_) => {
                self.stop_training(&failure);
            }
            Order::Restore => {
                self.training.start_over(&self.state);
                self.warn(format!("the checkpoint is not used: {failure}"));
            }
            Order::Save(..) => self.contributing.saved = true,
            Order::Evaluate => {
                self.contributing.evaluated = true;
                self.warn(format!("the validation loss is not known: {failure}"));
            }
        }
    }

    /// Nothing of what is wrong may leave this peer.
    pub(super) fn stop_training(&mut self, failure: &EngineFailure) {
        self.training.stop();
        self.warn(format!(
            "training stopped: {failure}. Nothing of it left this peer, which goes on following and \
             voting. `driftless resume` starts again from the outer parameters; if it happens \
             again, the learning rate is too high for this data"
        ));
    }

    fn checkpoint(&mut self, now: Time, height: Height, saved: SavedTraining, engine: &[u8]) {
        // Not a third copy of what is the largest thing in memory.
        let bytes = wire::encode(&(saved, engine));
        self.writes.checkpoints.spent(now, bytes.len() as u64);
        let record = Record::Checkpoint(Checkpoint { height, bytes });
        self.outputs.push_back(Output::Persist { record, sync: true });
        self.contributing.saved = true;
    }

    /// A contribution is encoded: make it durable, give it to mirrors, then announce it.
    fn encoded(&mut self, now: Time, slot: Slot, work: ClaimedWork, bytes: Vec<u8>) {
        if !self.slots.is_open(slot) || !self.may_announce(slot) {
            return self.training.not_announced(slot);
        }
        if work.steps == 0 || self.training.claim(slot).steps < work.steps {
            // A block voided the work while it was encoded.
            return self.training.not_announced(slot);
        }
        let (root, length) = (Hash::of(&bytes), bytes.len() as u64);
        let base = self.ground().base(slot);
        self.outputs.push_back(Output::Persist { record: Record::Blob { root, bytes }, sync: true });
        self.hold(root);
        self.training.announced(slot, work.clone());
        let (since, longest) = (now, self.longest_push(length));
        self.contributing.prepared.push(Prepared { slot, base, root, length, work, since, longest });
        let to = self.mirror_candidates();
        self.outputs.push_back(Output::Push { root, to, copies: COPIES, within: longest });
    }

    /// The batch of steps is over: what this peer sent of it is signed. The others have it from the lists.
    fn contribute_batch(&mut self, now: Time) {
        let Some(slot) = self.training.batch().map(|batch| batch.slot) else { return };
        if !self.slots.is_open(slot) || !self.may_announce(slot) {
            return;
        }
        if let Some((steps, span)) = self.batch_took(now) {
            self.training.batch_took(steps, span);
            self.training.slot_time().into_iter().for_each(|span| self.slots.set_own_slot_time(span));
        }
        let Some((slot, bytes, work)) = self.training.batch_contribution() else { return };
        let (root, length) = (Hash::of(&bytes), bytes.len() as u64);
        let base = self.ground().base(slot);
        self.outputs.push_back(Output::Persist { record: Record::Blob { root, bytes }, sync: true });
        self.hold(root);
        self.training.announced(slot, work.clone());
        self.sign_and_announce(
            now,
            Announcement { slot, base, payload: Payload::Blob { root, length }, work },
            Vec::new(),
        );
    }

    /// How long pushes of `length` bytes take on the slowest link that the session admits.
    fn longest_push(&self, length: u64) -> Span {
        let bytes = length.saturating_mul(COPIES as u64);
        let micros = bytes.saturating_mul(1_000_000) / self.charter.manifest.slowest_link.max(1);
        Span(micros) + FINDING
    }

    /// Whether nothing forbids to sign a contribution to this slot, which may have been begun before
    /// something did.
    fn may_announce(&self, slot: Slot) -> bool {
        self.recall.may_sign()
            && self.recall.may_contribute_to(slot.ordinal)
            && !self.repair.is_going_on()
            && self.halted.is_none()
    }

    /// Reachable peers, drawn contributors and voters first, starting after this peer's own place
    /// so that not everybody asks the same ones.
    fn mirror_candidates(&self) -> Vec<PeerKey> {
        let ordinal = self.state.control.closed[0];
        let drawn = self.ground().drawn(ordinal);
        let wanted = |key: &PeerKey| self.state.control.seats.contains(key) || drawn.contains(key);
        let (mut first, rest): (Vec<PeerKey>, Vec<PeerKey>) =
            self.connected.iter().copied().partition(wanted);
        let after = first.partition_point(|key| *key < self.me);
        first.rotate_left(after);
        first.extend(rest);
        first
    }

    /// Mirrors hold the blob (or nobody could be reached): sign once and announce.
    pub(super) fn pushed(&mut self, now: Time, root: Hash, mirrors: Vec<PeerKey>) {
        let Some(at) = self.contributing.prepared.iter().position(|prepared| prepared.root == root) else {
            return;
        };
        let Prepared { slot, base, root, length, work, since, longest } =
            self.contributing.prepared.remove(at);
        self.contributing.push_took(now.since(since).min(longest));
        if !self.may_announce(slot) {
            return;
        }
        let payload = Payload::Blob { root, length };
        let announcement = Announcement { slot, base, payload, work };
        self.sign_and_announce(now, announcement, mirrors.into_iter().take(limits::MIRRORS).collect());
    }

    fn sign_and_announce(&mut self, now: Time, announcement: Announcement, mirrors: Vec<PeerKey>) {
        let slot = announcement.slot;
        if let Payload::Blob { root, length } = announcement.payload {
            self.event(Event::Announced { slot, root, length });
        }
        let signed = self.signer.seal(Domain::Announcement, self.scope(), announcement);
        self.outputs.push_back(Output::Persist { record: Record::Signed(signed.clone()), sync: true });
        self.announce(now, signed, mirrors);
    }

    /// Sends an own announcement now and until its slot closes.
    pub(super) fn announce(&mut self, now: Time, signed: Signed<Announcement>, mirrors: Vec<PeerKey>) {
        let slot = signed.content.slot;
        if self.is_voter() {
            self.receive_announcement(now, &signed, Vec::new());
        }
        let delay = Span((self.contributing.waited.0 / 2).clamp(RESEND_MINIMUM.0, RESEND_MAXIMUM.0));
        let own = Own { signed, mirrors, since: now, again: now + delay, delay };
        self.send_own(&own);
        self.contributing.own.insert(slot, own);
    }

    fn send_own(&mut self, own: &Own) {
        let voters = self.other_voters();
        let seats = self.voters().iter().filter(|key| **key != self.me).count();
        let relay = voters.len() < seats;
        let message =
            Message::Announce { announcement: own.signed.clone(), mirrors: own.mirrors.clone(), relay };
        self.send(voters, message);
    }

    pub(super) fn resend_announcements(&mut self, now: Time) {
        let due = self.contributing.own.iter().filter(|(_, own)| own.again <= now);
        let due: Vec<Slot> = due.map(|(slot, _)| *slot).collect();
        for slot in due {
            if let Some(mut own) = self.contributing.own.remove(&slot) {
                self.send_own(&own);
                own.delay = Span(own.delay.times(2).0.min(RESEND_MAXIMUM.0));
                own.again = now + own.delay;
                self.contributing.own.insert(slot, own);
            }
        }
    }

    /// Somebody announced a contribution.
    pub(super) fn announcement_received(
        &mut self,
        now: Time,
        announcement: Signed<Announcement>,
        mirrors: Vec<PeerKey>,
        relay: bool,
    ) {
        if !self.is_voter() || self.restoring.is_some() || self.is_complete() {
            return;
        }
        let accepted = self.receive_announcement(now, &announcement, mirrors.clone());
        if accepted && relay {
            let author = announcement.by;
            let to = self.other_voters().into_iter().filter(|key| *key != author).collect();
            self.send(to, Message::Announce { announcement, mirrors, relay: false });
        }
    }

    fn receive_announcement(
        &mut self,
        now: Time,
        announcement: &Signed<Announcement>,
        mirrors: Vec<PeerKey>,
    ) -> bool {
        let ground = super::Ground { charter: &self.charter, state: &self.state, head: self.head };
        match self.slots.receive(now, ground, announcement) {
            Verdict::Accepted => {
                if let Payload::Blob { root, length } = announcement.content.payload {
                    self.take_from_lists(announcement.content.slot, &announcement.by, root, length);
                    let mut sources = mirrors;
                    sources.push(announcement.by);
                    self.fetch(root, length, sources);
                    if self.held.contains(&root) {
                        self.slots.blob_stored(now, &root);
                    }
                }
                true
            }
            Verdict::Contradiction(evidence) => {
                self.keep_evidence(evidence);
                false
            }
            Verdict::Duplicate | Verdict::Early | Verdict::Refused(_) => false,
        }
    }
}
