//! Keeps a demo's peers running until their session ends.
//!
//! A peer that dies is started again on its folder; one that keeps dying quickly ends the demo,
//! with the end of its log.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::children::{Child, ChildSpec, Happening};
use super::ledger::Ledger;
use super::setup::{self, Stage};
use super::table::Table;
use super::{Addresses, Order};
use crate::commands::{CommandError, Signals};
use crate::output::Output;
use crate::report::{Line, Report};
use driftless_protocol::invitation::Invitation;

/// Happenings that wait.
const QUEUE: usize = 256;
/// How often the table is drawn.
const DRAW: Duration = Duration::from_millis(250);
/// A death sooner than this after the start, or before any block, is a quick one.
const QUICK: Duration = Duration::from_secs(10);
/// Quick deaths in a row that end the demo.
const QUICK_DEATHS: u32 = 3;
/// How long an orderly stop may take.
const STOP: Duration = Duration::from_secs(20);
/// How long a peer may take to finish after the first one did.
const STRAGGLE: Duration = Duration::from_secs(120);

/// Why the peers are being stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stopping {
    /// The user wants it.
    Asked,
    /// A peer keeps failing.
    Failed(String),
    /// The session is over for some, and the others do not get there.
    Straggling,
}

struct Player {
    spec: ChildSpec,
    child: Option<Child>,
    addresses: Option<Addresses>,
    /// It waits to be told who the others are.
    waits: bool,
    /// A block was applied since it was started.
    progressed: bool,
    quick_deaths: u32,
}

/// The peers of a demo.
pub struct Troupe {
    players: Vec<Player>,
    invitation: Invitation,
    invitation_path: std::path::PathBuf,
    ledger: Ledger,
    table: Table,
    output: Output,
    signals: Signals,
    begun: Instant,
    happenings: mpsc::Receiver<Happening>,
    sender: mpsc::Sender<Happening>,
    stopping: Option<Stopping>,
    /// When whoever still runs is killed.
    deadline: Option<tokio::time::Instant>,
}

impl Troupe {
    /// Nobody runs yet.
    pub fn new(stage: Stage, table: Table, output: Output) -> Result<Troupe, CommandError> {
        let player = |spec| Player {
            spec,
            child: None,
            addresses: None,
            waits: false,
            progressed: false,
            quick_deaths: 0,
        };
        let (sender, happenings) = mpsc::channel(QUEUE);
        Ok(Troupe {
            players: stage.children.into_iter().map(player).collect(),
            invitation: stage.invitation,
            invitation_path: stage.invitation_path,
            ledger: Ledger::new(stage.facts),
            table,
            output,
            signals: Signals::new()?,
            begun: Instant::now(),
            happenings,
            sender,
            stopping: None,
            deadline: None,
        })
    }

    /// Starts everybody and returns the ledger when everybody ended. Must run on the main thread.
    pub async fn run(mut self) -> Result<Ledger, CommandError> {
        for index in 0..self.players.len() {
            self.start(index)?;
        }
        let mut tick = tokio::time::interval(DRAW);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.players.iter().any(|player| player.child.is_some()) {
            let deadline = self.deadline;
            tokio::select! {
                Some(happening) = self.happenings.recv() => self.take(happening).await?,
                _ = tick.tick() => self.table.draw(&self.ledger),
                () = self.signals.next() => self.interrupted()?,
                () = sleep_until(deadline) => self.late(),
            }
        }
        self.table.finish(&self.ledger);
        match self.stopping {
            Some(Stopping::Failed(reason)) => Err(CommandError::Failed(reason)),
            Some(Stopping::Asked) => Err(CommandError::Failed(format!(
                "stopped before the session's end, {}",
                self.ledger.so_far()
            ))),
            Some(Stopping::Straggling) | None => Ok(self.ledger),
        }
    }

    fn start(&mut self, index: usize) -> Result<(), CommandError> {
        let player = &mut self.players[index];
        let started = player.spec.start(index, self.sender.clone());
        let path = player.spec.program.clone();
        player.child = Some(started.map_err(|source| CommandError::File { path, source })?);
        (player.waits, player.progressed) = (false, false);
        Ok(())
    }

    async fn take(&mut self, happening: Happening) -> Result<(), CommandError> {
        match happening {
            Happening::Line(index, line) => self.line(index, *line).await,
            Happening::Exited(index, status) => {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                self.exited(index, &status)
            }
        }
    }

    async fn line(&mut self, index: usize, line: Line) -> Result<(), CommandError> {
        let now = self.begun.elapsed();
        if let Some(height) = self.ledger.take(index, &line, now) {
            self.table.block(&self.ledger, height, now.as_secs_f64());
        }
        self.output.object(&Line { peer: Some(index), ..line.clone() });
        match line.report {
            Report::Started { key, addresses, .. } => {
                self.players[index].addresses = Some(Addresses { key, addresses });
                self.players[index].waits = true;
                self.introduce().await?;
            }
            Report::Block { .. } => self.players[index].progressed = true,
            Report::Warning { text } if !self.output.is_json() => {
                self.table.note(&format!("peer {index}: warning: {text}"));
            }
            Report::Ended { ending } if ending == "complete" && self.deadline.is_none() => {
                self.deadline = Some(tokio::time::Instant::now() + STRAGGLE);
            }
            _ => {}
        }
        Ok(())
    }

    /// Tells those who wait who the others are, once all are known.
    async fn introduce(&mut self) -> Result<(), CommandError> {
        let known: Option<Vec<Addresses>> =
            self.players.iter().map(|player| player.addresses.clone()).collect();
        let Some(peers) = known else { return Ok(()) };
        // One address of each first, so that one peer that is gone does not make it useless.
        let most = peers.iter().map(|peer| peer.addresses.len()).max().unwrap_or(0);
        let turns = (0..most).flat_map(|turn| peers.iter().filter_map(move |peer| named(peer, turn)));
        self.invitation.addresses = turns.take(Invitation::MAX_ADDRESSES).collect();
        let text = self.invitation.clone().shortened().to_text()?;
        setup::write(&self.invitation_path, text.as_bytes())?;
        let order = Order { peers };
        for player in self.players.iter_mut().filter(|player| player.waits) {
            player.waits = false;
            if let Some(child) = &mut player.child {
                child.order(&order).await;
            }
        }
        Ok(())
    }

    fn exited(&mut self, index: usize, status: &str) -> Result<(), CommandError> {
        let player = &mut self.players[index];
        let Some(child) = player.child.take() else { return Ok(()) };
        let ended = self.ledger.peers[index].ended.as_deref();
        if self.stopping.is_some() || matches!(ended, Some("complete" | "left")) {
            return Ok(());
        }
        let quick = child.started.elapsed() < QUICK || !player.progressed;
        player.quick_deaths = if quick { player.quick_deaths + 1 } else { 0 };
        if player.quick_deaths < QUICK_DEATHS {
            self.table.note(&format!("peer {index} ended ({status}); starting it again"));
            self.ledger.restarted(index);
            return self.start(index);
        }
        let log = player.spec.log_tail();
        let path = player.spec.log();
        self.stop(Stopping::Failed(format!(
            "peer {index} ended {QUICK_DEATHS} times in a row ({status}). The end of {}:\n{log}",
            path.display()
        )));
        Ok(())
    }

    fn interrupted(&mut self) -> Result<(), CommandError> {
        if self.stopping.is_some() {
            self.players.iter_mut().filter_map(|player| player.child.as_mut()).for_each(Child::kill);
            return Err(CommandError::Failed("stopped at once".into()));
        }
        self.table.note("stopping the peers; once more stops at once");
        self.stop(Stopping::Asked);
        Ok(())
    }

    /// Tells everybody to stop.
    fn stop(&mut self, why: Stopping) {
        self.stopping = Some(why);
        self.deadline = Some(tokio::time::Instant::now() + STOP);
        self.players.iter_mut().filter_map(|player| player.child.as_mut()).for_each(Child::stop);
    }

    /// The deadline passed: of finishing, then of stopping.
    fn late(&mut self) {
        match &self.stopping {
            None => self.stop(Stopping::Straggling),
            Some(_) => {
                self.deadline = None;
                self.players.iter_mut().filter_map(|player| player.child.as_mut()).for_each(Child::kill);
            }
        }
    }
}

/// A peer's address number `turn`, with its key.
fn named(peer: &Addresses, turn: usize) -> Option<String> {
    let address: libp2p::Multiaddr = peer.addresses.get(turn)?.parse().ok()?;
    Some(address.with_p2p(crate::control::peer_of(&peer.key)?).ok()?.to_string())
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
