//! The session's store on a thread of its own, in the order of the session's outputs.
//!
//! A full disk holds up everything behind the record that does not fit; it is tried again until
//! there is space, and [`StoreThread::trouble`] says so meanwhile.

use std::collections::BTreeSet;
use std::thread::JoinHandle;
use std::time::Duration;

use driftless_protocol::Hash;
use driftless_protocol::block::Height;
use driftless_protocol::event::{Record, Recovered};
use tokio::sync::{mpsc, oneshot, watch};

use crate::store::{SessionStore, StoreError};

/// Jobs that wait for the disk.
const QUEUE: usize = 256;
/// A full disk is tried again after this long.
const DISK_AGAIN: Duration = Duration::from_secs(1);

enum Job {
    Persist { record: Box<Record>, sync: bool, done: oneshot::Sender<Result<(), StoreError>> },
    Forget(Vec<Hash>),
    Retain(Height),
    Reload(oneshot::Sender<Result<Recovered, StoreError>>),
}

/// Which blobs stay when others are swept up.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// Blobs that the manifest names.
    pub pinned: BTreeSet<Hash>,
    /// Younger ones may belong to slots that are open.
    pub grace: Duration,
}

/// Writes records down in order.
pub struct StoreThread {
    jobs: Option<mpsc::Sender<Job>>,
    trouble: watch::Receiver<Option<String>>,
    thread: Option<JoinHandle<()>>,
}

impl StoreThread {
    /// Moves the store to its thread.
    pub fn start(store: SessionStore, sweep: Sweep) -> std::io::Result<StoreThread> {
        let (jobs, receiver) = mpsc::channel(QUEUE);
        let (told, trouble) = watch::channel(None);
        let writer = Writer { store, sweep, jobs: receiver, trouble: told, failed: None };
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || writer.run())?;
        Ok(StoreThread { jobs: Some(jobs), trouble, thread: Some(thread) })
    }

    /// Why nothing can be written at present, if so.
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.clone()
    }

    /// Writes a record down; with `sync` it is durable when this returns. Without, it returns at
    /// once, and what goes wrong is the result of the next record that is waited for.
    pub fn persist(
        &self,
        record: Record,
        sync: bool,
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let jobs = self.jobs.clone();
        async move {
            let (done, answer) = oneshot::channel();
            let job = Job::Persist { record: Box::new(record), sync, done };
            jobs.ok_or_else(stopped)?.send(job).await.map_err(|_| stopped())?;
            if sync { answer.await.map_err(|_| stopped())? } else { Ok(()) }
        }
    }

    /// Snapshots below `from` may go with the next.
    pub async fn retain(&self, from: Height) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Job::Retain(from)).await;
        }
    }

    /// Reads back what a restart would find.
    pub fn reload(&self) -> impl Future<Output = Result<Recovered, StoreError>> + use<> {
        let jobs = self.jobs.clone();
        async move {
            let (done, answer) = oneshot::channel();
            jobs.ok_or_else(stopped)?.send(Job::Reload(done)).await.map_err(|_| stopped())?;
            answer.await.map_err(|_| stopped())?
        }
    }

    /// Deletes blobs, some time.
    pub async fn forget(&self, roots: Vec<Hash>) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Job::Forget(roots)).await;
        }
    }

    /// Writes out what is buffered and ends the thread.
    pub async fn close(mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn stopped() -> StoreError {
    StoreError::Io { path: "store".into(), source: std::io::Error::other("its thread has ended") }
}

/// What the thread works with.
struct Writer {
    store: SessionStore,
    sweep: Sweep,
    jobs: mpsc::Receiver<Job>,
    trouble: watch::Sender<Option<String>>,
    /// What went wrong with a record that nobody waited for.
    failed: Option<StoreError>,
}

impl Writer {
    fn run(mut self) {
        while let Some(job) = self.jobs.blocking_recv() {
            match job {
                Job::Persist { record, sync, done } => {
                    let written = self.persist(&record, sync);
                    let fine = written.is_ok();
                    if !sync {
                        self.failed = self.failed.take().or(written.err());
                    } else {
                        let _ = done.send(written);
                    }
                    if fine && matches!(*record, Record::Snapshot(_)) {
                        self.sweep();
                    }
                }
                Job::Retain(from) => self.store.retain_from(from),
                Job::Reload(done) => {
                    let _ = done.send(self.insist(SessionStore::reload));
                }
                Job::Forget(roots) => {
                    if let Err(error) = self.store.forget(&roots) {
                        tracing::warn!(%error, "old blobs could not be deleted");
                    }
                }
            }
        }
        if let Err(error) = self.failed.map_or_else(|| self.store.close(), Err) {
            tracing::warn!(%error, "the store did not close in order");
        }
    }

    fn persist(&mut self, record: &Record, sync: bool) -> Result<(), StoreError> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.insist(|store| store.persist(record, sync)),
        }
    }

    /// Until there is space, or the session is over.
    fn insist<T>(
        &mut self,
        mut write: impl FnMut(&mut SessionStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            match write(&mut self.store) {
                Err(error) if error.is_full() && !self.jobs.is_closed() => {
                    self.tell(Some(error.to_string()));
                    std::thread::sleep(DISK_AGAIN);
                }
                written => {
                    self.tell(None);
                    return written;
                }
            }
        }
    }

    fn tell(&self, trouble: Option<String>) {
        self.trouble.send_if_modified(|told| {
            let changed = told.is_some() != trouble.is_some();
            *told = trouble;
            changed
        });
    }

    /// A kept history is swept at the start only: it takes reading the whole chain.
    fn sweep(&self) {
        if self.store.keeps_history() {
            return;
        }
        if let Err(error) = self.store.sweep(&self.sweep.pinned, self.sweep.grace) {
            tracing::warn!(%error, "blobs that nobody needs could not be deleted");
        }
    }
}
