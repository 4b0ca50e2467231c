//! How commands reach a running node: a Unix socket in its data folder, JSON lines.
//!
//! A request is one line, `{"v":1,"command":"status"}`, optionally with `"session"` and `"yes"`; the
//! reply is objects, one a line, the last with `"done":true`. A failure is `{"error":...,"done":true}`.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::store::{Folder, StoreError};

/// The version of requests.
pub const VERSION: u32 = 1;
/// The longest line of either side.
const MAX_LINE: u64 = 1 << 20;
/// Requests that wait for the node.
const QUEUE: usize = 16;
/// How long a client that says nothing is listened to.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client waits for an answer.
const ANSWER: Duration = Duration::from_secs(30);

/// What a running node can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Every session at a glance.
    Status,
    /// Stop computing.
    Pause,
    /// Compute again.
    Resume,
    /// Sign again.
    Vote,
    /// Complete the slot in flight, leave.
    Finish,
    /// Leave now.
    Leave,
    /// Start the committee anew.
    Reset,
    /// An invitation.
    Invite,
}

/// What is asked, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    v: u32,
    /// What is asked for.
    pub command: Verb,
    /// Of which session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The user knows what it means for others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub yes: bool,
}

impl Question {
    /// A question about a session, or about all.
    pub fn new(command: Verb, session: Option<String>) -> Question {
        Question { v: VERSION, command, session, yes: false }
    }

    /// With the user's word that it is meant, or without.
    pub fn meant(self, yes: bool) -> Question {
        Question { yes, ..self }
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub question: Question,
    answer: oneshot::Sender<Result<Vec<Value>, String>>,
}

impl Request {
    /// Answers with objects, or with what is wrong.
    pub fn answer(self, result: Result<Vec<Value>, String>) {
        // Whoever asked may be gone.
        let _ = self.answer.send(result);
    }
}

/// Why a node cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No node runs in the folder.
    #[error("no node is running in {}: start one with `driftless run`", folder.display())]
    NotRunning {
        /// The folder.
        folder: PathBuf,
    },
    /// The node said no.
    #[error("{0}")]
    Refused(String),
    /// The conversation broke.
    #[error("the node in {} does not answer: {source}", folder.display())]
    Broken {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The listening end; the socket goes with it.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens in the folder, whose lock the caller holds: a socket that is there is a dead node's.
    pub fn start(folder: &Folder) -> Result<(Server, mpsc::Receiver<Request>), StoreError> {
        let path = folder.new_socket()?;
        let failed = |source| StoreError::Io { path: path.clone(), source };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let (requests, receiver) = mpsc::channel(QUEUE);
        let task = tokio::spawn(accept(listener, requests));
        Ok((Server { path, task }, receiver))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One client at a time: requests are rare and short.
async fn accept(listener: UnixListener, requests: mpsc::Sender<Request>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a local client could not be accepted");
                // Out of file descriptors, most likely: do not spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match tokio::time::timeout(PATIENCE + ANSWER, serve(stream, &requests)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a local client went away"),
            Err(_) => tracing::debug!("a local client took too long"),
        }
    }
}

async fn serve(stream: UnixStream, requests: &mpsc::Sender<Request>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(MAX_LINE));
    tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await.map_err(io::Error::other)??;
    let result = match parse(&line) {
        Err(reason) => Err(reason),
        Ok(question) => {
            let (answer, answered) = oneshot::channel();
            let request = Request { question, answer };
            let stopping = || "the node is stopping".to_string();
            match requests.send(request).await {
                Ok(()) => answered.await.unwrap_or_else(|_| Err(stopping())),
                Err(_) => Err(stopping()),
            }
        }
    };
    writer.write_all(reply_text(result).as_bytes()).await?;
    writer.shutdown().await
}

fn parse(line: &str) -> Result<Question, String> {
    let version = serde_json::from_str::<Value>(line).ok().and_then(|value| value["v"].as_u64());
    if let Some(version) = version.filter(|version| *version != u64::from(VERSION)) {
        return Err(format!("a request of version {version}, this node understands {VERSION}"));
    }
    serde_json::from_str(line).map_err(|error| format!("not a request: {error}"))
}

/// The objects of a reply, the last one marked.
fn reply_text(result: Result<Vec<Value>, String>) -> String {
    let mut objects = result.unwrap_or_else(|error| vec![serde_json::json!({ "error": error })]);
    match objects.last_mut().and_then(Value::as_object_mut) {
        Some(last) => {
            last.insert("done".into(), true.into());
        }
        None => objects.push(serde_json::json!({ "done": true })),
    }
    objects.iter().map(|object| format!("{object}\n")).collect()
}

/// Asks the node of a folder and returns its reply's objects, without the mark of the end.
pub async fn ask(folder: &Folder, question: Question) -> Result<Vec<Map<String, Value>>, AskError> {
    let here = || folder.path().to_owned();
    let stream = UnixStream::connect(folder.socket()).await.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotRunning { folder: here() },
        _ => AskError::Broken { folder: here(), source },
    })?;
    let talk = tokio::time::timeout(ANSWER, converse(stream, question));
    let talk = talk.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let mut objects = talk.map_err(|source| AskError::Broken { folder: here(), source })?;
    if let Some(error) = objects.iter_mut().find_map(|object| object.remove("error")) {
        return Err(AskError::Refused(error.as_str().unwrap_or("the node refused").to_owned()));
    }
    Ok(objects)
}

async fn converse(stream: UnixStream, question: Question) -> io::Result<Vec<Map<String, Value>>> {
    let (reader, mut writer) = stream.into_split();
    let line = serde_json::to_string(&question).map_err(io::Error::other)?;
    writer.write_all(format!("{line}\n").as_bytes()).await?;
    let mut lines = BufReader::new(reader.take(MAX_LINE)).lines();
    let mut objects = Vec::new();
    while let Some(line) = lines.next_line().await? {
        let mut object: Map<String, Value> = serde_json::from_str(&line).map_err(io::Error::other)?;
        let done = object.remove("done").is_some();
        if !object.is_empty() {
            objects.push(object);
        }
        if done {
            return Ok(objects);
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn node(folder: &Folder) -> (Server, JoinHandle<()>) {
        let (server, mut requests) = Server::start(folder).unwrap();
        let task = tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                let result = match (request.question.command, &request.question.session) {
                    (Verb::Status, _) => {
                        Ok(vec![serde_json::json!({"height": 1}), serde_json::json!({"height": 2})])
                    }
                    (Verb::Pause, Some(name)) => Err(format!("no session {name}")),
                    _ => Ok(Vec::new()),
                };
                request.answer(result);
            }
        });
        (server, task)
    }

    fn about(verb: Verb, session: Option<&str>) -> Question {
        Question::new(verb, session.map(str::to_owned))
    }

    #[tokio::test]
    async fn questions_are_answered_and_refusals_told() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::create(directory.path()).unwrap();
        assert!(matches!(ask(&folder, about(Verb::Status, None)).await, Err(AskError::NotRunning { .. })));
        let (server, _task) = node(&folder).await;
        let mode = std::fs::metadata(folder.socket()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let status = ask(&folder, about(Verb::Status, None)).await.unwrap();
        assert_eq!(
            status.iter().map(|object| object["height"].as_u64().unwrap()).collect::<Vec<_>>(),
            [1, 2]
        );
        let refused = ask(&folder, about(Verb::Pause, Some("x"))).await.unwrap_err();
        assert_eq!(refused.to_string(), "no session x");
        assert!(ask(&folder, about(Verb::Resume, None)).await.unwrap().is_empty());
        drop(server);
        assert!(!folder.socket().exists());
    }

    #[tokio::test]
    async fn nonsense_and_other_versions_are_refused_in_words() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::create(directory.path()).unwrap();
        let (_server, _task) = node(&folder).await;
        for (line, expected) in [
            ("nonsense\n", "not a request"),
            ("{\"v\":2,\"command\":\"status\"}\n", "version 2"),
            ("{\"v\":1,\"command\":\"explode\"}\n", "unknown variant"),
            ("{\"v\":1,\"command\":\"status\",\"x\":1}\n", "unknown field"),
        ] {
            let mut stream = UnixStream::connect(folder.socket()).await.unwrap();
            stream.write_all(line.as_bytes()).await.unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await.unwrap();
            assert!(reply.contains(expected) && reply.contains("\"done\":true"), "{reply}");
        }
    }

    #[tokio::test]
    async fn a_long_path_is_replaced_by_a_short_one() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::create(directory.path().join("x".repeat(120))).unwrap();
        let (server, _task) = node(&folder).await;
        assert!(!folder.socket().starts_with(folder.path()));
        assert_eq!(ask(&folder, about(Verb::Status, None)).await.unwrap().len(), 2);
        drop(server);
    }
}
