//! What a driver tells of its session: events for logs, a status for whoever looks.

use std::time::{Duration, Instant};

use driftless_protocol::Hash;
use driftless_protocol::event::{Ending, Event, Waiting};
use driftless_protocol::session::Status;
use tokio::sync::{mpsc, watch};

use super::Driver;
use crate::disk_use::DiskUse;

/// The status is computed at most this often.
const STATUS_EVERY: Duration = Duration::from_millis(250);

/// Something that happened in a session, with the traffic so far.
#[derive(Debug, Clone)]
pub struct SessionEvent {
    /// What happened.
    pub event: Event,
    /// Bytes sent on both planes since the process started.
    pub bytes_sent: u64,
    /// Bytes received on both planes since the process started.
    pub bytes_received: u64,
    /// What writing cost since the session was opened.
    pub disk_use: DiskUse,
    /// Time since the session was opened.
    pub at: Duration,
}

/// A session as its user sees it.
#[derive(Debug, Clone)]
pub struct SessionStatus {
    /// The session.
    pub session: Hash,
    /// Its name.
    pub name: String,
    /// The core's view.
    pub status: Status,
    /// Mean training loss of the last steps, in nats per token.
    pub loss: Option<f32>,
    /// Inner steps per second.
    pub steps_per_second: f32,
    /// Training tokens per second.
    pub tokens_per_second: f32,
    /// Bytes sent on both planes since the process started.
    pub bytes_sent: u64,
    /// Bytes received on both planes since the process started.
    pub bytes_received: u64,
    /// What writing cost since the session was opened.
    pub disk_use: DiskUse,
    /// Peers of this session that are connected.
    pub connected: usize,
    /// The last warning.
    pub warning: Option<String>,
    /// Why the disk cannot be written, if so: nothing is said meanwhile.
    pub disk: Option<String>,
    /// How the session ended, if it did.
    pub ended: Option<Ending>,
}

/// Keeps what events tell and passes them on.
pub(super) struct Reporter {
    events: mpsc::Sender<SessionEvent>,
    status: watch::Sender<SessionStatus>,
    origin: Instant,
    loss: Option<f32>,
    speed: u32,
    warning: Option<String>,
    disk: Option<String>,
    last: Option<Instant>,
    stale: bool,
}

impl Reporter {
    pub fn new(
        events: mpsc::Sender<SessionEvent>,
        status: watch::Sender<SessionStatus>,
        origin: Instant,
    ) -> Reporter {
        let (loss, speed, warning, disk, last) = (None, 0, None, None, None);
        Reporter { events, status, origin, loss, speed, warning, disk, last, stale: true }
    }
}

impl Driver {
    /// Bytes sent and received on both planes.
    fn traffic(&self) -> (u64, u64) {
        let (control, plane) = (self.parts.control.traffic(), self.parts.plane.traffic());
        (control.sent + plane.sent(), control.received + plane.received())
    }

    /// The store cannot write, or can again.
    pub(super) fn store_trouble(&mut self) {
        let trouble = self.trouble.borrow_and_update().clone();
        let text = match &trouble {
            Some(error) => format!("not voting: {error}; trying again every second"),
            None => "the disk can be written again: going on".to_owned(),
        };
        tracing::warn!("{text}");
        let (bytes_sent, bytes_received) = self.traffic();
        let (event, at) = (Event::Warning(text), self.reporter.origin.elapsed());
        let disk_use = self.parts.reader.disk_use();
        // The driver waits for the disk and must not wait for whoever reads this as well.
        let _ =
            self.reporter.events.try_send(SessionEvent { event, bytes_sent, bytes_received, disk_use, at });
        self.reporter.disk = trouble;
        // At once: this driver waits for the disk, and nothing else may come that would renew it.
        self.reporter.last = None;
        self.reporter.stale = true;
        self.report_status();
    }

    /// Passes an event on. Frequent ones are dropped while nobody takes them; the others wait.
    pub(super) async fn report(&mut self, event: Event) {
        self.reporter.stale = true;
        let frequent = matches!(event, Event::Trained { .. });
        match &event {
            Event::Trained { loss, speed, .. } => {
                (self.reporter.loss, self.reporter.speed) = (Some(*loss), *speed);
            }
            // Between two slots the last speed still tells something.
            Event::Waiting(waiting) if !matches!(waiting, Waiting::No | Waiting::Certificate) => {
                self.reporter.speed = 0;
            }
            Event::Warning(text) => {
                tracing::warn!("{text}");
                self.reporter.warning = Some(text.clone());
            }
            other => tracing::debug!(?other, "event"),
        }
        let (bytes_sent, bytes_received) = self.traffic();
        let at = self.reporter.origin.elapsed();
        let disk_use = self.parts.reader.disk_use();
        let event = SessionEvent { event, bytes_sent, bytes_received, disk_use, at };
        if frequent {
            let _ = self.reporter.events.try_send(event);
        } else {
            let _ = self.reporter.events.send(event).await;
        }
    }

    /// Renews the status, if something changed and the last one is old enough.
    pub(super) fn report_status(&mut self) {
        let fresh = self.reporter.last.is_some_and(|last| last.elapsed() < STATUS_EVERY);
        if self.ended.is_none() && (fresh || !self.reporter.stale) {
            return;
        }
        let (bytes_sent, bytes_received) = self.traffic();
        let manifest = &self.parts.charter.manifest;
        let steps_per_second = self.reporter.speed as f32 / 1000.0;
        let per_step = u64::from(manifest.training.batch) * self.parts.charter.tokens_per_sample();
        let status = SessionStatus {
            session: self.session_id(),
            name: manifest.name.clone(),
            status: self.session.status(),
            loss: self.reporter.loss,
            steps_per_second,
            tokens_per_second: steps_per_second * per_step as f32,
            bytes_sent,
            bytes_received,
            disk_use: self.parts.reader.disk_use(),
            connected: self.session.connected(),
            warning: self.reporter.warning.clone(),
            disk: self.reporter.disk.clone(),
            ended: self.ended,
        };
        self.reporter.status.send_replace(status);
        self.reporter.last = Some(Instant::now());
        self.reporter.stale = false;
    }
}
