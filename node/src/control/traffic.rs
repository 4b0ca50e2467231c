//! Counts what the transports send and receive.
//!
//! TCP is counted at the socket, noise and yamux included. libp2p keeps its QUIC sockets and their
//! statistics to itself, so QUIC is counted at its streams, and what quinn puts around them is added
//! from a model: header, tag and stream frame of each packet, an acknowledgement for each two, and the
//! handshake. A packet ends where its writer flushes or its reader finds nothing more. A test holds the model against the datagrams that really crossed a relay.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};

/// Payload that a QUIC packet carries (path MTU discovery is off).
const QUIC_PAYLOAD: u64 = 1160;
/// Header, connection id, packet number, authentication tag and stream frame header.
const QUIC_FRAMING: u64 = 34;
/// An acknowledgement of two packets has 33 bytes.
const QUIC_ACK: u64 = 16;
/// UDP payload of a handshake as its dialler sends it, and as its listener does.
const QUIC_HANDSHAKE: (u64, u64) = (3400, 2500);

/// Bytes sent and received since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Bytes sent: TCP payload, and UDP payload by the module's model.
    pub sent: u64,
    /// Bytes received, likewise.
    pub received: u64,
}

/// The shared counters.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Meter {
    pub(crate) fn read(&self) -> Traffic {
        Traffic { sent: self.sent.load(Ordering::Relaxed), received: self.received.load(Ordering::Relaxed) }
    }

    fn add(&self, sent: u64, received: u64) {
        self.sent.fetch_add(sent, Ordering::Relaxed);
        self.received.fetch_add(received, Ordering::Relaxed);
    }

    /// A QUIC connection was established.
    pub(crate) fn quic_handshake(&self, dialled: bool) {
        let (dialler, listener) = QUIC_HANDSHAKE;
        if dialled { self.add(dialler, listener) } else { self.add(listener, dialler) }
    }
}

/// What a transport adds around the bytes of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    /// Nothing: the stream is the socket.
    Socket,
    /// QUIC packets and acknowledgements.
    Quic,
}

/// One direction of a stream.
#[derive(Debug, Default)]
struct Direction {
    /// Payload that the last packet could still have carried.
    room: u64,
}

impl Direction {
    /// Bytes passed; returns the packets that they began.
    fn pass(&mut self, bytes: u64) -> u64 {
        let beyond = bytes.saturating_sub(self.room);
        let packets = beyond.div_ceil(QUIC_PAYLOAD);
        self.room = self.room + packets * QUIC_PAYLOAD - bytes;
        packets
    }

    /// The packet is on its way: what follows needs another one.
    fn cut(&mut self) {
        self.room = 0;
    }
}

/// A stream that counts.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    inner: S,
    meter: Arc<Meter>,
    framing: Framing,
    inwards: Direction,
    outwards: Direction,
}

impl<S> Counted<S> {
    pub(crate) fn new(inner: S, meter: Arc<Meter>, framing: Framing) -> Counted<S> {
        Counted { inner, meter, framing, inwards: Direction::default(), outwards: Direction::default() }
    }

    /// What `bytes` cost in their own direction, and in the other one.
    fn cost(framing: Framing, direction: &mut Direction, bytes: usize) -> (u64, u64) {
        let bytes = bytes as u64;
        match framing {
            Framing::Socket => (bytes, 0),
            Framing::Quic => {
                let packets = direction.pass(bytes);
                (bytes + packets * QUIC_FRAMING, packets * QUIC_ACK)
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Poll::Ready(read) = Pin::new(&mut this.inner).poll_read(cx, buffer)? else {
            this.inwards.cut();
            return Poll::Pending;
        };
        let (received, sent) = Self::cost(this.framing, &mut this.inwards, read);
        this.meter.add(sent, received);
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, buffer))?;
        let (sent, received) = Self::cost(this.framing, &mut this.outwards, written);
        this.meter.add(sent, received);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        self.outwards.cut();
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// A QUIC connection whose streams count.
pub(crate) struct CountedMuxer<M> {
    inner: M,
    meter: Arc<Meter>,
}

impl<M> CountedMuxer<M> {
    pub(crate) fn new(inner: M, meter: Arc<Meter>) -> CountedMuxer<M> {
        CountedMuxer { inner, meter }
    }

    fn counted<S>(&self, stream: S) -> Counted<S> {
        Counted::new(stream, self.meter.clone(), Framing::Quic)
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for CountedMuxer<M>
where
    M::Substream: Unpin,
{
    type Substream = Counted<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(Pin::new(&mut self.inner).poll_inbound(cx))?;
        Poll::Ready(Ok(self.counted(stream)))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(Pin::new(&mut self.inner).poll_outbound(cx))?;
        Poll::Ready(Ok(self.counted(stream)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_share_a_packet_until_it_is_cut() {
        let mut direction = Direction::default();
        assert_eq!(direction.pass(100), 1);
        assert_eq!(direction.pass(100), 0);
        assert_eq!(direction.pass(QUIC_PAYLOAD - 200), 0);
        assert_eq!(direction.pass(1), 1);
        direction.cut();
        assert_eq!(direction.pass(1), 1);
        assert_eq!(direction.pass(10 * QUIC_PAYLOAD), 10);
        assert_eq!(direction.pass(0), 0);
    }
}
