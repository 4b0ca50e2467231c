//! Slices between a stream and the disk.
//!
//! Both directions overlap: while one batch is read from the disk (or hashed and written), the next
//! one is on the network. Memory is two batches per transfer, whatever the blob's size.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn::{RecvStream, SendStream, VarInt};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::files::OpenBlob;
use super::joined;
use super::partial::Partial;
use super::peers::SourceError;
use super::store::StoreError;
use super::tree::{Batches, DecodeError, SliceDecoder, SliceEncoder};
use super::uplink::Upload;
use super::wire::STOP_WRONG_BYTE;

/// Bytes handed between stream and disk at a time, at most.
const BATCH: usize = 256 << 10;
/// Where a receiver's batches start; they grow on fast links and stay small on slow ones, so that
/// what a kill loses is about [`BATCH_TIME`]'s worth.
pub(crate) const FIRST_BATCH: usize = 32 << 10;
const BATCH_TIME: Duration = Duration::from_millis(200);
/// A sender or receiver that moves nothing for this long has failed.
pub(crate) const STALL: Duration = Duration::from_secs(15);
/// A batch may wait this long for a slow or capped receiver.
const SEND_STALL: Duration = Duration::from_secs(120);

/// Why a slice did not arrive.
#[derive(Debug)]
pub(crate) enum ReceiveError {
    /// The other side's fault, or the network's.
    Source(SourceError),
    /// Ours: the disk.
    Store(StoreError),
}

impl From<SourceError> for ReceiveError {
    fn from(error: SourceError) -> ReceiveError {
        ReceiveError::Source(error)
    }
}

/// Sends the slice `groups` of `blob`; the stream stays open.
pub(crate) async fn send_slice(
    send: &mut SendStream,
    blob: Arc<OpenBlob>,
    groups: Range<u64>,
    upload: &Upload,
) -> Result<(), SourceError> {
    let next_batch = |mut encoder: SliceEncoder, size: usize| {
        let blob = blob.clone();
        spawn_blocking(move || {
            let mut batch = Vec::with_capacity(size + size / 8);
            let result = encoder.fill(&*blob, &mut batch, size);
            (encoder, result.map(|()| batch))
        })
    };
    let mut next = next_batch(SliceEncoder::new(blob.len(), &groups), FIRST_BATCH);
    loop {
        let (encoder, batch) = joined(next).await;
        let batch = batch.map_err(|error| {
            tracing::warn!(%error, "a blob could not be read while it was served");
            SourceError::Failed
        })?;
        if batch.is_empty() {
            return Ok(());
        }
        next = next_batch(encoder, upload.turn().await);
        match timeout(SEND_STALL, send.write_chunk(batch.into())).await {
            Ok(Ok(())) => upload.moved(),
            Ok(Err(error)) => return Err(write_error(error)),
            Err(_) => return Err(SourceError::Stalled(SEND_STALL)),
        }
    }
}

/// Receives the slice `groups`, verifies and writes it. Groups are recorded as they are verified, so
/// whatever ends this early, finished groups stay finished. `received` counts the bytes taken.
pub(crate) async fn receive_slice(
    recv: &mut RecvStream,
    partial: &Arc<Partial>,
    groups: Range<u64>,
    received: &AtomicU64,
) -> Result<(), ReceiveError> {
    let decoder = SliceDecoder::new(partial.root().0.into(), partial.len(), &groups);
    let mut decoder = Some(decoder);
    let mut working: Option<JoinHandle<Verified>> = None;
    let mut spare: Vec<Vec<u8>> = Vec::new();
    let mut batches = Batches::new(partial.len(), &groups, partial.batch.load(Ordering::Relaxed));
    while let Some(size) = batches.next() {
        let mut batch = spare.pop().unwrap_or_default();
        batch.resize(size, 0);
        let begun = Instant::now();
        let arrived = fill(recv, &mut batch, received).await;
        batches.target = next_target(batches.target, begun.elapsed());
        partial.batch.store(batches.target, Ordering::Relaxed);
        if let Some(job) = working.take() {
            let done = finished(job, recv).await?;
            decoder = Some(done.0);
            spare.push(done.1);
        }
        let Some(mut verifier) = decoder.take() else { return Err(SourceError::Malformed.into()) };
        let (filled, failure) = arrived;
        batch.truncate(filled);
        let sink = partial.clone();
        let job = spawn_blocking(move || {
            let (groups, result) = verifier.decode(&mut batch, &*sink);
            sink.mark(groups);
            (verifier, batch, result)
        });
        if let Some(failure) = failure {
            // The whole groups of a batch that broke off are kept; a torn one is no news.
            return match finished(job, recv).await {
                Err(ReceiveError::Source(SourceError::Malformed)) | Ok(_) => Err(failure.into()),
                Err(error) => Err(error),
            };
        }
        working = Some(job);
    }
    if let Some(job) = working {
        finished(job, recv).await?;
    }
    Ok(())
}

type Verified = (SliceDecoder, Vec<u8>, Result<(), DecodeError<StoreError>>);

async fn finished(
    job: JoinHandle<Verified>,
    recv: &mut RecvStream,
) -> Result<(SliceDecoder, Vec<u8>), ReceiveError> {
    let (decoder, batch, result) = joined(job).await;
    match result {
        Ok(()) => Ok((decoder, batch)),
        Err(DecodeError::Write(error)) => Err(ReceiveError::Store(error)),
        Err(DecodeError::Misaligned) => Err(SourceError::Malformed.into()),
        Err(DecodeError::WrongByte { group }) => {
            let _ = recv.stop(VarInt::from_u32(STOP_WRONG_BYTE));
            Err(SourceError::WrongByte { group }.into())
        }
    }
}

/// Fills `batch`; how many bytes came, and why no more. Only a stream that delivers nothing at all
/// for [`STALL`] has stalled.
async fn fill(recv: &mut RecvStream, batch: &mut [u8], received: &AtomicU64) -> (usize, Option<SourceError>) {
    let mut filled = 0;
    while filled < batch.len() {
        match timeout(STALL, recv.read(&mut batch[filled..])).await {
            Ok(Ok(Some(count))) => {
                filled += count;
                received.fetch_add(count as u64, Ordering::Relaxed);
            }
            Ok(Ok(None)) => return (filled, Some(SourceError::Truncated)),
            Ok(Err(error)) => return (filled, Some(read_error(error))),
            Err(_) => return (filled, Some(SourceError::Stalled(STALL))),
        }
    }
    (filled, None)
}

/// Larger batches while they come fast, smaller ones while they come slowly.
fn next_target(target: usize, took: Duration) -> usize {
    if took < BATCH_TIME / 2 {
        (target * 2).min(BATCH)
    } else if took > BATCH_TIME {
        (target / 2).max(FIRST_BATCH / 2)
    } else {
        target
    }
}

/// Reads exactly `buffer.len()` bytes of a header or reply.
pub(crate) async fn read_exact(recv: &mut RecvStream, buffer: &mut [u8]) -> Result<(), SourceError> {
    match timeout(STALL, recv.read_exact(buffer)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(quinn::ReadExactError::FinishedEarly(_))) => Err(SourceError::Truncated),
        Ok(Err(quinn::ReadExactError::ReadError(error))) => Err(read_error(error)),
        Err(_) => Err(SourceError::Stalled(STALL)),
    }
}

pub(crate) fn read_error(error: quinn::ReadError) -> SourceError {
    match error {
        quinn::ReadError::ConnectionLost(error) => error.into(),
        quinn::ReadError::Reset(_) => SourceError::Truncated,
        other => SourceError::Lost(other.to_string()),
    }
}

pub(crate) fn write_error(error: quinn::WriteError) -> SourceError {
    match error {
        quinn::WriteError::ConnectionLost(error) => error.into(),
        quinn::WriteError::Stopped(_) => SourceError::Truncated,
        other => SourceError::Lost(other.to_string()),
    }
}
