//! Ordering: whoever orders gathers samples, lists the step, and tells everybody.

use crate::batch::{Batch, List};
use crate::block::Slot;
use crate::identity::PeerKey;
use crate::time::Time;
use crate::wire::Message;

use super::{PATIENCE, Session, TELL_AGAIN, TOLD};

impl Session {
    pub(super) fn take_samples(&mut self, now: Time, step: u32, place: usize, bytes: Vec<u8>) {
        if self.training.batch().is_some_and(|batch| batch.listed() == step) {
            self.stepping.left_out &= !(1 << place);
        }
        self.stepping.waiting.entry((step, place)).or_insert(bytes);
        self.stepping.since.get_or_insert(now);
    }

    /// Somebody sent its samples of a step.
    pub(in crate::session) fn samples_received(
        &mut self,
        now: Time,
        from: PeerKey,
        slot: Slot,
        step: u32,
        bytes: Vec<u8>,
    ) {
        let Some(method) = self.charter.manifest.method.one_byte() else { return };
        let Some(batch) = self.training.batch().filter(|batch| batch.slot == slot) else { return };
        let Ok(place) = batch.drawn().binary_search(&from) else { return };
        if bytes.len() != usize::from(method.samples) {
            return;
        }
        let held = self.stepping.waiting.keys().filter(|(_, of)| *of == place).count();
        if step >= method.batch_steps || held > method.staleness as usize {
            return;
        }
        if step < batch.listed() {
            // It does not know these lists: it is slow, or was away.
            if self.stepping.told.get(&place).is_some_and(|last| now < *last + TELL_AGAIN) {
                return;
            }
            let end = batch.listed().min(step.saturating_add(TOLD));
            let lists = (step..end).filter_map(|step| Some((step, batch.list(step, None)?)));
            let message = |(step, list): (u32, List)| Message::List {
                slot,
                step,
                listed: list.listed,
                bytes: list.bytes,
            };
            let messages: Vec<Message> = lists.map(message).collect();
            self.stepping.told.insert(place, now);
            messages.into_iter().for_each(|message| self.send(vec![from], message));
            return;
        }
        if self.orders(now, batch) {
            let (listed, ahead) = (batch.listed(), step > batch.listed().saturating_add(method.staleness));
            if ahead && self.stepping.asked.is_none() {
                // It has lists of who ordered before, or of this peer before it was restarted.
                self.stepping.asked = Some(from);
                self.send(vec![from], Message::Samples { slot, step: listed, bytes: vec![0; bytes.len()] });
            }
            self.take_samples(now, step, place, bytes);
        }
    }

    /// How long the samples of the next step that are here wait for others.
    pub(super) fn waits_until(&self, batch: &Batch) -> Option<Time> {
        let (here, patience) = (self.samples_here(batch.listed()), self.stepping.patience(batch.listed()));
        // Fewer than half move nothing: they wait for longer, but not for ever, or nobody would be missed.
        let patience = if 2 * here < batch.drawn().len() { patience.times(PATIENCE) } else { patience };
        self.stepping.since.filter(|_| here > 0).map(|since| since + patience)
    }

    /// Members whose samples of a step wait to be listed.
    fn samples_here(&self, step: u32) -> usize {
        self.stepping.waiting.range((step, 0)..(step + 1, 0)).count()
    }

    /// Whether all samples of the next step are here that are waited for.
    pub(super) fn is_step_ready(&self, now: Time, batch: &Batch) -> bool {
        let step = batch.listed();
        let here = |place: usize| self.stepping.waiting.contains_key(&(step, place));
        let awaited = |(place, key): (usize, &PeerKey)| {
            let left_out = self.stepping.left_out >> place & 1 == 1;
            !left_out && (*key == self.me || self.connected.contains(key))
        };
        let all =
            batch.drawn().iter().enumerate().filter(|member| awaited(*member)).all(|(place, _)| here(place));
        let waited = self.waits_until(batch).is_some_and(|until| now >= until);
        self.samples_here(step) > 0
            && (all || waited)
            && self.stepping.next_list().is_none_or(|next| now >= next)
    }

    /// Lists the next step, and tells everybody.
    pub(super) fn list_step(&mut self, now: Time) {
        let Some(batch) = self.training.batch_mut() else { return };
        let (slot, step) = (batch.slot, batch.listed());
        let (mut listed, mut bytes) = (0u64, Vec::new());
        for place in 0..batch.drawn().len() {
            if let Some(samples) = self.stepping.waiting.get(&(step, place)) {
                listed |= 1 << place;
                bytes.extend_from_slice(samples);
            }
        }
        if !batch.push(step, listed, bytes) {
            return;
        }
        let drawn = batch.drawn().to_vec();
        self.note_orderer(self.me);
        let mut messages = Vec::new();
        let voters = self.voters().iter().filter(|key| drawn.binary_search(key).is_err());
        let receivers: Vec<PeerKey> = drawn.iter().chain(voters).copied().collect();
        for to in receivers.into_iter().filter(|key| *key != self.me && self.connected.contains(key)) {
            let place = drawn.binary_search(&to).ok();
            if let Some(list) = self.training.batch().and_then(|batch| batch.list(step, place)) {
                messages.push((to, Message::List { slot, step, listed: list.listed, bytes: list.bytes }));
            }
        }
        messages.into_iter().for_each(|(to, message)| self.send(vec![to], message));
        let all = u64::MAX >> (64 - drawn.len().clamp(1, 64));
        self.stepping.left_out = all & !listed;
        self.stepping.last = Some(now);
        self.stepping.asked = None;
        let next = self.training.batch().map_or(step + 1, Batch::listed);
        self.listed(now, next);
        // Of later steps some may be here already.
        self.stepping.since = (!self.stepping.waiting.is_empty()).then_some(now);
    }
}
