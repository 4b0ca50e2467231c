//! The peers' processes: `driftless run` on each folder, killed and started again, listened to.
//!
//! None of them outlives this process, however it ends: the kernel kills them with it.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use driftless::report::Line;

use super::failure::Failure;
use super::ledger::Ledger;

/// Nothing that the session owes takes longer, even where four peers share one slow core.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Blocks over which the pace is measured.
const PACE: usize = 8;
/// Lines that wait to be taken.
const LINES: usize = 1 << 16;

/// The `driftless` program that was named, or the one beside this.
pub fn program(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(Failure::system("this program"))?;
    let program = named.map_or_else(|| own.with_file_name("driftless"), Path::to_owned);
    match program.is_file() {
        true => program.canonicalize().map_err(Failure::system(program.display().to_string())),
        false => Err(Failure::setup(format!(
            "{} is not there: build it (cargo build -p driftless, with --release if this was) or name it with --program",
            program.display()
        ))),
    }
}

/// How one peer is run.
pub struct Part {
    /// Its folder.
    pub dir: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its network namespace, if it has one of its own.
    pub network: Option<Arc<File>>,
    /// Beside this path what it says is kept, and its log.
    pub records: PathBuf,
    /// It keeps every contribution, so that all states can be computed again.
    pub keep_history: bool,
}

struct Player {
    part: Part,
    process: Option<Child>,
    /// How many processes it had before.
    life: u32,
    /// Its process is being ended by us.
    ending: bool,
    /// Of its two streams, those that did not end yet.
    open: u8,
}

enum What {
    Line(Box<Line>),
    Log(String),
    Garbled(String),
    /// One of its two streams.
    End,
}

struct Heard {
    peer: usize,
    life: u32,
    what: What,
}

/// All peers.
pub struct Cast {
    program: PathBuf,
    players: Vec<Player>,
    heard: Receiver<Heard>,
    sender: SyncSender<Heard>,
    /// What they said.
    pub ledger: Ledger,
    /// When the last heights were first heard of.
    pace: VecDeque<Instant>,
}

impl Cast {
    /// Peers that are not started yet.
    pub fn new(program: PathBuf, parts: Vec<Part>) -> Cast {
        let (sender, heard) = sync_channel(LINES);
        let ledger = Ledger::new(parts.len());
        let player = |part| Player { part, process: None, life: 0, ending: false, open: 0 };
        let players = parts.into_iter().map(player).collect();
        Cast { program, players, heard, sender, ledger, pace: VecDeque::new() }
    }

    /// All peers' numbers.
    pub fn everybody(&self) -> Vec<usize> {
        (0..self.players.len()).collect()
    }

    /// All but these.
    pub fn all_but(&self, some: &[usize]) -> Vec<usize> {
        self.everybody().into_iter().filter(|peer| !some.contains(peer)).collect()
    }

    /// How a peer is run.
    pub fn part(&self, peer: usize) -> &Part {
        &self.players[peer].part
    }

    /// The time between two blocks, lately.
    pub fn pace(&self) -> Duration {
        let (Some(first), Some(last)) = (self.pace.front(), self.pace.back()) else {
            return Duration::from_secs(1);
        };
        let intervals = self.pace.len().saturating_sub(1).max(1) as u32;
        last.duration_since(*first) / intervals
    }

    /// Starts a peer on its folder.
    pub fn start(&mut self, peer: usize) -> Result<(), Failure> {
        let player = &mut self.players[peer];
        let part = &player.part;
        let mut command = Command::new(&self.program);
        command.args(["--json", "--dir"]).arg(&part.dir).arg("run");
        command.args(["--threads", "1", "--listen", &part.listen.to_string()]);
        if part.keep_history {
            command.arg("--keep-history");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C on the terminal is for this process alone.
        command.process_group(0);
        prepare(&mut command, part.network.clone());
        let [said, log] = ["said", "log"].map(|name| {
            let path = part.records.with_extension(name);
            let file = OpenOptions::new().create(true).append(true).open(&path);
            file.map_err(Failure::system(path.display().to_string()))
        });
        let (said, log) = (said?, log?);
        let mut process = command.spawn().map_err(Failure::system(self.program.display().to_string()))?;
        player.life += 1;
        (player.ending, player.open) = (false, 2);
        let ears = Ears { peer, life: player.life, sender: self.sender.clone() };
        if let (Some(stdout), Some(stderr)) = (process.stdout.take(), process.stderr.take()) {
            let other = ears.clone();
            std::thread::spawn(move || ears.lines(stdout, said));
            std::thread::spawn(move || other.log(stderr, log));
        }
        player.process = Some(process);
        self.ledger.restarted(peer);
        Ok(())
    }

    /// Sends a signal to a peer's process.
    pub fn signal(&mut self, peer: usize, signal: i32) -> Result<(), Failure> {
        let Some(process) = &self.players[peer].process else {
            return Failure::broken(format!("peer {peer} does not run"));
        };
        // SAFETY: a plain system call; the process is not waited for yet, so its id is its own.
        match unsafe { libc::kill(process.id() as libc::pid_t, signal) } {
            0 => Ok(()),
            _ => Err(Failure::system(format!("signal {signal}"))(std::io::Error::last_os_error())),
        }
    }

    /// Sends a signal that ends each of these at once, then takes everything they still said.
    pub fn end(&mut self, peers: &[usize], signal: i32) -> Result<Vec<ExitStatus>, Failure> {
        for peer in peers {
            self.players[*peer].ending = true;
            self.signal(*peer, signal)?;
        }
        let end = Instant::now() + PATIENCE;
        while peers.iter().any(|peer| self.players[*peer].open > 0) {
            if !self.listen(end)? {
                return Failure::broken(format!("peers {peers:?} do not end after signal {signal}"));
            }
        }
        peers.iter().map(|peer| self.reap(*peer)).collect()
    }

    fn reap(&mut self, peer: usize) -> Result<ExitStatus, Failure> {
        let process = self.players[peer].process.take();
        let Some(mut process) = process else { return Failure::broken(format!("peer {peer} is gone")) };
        process.wait().map_err(Failure::system(format!("peer {peer}")))
    }

    /// Listens for so long.
    pub fn pass(&mut self, span: Duration) -> Result<(), Failure> {
        let end = Instant::now() + span;
        while self.listen(end)? {}
        Ok(())
    }

    /// Listens until `wanted` holds; returns how long that took.
    pub fn until(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&Ledger) -> bool,
    ) -> Result<Duration, Failure> {
        let begun = Instant::now();
        while !wanted(&self.ledger) {
            if !self.listen(begun + PATIENCE)? {
                return Failure::broken(format!("not in {PATIENCE:?}: {what}. {}", self.describe()));
            }
        }
        Ok(begun.elapsed())
    }

    /// Takes the next thing said before `end`; false if there is none.
    fn listen(&mut self, end: Instant) -> Result<bool, Failure> {
        let heard = match self.heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(heard) => heard,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(false),
        };
        let Heard { peer, life, what } = heard;
        if life != self.players[peer].life {
            return Ok(true);
        }
        match what {
            What::Line(line) => {
                let before = self.ledger.highest();
                self.ledger.take(peer, &line)?;
                if self.ledger.highest() > before {
                    self.pace.push_back(Instant::now());
                    self.pace.drain(..self.pace.len().saturating_sub(PACE));
                }
            }
            What::Log(text) => self.ledger.logged(peer, &text)?,
            What::Garbled(text) => {
                return Failure::broken(format!("peer {peer} wrote a line that is none: {text}"));
            }
            What::End => {
                self.players[peer].open -= 1;
                // What it wrote last may tell why: a panic is found there.
                if self.players[peer].open == 0 && !self.players[peer].ending {
                    let status = self.reap(peer)?;
                    let log = self.players[peer].part.records.with_extension("log");
                    let log = log.display();
                    return Failure::broken(format!("peer {peer} ended by itself ({status}); see {log}"));
                }
            }
        }
        Ok(true)
    }

    /// Where everybody stands.
    fn describe(&self) -> String {
        let peers = self.ledger.peers.iter().enumerate().map(|(index, peer)| {
            let waits = peer.waits_for.as_deref().map_or(String::new(), |reason| format!(" ({reason})"));
            let runs = if self.players[index].process.is_some() { "" } else { " (not running)" };
            format!("peer {index} is at height {:?}{waits}{runs}", peer.head)
        });
        peers.collect::<Vec<_>>().join(", ")
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        for process in self.players.iter_mut().filter_map(|player| player.process.as_mut()) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Whoever listens to one process.
#[derive(Clone)]
struct Ears {
    peer: usize,
    life: u32,
    sender: SyncSender<Heard>,
}

impl Ears {
    fn tell(&self, what: What) -> bool {
        self.sender.send(Heard { peer: self.peer, life: self.life, what }).is_ok()
    }

    fn lines(self, stdout: ChildStdout, mut said: File) {
        let mut lines = BufReader::new(stdout);
        let mut text = String::new();
        while let Ok(1..) = lines.read_line(&mut text) {
            // For whoever looks into a run that went wrong; without it the run goes on.
            let _ = said.write_all(text.as_bytes());
            // A kill may have cut the last line.
            if !text.ends_with('\n') {
                break;
            }
            let what = match serde_json::from_str::<Line>(&text) {
                Ok(line) => What::Line(Box::new(line)),
                Err(error) => What::Garbled(format!("{error}: {text}")),
            };
            if !self.tell(what) {
                return;
            }
            text.clear();
        }
        self.tell(What::End);
    }

    fn log(self, stderr: ChildStderr, mut log: File) {
        for text in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = writeln!(log, "{text}");
            if !self.tell(What::Log(text)) {
                return;
            }
        }
        self.tell(What::End);
    }
}

/// The process goes into its network, and dies with this one.
fn prepare(command: &mut Command, network: Option<Arc<File>>) {
    let parent = std::process::id() as libc::pid_t;
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; setns, prctl, getppid
    // and _exit are, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            if let Some(network) = &network
                && libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) != 0
            {
                return Err(std::io::Error::last_os_error());
            }
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            if libc::getppid() != parent {
                libc::_exit(1);
            }
            Ok(())
        });
    }
}
