//! The session's store on a thread of its own, in the order of the session's outputs.

use std::thread::JoinHandle;

use driftless_protocol::Hash;
use driftless_protocol::event::Record;
use tokio::sync::{mpsc, oneshot};

use crate::store::{SessionStore, StoreError};

/// Jobs that wait for the disk.
const QUEUE: usize = 256;

enum Job {
    Persist { record: Box<Record>, sync: bool, done: oneshot::Sender<Result<(), StoreError>> },
    Forget(Vec<Hash>),
}

/// Writes records down in order.
pub struct StoreThread {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl StoreThread {
    /// Moves the store to its thread.
    pub fn start(store: SessionStore) -> std::io::Result<StoreThread> {
        let (jobs, receiver) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || run(store, receiver))?;
        Ok(StoreThread { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Writes a record down; with `sync` it is durable when this returns.
    pub async fn persist(&self, record: Record, sync: bool) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        let job = Job::Persist { record: Box::new(record), sync, done };
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(job).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
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

fn run(mut store: SessionStore, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.blocking_recv() {
        match job {
            Job::Persist { record, sync, done } => {
                let _ = done.send(store.persist(*record, sync));
            }
            Job::Forget(roots) => {
                if let Err(error) = store.forget(&roots) {
                    tracing::warn!(%error, "old blobs could not be deleted");
                }
            }
        }
    }
    if let Err(error) = store.close() {
        tracing::warn!(%error, "the store did not close in order");
    }
}
