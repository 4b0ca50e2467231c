//! The peers' processes: this program again, with the hidden command `__peer`.
//!
//! No child outlives the demo, however that ends: on Linux the kernel kills it with its parent, and
//! everywhere it stops when its standard input ends.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};

use super::Order;
use crate::report::Line;

/// Lines of a log that are shown.
const TAIL_LINES: usize = 20;
/// Bytes of a log's end that are read for them.
const TAIL_BYTES: u64 = 16 << 10;

/// How a peer's process is started.
#[derive(Debug, Clone)]
pub struct ChildSpec {
    /// This program.
    pub program: PathBuf,
    /// The peer's data folder.
    pub dir: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// What happens to children.
#[derive(Debug)]
pub enum Happening {
    /// A child reported something.
    Line(usize, Box<Line>),
    /// A child's process ended.
    Exited(usize, io::Result<ExitStatus>),
}

/// A running child. Dropping it tells the process to stop.
#[derive(Debug)]
pub struct Child {
    stdin: Option<ChildStdin>,
    kill: Option<oneshot::Sender<()>>,
    /// When it was started.
    pub started: Instant,
}

impl ChildSpec {
    /// Where the child's standard error goes.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Starts the process. On Linux it dies with the thread that calls this.
    pub fn start(&self, index: usize, happenings: mpsc::Sender<Happening>) -> io::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        // Ctrl-C on the terminal goes to this process alone, which then stops its children in order.
        command.process_group(0).kill_on_drop(true);
        die_with_parent(&mut command);
        let mut process = command.spawn()?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take();
        let (kill, killed) = oneshot::channel();
        tokio::spawn(async move {
            if let Some(stdout) = stdout {
                tokio::select! {
                    () = read(index, stdout, &happenings) => {}
                    Ok(()) = killed => {
                        // Gone already is as good.
                        let _ = process.start_kill();
                    }
                }
            }
            let status = process.wait().await;
            let _ = happenings.send(Happening::Exited(index, status)).await;
        });
        Ok(Child { stdin, kill: Some(kill), started: Instant::now() })
    }

    /// The end of the child's log.
    pub fn log_tail(&self) -> String {
        tail(&self.log()).unwrap_or_else(|error| format!("{}: {error}", self.log().display()))
    }
}

impl Child {
    /// Names the others to it.
    pub async fn order(&mut self, order: &Order) {
        let Some(stdin) = &mut self.stdin else { return };
        if let Ok(text) = serde_json::to_string(order) {
            // A child that is gone is noticed by its exit.
            let _ = stdin.write_all(format!("{text}\n").as_bytes()).await;
            let _ = stdin.flush().await;
        }
    }

    /// Tells it to stop in order.
    pub fn stop(&mut self) {
        self.stdin = None;
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.stdin = None;
        if let Some(kill) = self.kill.take() {
            let _ = kill.send(());
        }
    }
}

async fn read(index: usize, stdout: ChildStdout, happenings: &mpsc::Sender<Happening>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(text)) = lines.next_line().await {
        match serde_json::from_str::<Line>(&text) {
            Ok(line) => {
                if happenings.send(Happening::Line(index, Box::new(line))).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(peer = index, %error, "a line of a peer is not understood"),
        }
    }
}

/// The kernel kills the child when the thread that started it ends.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; prctl, getppid and
    // _exit are, and nothing is allocated.
    unsafe {
        let parent = libc::getpid();
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the call: then nobody will send the signal.
            if libc::getppid() != parent {
                libc::_exit(1);
            }
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: VecDeque<&str> = VecDeque::new();
    for line in text.lines() {
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
    Ok(lines.into_iter().map(|line| format!("  {line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let spec = ChildSpec { program: "x".into(), dir: folder.path().into(), arguments: Vec::new() };
        assert!(spec.log_tail().contains("No such file"));
        let text: String = (0..5000).map(|line| format!("line {line}\n")).collect();
        std::fs::write(spec.log(), text).unwrap();
        let tail = spec.log_tail();
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("  line 4999\n") && tail.starts_with("  line 4980\n"));
    }
}
