//! What the handle asks of the task.

use std::sync::PoisonError;

use driftless_protocol::{Hash, PeerKey};
use libp2p::Multiaddr;
use libp2p::gossipsub::{MessageAcceptance, PublishError};
use tokio::sync::oneshot;

use super::Task;
use crate::control::error::RequestError;
use crate::control::event::{GossipId, Verdict};
use crate::control::key::{key_of, peer_of};
use crate::control::rate::REJECT_STRIKES;
use crate::control::swarm::topic_of;

/// A command of the handle.
#[derive(Debug)]
pub(crate) enum Command {
    Join {
        session: Hash,
        done: oneshot::Sender<bool>,
    },
    Leave {
        session: Hash,
        done: oneshot::Sender<()>,
    },
    Publish {
        session: Hash,
        bytes: Vec<u8>,
    },
    Report {
        id: GossipId,
        verdict: Verdict,
    },
    Dial {
        address: Multiaddr,
        expect: Option<PeerKey>,
    },
    Disconnect {
        peer: PeerKey,
    },
    Request {
        session: Hash,
        to: PeerKey,
        bytes: Vec<u8>,
        reply: oneshot::Sender<Result<Vec<u8>, RequestError>>,
    },
    Shutdown {
        done: oneshot::Sender<()>,
    },
}

impl Task {
    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Join { session, done } => {
                let _ = done.send(self.join(session));
            }
            Command::Leave { session, done } => {
                let topic = topic_of(session);
                self.topics.remove(&topic.hash());
                self.swarm.behaviour_mut().gossip.unsubscribe(&topic);
                let _ = done.send(());
            }
            Command::Publish { session, bytes } => self.publish(session, bytes),
            Command::Report { id, verdict } => self.report(&id, verdict),
            Command::Dial { address, expect } => self.dial_once(address, expect),
            Command::Disconnect { peer } => {
                if let Some(peer) = peer_of(&peer) {
                    let _ = self.swarm.disconnect_peer_id(peer);
                }
            }
            Command::Request { session, to, bytes, reply } => self.request(session, to, bytes, reply),
            // The loop takes it before it comes here.
            Command::Shutdown { .. } => {}
        }
    }

    fn join(&mut self, session: Hash) -> bool {
        let topic = topic_of(session);
        if !self.topics.contains_key(&topic.hash()) && self.topics.len() >= self.shared.limits.sessions {
            return false;
        }
        let joined = self.swarm.behaviour_mut().gossip.subscribe(&topic).is_ok();
        if joined {
            self.topics.insert(topic.hash(), session);
        }
        joined
    }

    fn publish(&mut self, session: Hash, bytes: Vec<u8>) {
        let limit = self.shared.limits.message;
        if bytes.len() > limit {
            tracing::warn!(found = bytes.len(), limit, "a gossip message is too long and was not sent");
            return;
        }
        match self.swarm.behaviour_mut().gossip.publish(topic_of(session), bytes) {
            // Alone, or somebody else was faster: both are ordinary.
            Ok(_) | Err(PublishError::NoPeersSubscribedToTopic | PublishError::Duplicate) => {}
            Err(error) => tracing::debug!(%error, "a gossip message was not sent"),
        }
    }

    pub(super) fn report(&mut self, id: &GossipId, verdict: Verdict) {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.report_message_validation_result(&id.message, &id.source, acceptance);
        if verdict == Verdict::Reject
            && let Some(key) = key_of(&id.source)
            && self.limiter.strike(key, REJECT_STRIKES, self.started.elapsed())
        {
            self.ban(id.source, "it passes on invalid messages");
        }
    }

    /// Moves the handle's wishes into the book.
    pub(super) fn take_wishes(&mut self) {
        let mut wishes = self.shared.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        let wishes = std::mem::take(&mut *wishes);
        let now = self.now();
        for (peer, addresses) in wishes {
            match addresses {
                Some(addresses) => self.book.keep(peer, addresses, self.shared.limits.kept, now),
                None => self.book.forget(&peer),
            }
        }
    }
}
