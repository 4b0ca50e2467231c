//! Fetching: from one, from several, falling over, resuming.

use std::sync::Arc;

use driftless_protocol::Hash;

use super::liar;
use super::{Peer, dead_address, noise};
use crate::blobs::partial::Partial;
use crate::blobs::tree::{WriteBlob, items};
use crate::blobs::{FetchError, GROUP, OUTBOARD_FROM, Source, SourceError, group_count};

/// Bytes that the slice of `groups` groups out of `len` bytes takes.
fn slice_len(len: u64, groups: std::ops::Range<u64>) -> u64 {
    items(len, &groups).map(|item| crate::blobs::tree::item_len(&item) as u64).sum()
}

#[tokio::test]
async fn blobs_of_every_size_arrive_from_one_source() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    for len in [0, 1, 1000, GROUP as usize, GROUP as usize + 1, 215_000, 5_000_000] {
        let bytes = noise(len, 3);
        let root = server.store.insert(&bytes).unwrap();
        let fetched = client.plane.fetch(root, len as u64, vec![server.source()]).await.unwrap();
        assert_eq!(client.store.read(&root).unwrap(), bytes);
        assert!(fetched.failures.is_empty());
    }
    // Nothing unfinished stays behind.
    assert_eq!(std::fs::read_dir(client.store.folder()).unwrap().count(), 7);
}

#[tokio::test]
async fn a_large_blob_keeps_its_outboard_and_is_served_on() {
    let (first, second, third) = (Peer::new(1), Peer::new(2), Peer::new(3));
    let bytes = noise(OUTBOARD_FROM as usize + 12_345, 1);
    let len = bytes.len() as u64;
    let root = first.store.insert(&bytes).unwrap();
    second.plane.fetch(root, len, vec![first.source()]).await.unwrap();
    let board = |peer: &Peer| std::fs::read(peer.store.outboard_path(&root)).unwrap();
    assert_eq!(board(&first), board(&second));
    third.plane.fetch(root, len, vec![second.source()]).await.unwrap();
    assert_eq!(third.store.read(&root).unwrap(), bytes);
}

#[tokio::test]
async fn a_large_blob_comes_from_several_sources_at_once() {
    let servers = [Peer::new(1), Peer::new(2), Peer::new(3)];
    let client = Peer::new(9);
    let bytes = noise(14 << 20, 5);
    let root = Hash::of(&bytes);
    for server in &servers {
        server.store.insert(&bytes).unwrap();
    }
    let sources = servers.iter().map(Peer::source).collect();
    let fetched = client.plane.fetch(root, bytes.len() as u64, sources).await.unwrap();
    assert_eq!(client.store.read(&root).unwrap(), bytes);
    assert!(fetched.bytes.iter().all(|(_, bytes)| *bytes > 0), "{:?}", fetched.bytes);
    // Each piece came once.
    let total: u64 = fetched.bytes.iter().map(|(_, bytes)| bytes).sum();
    assert!((total as f64) < 1.005 * bytes.len() as f64, "{total}");
}

#[tokio::test]
async fn sources_without_the_blob_are_skipped_and_named() {
    let (empty, server, client) = (Peer::new(1), Peer::new(2), Peer::new(3));
    let bytes = noise(100_000, 1);
    let root = server.store.insert(&bytes).unwrap();
    let nobody = Source { peer: Peer::new(4).plane.key(), addresses: vec![] };
    let sources = vec![nobody.clone(), empty.source(), server.source()];
    let fetched = client.plane.fetch(root, 100_000, sources).await.unwrap();
    assert_eq!(fetched.failures.len(), 2);
    assert!(matches!(&fetched.failures[0], (peer, SourceError::Unreachable(_)) if *peer == nobody.peer));
    assert_eq!(fetched.failures[1], (empty.plane.key(), SourceError::NotFound));
    assert_eq!(fetched.bytes[2].1, slice_len(100_000, 0..7));
}

#[tokio::test]
async fn not_found_anywhere_is_a_typed_error_and_leaves_nothing() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    let root = Hash::of(b"nobody has this");
    let error = client.plane.fetch(root, 15, vec![server.source()]).await.unwrap_err();
    let FetchError::NoSource { failures, .. } = &error else { panic!("{error}") };
    assert_eq!(*failures, [(server.plane.key(), SourceError::NotFound)]);
    assert!(error.to_string().contains("does not have the blob"), "{error}");
    assert_eq!(std::fs::read_dir(client.store.folder()).unwrap().count(), 0);
    let error = client.plane.fetch(root, 15, vec![]).await.unwrap_err();
    assert!(error.to_string().contains("no source is known"), "{error}");
}

#[tokio::test]
async fn of_several_addresses_the_one_that_answers_is_used() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    let root = server.store.insert(b"hello").unwrap();
    let mut source = server.source();
    source.addresses.insert(0, dead_address());
    client.plane.fetch(root, 5, vec![source]).await.unwrap();
    assert_eq!(client.store.read(&root).unwrap(), b"hello");
}

#[tokio::test]
async fn a_transfer_that_breaks_off_is_resumed_without_the_finished_groups() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    let bytes = noise(40 * GROUP as usize + 5, 1);
    let len = bytes.len() as u64;
    let root = server.store.insert(&bytes).unwrap();
    // Stops in the middle of the eleventh group.
    let lie = Arc::new(move |get: &_, honest: Vec<u8>| {
        let get: &crate::blobs::wire::Get = get;
        assert_eq!(get.groups, 0..41);
        let mut left = 10;
        let upto: usize = items(len, &get.groups)
            .take_while(|item| {
                left -= i32::from(crate::blobs::tree::item_len(item) > 64);
                left >= 0
            })
            .map(|item| crate::blobs::tree::item_len(&item))
            .sum();
        honest[..upto + 1000].to_vec()
    });
    let broken = liar::serve(8, server.store.clone(), lie);
    let error = client.plane.fetch(root, len, vec![broken.clone()]).await.unwrap_err();
    let FetchError::NoSource { failures, .. } = error else { panic!("{error}") };
    assert_eq!(failures, [(broken.peer, SourceError::Truncated)]);
    assert!(!client.store.contains(&root));
    let fetched = client.plane.fetch(root, len, vec![server.source()]).await.unwrap();
    assert_eq!(client.store.read(&root).unwrap(), bytes);
    assert_eq!(fetched.bytes, [(server.plane.key(), slice_len(len, 10..41))]);
}

#[tokio::test]
async fn a_fetch_dropped_in_the_middle_can_be_repeated() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    let bytes = noise(3 << 20, 1);
    let root = server.store.insert(&bytes).unwrap();
    let (endpoint, source) = liar::endpoint(8);
    let (seen, was_seen) = tokio::sync::oneshot::channel();
    // Answers the request with a part of the slice and then nothing.
    let store = server.store.clone();
    let hanging = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        let mut header = [0; 57];
        recv.read_exact(&mut header).await.unwrap();
        let get = crate::blobs::wire::Get::decode(header[1..].try_into().unwrap()).unwrap();
        let honest = liar::slice(&store.open_blob(&root).unwrap(), &get);
        send.write_all(&[0]).await.unwrap();
        send.write_all(&honest[..honest.len() / 2]).await.unwrap();
        seen.send(()).unwrap();
        // Until the other side hangs up.
        let _ = send.stopped().await;
        connection
    });
    tokio::select! {
        result = client.plane.fetch(root, bytes.len() as u64, vec![source]) => panic!("{result:?}"),
        _ = was_seen => {}
    }
    hanging.await.unwrap();
    assert!(!client.store.contains(&root));
    client.plane.fetch(root, bytes.len() as u64, vec![server.source()]).await.unwrap();
    assert_eq!(client.store.read(&root).unwrap(), bytes);
}

#[tokio::test]
async fn two_fetches_of_one_blob_transfer_it_once() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    let bytes = noise(700_000, 1);
    let root = server.store.insert(&bytes).unwrap();
    let fetch = || client.plane.fetch(root, 700_000, vec![server.source()]);
    let (first, second) = tokio::join!(fetch(), fetch());
    let total: u64 = first.unwrap().bytes.iter().chain(&second.unwrap().bytes).map(|(_, bytes)| bytes).sum();
    assert_eq!(total, slice_len(700_000, 0..group_count(700_000)));
}

#[tokio::test]
async fn a_peer_that_restarts_on_its_port_is_reached_again() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = {
        let _inside = runtime.enter();
        Peer::new(1)
    };
    let client = Peer::new(2);
    let first = server.store.insert(b"first").unwrap();
    let second = server.store.insert(b"second").unwrap();
    let source = server.source();
    client.plane.fetch(first, 5, vec![source.clone()]).await.unwrap();
    // Its tasks stop and its socket closes without a word, as by kill -9.
    tokio::task::spawn_blocking(move || drop(runtime)).await.unwrap();
    let Peer { plane, store, _folder, .. } = server;
    drop(plane);
    let (plane, _events) = crate::blobs::DataPlane::bind(
        source.addresses[0],
        [1; 32],
        store,
        Default::default(),
        super::open_hooks(),
    )
    .unwrap();
    client.plane.fetch(second, 6, vec![source]).await.unwrap();
    plane.close().await;
}

#[test]
fn an_unfinished_download_is_proven_again_when_it_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(crate::blobs::BlobStore::open(folder.path()).unwrap());
    let bytes = noise(6 * GROUP as usize, 1);
    let len = bytes.len() as u64;
    let root = Hash::of(&bytes);
    let (_, outboard) = crate::blobs::tree::outboard(&bytes[..], len).unwrap();
    let partial = Partial::open(store.clone(), root, len).unwrap();
    for group in [0, 1, 4] {
        let start = group * GROUP;
        partial.write_groups(start, &bytes[start as usize..(start + GROUP) as usize]).unwrap();
    }
    partial.write_pairs(0, &outboard).unwrap();
    drop(partial);
    assert_eq!(Partial::open(store.clone(), root, len).unwrap().missing(0..6), [2..4, 5..6]);
    // A bit that flipped on the disk since.
    let [part, _] = store.part_paths(&root);
    let mut damaged = std::fs::read(&part).unwrap();
    damaged[GROUP as usize + 3] ^= 1;
    std::fs::write(&part, damaged).unwrap();
    let partial = Partial::open(store.clone(), root, len).unwrap();
    assert_eq!(partial.missing(0..6), [1..4, 5..6]);
    // It cannot become a complete blob.
    partial.finish().unwrap_err();
    // Another expected length starts afresh.
    assert_eq!(Partial::open(store, root, len - 1).unwrap().held(), 0);
}
