//! The run: found the session, start everybody, inject the faults, let it heal, stop it, check.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use driftless::store::SessionFolder;
use serde_json::Value;

use crate::args::Arguments;
use crate::cast::{self, Cast, Part};
use crate::checks::{self, Findings, Loss};
use crate::failure::Failure;
use crate::faults;
use crate::founding::{self, Session};
use crate::netns::{self, Network};
use crate::plan::{self, Kind};
use crate::report::Report;
use crate::terms;
use crate::tmpfs;

/// Ports that no system hands out to outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Everything of a run.
pub struct Stage<'a> {
    /// Where it is written what happens.
    pub report: &'a mut Report,
    /// The processes.
    pub cast: Cast,
    /// What they run.
    pub session: Session,
    /// The program.
    pub program: PathBuf,
    /// The network, if it can be cut.
    pub network: Option<Network>,
    /// Session folders that were replaced by others: what is in them was said, too.
    pub set_aside: Vec<SessionFolder>,
}

/// Runs it all.
pub fn run(args: &Arguments, report: &mut Report) -> Result<(), Failure> {
    let program = cast::program(args.program.as_deref())?;
    let mut faults = plan::draw(args);
    let permitted = permissions(args, report);
    let place = Place::new(args)?;
    let network = network(args, report, permitted);
    let disks = args.full_disks > 0 && permitted;
    faults.retain(|fault| match fault.kind {
        Kind::Cut => network.is_some(),
        Kind::FullDisk => disks,
        _ => true,
    });
    let peers = usize::from(args.peers);
    let small: Vec<PathBuf> = match disks {
        true => (0..peers).map(|peer| place.path().join(format!("peer-{peer}"))).collect(),
        false => Vec::new(),
    };
    small.iter().try_for_each(|folder| tmpfs::mount_disk(folder))?;
    let homes = match &network {
        Some(_) => (0..peers).map(netns::home).collect(),
        None => free_ports(peers),
    };
    let session = founding::found(&terms::wanted(args, place.path())?, place.path(), &homes)?;
    let part = |peer: usize| Part {
        dir: session.folders[peer].path().to_owned(),
        listen: homes[peer],
        network: network.as_ref().map(|network: &Network| -> Arc<File> { network.namespace(peer) }),
        records: place.path().join(format!("peer-{peer}")),
        keep_history: peer == 0,
    };
    let cast = Cast::new(program.clone(), (0..peers).map(part).collect());
    report.note(&format!("session {} in {}", session.charter.session, place.path().display()));
    let mut stage = Stage { report, cast, session, program, network, set_aside: Vec::new() };
    let result = stage.play(args, &faults);
    drop(stage.cast);
    match result {
        Ok(findings) => {
            // Else the temporary folder could not be removed.
            small.iter().try_for_each(|folder| tmpfs::unmount_disk(folder))?;
            stage.report.summary(&findings);
            Ok(())
        }
        Err(failure) => {
            stage.report.note(&place.keep(disks));
            Err(failure)
        }
    }
}

impl Stage<'_> {
    fn play(&mut self, args: &Arguments, faults: &[plan::Fault]) -> Result<Findings, Failure> {
        let begun = Instant::now();
        let all = self.cast.everybody();
        all.iter().try_for_each(|peer| self.cast.start(*peer))?;
        self.cast.until("the first blocks", |ledger| ledger.are_at(&all, 3))?;
        for fault in faults {
            faults::inject(self, fault)?;
        }
        let goal = self.cast.ledger.highest() + 2;
        let standing = self.standing();
        self.cast.until("everybody goes on in the end", |ledger| ledger.are_at(&standing, goal))?;
        if self.cast.ledger.tokens < args.tokens {
            self.reach(args.tokens)?;
        }
        let seconds = begun.elapsed();
        self.stop()?;
        let mut findings = checks::check(self)?;
        findings.seconds = seconds.as_secs_f64().round();
        findings.loss = Some(self.evaluate()?);
        Ok(findings)
    }

    /// Lets it train on. The patience is for one block, not for all of them.
    fn reach(&mut self, tokens: u64) -> Result<(), Failure> {
        while self.cast.ledger.tokens < tokens {
            let next = self.cast.ledger.highest() + 1;
            self.cast.until("the session goes on", |ledger| ledger.highest() >= next)?;
        }
        Ok(())
    }

    /// Those who can be expected at every height.
    fn standing(&self) -> Vec<usize> {
        let barred = |peer: &usize| self.cast.ledger.peers[*peer].barred.is_some();
        self.cast.everybody().into_iter().filter(|peer| !barred(peer)).collect()
    }

    /// Waits for the drawn instant: a share of the time that a block takes.
    pub fn moment(&mut self, phase: u32) -> Result<(), Failure> {
        let pace = self.cast.pace().min(Duration::from_secs(10));
        self.cast.pass(pace * phase / 1000)
    }

    /// Everybody stops in order, at one height if they are fast.
    fn stop(&mut self) -> Result<(), Failure> {
        let all = self.cast.everybody();
        let standing = self.standing();
        self.cast.until("all at one height", |ledger| ledger.are_at(&standing, ledger.highest()))?;
        let statuses = self.cast.end(&all, libc::SIGINT)?;
        for (peer, status) in statuses.iter().enumerate() {
            let ended = self.cast.ledger.peers[peer].ended.as_deref();
            if status.code() != Some(0) || ended != Some("stopped") {
                return Failure::broken(format!(
                    "peer {peer} does not stop in order: {status}, the session ended as {ended:?}"
                ));
            }
        }
        Ok(())
    }

    /// What the first peer's folder is worth.
    fn evaluate(&self) -> Result<Loss, Failure> {
        let objects = self.ask(0, &["eval"])?;
        let object = objects.first().and_then(Value::as_object);
        let number = |name| object.and_then(|object| object.get(name)).cloned().unwrap_or_default();
        let (Some(loss), Some(height)) = (number("loss").as_f64(), number("height").as_u64()) else {
            return Failure::broken(format!("eval says {objects:?}"));
        };
        Ok(Loss { loss, height, tokens: self.cast.ledger.tokens })
    }

    /// Runs a command of the program on a peer's folder.
    pub fn ask(&self, peer: usize, words: &[&str]) -> Result<Vec<Value>, Failure> {
        let dir = &self.cast.part(peer).dir;
        let mut command = Command::new(&self.program);
        command.arg("--json").args(words).arg("--dir").arg(dir).stdin(Stdio::null());
        let said = command.output().map_err(Failure::system(self.program.display().to_string()))?;
        if !said.status.success() {
            let text = String::from_utf8_lossy(&said.stderr);
            return Failure::broken(format!("driftless {} fails at peer {peer}: {text}", words.join(" ")));
        }
        let text = String::from_utf8_lossy(&said.stdout);
        let objects: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        objects.or_else(|error| Failure::broken(format!("{error}: {text}")))
    }
}

/// Whether mounts and networks of our own are permitted; says so if not.
fn permissions(args: &Arguments, report: &mut Report) -> bool {
    let needed: Vec<Kind> =
        [Kind::FullDisk, Kind::Cut].into_iter().filter(|kind| kind.asked(args) > 0).collect();
    if needed.is_empty() {
        return false;
    }
    match tmpfs::own_namespaces() {
        Ok(()) => true,
        Err(failure) => {
            needed.iter().for_each(|kind| report.skipped(*kind, &format!("not permitted here: {failure}")));
            false
        }
    }
}

fn network(args: &Arguments, report: &mut Report, permitted: bool) -> Option<Network> {
    if args.cuts == 0 || !permitted {
        return None;
    }
    let network = Network::build(usize::from(args.peers));
    network.inspect_err(|failure| report.skipped(Kind::Cut, &format!("not possible here: {failure}"))).ok()
}

/// Addresses of this machine that are free on both planes.
fn free_ports(count: usize) -> Vec<SocketAddr> {
    let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let udp = |port| UdpSocket::bind(at(port)).is_ok();
    let is_free = |port: &u16| udp(*port) && udp(*port + 1) && TcpListener::bind(at(*port)).is_ok();
    // Where others look for ports at the same time they begin elsewhere.
    let width = PORTS.end - PORTS.start;
    let first = (std::process::id() % u32::from(width / 2)) as u16 * 2;
    let all = (0..width / 2).map(move |step| PORTS.start + (first + step * 2) % width);
    all.filter(is_free).take(count).map(at).collect()
}

/// Where the run keeps its files.
enum Place {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Place {
    fn new(args: &Arguments) -> Result<Place, Failure> {
        match &args.dir {
            Some(dir) => {
                std::fs::create_dir_all(dir).map_err(Failure::system(dir.display().to_string()))?;
                dir.canonicalize().map(Place::Kept).map_err(Failure::system(dir.display().to_string()))
            }
            None => {
                let made = tempfile::Builder::new().prefix("driftless-torture-").tempdir();
                made.map(Place::Temporary).map_err(Failure::system("a temporary folder"))
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Place::Kept(path) => path,
            Place::Temporary(folder) => folder.path(),
        }
    }

    /// Keeps the files of a run that went wrong, also those in memory; says where.
    fn keep(self, in_memory: bool) -> String {
        let path = match self {
            Place::Kept(path) => path,
            Place::Temporary(folder) => folder.keep(),
        };
        if in_memory {
            let copy = path.join("copy");
            let copied = std::fs::create_dir_all(&copy).and_then(|()| {
                let folders = std::fs::read_dir(&path)?.flatten().map(|entry| entry.path());
                let peers = folders.filter(|path| path.is_dir() && *path != copy);
                Command::new("cp").arg("-r").args(peers).arg(&copy).status()
            });
            if let Err(error) = copied {
                return format!("the folders could not be kept: {error}");
            }
            return format!("the folders are kept in {}", copy.display());
        }
        format!("the folders are kept in {}", path.display())
    }
}
