//! Builds the program once, runs it, and reads what it says.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;

/// No step of a test takes longer than this, even where four peers share one slow core.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The program, built by the cargo and in the profile of these tests.
pub fn path() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        // TARGET/PROFILE/deps/end_to_end-HASH
        let folder = test.ancestors().nth(2).unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "driftless", "--bin", "driftless", "--target-dir"]);
        build.arg(folder.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.file_name() == Some(OsStr::new("release")) {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the program does not build");
        folder.join("driftless")
    })
}

/// Runs a command to its end.
pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Outcome {
    let Output { status, stdout, stderr } =
        Command::new(path()).args(arguments).stdin(Stdio::null()).output().unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    Outcome { code: status.code(), stdout, stderr }
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Exit code 0; returns standard output.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Exit code 0 and one JSON object; returns it.
    #[track_caller]
    pub fn object(self) -> Value {
        let text = self.done();
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Exit code `code`, nothing on standard output, and all of `words` in the error.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {:?}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{:?}", self.stderr);
    }
}

/// A running command that writes lines of JSON.
pub struct Running {
    child: Child,
    lines: Receiver<Value>,
    /// Everything it said so far.
    pub said: Vec<Value>,
}

impl Running {
    /// Starts `driftless --json ARGUMENTS`.
    pub fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Running {
        Running::with_input(Stdio::null(), arguments)
    }

    /// The same with a standard input that `tell` writes to.
    pub fn listening<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Running {
        Running::with_input(Stdio::piped(), arguments)
    }

    fn with_input<S: AsRef<OsStr>>(input: Stdio, arguments: impl IntoIterator<Item = S>) -> Running {
        let mut command = Command::new(path());
        command.arg("--json").args(arguments).stdin(input).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = sync_channel(1 << 16);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line);
                if sender.send(value.unwrap_or_else(|error| panic!("{error}: {line}"))).is_err() {
                    return;
                }
            }
        });
        Running { child, lines, said: Vec::new() }
    }

    /// Writes a line of JSON to its standard input.
    #[track_caller]
    pub fn tell(&mut self, line: &impl Serialize) {
        let line = serde_json::to_string(line).unwrap();
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Reads until `wanted` holds for a line.
    #[track_caller]
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no {what} in {PATIENCE:?}: {}", self.tail()),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended without {what}: {}", self.tail()),
            }
        }
    }

    /// Reads until an event of this name.
    #[track_caller]
    pub fn event(&mut self, name: &str) -> Value {
        self.until(name, |line| line["event"] == name)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        kill(self.child.id(), signal);
    }

    /// Reads to the end; returns the exit code.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().unwrap().code(),
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {}", self.tail()),
            }
        }
    }

    /// All lines of an event so far.
    pub fn events<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.said.iter().filter(move |line| line["event"] == name)
    }

    fn tail(&self) -> String {
        let last = self.said.iter().rev().take(5).rev();
        last.map(|line| format!("\n  {line}")).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that a test started, directly or through the program.
pub fn kill(pid: u32, signal: i32) {
    // SAFETY: a plain system call.
    let result = unsafe { libc::kill(pid as libc::pid_t, signal) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// The process that works in a data folder, as its lock file says.
pub fn pid_of(folder: &Path) -> u32 {
    std::fs::read_to_string(folder.join("lock")).unwrap().trim().parse().unwrap()
}

/// Waits until no process holds the folder's lock.
#[track_caller]
pub fn await_unlocked(folder: &Path) {
    let file = std::fs::File::options().read(true).write(true).open(folder.join("lock")).unwrap();
    let (sender, locked) = sync_channel(1);
    std::thread::spawn(move || {
        let _ = file.lock();
        let _ = sender.send(());
    });
    locked.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{} stays locked", folder.display()));
}

/// A folder with a small text in it: enough for some epochs of training and a quick evaluation.
pub fn folder_with_text() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.txt");
    std::fs::write(&text, &driftless_compute::TINY_SHAKESPEARE[..40_000]).unwrap();
    (folder, text)
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
