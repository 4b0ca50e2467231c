//! Getting a blob from whoever has it.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use driftless_protocol::{Hash, PeerKey};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::blocking;
use super::partial::Partial;
use super::peers::{Source, SourceError};
use super::plane::{DataPlane, Inner};
use super::push::{Opened, refusal};
use super::schedule::{Schedule, Standing};
use super::store::StoreError;
use super::transfer::{ReceiveError, receive_slice};
use super::tree::group_count;
use super::wire::{Get, MAX_BLOB, Reply};

/// Sources that work at a time for one blob.
const MAX_WORKING: usize = 8;
/// Pieces that one source works on at a time: the next is asked for before the first is done.
const DEPTH: usize = 2;
/// A source that sends nothing at all for so long makes room for others that have nothing to do: for
/// half a minute a connection does not show that the process at its end was killed.
const SILENT: Duration = Duration::from_secs(2);
/// Every so often a source is judged: if it is slow and others have nothing to do, they take over.
const JUDGED: Duration = Duration::from_secs(10);
/// Bytes per second below which a source is slow in any case.
const SLOW: u64 = 16 << 10;
/// Bytes per second below which a source that is judged [`PATIENCE`] times in a row has failed,
/// whoever else there is: one byte now and then must not occupy a fetch for days.
const CRAWL: u64 = 512;
const PATIENCE: u32 = 3;

/// How a fetch went, beside that the blob is complete and durable now.
#[derive(Debug, Default)]
pub struct Fetched {
    /// Bytes of slices that each source delivered, in the order the sources were given; empty if the
    /// blob was here already.
    pub bytes: Vec<(PeerKey, u64)>,
    /// Sources that failed, and why. [`SourceError::WrongByte`] is proof of a lie or a broken disk.
    pub failures: Vec<(PeerKey, SourceError)>,
}

/// Why a blob could not be fetched. What was verified is kept for the next attempt.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody would send a blob that long.
    #[error("{length} bytes is more than a blob may have ({MAX_BLOB})")]
    TooLong {
        /// The expected length.
        length: u64,
    },
    /// The blob is here, with another length than expected.
    #[error("blob {root} has {held} bytes, not {expected}")]
    Length {
        /// The blob.
        root: Hash,
        /// What it has.
        held: u64,
        /// What was expected.
        expected: u64,
    },
    /// All sources failed, each for its own reason.
    #[error("blob {root} is not to be had: {}", list(failures))]
    NoSource {
        /// The blob.
        root: Hash,
        /// Each source that was tried, and why it failed.
        failures: Vec<(PeerKey, SourceError)>,
    },
    /// Our own disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn list(failures: &[(PeerKey, SourceError)]) -> String {
    if failures.is_empty() {
        return "no source is known".to_owned();
    }
    let reasons: Vec<_> = failures.iter().map(|(peer, error)| format!("{}: {error}", peer.short())).collect();
    reasons.join("; ")
}

impl DataPlane {
    /// Fetches the blob `root` of exactly `length` bytes into the store, from several sources at
    /// once where it is large. Returns when it is complete, verified and durable.
    ///
    /// Resumes what an earlier attempt left. Cancel-safe: dropping the future keeps all verified
    /// groups. A second fetch of the same blob waits for the first.
    pub async fn fetch(&self, root: Hash, length: u64, sources: Vec<Source>) -> Result<Fetched, FetchError> {
        let inner = &self.inner;
        if length > MAX_BLOB {
            return Err(FetchError::TooLong { length });
        }
        if inner.held(root, length).await? {
            return Ok(Fetched::default());
        }
        if length == 0 {
            return inner.fetch_empty(root).await;
        }
        let _claim = inner.claims.claim(root).await;
        // Never closed: an error cannot come.
        let _permit = inner.fetching.acquire().await;
        if inner.held(root, length).await? {
            return Ok(Fetched::default());
        }
        let store = inner.store.clone();
        let partial = Arc::new(blocking(move || Partial::open(store, root, length)).await?);
        let missing = partial.missing(0..group_count(length));
        let job = Job {
            schedule: Mutex::new(Schedule::new(missing, sources.len())),
            received: sources.iter().map(|_| AtomicU64::new(0)).collect(),
            inner: inner.clone(),
            partial: partial.clone(),
            sources,
            begun: Instant::now(),
        };
        let failures = job.run().await?;
        if !job.complete() {
            blocking(move || partial.discard_if_empty()).await?;
            return Err(FetchError::NoSource { root, failures });
        }
        blocking(move || partial.finish()).await?;
        Ok(Fetched { bytes: job.delivered(), failures })
    }
}

impl Inner {
    /// Whether the blob is here; with another length that is an error.
    async fn held(&self, root: Hash, expected: u64) -> Result<bool, FetchError> {
        let store = self.store.clone();
        match blocking(move || store.len(&root)).await? {
            None => Ok(false),
            Some(held) if held == expected => Ok(true),
            Some(held) => Err(FetchError::Length { root, held, expected }),
        }
    }

    /// Nobody has to send an empty blob.
    async fn fetch_empty(&self, root: Hash) -> Result<Fetched, FetchError> {
        if root != Hash::of(&[]) {
            return Err(FetchError::NoSource { root, failures: Vec::new() });
        }
        let store = self.store.clone();
        blocking(move || store.insert(&[])).await?;
        Ok(Fetched::default())
    }
}

/// One blob being fetched.
struct Job {
    inner: Arc<Inner>,
    partial: Arc<Partial>,
    sources: Vec<Source>,
    /// By source.
    received: Vec<AtomicU64>,
    schedule: Mutex<Schedule>,
    begun: Instant,
}

/// How a source ended.
enum Ended {
    /// No piece waits any more.
    Idle,
    /// It was too slow and others can take over.
    Slow,
    /// It failed.
    Failed(SourceError),
    /// Our disk failed: nobody else can help.
    Store(StoreError),
}

impl Job {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complete(&self) -> bool {
        self.partial.held() == group_count(self.partial.len())
    }

    fn delivered(&self) -> Vec<(PeerKey, u64)> {
        let bytes = self.received.iter().map(|bytes| bytes.load(Ordering::Relaxed));
        self.sources.iter().map(|source| source.peer).zip(bytes).collect()
    }

    /// Works until everything is here or nobody is left to ask. Returns the sources that failed.
    async fn run(&self) -> Result<Vec<(PeerKey, SourceError)>, StoreError> {
        let mut failures = Vec::new();
        let mut working = FuturesUnordered::new();
        loop {
            while working.len() < MAX_WORKING
                && let Some((source, piece)) = { self.schedule().start(working.len()) }
            {
                working.push(async move { (source, self.work(source, piece).await) });
            }
            let Some((source, ended)) = working.next().await else { return Ok(failures) };
            match ended {
                Ended::Idle => self.schedule().release(source, Standing::Ready),
                Ended::Slow => self.schedule().release(source, Standing::Slow),
                Ended::Store(error) => return Err(error),
                Ended::Failed(error) => {
                    let peer = self.sources[source].peer;
                    tracing::debug!(%peer, root = %self.partial.root(), %error, "a source failed");
                    failures.push((peer, error));
                }
            }
            if self.complete() {
                return Ok(failures);
            }
        }
    }

    /// Lets one source work: its first piece, then others while some wait.
    async fn work(&self, source: usize, first: Range<u64>) -> Ended {
        let mut pieces = FuturesUnordered::new();
        pieces.push(self.piece(source, first));
        loop {
            while pieces.len() < DEPTH
                && let Some(piece) = { self.schedule().next_piece() }
            {
                pieces.push(self.piece(source, piece));
            }
            match pieces.next().await {
                None => return Ended::Idle,
                Some(Ended::Idle) => {}
                Some(ended) => return ended,
            }
        }
    }

    /// Fetches one piece. Whatever of it is not here at the end, however it ends, waits again.
    async fn piece(&self, source: usize, piece: Range<u64>) -> Ended {
        let _unfinished = PutBack { job: self, piece: piece.clone() };
        let fetching = self.fetch_gaps(source, piece);
        tokio::pin!(fetching);
        let mut crawled = 0;
        let mut judged_after = SILENT;
        loop {
            let before = self.received[source].load(Ordering::Relaxed);
            match tokio::time::timeout(judged_after, &mut fetching).await {
                Ok(Ok(())) => return Ended::Idle,
                Ok(Err(ReceiveError::Source(error))) => return Ended::Failed(error),
                Ok(Err(ReceiveError::Store(error))) => return Ended::Store(error),
                Err(_) if judged_after == SILENT => {
                    if self.is_silent(source, before) && self.schedule().has_spare() {
                        return Ended::Slow;
                    }
                    judged_after = JUDGED;
                }
                Err(_) if self.is_slow(source, before) && self.schedule().has_spare() => return Ended::Slow,
                Err(_) => {
                    crawled = if self.rate(source, before) < self.floor(CRAWL) { crawled + 1 } else { 0 };
                    if crawled == PATIENCE {
                        return Ended::Failed(SourceError::Stalled(JUDGED * PATIENCE));
                    }
                }
            }
        }
    }

    async fn fetch_gaps(&self, source: usize, piece: Range<u64>) -> Result<(), ReceiveError> {
        for groups in self.partial.missing(piece) {
            let get = Get { root: self.partial.root(), len: self.partial.len(), groups: groups.clone() };
            let Opened { mut send, mut recv, reply, .. } =
                self.inner.request(&self.sources[source], &get.encode()).await?;
            let _ = send.finish();
            match reply {
                Reply::Ok => receive_slice(&mut recv, &self.partial, groups, &self.received[source]).await?,
                other => return Err(refusal(other).into()),
            }
        }
        Ok(())
    }

    /// Whether a source that had delivered `before` bytes [`SILENT`] ago sent nothing since. Where our own
    /// cap leaves each source little, that says nothing.
    fn is_silent(&self, source: usize, before: u64) -> bool {
        self.received[source].load(Ordering::Relaxed) == before && self.floor(SLOW) == SLOW
    }

    /// Whether a source that had delivered `before` bytes [`JUDGED`] ago is slow: beside the best one,
    /// or in any case. Our own cap must not look like a slow source.
    fn is_slow(&self, source: usize, before: u64) -> bool {
        let seconds = self.begun.elapsed().as_secs().max(1);
        let best = self.received.iter().map(|bytes| bytes.load(Ordering::Relaxed) / seconds).max();
        self.rate(source, before) < self.floor(SLOW).max(best.unwrap_or(0) / 16)
    }

    /// Bytes per second of a source that had delivered `before` bytes [`JUDGED`] ago.
    fn rate(&self, source: usize, before: u64) -> u64 {
        (self.received[source].load(Ordering::Relaxed) - before) / JUDGED.as_secs()
    }

    /// A least rate, lower where our own cap leaves each source less.
    fn floor(&self, rate: u64) -> u64 {
        self.inner.caps.down.limit().map_or(rate, |cap| rate.min(cap / (2 * MAX_WORKING as u64)))
    }
}

/// Puts what is missing of a piece back into the queue.
struct PutBack<'a> {
    job: &'a Job,
    piece: Range<u64>,
}

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        let missing = self.job.partial.missing(self.piece.clone());
        self.job.schedule().put_back(missing);
    }
}
