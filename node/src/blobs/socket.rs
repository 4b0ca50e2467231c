//! The UDP socket under quinn: counts every byte and keeps the user's caps.
//!
//! Shaping here, below quinn, is exact: handshakes, acknowledgements, retransmissions and probes all
//! pass. Going up, a datagram that the bucket does not let pass is `WouldBlock`, as with a full
//! kernel buffer, and quinn waits. Coming down, datagrams stay in the kernel until the bucket lets
//! them in; the flow-control window (see `transport`) keeps that queue short.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::bandwidth::{Caps, Limiter};

/// What the kernel is asked to buffer in each direction, bytes. The default (208 KiB) loses packets
/// of a burst even on loopback.
const KERNEL_BUFFER: usize = 2 << 20;

/// Bytes of one datagram with headroom, to translate a burst into a number of datagrams.
const DATAGRAM: u64 = 1_500;

/// Datagrams that quinn hands over in one call at most.
const MAX_SEGMENTS: u64 = 10;

/// Bytes that quinn may send in one call under a cap: half a burst, so that waiting for them never
/// fills the bucket and no token is lost to the timer's coarseness.
fn send_unit(up: &Limiter) -> u64 {
    (up.burst() / 2).max(DATAGRAM)
}

/// What passed through one socket, and what may.
#[derive(Debug)]
pub struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
    /// The upload cap's bucket. Other planes charge theirs to it as well.
    pub up: Limiter,
    /// The download cap's bucket.
    pub down: Limiter,
}

impl Traffic {
    /// Counters at zero, buckets full.
    pub fn new(caps: Caps) -> Traffic {
        Traffic {
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            up: Limiter::new(caps.up),
            down: Limiter::new(caps.down),
        }
    }

    /// UDP payload bytes sent since the start: everything, retransmissions and handshakes included.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// UDP payload bytes received since the start.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// Binds a UDP socket with large kernel buffers, wrapped to be counted and capped.
pub(crate) fn bind(listen: SocketAddr, traffic: Arc<Traffic>) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(listen),
        socket2::Type::DGRAM,
        Some(socket2::Protocol::UDP),
    )?;
    if listen.is_ipv6() {
        // One socket for both families; where the system cannot, IPv6 alone.
        let _ = socket.set_only_v6(false);
    }
    // The kernel grants what net.core.{r,w}mem_max allow; less is not an error.
    for failed in [socket.set_recv_buffer_size(KERNEL_BUFFER), socket.set_send_buffer_size(KERNEL_BUFFER)] {
        if let Err(error) = failed {
            tracing::debug!(%error, "the UDP buffers stay at their default size");
        }
    }
    socket.bind(&listen.into())?;
    let inner = TokioRuntime.wrap_udp_socket(socket.into())?;
    Ok(Arc::new(ShapedSocket { inner, traffic, receive_timer: Mutex::new(None) }))
}

#[derive(Debug)]
struct ShapedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    traffic: Arc<Traffic>,
    /// Armed while the download bucket is empty. Only quinn's endpoint driver polls it.
    receive_timer: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl ShapedSocket {
    fn poll_download_allowed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.receive_timer.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let wait = self.traffic.down.ready_in(1);
            if wait.is_zero() {
                *timer = None;
                return Poll::Ready(());
            }
            let sleep = timer.insert(Box::pin(sleep_until(Instant::now() + wait)));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl AsyncUdpSocket for ShapedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let inner = self.inner.clone().create_io_poller();
        Box::pin(ShapedPoller { inner, traffic: self.traffic.clone(), timer: None })
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        let bytes = transmit.contents.len() as u64;
        if self.traffic.up.take(bytes).is_err() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let sent = self.inner.try_send(transmit);
        match &sent {
            Ok(()) => {
                self.traffic.sent.fetch_add(bytes, Ordering::Relaxed);
            }
            Err(_) => self.traffic.up.refund(bytes),
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut most = bufs.len();
        if self.traffic.down.rate().limit().is_some() {
            std::task::ready!(self.poll_download_allowed(cx));
            // One buffer at a time, so that the debt stays below one burst of the sender.
            most = 1;
        }
        let count = std::task::ready!(self.inner.poll_recv(cx, &mut bufs[..most], meta))?;
        let bytes: u64 = meta.iter().take(count).map(|meta| meta.len as u64).sum();
        self.traffic.received.fetch_add(bytes, Ordering::Relaxed);
        self.traffic.down.charge(bytes);
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        let fits = send_unit(&self.traffic.up) / DATAGRAM;
        self.inner.max_transmit_segments().min(fits.min(MAX_SEGMENTS) as usize)
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }
}

/// Waits for the upload bucket, then for the kernel.
struct ShapedPoller {
    inner: Pin<Box<dyn UdpPoller>>,
    traffic: Arc<Traffic>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl std::fmt::Debug for ShapedPoller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShapedPoller").finish_non_exhaustive()
    }
}

impl UdpPoller for ShapedPoller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        loop {
            let wanted = send_unit(&self.traffic.up).min(MAX_SEGMENTS * DATAGRAM);
            let wait = self.traffic.up.ready_in(wanted);
            if wait.is_zero() {
                self.timer = None;
                return self.inner.as_mut().poll_writable(cx);
            }
            let sleep = self.timer.insert(Box::pin(sleep_until(Instant::now() + wait)));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
