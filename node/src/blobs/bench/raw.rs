//! The yardstick: a file over one bare quinn stream, unchecked, to the same disk.
//!
//! Same socket, TLS, transport settings and buffering as the data plane, so that what differs is the
//! verified streaming alone.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use driftless_protocol::Hash;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use tokio::task::{JoinHandle, spawn_blocking};

use super::BenchError;
use super::server::Hello;
use crate::bandwidth::Caps;
use crate::blobs::socket::{self, Traffic};
use crate::blobs::transfer::{read_error, read_exact, write_error};
use crate::blobs::{BindError, BlobStore, SourceError, blocking, transport};

const BUFFER: usize = 256 << 10;

fn endpoint(seed: u8) -> Result<Endpoint, BindError> {
    let (pair, _) = transport::keypair([seed; 32])?;
    let server = transport::server(&pair, transport::transport(Caps::default(), false))?;
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let listen = |source| BindError::Listen { address, source };
    let socket = socket::bind(address, Arc::new(Traffic::new(Caps::default()))).map_err(listen)?;
    let config = transport::endpoint(&[seed; 32])?;
    Endpoint::new_with_abstract_socket(config, Some(server), socket, Arc::new(quinn::TokioRuntime))
        .map_err(listen)
}

/// Serves the store's files by root, without a tree; returns the address.
pub(super) fn serve(store: Arc<BlobStore>) -> Result<SocketAddr, BenchError> {
    let endpoint = endpoint(3)?;
    let address = endpoint.local_addr()?;
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let Ok(connection) = incoming.await else { continue };
            let store = store.clone();
            tokio::spawn(async move {
                while let Ok((send, recv)) = connection.accept_bi().await {
                    let store = store.clone();
                    tokio::spawn(async move {
                        if let Err(error) = send_file(&store, send, recv).await {
                            tracing::warn!(%error, "a bare stream ended early");
                        }
                    });
                }
            });
        }
    });
    Ok(address)
}

async fn send_file(store: &BlobStore, mut send: SendStream, mut recv: RecvStream) -> Result<(), SourceError> {
    let mut root = [0; 32];
    read_exact(&mut recv, &mut root).await?;
    let file = File::open(store.path(&Hash(root))).map_err(|_| SourceError::NotFound)?;
    let next = |mut file: File| {
        spawn_blocking(move || {
            let mut buffer = Vec::with_capacity(BUFFER);
            let result = Read::by_ref(&mut file).take(BUFFER as u64).read_to_end(&mut buffer);
            (file, result.map(|_| buffer))
        })
    };
    let mut reading = next(file);
    loop {
        let Ok((file, Ok(buffer))) = reading.await else { return Err(SourceError::Failed) };
        if buffer.is_empty() {
            break;
        }
        reading = next(file);
        send.write_chunk(buffer.into()).await.map_err(write_error)?;
    }
    send.finish().map_err(|_| SourceError::Truncated)
}

/// Connects to the bare server.
pub(super) async fn connect(hello: &Hello) -> Result<Connection, BenchError> {
    let (_, expected) = transport::keypair([3; 32]).map_err(BindError::from)?;
    let (pair, _) = transport::keypair([4; 32]).map_err(BindError::from)?;
    let config = transport::client(&pair, &expected, transport::transport(Caps::default(), true))
        .map_err(BindError::from)?;
    let connecting = endpoint(4)?.connect_with(config, hello.raw, "l");
    let connecting = connecting.map_err(|error| SourceError::Unreachable(error.to_string()))?;
    Ok(connecting.await.map_err(SourceError::from)?)
}

type Written = std::io::Result<(File, Vec<u8>)>;

/// Copies the file `root` of `size` bytes to `path` and makes it durable.
pub(super) async fn copy(
    connection: &Connection,
    path: &Path,
    root: Hash,
    size: u64,
) -> Result<(), BenchError> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(SourceError::from)?;
    send.write_all(&root.0).await.map_err(write_error)?;
    let mut file = File::create(path)?;
    let mut spare = vec![Vec::new(), Vec::new()];
    let mut writing: Option<JoinHandle<Written>> = None;
    let mut left = size;
    while left > 0 {
        let mut buffer: Vec<u8> = spare.pop().unwrap_or_default();
        buffer.resize(left.min(BUFFER as u64) as usize, 0);
        let mut filled = 0;
        while filled < buffer.len() {
            let read = recv.read(&mut buffer[filled..]).await.map_err(read_error)?;
            filled += read.ok_or(SourceError::Truncated)?;
        }
        left -= buffer.len() as u64;
        if let Some(job) = writing.take() {
            let (back, used) = job.await.map_err(std::io::Error::other)??;
            file = back;
            spare.push(used);
        }
        let mut target = file.try_clone()?;
        writing = Some(spawn_blocking(move || target.write_all(&buffer).map(|()| (target, buffer))));
    }
    if let Some(job) = writing {
        file = job.await.map_err(std::io::Error::other)??.0;
    }
    blocking(move || file.sync_all()).await?;
    Ok(())
}
