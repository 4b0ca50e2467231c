//! Following: own samples go to whoever orders, lists come back, and what they say nobody has to fetch.

use crate::block::{Block, Payload, Slot};
use crate::event::{Output, Record};
use crate::identity::{Hash, PeerKey};
use crate::time::Time;
use crate::wire::Message;
use crate::worker::EngineFailure;

use super::{Session, TELL_AGAIN, UNSOUND};

impl Session {
    /// What this peer measured in a step.
    pub(in crate::session) fn measured(&mut self, now: Time, slot: Slot, step: u32, bytes: Vec<u8>) {
        self.stepping.unsound = if bytes.is_empty() { self.stepping.unsound + 1 } else { 0 };
        if self.stepping.unsound >= UNSOUND {
            self.stepping.unsound = 0;
            return self.stop_training(&EngineFailure::NotFinite("the loss".into()));
        }
        if let Some(batch) = self.training.batch_mut().filter(|batch| batch.slot == slot) {
            batch.measured(step, bytes);
            if batch.due().is_none() {
                self.stepping.waits.get_or_insert(now);
            }
            self.send_samples(now);
        }
    }

    /// Sends own samples that are not listed to whoever orders them.
    pub(super) fn send_samples(&mut self, now: Time) {
        let Some(batch) = self.training.batch() else { return };
        let (orderer, orders) = (self.orderer(batch), self.orders(now, batch));
        let due = |step: u32| match self.stepping.sent {
            Some((last, at)) => step > last || now >= at + self.stepping.send_again(),
            None => true,
        };
        let mut last = None;
        let mut outgoing = Vec::new();
        let mut own = Vec::new();
        for (step, bytes) in batch.unlisted().filter(|_| !batch.is_over()) {
            if orders {
                own.push((step, bytes.to_vec()));
            } else if due(step) {
                let message = Message::Samples { slot: batch.slot, step, bytes: bytes.to_vec() };
                outgoing.push(message);
                last = Some(step);
            }
        }
        let place = batch.drawn().binary_search(&self.me).ok();
        for (step, bytes) in own {
            place.into_iter().for_each(|place| self.take_samples(now, step, place, bytes.clone()));
        }
        if let (Some(step), Some(orderer)) = (last, orderer) {
            self.stepping.sent = Some((step, now));
            outgoing.into_iter().for_each(|message| self.send(vec![orderer], message));
        }
    }

    /// Whoever orders sent a step's list.
    pub(in crate::session) fn list_received(
        &mut self,
        now: Time,
        from: PeerKey,
        slot: Slot,
        step: u32,
        listed: u64,
        bytes: Vec<u8>,
    ) {
        let Some(batch) = self.training.batch().filter(|batch| batch.slot == slot) else { return };
        if self.orderer(batch) != Some(from) && self.stepping.asked != Some(from) {
            return;
        }
        let Some(batch) = self.training.batch_mut() else { return };
        if batch.push(step, listed, bytes) {
            let next = batch.listed();
            self.note_orderer(from);
            self.listed(now, next);
        } else if step > batch.listed() {
            // One is missing: whoever orders is asked soon.
            self.stepping.sent.take_if(|(_, at)| now >= *at + TELL_AGAIN);
        }
    }

    /// What a block counts, as far as the lists have it.
    pub(in crate::session) fn take_listed(&mut self, block: &Block) {
        if self.charter.manifest.method.one_byte().is_none() {
            return;
        }
        for closing in block.closings() {
            for counted in &closing.counted {
                let member = self.state.control.members.get(usize::from(counted.member));
                if let (Some(key), Payload::Blob { root, length }) =
                    (member.map(|member| member.key), &counted.payload)
                {
                    self.take_from_lists(closing.slot, &key, *root, *length);
                }
            }
        }
    }

    /// A contribution whose bytes are known from the lists: nobody has to fetch it.
    pub(in crate::session) fn take_from_lists(&mut self, slot: Slot, by: &PeerKey, root: Hash, length: u64) {
        let Some(method) = self.charter.manifest.method.one_byte() else { return };
        let batch = self.training.batch().filter(|batch| batch.slot == slot);
        let Some(batch) = batch.filter(|_| !self.held.contains(&root)) else { return };
        let log = method.steps_of(length).and_then(|steps| batch.log_of(by, steps));
        let bytes = log.map(|log| log.encode(method.batch_steps));
        if let Some(bytes) = bytes.filter(|bytes| Hash::of(bytes) == root) {
            self.outputs.push_back(Output::Persist { record: Record::Blob { root, bytes }, sync: true });
            self.hold(root);
        }
    }
}
