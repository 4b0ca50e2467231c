//! Requests in both directions.

use std::collections::HashMap;

use driftless_protocol::{Hash, PeerKey};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use libp2p::request_response::{
    Event, InboundRequestId, Message, OutboundFailure, OutboundRequestId, ResponseChannel,
};
use tokio::sync::oneshot;

use super::Task;
use crate::control::error::RequestError;
use crate::control::event::{ControlEvent, ReplyHandle};
use crate::control::key::{key_of, peer_of};

type Replied = oneshot::Sender<Result<Vec<u8>, RequestError>>;
/// The driver's answer to a request, or nothing if it declined.
pub(super) type Answer = (ResponseChannel<Vec<u8>>, Option<Vec<u8>>);

/// Requests in progress.
#[derive(Default)]
pub(super) struct Requests {
    asked: HashMap<OutboundRequestId, Replied>,
    serving: HashMap<InboundRequestId, PeerKey>,
    pub(super) answers: FuturesUnordered<BoxFuture<'static, Answer>>,
}

impl Task {
    pub(super) fn request(&mut self, session: Hash, to: PeerKey, bytes: Vec<u8>, reply: Replied) {
        // Whoever asked may have given up.
        self.requests.asked.retain(|_, asked| !asked.is_closed());
        let peer = peer_of(&to).filter(|peer| self.swarm.is_connected(peer));
        let refusal = match peer {
            None => Some(RequestError::NotConnected),
            Some(_) if self.requests.asked.len() >= self.shared.limits.requests => Some(RequestError::Busy),
            Some(_) => None,
        };
        match (peer, refusal) {
            (Some(peer), None) => {
                let id = self.swarm.behaviour_mut().request.send_request(&peer, (session, bytes));
                self.requests.asked.insert(id, reply);
            }
            (_, refusal) => {
                let _ = reply.send(Err(refusal.unwrap_or(RequestError::NotConnected)));
            }
        }
    }

    pub(super) fn on_request_event(&mut self, event: Event<(Hash, Vec<u8>), Vec<u8>>) {
        match event {
            Event::Message { peer, message: Message::Request { request_id, request, channel }, .. } => {
                if let Some(from) = key_of(&peer) {
                    self.serve(from, request_id, request, channel);
                }
            }
            Event::Message { message: Message::Response { request_id, response }, .. } => {
                self.finish(request_id, Ok(response));
            }
            Event::OutboundFailure { request_id, error, .. } => {
                self.finish(request_id, Err(request_error(error)));
            }
            Event::InboundFailure { peer, request_id, error, .. } => {
                tracing::debug!(%peer, %error, "a request of this peer failed");
                self.requests.serving.remove(&request_id);
            }
            Event::ResponseSent { request_id, .. } => {
                self.requests.serving.remove(&request_id);
            }
        }
    }

    fn finish(&mut self, id: OutboundRequestId, outcome: Result<Vec<u8>, RequestError>) {
        if let Some(asked) = self.requests.asked.remove(&id) {
            let _ = asked.send(outcome);
        }
    }

    /// Hands a request up; dropping its channel declines it.
    fn serve(
        &mut self,
        from: PeerKey,
        id: InboundRequestId,
        (session, bytes): (Hash, Vec<u8>),
        channel: ResponseChannel<Vec<u8>>,
    ) {
        let limits = &self.shared.limits;
        let of_peer = self.requests.serving.values().filter(|peer| **peer == from).count();
        let busy = self.requests.serving.len() >= limits.serving || of_peer >= limits.serving_per_peer;
        let limit = limits.reply;
        if !self.admit(from, bytes.len()) || busy {
            return;
        }
        let (sender, answer) = oneshot::channel();
        let reply = ReplyHandle { sender, limit };
        if self.offer(ControlEvent::Request { session, from, bytes, reply }) {
            self.requests.serving.insert(id, from);
            self.requests.answers.push(answer.map(|answer| (channel, answer.ok())).boxed());
        }
    }

    pub(super) fn on_answer(&mut self, (channel, answer): Answer) {
        if let Some(bytes) = answer {
            // Fails if the connection is gone; `InboundFailure` follows and tidies up.
            let _ = self.swarm.behaviour_mut().request.send_response(channel, bytes);
        }
    }
}

fn request_error(error: OutboundFailure) -> RequestError {
    match error {
        OutboundFailure::DialFailure => RequestError::NotConnected,
        OutboundFailure::Timeout => RequestError::Timeout,
        OutboundFailure::ConnectionClosed => RequestError::ConnectionClosed,
        OutboundFailure::UnsupportedProtocols => RequestError::Unsupported,
        OutboundFailure::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            RequestError::BadReply(error.to_string())
        }
        // The stream ended before its reply.
        OutboundFailure::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            RequestError::Declined
        }
        OutboundFailure::Io(_) => RequestError::ConnectionClosed,
    }
}
