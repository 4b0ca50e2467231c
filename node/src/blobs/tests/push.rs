//! Pushing, and connections used in both directions.

use std::sync::Arc;

use driftless_protocol::Hash;

use super::{Peer, liar, noise, open_hooks};
use crate::blobs::wire::{Push, Reply};
use crate::blobs::{BlobEvent, PushError, Pushed, Source, SourceError};

#[tokio::test]
async fn a_pushed_blob_is_stored_and_announced_once() {
    let (mut to, from) = (Peer::new(1), Peer::new(2));
    let bytes = noise(215_000, 1);
    let root = from.store.insert(&bytes).unwrap();
    assert_eq!(from.plane.push(root, &to.source()).await.unwrap(), Pushed::Stored);
    assert_eq!(to.events.recv().await, Some(BlobEvent::Received { root, from: from.plane.key() }));
    assert_eq!(to.store.read(&root).unwrap(), bytes);
    assert_eq!(from.plane.push(root, &to.source()).await.unwrap(), Pushed::AlreadyHeld);
    assert!(to.events.try_recv().is_err());
}

#[tokio::test]
async fn a_blob_that_is_not_wanted_is_declined() {
    let mut hooks = open_hooks();
    hooks.accept = Arc::new(|_, _, len| len <= 1000);
    let (to, from) = (Peer::with(1, hooks), Peer::new(2));
    let small = from.store.insert(&noise(1000, 1)).unwrap();
    let large = from.store.insert(&noise(1001, 1)).unwrap();
    assert!(matches!(from.plane.push(large, &to.source()).await, Err(PushError::Declined)));
    assert_eq!(from.plane.push(small, &to.source()).await.unwrap(), Pushed::Stored);
    assert_eq!(to.store.list().unwrap(), [(small, 1000)]);
}

#[tokio::test]
async fn a_blob_that_we_lack_is_not_pushed() {
    let (to, from) = (Peer::new(1), Peer::new(2));
    let missing = from.plane.push(Hash([1; 32]), &to.source()).await.unwrap_err();
    assert!(matches!(missing, PushError::Store(crate::blobs::StoreError::NotFound { .. })), "{missing}");
}

#[tokio::test]
async fn a_peer_that_nobody_can_dial_is_served_over_its_own_connection() {
    let (hidden, open) = (Peer::new(1), Peer::new(2));
    let unknown = Source { peer: hidden.plane.key(), addresses: vec![] };
    let root = hidden.store.insert(b"from behind").unwrap();
    let back = open.store.insert(b"and back").unwrap();
    let before = open.plane.fetch(root, 11, vec![unknown.clone()]).await;
    assert!(before.is_err());
    hidden.plane.connect(&open.source()).await.unwrap();
    // The first use of the connection shows the server's consent.
    hidden.plane.fetch(back, 8, vec![open.source()]).await.unwrap();
    open.plane.fetch(root, 11, vec![unknown.clone()]).await.unwrap();
    let more = open.store.insert(b"more").unwrap();
    assert_eq!(open.plane.push(more, &unknown).await.unwrap(), Pushed::Stored);
    assert_eq!(hidden.plane.connected().len(), 1);
    assert_eq!(open.plane.connected().len(), 1);
}

#[tokio::test]
async fn a_push_of_wrong_bytes_is_dropped_and_told() {
    let mut to = Peer::new(1);
    let (endpoint, _) = liar::endpoint(8);
    let connection = liar::dial(&endpoint, 8, &to.source()).await;
    let root = Hash::of(&noise(1000, 1));
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(&Push { root, len: 1000 }.encode()).await.unwrap();
    let mut accepted = [0; 9];
    recv.read_exact(&mut accepted).await.unwrap();
    assert_eq!(accepted, [0; 9]);
    send.write_all(&noise(1000, 2)).await.unwrap();
    assert_eq!(recv.read_to_end(10).await.unwrap(), [Reply::WrongByte as u8]);
    assert!(to.events.try_recv().is_err());
    assert_eq!(std::fs::read_dir(to.store.folder()).unwrap().count(), 0);
}

#[tokio::test]
async fn one_peer_cannot_hold_many_pushes_open() {
    let to = Peer::new(1);
    let (endpoint, _) = liar::endpoint(8);
    let connection = liar::dial(&endpoint, 8, &to.source()).await;
    let mut open = Vec::new();
    for number in 0..5 {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&Push { root: Hash([number; 32]), len: 1000 }.encode()).await.unwrap();
        let mut reply = [0];
        recv.read_exact(&mut reply).await.unwrap();
        let expected = if number < 4 { Reply::Ok } else { Reply::Busy };
        assert_eq!(reply, [expected as u8]);
        open.push((send, recv));
    }
}

#[tokio::test]
async fn a_fetch_overtakes_a_push_that_hangs() {
    let (to, server) = (Peer::new(1), Peer::new(2));
    let bytes = noise(100_000, 1);
    let root = server.store.insert(&bytes).unwrap();
    let (endpoint, _) = liar::endpoint(8);
    let connection = liar::dial(&endpoint, 8, &to.source()).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(&Push { root, len: 100_000 }.encode()).await.unwrap();
    let mut accepted = [0; 9];
    recv.read_exact(&mut accepted).await.unwrap();
    // The push sends nothing, and still:
    to.plane.fetch(root, 100_000, vec![server.source()]).await.unwrap();
    assert_eq!(recv.read_to_end(10).await.unwrap(), [Reply::Busy as u8]);
    assert_eq!(to.store.read(&root).unwrap(), bytes);
}

#[tokio::test]
async fn an_unreachable_receiver_is_a_typed_error() {
    let from = Peer::new(2);
    let root = from.store.insert(b"x").unwrap();
    let nobody = Source { peer: Peer::new(1).plane.key(), addresses: vec![] };
    let error = from.plane.push(root, &nobody).await.unwrap_err();
    assert!(matches!(error, PushError::Peer(SourceError::Unreachable(_))), "{error}");
}
