//! What others ask of us: slices of our blobs, and to take theirs.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use driftless_protocol::{Hash, PeerKey};
use quinn::{Connection, RecvStream, SendStream, VarInt};

use super::blocking;
use super::partial::Partial;
use super::peers::SourceError;
use super::plane::{BlobEvent, Inner, Welcome};
use super::store::StoreError;
use super::transfer::{ReceiveError, read_exact, receive_slice, send_slice, write_error};
use super::tree::group_count;
use super::uplink::Kind;
use super::wire::{GET, GET_BODY, Get, PUSH, PUSH_BODY, Push, Reply, STOP_CANCELLED};

/// Serves one connection until it ends. QUIC bounds the streams that are open at a time.
pub(super) async fn connection(inner: Arc<Inner>, peer: PeerKey, connection: Connection) {
    while let Ok((send, recv)) = connection.accept_bi().await {
        tokio::spawn(stream(inner.clone(), peer, connection.clone(), send, recv));
    }
    inner.peers.remove(&peer, &connection);
}

async fn stream(
    inner: Arc<Inner>,
    peer: PeerKey,
    connection: Connection,
    mut send: SendStream,
    mut recv: RecvStream,
) {
    let result = answer(&inner, peer, connection, &mut send, &mut recv).await;
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "a request ended early");
        let _ = send.reset(VarInt::from_u32(STOP_CANCELLED));
    } else {
        let _ = send.finish();
    }
}

async fn answer(
    inner: &Arc<Inner>,
    peer: PeerKey,
    connection: Connection,
    send: &mut SendStream,
    recv: &mut RecvStream,
) -> Result<(), SourceError> {
    let mut kind = [0];
    read_exact(recv, &mut kind).await?;
    match kind[0] {
        GET => {
            let mut body = [0; GET_BODY];
            read_exact(recv, &mut body).await?;
            match Get::decode(&body) {
                Some(get) => answer_get(inner, peer, connection, get, send).await,
                None => reply(send, Reply::Malformed).await,
            }
        }
        PUSH => {
            let mut body = [0; PUSH_BODY];
            read_exact(recv, &mut body).await?;
            match Push::decode(&body) {
                Some(push) => answer_push(inner, peer, push, send, recv).await,
                None => reply(send, Reply::Malformed).await,
            }
        }
        _ => reply(send, Reply::Malformed).await,
    }
}

async fn reply(send: &mut SendStream, reply: Reply) -> Result<(), SourceError> {
    send.write_all(&[reply as u8]).await.map_err(write_error)
}

async fn answer_get(
    inner: &Arc<Inner>,
    peer: PeerKey,
    connection: Connection,
    get: Get,
    send: &mut SendStream,
) -> Result<(), SourceError> {
    let share = match (inner.hooks.welcome)(peer) {
        Welcome::Member => None,
        Welcome::No => return reply(send, Reply::Busy).await,
        Welcome::Stranger => match inner.strangers.try_acquire() {
            Ok(share) => Some(share),
            Err(_) => return reply(send, Reply::Busy).await,
        },
    };
    let Ok(_permit) = inner.serving.try_acquire() else { return reply(send, Reply::Busy).await };
    let store = inner.store_with(&get.root);
    let page = share.is_some() || !Arc::ptr_eq(&store, &inner.store);
    let blob = match blocking(move || store.open_blob(&get.root)).await {
        Ok(blob) => blob,
        Err(StoreError::NotFound { .. }) => return reply(send, Reply::NotFound).await,
        Err(error) => {
            tracing::warn!(%error, "a blob cannot be served");
            return reply(send, Reply::Failed).await;
        }
    };
    if blob.len() != get.len {
        return reply(send, Reply::WrongLength).await;
    }
    reply(send, Reply::Ok).await?;
    let upload = inner.uplink.begin(get.root, if page { Kind::Page } else { Kind::Contribution }, connection);
    send_slice(send, Arc::new(blob), get.groups, &upload).await
}

async fn answer_push(
    inner: &Arc<Inner>,
    peer: PeerKey,
    push: Push,
    send: &mut SendStream,
    recv: &mut RecvStream,
) -> Result<(), SourceError> {
    let Push { root, len } = push;
    let store = inner.store.clone();
    if blocking(move || store.contains(&root)).await {
        return reply(send, Reply::Have).await;
    }
    if !(inner.hooks.accept)(peer, root, len) {
        return reply(send, Reply::Declined).await;
    }
    let Ok(_permit) = inner.receiving.try_acquire() else { return reply(send, Reply::Busy).await };
    let Some(_slot) = inner.peers.get(&peer).push_slot() else { return reply(send, Reply::Busy).await };
    let Some(claim) = inner.claims.try_claim(root) else { return reply(send, Reply::Busy).await };
    let receiving = receive_push(inner, root, len, send, recv);
    let received = tokio::select! {
        received = receiving => received,
        () = claim.asked_to_give_way() => {
            let _ = recv.stop(VarInt::from_u32(STOP_CANCELLED));
            return reply(send, Reply::Busy).await;
        }
    };
    drop(claim);
    match received {
        Ok(()) => {
            // Whoever owns the plane may not care about events any more.
            let _ = inner.events.send(BlobEvent::Received { root, from: peer }).await;
            reply(send, Reply::Stored).await
        }
        Err(ReceiveError::Store(error)) => {
            tracing::warn!(%error, "a pushed blob cannot be stored");
            let _ = recv.stop(VarInt::from_u32(STOP_CANCELLED));
            reply(send, Reply::Failed).await
        }
        Err(ReceiveError::Source(error)) => {
            if let SourceError::WrongByte { .. } = error {
                tracing::warn!(%peer, %root, %error, "a push was dropped");
                reply(send, Reply::WrongByte).await?;
                return Ok(());
            }
            Err(error)
        }
    }
}

/// Takes the slice from the first group that is missing to the end.
async fn receive_push(
    inner: &Arc<Inner>,
    root: Hash,
    len: u64,
    send: &mut SendStream,
    recv: &mut RecvStream,
) -> Result<(), ReceiveError> {
    let store = inner.store.clone();
    let partial = blocking(move || Partial::open(store, root, len)).await.map_err(ReceiveError::Store)?;
    let partial = Arc::new(partial);
    let total = group_count(len);
    // An earlier attempt may have been killed with all groups verified: then ask for the last again.
    let first = partial.missing(0..total).first().map_or(total - 1, |gap| gap.start);
    reply(send, Reply::Ok).await?;
    send.write_all(&first.to_le_bytes()).await.map_err(|error| ReceiveError::from(write_error(error)))?;
    let result = receive_slice(recv, &partial, first..total, &AtomicU64::new(0)).await;
    blocking(move || match result {
        Ok(()) => partial.finish().map_err(ReceiveError::Store),
        Err(error) => {
            let _ = partial.discard_if_empty();
            Err(error)
        }
    })
    .await
}
