//! Full disks, damaged files, killed processes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use driftless_protocol::Hash;

use super::{Peer, noise};
use crate::blobs::{
    BlobStore, FetchError, GROUP, OUTBOARD_FROM, PushError, SourceError, StoreError, group_count,
};

fn store() -> (tempfile::TempDir, BlobStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobStore::open(folder.path()).unwrap();
    (folder, store)
}

fn flip(path: &std::path::Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 4;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_is_inserted_is_listed_read_and_removed() {
    let (folder, store) = store();
    let (a, b) = (store.insert(b"a").unwrap(), store.insert(&noise(50_000, 1)).unwrap());
    assert_eq!(store.insert(b"a").unwrap(), a);
    let file = folder.path().join("elsewhere");
    std::fs::write(&file, noise(OUTBOARD_FROM as usize, 2)).unwrap();
    let c = store.insert_file(&file).unwrap();
    assert_eq!(c, Hash::of(&noise(OUTBOARD_FROM as usize, 2)));
    let mut expected = vec![(a, 1), (b, 50_000), (c, OUTBOARD_FROM)];
    expected.sort();
    assert_eq!(store.list().unwrap(), expected);
    assert_eq!(store.len(&b).unwrap(), Some(50_000));
    assert_eq!(store.read(&b).unwrap(), noise(50_000, 1));
    store.read(&c).unwrap();
    store.remove(&c).unwrap();
    assert!(!store.contains(&c));
    assert_eq!(store.len(&c).unwrap(), None);
    assert!(matches!(store.read(&c), Err(StoreError::NotFound { root, .. }) if root == c));
    store.remove(&c).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn a_flipped_byte_is_found_wherever_it_is() {
    let (_folder, store) = store();
    let bytes = noise(3 * GROUP as usize, 1);
    let root = store.insert(&bytes).unwrap();
    for at in [0, GROUP as usize, bytes.len() - 1] {
        flip(&store.path(&root), at);
        let error = store.read(&root).unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt { root: named, path, .. }
            if *named == root && *path == store.path(&root)));
        assert!(error.to_string().contains("is damaged"), "{error}");
        assert!(matches!(store.open_blob(&root), Err(StoreError::Corrupt { .. })));
        flip(&store.path(&root), at);
    }
    store.read(&root).unwrap();
    std::fs::write(store.path(&root), &bytes[..100]).unwrap();
    assert!(matches!(store.read(&root), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_killed_process_leaves_nothing_half_written() {
    let (folder, store) = store();
    let root = store.insert(b"whole").unwrap();
    std::fs::write(folder.path().join("tmp-1-0"), b"hal").unwrap();
    let [part, _] = store.part_paths(&Hash([1; 32]));
    std::fs::write(&part, b"unfinished").unwrap();
    let again = BlobStore::open(folder.path()).unwrap();
    assert_eq!(again.list().unwrap(), [(root, 5)]);
    assert!(part.exists());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_full_disk_keeps_nothing_of_an_insert() {
    let (folder, store) = store();
    store.space.store(10_000, Ordering::Relaxed);
    for error in [store.insert(&noise(10_001, 1)).unwrap_err(), {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), noise(20_000, 2)).unwrap();
        store.insert_file(file.path()).unwrap_err()
    }] {
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    store.insert(b"small").unwrap();
}

#[test]
fn a_lost_or_torn_outboard_is_computed_again() {
    let (_folder, store) = store();
    let root = store.insert(&noise(OUTBOARD_FROM as usize + 1, 1)).unwrap();
    let path = store.outboard_path(&root);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..1000]).unwrap();
    store.open_blob(&root).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    std::fs::remove_file(&path).unwrap();
    store.open_blob(&root).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

#[tokio::test]
async fn a_full_disk_ends_a_fetch_with_its_own_error_and_it_resumes_later() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    let bytes = noise(60 * GROUP as usize, 1);
    let len = bytes.len() as u64;
    let root = server.store.insert(&bytes).unwrap();
    client.store.space.store(20 * GROUP + 4000, Ordering::Relaxed);
    let error = client.plane.fetch(root, len, vec![server.source()]).await.unwrap_err();
    assert!(matches!(error, FetchError::Store(StoreError::Full { .. })), "{error}");
    assert!(!client.store.contains(&root));
    client.store.space.store(u64::MAX, Ordering::Relaxed);
    let fetched = client.plane.fetch(root, len, vec![server.source()]).await.unwrap();
    assert_eq!(client.store.read(&root).unwrap(), bytes);
    assert!(fetched.bytes[0].1 < 50 * GROUP, "{:?}", fetched.bytes);
}

#[tokio::test]
async fn a_receiver_with_a_full_disk_says_so_to_the_pusher() {
    let (mut to, from) = (Peer::new(1), Peer::new(2));
    let root = from.store.insert(&noise(100_000, 1)).unwrap();
    to.store.space.store(50_000, Ordering::Relaxed);
    let error = from.plane.push(root, &to.source()).await.unwrap_err();
    assert!(matches!(error, PushError::Peer(SourceError::Failed)), "{error}");
    assert!(to.events.try_recv().is_err());
    assert!(!to.store.contains(&root));
}

#[tokio::test]
async fn a_damaged_blob_is_not_served_small_or_large() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    for len in [100_000, OUTBOARD_FROM] {
        let root = server.store.insert(&noise(len as usize, 1)).unwrap();
        flip(&server.store.path(&root), 70_000);
        let error = client.plane.fetch(root, len, vec![server.source()]).await.unwrap_err();
        let FetchError::NoSource { failures, .. } = error else { panic!("{error}") };
        let expected =
            if len < OUTBOARD_FROM { SourceError::Failed } else { SourceError::WrongByte { group: 4 } };
        assert_eq!(failures, [(server.plane.key(), expected)]);
        assert!(!client.store.contains(&root));
    }
}

#[tokio::test]
async fn a_download_that_was_killed_before_its_rename_is_finished_without_a_source() {
    let client = Peer::new(1);
    let bytes = noise(5 * GROUP as usize, 1);
    let root = Hash::of(&bytes);
    let len = bytes.len() as u64;
    let [part, record] = client.store.part_paths(&root);
    std::fs::write(part, &bytes).unwrap();
    std::fs::write(record, crate::blobs::tree::outboard(&bytes[..], len).unwrap().1).unwrap();
    assert_eq!(group_count(len), 5);
    client.plane.fetch(root, len, vec![]).await.unwrap();
    assert_eq!(client.store.read(&root).unwrap(), bytes);
}

#[test]
fn stores_are_shared_between_threads() {
    let (_folder, store) = store();
    let store = Arc::new(store);
    let roots: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4u8)
            .map(|i| {
                let store = &store;
                scope.spawn(move || store.insert(&noise(30_000, i % 2)).unwrap())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(roots[0], roots[2]);
    assert_eq!(store.list().unwrap().len(), 2);
}
