//! Offering a blob: the other side takes it, has it, or declines.

use std::sync::Arc;
use std::time::Duration;

use driftless_protocol::Hash;
use quinn::{Connection, RecvStream, SendStream};
use tokio::time::timeout;

use super::blocking;
use super::files::OpenBlob;
use super::peers::{Source, SourceError};
use super::plane::{DataPlane, Inner};
use super::store::StoreError;
use super::transfer::{STALL, read_error, read_exact, send_slice, write_error};
use super::transport::SEND_WINDOW;
use super::tree::group_count;
use super::uplink::{Kind, Upload};
use super::wire::{Push, Reply};

/// How long the other side may take to make a blob durable.
const LAST_ANSWER: Duration = Duration::from_secs(120);

/// How a push ended well: either way the other side holds the blob durably.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// It took the blob and has it on its disk.
    Stored,
    /// It had the blob before.
    AlreadyHeld,
}

/// Why a push did not deliver.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// We do not have the blob, or cannot read it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The other side does not want it.
    #[error("it does not want the blob")]
    Declined,
    /// An empty blob is known by everybody.
    #[error("an empty blob is not pushed")]
    Empty,
    /// The other side or the way to it failed.
    #[error(transparent)]
    Peer(#[from] SourceError),
}

impl DataPlane {
    /// Offers the blob to a peer and, if it wants it, sends what it lacks. Returns when the peer
    /// holds it durably. Cancel-safe: what the peer verified before stays with it.
    pub async fn push(&self, root: Hash, to: &Source) -> Result<Pushed, PushError> {
        let store = self.inner.store.clone();
        let blob = Arc::new(blocking(move || store.open_blob(&root)).await?);
        if blob.is_empty() {
            return Err(PushError::Empty);
        }
        let request = Push { root, len: blob.len() }.encode();
        let Opened { connection, mut send, mut recv, reply } = self.inner.request(to, &request).await?;
        match reply {
            Reply::Ok => {}
            Reply::Have => return Ok(Pushed::AlreadyHeld),
            Reply::Declined => return Err(PushError::Declined),
            other => return Err(refusal(other).into()),
        }
        let mut first = [0; 8];
        read_exact(&mut recv, &mut first).await?;
        let first = u64::from_le_bytes(first);
        if first >= group_count(blob.len()) {
            return Err(SourceError::Malformed.into());
        }
        let upload = self.inner.uplink.begin(root, Kind::Contribution, connection);
        let sent = deliver(&mut send, blob, first, &upload).await;
        drop(upload);
        // If it stopped us in the middle it says why.
        let mut last = [0];
        let answered = match timeout(self.inner.patience(), recv.read_exact(&mut last)).await {
            Ok(Ok(())) => Reply::from_byte(last[0]).ok_or(SourceError::Malformed),
            Ok(Err(quinn::ReadExactError::FinishedEarly(_))) => Err(SourceError::Truncated),
            Ok(Err(quinn::ReadExactError::ReadError(error))) => Err(read_error(error)),
            Err(_) => Err(SourceError::Stalled(self.inner.patience())),
        };
        match (answered, sent) {
            (Ok(Reply::Stored), _) => Ok(Pushed::Stored),
            (Ok(other), _) => Err(refusal(other).into()),
            (Err(_), Err(error)) | (Err(error), Ok(())) => Err(error.into()),
        }
    }
}

async fn deliver(
    send: &mut SendStream,
    blob: Arc<OpenBlob>,
    first: u64,
    upload: &Upload,
) -> Result<(), SourceError> {
    let groups = first..group_count(blob.len());
    send_slice(send, blob, groups, upload).await?;
    send.finish().map_err(|_| SourceError::Truncated)
}

/// What an answer that is not the hoped-for one means.
pub(super) fn refusal(reply: Reply) -> SourceError {
    match reply {
        Reply::NotFound => SourceError::NotFound,
        Reply::WrongLength => SourceError::WrongLength,
        Reply::Busy | Reply::Declined => SourceError::Busy,
        Reply::Failed => SourceError::Failed,
        Reply::WrongByte => SourceError::WrongByte { group: 0 },
        Reply::Ok | Reply::Have | Reply::Stored | Reply::Malformed => SourceError::Malformed,
    }
}

/// A stream on which a request was answered.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) send: SendStream,
    pub(super) recv: RecvStream,
    /// The first byte of the answer.
    pub(super) reply: Reply,
}

impl Inner {
    /// Opens a stream to `source`, sends a request on it and reads the first byte of the answer. A
    /// cached connection that turns out to be dead is replaced once.
    pub(super) async fn request(
        self: &Arc<Self>,
        source: &Source,
        request: &[u8],
    ) -> Result<Opened, SourceError> {
        let mut first = true;
        loop {
            let connection = self.connect(source).await?;
            let answered = async {
                let opened = timeout(STALL, connection.open_bi()).await;
                let (mut send, mut recv) = opened.map_err(|_| SourceError::Stalled(STALL))??;
                send.write_all(request).await.map_err(write_error)?;
                let mut byte = [0];
                read_exact(&mut recv, &mut byte).await?;
                let reply = Reply::from_byte(byte[0]).ok_or(SourceError::Malformed)?;
                Ok((send, recv, reply))
            }
            .await;
            match answered {
                Err(SourceError::Lost(_)) if std::mem::take(&mut first) => {}
                other => {
                    return other.map(|(send, recv, reply)| Opened { connection, send, recv, reply });
                }
            }
        }
    }

    /// How long a receiver may take for its last answer, once everything was handed to quinn: what
    /// is still buffered must leave under the cap, arrive, and be made durable.
    fn patience(&self) -> Duration {
        let buffered = self.caps.up.limit().map_or(0, |rate| 4 * SEND_WINDOW / rate);
        LAST_ANSWER + Duration::from_secs(buffered)
    }
}
