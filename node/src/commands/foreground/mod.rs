//! A node in the foreground: its sessions run until they end or the user stops them.
//!
//! Ctrl-C and SIGTERM stop in order without leaving; a second one stops at once, which is safe.
//! `asked` answers the local socket, `shown` puts a session into words.

mod asked;
mod shown;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use driftless_protocol::Hash;
use driftless_protocol::event::{Command, Ending};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::CommandError;
use super::kept::mark_left;
use super::signals::Signals;
use crate::config::Config;
use crate::local_socket::{Request, Server};
use crate::node::{Node, NodeError, Reach, SessionControl, SessionHandle, SessionOptions, SessionStatus};
use crate::output::{Output, Progress};
use crate::report::{Line, Report, ending_word, short};
use shown::{Waits, summary_of};

/// Lines that wait to be written.
const LINES: usize = 256;
/// How often the line of progress is drawn again.
const DRAW: Duration = Duration::from_millis(500);
/// How long an orderly stop may take.
const STOP: Duration = Duration::from_secs(60);

/// What comes back from a session's task.
enum News {
    /// Something to write; for programs only, if it is of no interest to a person.
    Line {
        line: Box<Line>,
        quiet: bool,
    },
    Ended(Hash, Result<Ending, NodeError>),
}

/// A session that runs.
struct Running {
    control: SessionControl,
    status: watch::Receiver<SessionStatus>,
    stop_at: Option<u64>,
    opened: Instant,
    outcome: Option<Result<Ending, NodeError>>,
}

/// A node with its sessions, and how it talks.
pub(super) struct Foreground {
    node: Node,
    output: Output,
    progress: Progress,
    sessions: BTreeMap<Hash, Running>,
    news: mpsc::Sender<News>,
    inbox: mpsc::Receiver<News>,
    requests: mpsc::Receiver<Request>,
    _server: Server,
    signals: Signals,
    stopping: bool,
}

impl Foreground {
    /// Starts the node: identity, sockets, local socket.
    pub async fn start(config: &Config, output: Output) -> Result<Foreground, CommandError> {
        let signals = Signals::new()?;
        let node = Node::start(config.node.clone()).await?;
        let (server, requests) = Server::start(node.folder())?;
        let (news, inbox) = mpsc::channel(LINES);
        let progress = Progress::hidden();
        let sessions = BTreeMap::new();
        let stopping = false;
        Ok(Foreground {
            signals,
            node,
            output,
            progress,
            sessions,
            news,
            inbox,
            requests,
            _server: server,
            stopping,
        })
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Waits for something before there is any session, unless the user stops it.
    pub async fn before<T>(&mut self, what: impl Future<Output = T>) -> Result<T, CommandError> {
        tokio::select! {
            result = what => Ok(result),
            () = self.signals.next() => Err(CommandError::Failed("stopped".into())),
        }
    }

    /// Writes a line.
    pub fn say(&self, line: Line) {
        self.output.line(&line, &self.progress);
    }

    /// Tells where the node listens.
    pub fn say_started(&self) {
        let addresses = self.node.listen_addresses().iter().map(ToString::to_string).collect();
        let dir = self.node.folder().path().display().to_string();
        self.say(Line::new(Report::Started { key: self.node.key(), addresses, dir }));
    }

    /// Warns where nobody else can reach this node.
    pub fn warn_if_alone(&self, config: &Config) {
        let all = config.node.advertise.iter().cloned().chain(self.node.listen_addresses());
        match all.map(|address| Reach::of(&address)).min() {
            Some(Reach::World) => {}
            Some(Reach::Network) => self.output.note(
                "note: the invitation works in this node's local network. For the rest of the world let the \
                 router forward a port (TCP and UDP) and the next one (UDP), and name it: --listen PORT \
                 --advertise PUBLIC-IP:PORT",
            ),
            Some(Reach::Machine) | None => self.output.note(
                "warning: this node listens on this machine only, so the invitation works here only; \
                 --listen and --advertise set other addresses",
            ),
        }
    }

    /// Tells that a session is over and runs on only for those who miss its end.
    pub fn say_if_complete(&self, status: &SessionStatus) {
        let stop_at = self.sessions.get(&status.session).and_then(|running| running.stop_at);
        if stop_at.is_some_and(|stop_at| status.status.tokens >= stop_at) {
            self.output.note(&format!(
                "{} is complete at height {}: it is served for a moment to peers that miss its end",
                status.name, status.status.height
            ));
        }
    }

    /// Starts a session.
    pub async fn open(&mut self, session: Hash, options: SessionOptions) -> Result<SessionStatus, NodeError> {
        let handle = self.node.open(session, options).await?;
        let status = handle.status.borrow().clone();
        let manifest = self.node.folder().session(session).manifest()?;
        let running = Running {
            control: handle.control(),
            status: handle.status.clone(),
            stop_at: manifest.manifest().stop_at,
            opened: Instant::now(),
            outcome: None,
        };
        self.sessions.insert(session, running);
        tokio::spawn(forward(handle, self.news.clone()));
        Ok(status)
    }

    /// Runs until every session ended. `stop` resolves when something else wants the end.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), CommandError> {
        let mut tick = tokio::time::interval(DRAW);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.progress = Progress::new(self.output, self.total());
        let deadline = tokio::time::sleep(Duration::MAX / 4);
        tokio::pin!(deadline, stop);
        let mut asked = false;
        while self.sessions.values().any(|running| running.outcome.is_none()) {
            tokio::select! {
                Some(news) = self.inbox.recv() => self.take(news),
                Some(request) = self.requests.recv() => self.serve(request).await,
                _ = tick.tick() => self.draw(),
                () = self.signals.next() => {
                    if self.stopping {
                        return Err(CommandError::Failed("stopped at once".into()));
                    }
                    self.output.note("stopping; once more stops at once");
                    deadline.as_mut().reset(tokio::time::Instant::now() + STOP);
                    self.stop().await;
                }
                () = &mut stop, if !asked => {
                    asked = true;
                    deadline.as_mut().reset(tokio::time::Instant::now() + STOP);
                    self.stop().await;
                }
                () = &mut deadline => {
                    return Err(CommandError::Failed("an orderly stop took too long".into()));
                }
            }
        }
        self.finish().await
    }

    /// The tokens at which the only session ends, if it is the only one and does.
    fn total(&self) -> Option<u64> {
        let mut all = self.sessions.values();
        all.next().and_then(|running| running.stop_at).filter(|_| all.next().is_none())
    }

    fn take(&mut self, news: News) {
        match news {
            News::Line { line, quiet: false } => self.say(*line),
            News::Line { line, quiet: true } => self.output.object(&line),
            News::Ended(session, outcome) => {
                let report = match &outcome {
                    Ok(ending) => Report::Ended { ending: ending_word(*ending).into() },
                    Err(error) => Report::Error { text: error.to_string() },
                };
                let mut line = Line { session: Some(short(session)), ..Line::new(report) };
                if let Some(running) = self.sessions.get(&session) {
                    let status = running.status.borrow();
                    line.at = running.opened.elapsed().as_secs_f64();
                    (line.bytes_sent, line.bytes_received) = (status.bytes_sent, status.bytes_received);
                }
                self.say(line);
                if matches!(outcome, Ok(Ending::Left)) {
                    mark_left(self.node.folder(), session, true);
                }
                if let Some(running) = self.sessions.get_mut(&session) {
                    running.outcome = Some(outcome);
                }
            }
        }
    }

    async fn stop(&mut self) {
        self.stopping = true;
        for running in self.sessions.values().filter(|running| running.outcome.is_none()) {
            running.control.command(Command::Stop).await;
        }
    }

    /// Shuts the network down and tells whether a session failed.
    async fn finish(mut self) -> Result<(), CommandError> {
        while let Ok(news) = self.inbox.try_recv() {
            self.take(news);
        }
        self.progress.clear();
        self.node.shutdown().await;
        let failed = self.sessions.into_values().filter_map(|running| running.outcome?.err());
        failed.into_iter().next().map_or(Ok(()), |error| Err(error.into()))
    }

    fn draw(&mut self) {
        let shown: Vec<SessionStatus> =
            self.sessions.values().map(|running| running.status.borrow().clone()).collect();
        let total = self.total();
        match shown.as_slice() {
            [] => {}
            [one] => self.progress.set(one.status.tokens, total, summary_of(one)),
            several => {
                let running = several.iter().filter(|status| status.ended.is_none()).count();
                let steps: f32 = several.iter().map(|status| status.steps_per_second).sum();
                self.progress.set(0, None, format!("{running} sessions, {steps:.1} steps/s"));
            }
        }
    }
}

/// Passes a session's events on, then its end.
async fn forward(mut handle: SessionHandle, news: mpsc::Sender<News>) {
    let session = handle.session;
    let mut waits = Waits::default();
    while let Some(event) = handle.events.recv().await {
        let quiet = waits.is_routine(&event.event);
        let line = Box::new(Line::of(session, event));
        if news.send(News::Line { line, quiet }).await.is_err() {
            return;
        }
    }
    let outcome = handle.wait().await;
    let _ = news.send(News::Ended(session, outcome)).await;
}
