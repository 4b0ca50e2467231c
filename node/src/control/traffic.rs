//! Counts what the transports send and receive.
//!
//! TCP is counted at the socket, noise and yamux included. libp2p keeps its QUIC sockets and their
//! statistics to itself, so QUIC is counted at its streams, and what quinn puts around them is added
//! from a model: header, tag and stream frame of each packet, one acknowledgement for each packet,
//! and the handshake. A test holds the model against the datagrams that really crossed a relay.

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
/// A packet with nothing but an acknowledgement.
const QUIC_ACK: u64 = 33;
/// UDP payload of a handshake as its dialler sends it, and as its listener does.
const QUIC_HANDSHAKE: (u64, u64) = (3900, 3600);

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

/// A stream that counts.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    inner: S,
    meter: Arc<Meter>,
    framing: Framing,
}

impl<S> Counted<S> {
    pub(crate) fn new(inner: S, meter: Arc<Meter>, framing: Framing) -> Counted<S> {
        Counted { inner, meter, framing }
    }

    fn count(&self, bytes: usize, outwards: bool) {
        let bytes = bytes as u64;
        let (forth, back) = match self.framing {
            Framing::Socket => (bytes, 0),
            Framing::Quic => {
                let packets = bytes.div_ceil(QUIC_PAYLOAD);
                (bytes + packets * QUIC_FRAMING, packets.div_ceil(2) * QUIC_ACK)
            }
        };
        if outwards { self.meter.add(forth, back) } else { self.meter.add(back, forth) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.count(read, false);
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buffer))?;
        self.count(written, true);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
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
