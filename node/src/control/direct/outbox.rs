//! The queue of one peer: filled by the handle, emptied by one of the peer's connections.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use libp2p::swarm::ConnectionId;

use crate::control::error::SendError;

/// Frames written at once: a burst of small messages shares its packets.
const BATCH: usize = 16 << 10;

/// Messages waiting for one peer, bounded in number and bytes.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    most_messages: usize,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The connection that empties the queue.
    drainer: Option<ConnectionId>,
    /// Whether the connection should end once the queue is empty.
    finishing: bool,
    wakers: BTreeMap<ConnectionId, Waker>,
}

impl State {
    fn wake(&self) {
        self.wakers.values().for_each(Waker::wake_by_ref);
    }
}

impl Outbox {
    pub(crate) fn new(most_messages: usize, most_bytes: usize) -> Outbox {
        Outbox { state: Mutex::default(), most_messages, most_bytes }
    }

    /// The state is a queue of whole frames at any time, so a panic elsewhere cannot spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a frame, or refuses it: what is queued already stays, in its order.
    pub(crate) fn push(&self, frame: Vec<u8>) -> Result<(), SendError> {
        let mut state = self.state();
        if state.frames.len() >= self.most_messages || state.bytes + frame.len() > self.most_bytes {
            return Err(SendError::Full);
        }
        state.bytes += frame.len();
        state.frames.push_back(frame);
        state.wake();
        Ok(())
    }

    /// Hands the queue over to `connection`.
    pub(crate) fn drain_by(&self, connection: Option<ConnectionId>) {
        let mut state = self.state();
        state.drainer = connection;
        state.wake();
    }

    /// Forgets a connection that has closed.
    pub(crate) fn forget(&self, connection: ConnectionId) {
        self.state().wakers.remove(&connection);
    }

    /// Lets the connection end once the queue is empty.
    pub(crate) fn finish(&self) {
        let mut state = self.state();
        state.finishing = true;
        state.wake();
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.state().frames.is_empty()
    }

    /// Whether `connection` has something to write; it is woken when that changes.
    pub(crate) fn has_work(&self, connection: ConnectionId, cx: &Context) -> bool {
        let mut state = self.state();
        state.wakers.insert(connection, cx.waker().clone());
        state.drainer == Some(connection) && !state.frames.is_empty()
    }

    /// The next frames for `connection`, or nothing once the queue is another's.
    pub(crate) async fn next(&self, connection: ConnectionId) -> Option<Vec<u8>> {
        poll_fn(|cx| self.poll_next(connection, cx)).await
    }

    fn poll_next(&self, connection: ConnectionId, cx: &Context) -> Poll<Option<Vec<u8>>> {
        let mut state = self.state();
        if state.drainer != Some(connection) {
            return Poll::Ready(None);
        }
        let Some(mut batch) = state.frames.pop_front() else {
            if state.finishing {
                return Poll::Ready(None);
            }
            state.wakers.insert(connection, cx.waker().clone());
            return Poll::Pending;
        };
        while let Some(next) = state.frames.front()
            && batch.len() + next.len() <= BATCH
        {
            let next = state.frames.pop_front().unwrap_or_default();
            batch.extend_from_slice(&next);
        }
        state.bytes -= batch.len();
        Poll::Ready(Some(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(outbox: &Outbox, connection: ConnectionId) -> Poll<Option<Vec<u8>>> {
        outbox.poll_next(connection, &Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_full_queue_refuses_the_newest_and_keeps_the_order() {
        let outbox = Outbox::new(2, 100);
        assert_eq!(outbox.push(vec![1; 10]), Ok(()));
        assert_eq!(outbox.push(vec![2; 90]), Ok(()));
        assert_eq!(outbox.push(vec![3; 1]), Err(SendError::Full));
        let connection = ConnectionId::new_unchecked(1);
        outbox.drain_by(Some(connection));
        let expected = [vec![1; 10], vec![2; 90]].concat();
        assert_eq!(take(&outbox, connection), Poll::Ready(Some(expected)));
        assert_eq!(take(&outbox, connection), Poll::Pending);
        assert_eq!(outbox.push(vec![4; 101]), Err(SendError::Full));
        assert_eq!(outbox.push(vec![5; 100]), Ok(()));
    }

    #[test]
    fn batches_are_bounded_and_lose_nothing() {
        let outbox = Outbox::new(100, 1 << 20);
        let connection = ConnectionId::new_unchecked(1);
        outbox.drain_by(Some(connection));
        (0..100).for_each(|n| outbox.push(vec![n; 1000]).unwrap());
        let mut bytes = Vec::new();
        while let Poll::Ready(Some(batch)) = take(&outbox, connection) {
            assert!(batch.len() <= BATCH);
            bytes.extend(batch);
        }
        assert_eq!(bytes, (0..100).flat_map(|n| vec![n; 1000]).collect::<Vec<u8>>());
        assert!(outbox.is_empty());
    }

    #[test]
    fn only_the_chosen_connection_drains() {
        let outbox = Outbox::new(2, 100);
        let [old, new] = [1, 2].map(ConnectionId::new_unchecked);
        outbox.drain_by(Some(old));
        outbox.push(vec![1]).unwrap();
        outbox.drain_by(Some(new));
        assert_eq!(take(&outbox, old), Poll::Ready(None));
        assert_eq!(take(&outbox, new), Poll::Ready(Some(vec![1])));
        outbox.finish();
        assert_eq!(take(&outbox, new), Poll::Ready(None));
    }
}
