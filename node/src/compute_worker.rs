//! The engine on a thread of its own: training never waits for the network, nor the network for it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use driftless_protocol::charter::Charter;
use driftless_protocol::event::Input;
use driftless_protocol::layout::LayoutError;
use driftless_protocol::worker::{Work, WorkDone, Worker};
use tokio::sync::mpsc;

use crate::engine::TrainerEngine;

/// Hands orders to the compute thread. A session gives one at a time; the thread ends when this
/// is dropped and its last order is done.
pub struct ComputeWorker {
    orders: Option<SyncSender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl ComputeWorker {
    /// Starts the thread; answers go to `answers` as inputs of the session.
    pub fn start(
        engine: TrainerEngine,
        charter: &Charter,
        answers: mpsc::Sender<Input>,
    ) -> Result<ComputeWorker, LayoutError> {
        let worker = Worker::new(engine, charter)?;
        let (orders, receiver) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("compute".into())
            .spawn(move || work(worker, &receiver, &answers))
            .map_err(|error| tracing::error!(%error, "the compute thread did not start"))
            .ok();
        Ok(ComputeWorker { orders: Some(orders), thread })
    }

    /// Gives an order. False if the thread is gone: it cannot be given any more.
    pub fn order(&self, work: Work) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.try_send(work).is_ok())
    }
}

impl Drop for ComputeWorker {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the compute thread panicked");
        }
    }
}

fn work(mut worker: Worker<TrainerEngine>, orders: &Receiver<Work>, answers: &mpsc::Sender<Input>) {
    while let Ok(work) = orders.recv() {
        let done: WorkDone = worker.execute(work);
        if answers.blocking_send(Input::WorkDone(done)).is_err() {
            return;
        }
    }
}
