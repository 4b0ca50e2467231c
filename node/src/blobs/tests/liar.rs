//! A peer that speaks the protocol and lies: what it sends is up to the test.

use std::sync::Arc;

use quinn::{Connection, Endpoint, RecvStream, SendStream};

use crate::bandwidth::Caps;
use crate::blobs::BlobStore;
use crate::blobs::Source;
use crate::blobs::transport;
use crate::blobs::tree::{ReadBlob, SliceEncoder};
use crate::blobs::wire::{GET_BODY, Get, Reply};

/// An endpoint with the data plane's TLS and nothing behind it.
pub(super) fn endpoint(seed: u8) -> (Endpoint, Source) {
    let (pair, peer) = transport::keypair([seed; 32]).unwrap();
    let server = transport::server(&pair, transport::transport(Caps::default(), false)).unwrap();
    let endpoint = Endpoint::server(server, super::LOOPBACK.into()).unwrap();
    let addresses = vec![endpoint.local_addr().unwrap()];
    (endpoint, Source { peer, addresses })
}

/// Dials `to` with the identity of `seed`.
pub(super) async fn dial(endpoint: &Endpoint, seed: u8, to: &Source) -> Connection {
    let (pair, _) = transport::keypair([seed; 32]).unwrap();
    let config = transport::client(&pair, &to.peer, transport::transport(Caps::default(), true)).unwrap();
    endpoint.connect_with(config, to.addresses[0], "l").unwrap().await.unwrap()
}

/// What a liar does with the honest encoding of the slice it was asked for.
pub(super) type Lie = Arc<dyn Fn(&Get, Vec<u8>) -> Vec<u8> + Send + Sync>;

/// Serves `store`, every slice changed by `lie`, then finishes the stream.
pub(super) fn serve(seed: u8, store: Arc<BlobStore>, lie: Lie) -> Source {
    let (endpoint, source) = endpoint(seed);
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let Ok(connection) = incoming.await else { continue };
            let (store, lie) = (store.clone(), lie.clone());
            tokio::spawn(async move {
                while let Ok((send, recv)) = connection.accept_bi().await {
                    tokio::spawn(answer(store.clone(), lie.clone(), send, recv));
                }
            });
        }
    });
    source
}

async fn answer(store: Arc<BlobStore>, lie: Lie, mut send: SendStream, mut recv: RecvStream) {
    let mut header = [0; 1 + GET_BODY];
    recv.read_exact(&mut header).await.unwrap();
    let get = Get::decode(header[1..].try_into().unwrap()).unwrap();
    let blob = store.open_blob(&get.root).unwrap();
    // Of another length there is no honest encoding.
    let honest = if blob.len() == get.len { slice(&blob, &get) } else { Vec::new() };
    let bytes = lie(&get, honest);
    // The other side may hang up in the middle.
    let _ = send.write_all(&[Reply::Ok as u8]).await;
    let _ = send.write_all(&bytes).await;
    let _ = send.finish();
    let _ = send.stopped().await;
}

/// The honest encoding of a slice.
pub(super) fn slice(blob: &impl ReadBlob, get: &Get) -> Vec<u8> {
    let mut bytes = Vec::new();
    SliceEncoder::new(get.len, &get.groups).fill(blob, &mut bytes, usize::MAX).unwrap();
    bytes
}
