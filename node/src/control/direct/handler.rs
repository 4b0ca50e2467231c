//! One connection's share: a stream for each direction, opened with the first message.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use driftless_protocol::Hash;
use futures::future::BoxFuture;
use futures::{AsyncWriteExt, FutureExt};
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{
    ConnectionEvent, ConnectionHandler, ConnectionHandlerEvent, DialUpgradeError, FullyNegotiatedInbound,
    FullyNegotiatedOutbound, StreamUpgradeError, SubstreamProtocol,
};
use libp2p::swarm::{ConnectionId, Stream, StreamProtocol};
use tokio::time::{Sleep, sleep};

use super::PROTOCOL;
use super::outbox::Outbox;
use crate::control::frame::{read_frame, shorten};

/// A closing connection may take this long to write what it has begun.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Streams that may fail one after the other before the connection is given up.
const FAILURES: u32 = 3;

/// What a connection tells the behaviour.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message.
    Message(Hash, Vec<u8>),
    /// The other side broke the protocol, or does not speak it.
    Violation(String),
    /// Streams fail one after the other.
    Broken,
}

/// The outcome of reading a frame; the stream comes back for the next one.
type Read = io::Result<Option<(Stream, Hash, Vec<u8>)>>;

enum Outbound {
    Idle,
    Opening,
    Writing(BoxFuture<'static, io::Result<()>>),
    /// The other side does not speak the protocol.
    Refused,
}

/// The handler of one connection.
pub(crate) struct Handler {
    connection: ConnectionId,
    outbox: Arc<Outbox>,
    limit: usize,
    inbound: Option<BoxFuture<'static, Read>>,
    outbound: Outbound,
    failures: u32,
    report: Option<Heard>,
    closing: Option<Pin<Box<Sleep>>>,
}

impl Handler {
    pub(crate) fn new(connection: ConnectionId, outbox: Arc<Outbox>, limit: usize) -> Handler {
        Handler {
            connection,
            outbox,
            limit,
            inbound: None,
            outbound: Outbound::Idle,
            failures: 0,
            report: None,
            closing: None,
        }
    }

    fn poll_inbound(&mut self, cx: &mut Context) -> Poll<Heard> {
        let Some(read) = &mut self.inbound else { return Poll::Pending };
        let outcome = ready!(read.poll_unpin(cx));
        self.inbound = None;
        match outcome {
            Ok(Some((stream, session, bytes))) => {
                self.inbound = Some(read_message(stream, Some(session), self.limit).boxed());
                Poll::Ready(Heard::Message(session, bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Poll::Ready(Heard::Violation(error.to_string()))
            }
            Ok(None) | Err(_) => Poll::Pending,
        }
    }

    fn failed(&mut self) {
        self.outbound = Outbound::Idle;
        self.failures += 1;
        if self.failures >= FAILURES {
            self.outbound = Outbound::Refused;
            self.report = Some(Heard::Broken);
        }
    }

    /// True if a stream should be opened.
    fn poll_outbound(&mut self, cx: &mut Context) -> bool {
        if let Outbound::Writing(writing) = &mut self.outbound {
            match writing.poll_unpin(cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) => {
                    self.failures = 0;
                    self.outbound = Outbound::Idle;
                }
                Poll::Ready(Err(_)) => self.failed(),
            }
        }
        let work = self.outbox.has_work(self.connection, cx);
        matches!(self.outbound, Outbound::Idle) && work
    }
}

/// Reads one message, after one of session `last`, and gives the stream back.
async fn read_message(mut stream: Stream, last: Option<Hash>, limit: usize) -> Read {
    Ok(read_frame(&mut stream, last, limit).await?.map(|(session, bytes)| (stream, session, bytes)))
}

/// Writes what the outbox holds until the outbox is another's.
async fn write_messages(mut stream: Stream, outbox: Arc<Outbox>, connection: ConnectionId) -> io::Result<()> {
    let mut last = None;
    while let Some(batch) = outbox.next(connection).await {
        stream.write_all(&shorten(&batch, &mut last)).await?;
        stream.flush().await?;
    }
    stream.close().await
}

impl ConnectionHandler for Handler {
    type FromBehaviour = std::convert::Infallible;
    type ToBehaviour = Heard;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Heard>> {
        if let Poll::Ready(heard) = self.poll_inbound(cx) {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(heard));
        }
        if self.poll_outbound(cx) {
            self.outbound = Outbound::Opening;
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        match self.report.take() {
            Some(heard) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(heard)),
            None => Poll::Pending,
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Heard>> {
        if let Outbound::Writing(writing) = &mut self.outbound
            && writing.poll_unpin(cx).is_pending()
        {
            let deadline = self.closing.get_or_insert_with(|| Box::pin(sleep(CLOSE_TIMEOUT)));
            if deadline.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        self.outbound = Outbound::Refused;
        Poll::Ready(None)
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        match event {
            // A new stream replaces the one before: there is one per direction.
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. }) => {
                self.inbound = Some(read_message(stream, None, self.limit).boxed());
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream, ..
            }) => {
                let writing = write_messages(stream, self.outbox.clone(), self.connection);
                self.outbound = Outbound::Writing(writing.boxed());
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => match error {
                StreamUpgradeError::NegotiationFailed => {
                    self.outbound = Outbound::Refused;
                    self.report = Some(Heard::Violation(format!("it does not speak {PROTOCOL}")));
                }
                _ => self.failed(),
            },
            _ => {}
        }
    }
}
