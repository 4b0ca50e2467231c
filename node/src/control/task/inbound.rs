//! What peers send: limits first, then the driver.

use std::sync::atomic::Ordering;

use driftless_protocol::PeerKey;
use libp2p::gossipsub;

use super::Task;
use crate::control::direct;
use crate::control::event::{ControlEvent, GossipId, Verdict};
use crate::control::key::{key_of, peer_of};
use crate::control::rate::Admission;
use crate::control::swarm::session_of;

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
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                self.on_gossip_message(GossipId { message: message_id, source: propagation_source }, message);
            }
            gossipsub::Event::Subscribed { peer_id, topic } => {
                if let (Some(session), Some(peer)) = (session_of(&topic), key_of(&peer_id))
                    && self.admit(peer, 0)
                {
                    self.offer(ControlEvent::Subscribed { session, peer });
                }
            }
            _ => {}
        }
    }

    fn on_gossip_message(&mut self, id: GossipId, message: gossipsub::Message) {
        let (Some(session), Some(from)) = (self.topics.get(&message.topic).copied(), key_of(&id.source))
        else {
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
