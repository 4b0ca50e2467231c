//! What peers send: limits first, then the driver.

use std::sync::atomic::Ordering;

use driftless_protocol::PeerKey;
use libp2p::gossipsub;

use super::Task;
use crate::control::direct;
use crate::control::event::{ControlEvent, GossipId, Verdict};
use crate::control::key::{key_of, peer_of};
use crate::control::rate::Admission;

impl Task {
    /// Whether a message of `bytes` may be handed up. A peer that keeps flooding is shut out.
    pub(super) fn admit(&mut self, from: PeerKey, bytes: usize) -> bool {
        let now = self.now();
        let admission = self.limiter.admit(from, bytes, now);
        if admission != Admission::Accept {
            self.shared.dropped.over_rate.fetch_add(1, Ordering::Relaxed);
        }
        if let (Admission::Ban, Some(peer)) = (admission, peer_of(&from)) {
            self.ban(peer, "it sends far more than its rate");
        }
        admission == Admission::Accept
    }

    pub(super) fn on_direct(&mut self, event: direct::Event) {
        match event {
            direct::Event::Message { from, session, bytes } => {
                if self.admit(from, bytes.len()) {
                    self.offer(ControlEvent::Message { session, from, bytes });
                }
            }
            // A peer that breaks the protocol is not one of ours, or means harm.
            direct::Event::Violation { peer, reason } => self.ban(peer, &reason),
            direct::Event::Broken { connection } => {
                self.swarm.close_connection(connection);
            }
        }
    }

    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        let gossipsub::Event::Message { propagation_source: source, message_id, message } = event else {
            return;
        };
        let id = GossipId { message: message_id, source };
        let (Some(session), Some(from)) = (self.topics.get(&message.topic).copied(), key_of(&source)) else {
            return self.report(&id, Verdict::Ignore);
        };
        let bytes = message.data;
        let fits = bytes.len() <= self.shared.limits.message;
        let admitted = fits && self.admit(from, bytes.len());
        if !admitted || !self.offer(ControlEvent::Gossip { session, from, id: id.clone(), bytes }) {
            self.report(&id, Verdict::Ignore);
        }
    }
}
