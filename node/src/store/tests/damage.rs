//! Any flipped bit is found and named, or got over; never taken for what was written.

use std::fs;

use driftless_protocol::Hash;
use driftless_protocol::event::Record;

use super::fixture::*;
use crate::store::chain::{Chain, ChainReader};
use crate::store::disk::Disk;
use crate::store::{SessionFolder, StoreError, Warning};

/// A folder with one of everything, closed.
fn filled(path: &std::path::Path) {
    let (mut store, _) = open(path).unwrap();
    store.persist(&Record::Snapshot(snapshot(0)), true).unwrap();
    store.persist(&Record::Checkpoint(checkpoint(0)), true).unwrap();
    for height in 1..=3 {
        store.persist(&Record::Wal(vote(height, 0)), true).unwrap();
        store.persist(&Record::Block(block(height)), true).unwrap();
    }
    store.persist(&Record::Snapshot(snapshot(2)), true).unwrap();
    store.persist(&Record::Checkpoint(checkpoint(3)), true).unwrap();
    store.persist(&Record::Signed(signed(0, 3, 1)), true).unwrap();
    store.persist(&Record::Signed(signed(1, 0, 1)), true).unwrap();
    store.persist(&Record::Wal(vote(4, 0)), true).unwrap();
    store.persist(&Record::Wal(large(4, 9_000)), true).unwrap();
    store.close().unwrap();
}

#[test]
fn a_bit_flipped_anywhere_in_the_chain_is_an_error_that_names_file_and_height() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let path = dir.path().join("chain/00000001.blocks");
    let whole = fs::read(&path).unwrap();
    let disk = std::sync::Arc::new(Disk::default());
    let mut heights = std::collections::BTreeSet::new();
    for at in 0..whole.len() {
        flip(&path, at, (at % 8) as u8);
        let opened =
            Chain::open(disk.clone(), &dir.path().join("chain"), session(), Some(3), 1 << 20, |_| Ok(()));
        match opened {
            Err(StoreError::Corrupt { file, height, offset, .. }) => {
                assert_eq!(file, path);
                assert!(offset as usize <= at, "byte {at} is reported at {offset}");
                heights.insert(height.unwrap());
            }
            other => panic!("byte {at}: {other:?}"),
        }
        let read: Result<Vec<_>, _> =
            ChainReader::open(&SessionFolder::at(dir.path()), session()).unwrap().collect();
        assert!(matches!(read, Err(StoreError::Corrupt { .. })), "byte {at}");
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(heights.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    open(dir.path()).unwrap();
}

#[test]
fn a_block_that_is_damaged_while_the_node_runs_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    chain(3).into_iter().for_each(|block| store.persist(&Record::Block(block), true).unwrap());
    let path = dir.path().join("chain/00000001.blocks");
    use std::os::unix::fs::FileExt;
    let file = fs::File::options().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(b"?", length - 1).unwrap();
    let reader = store.reader();
    assert_eq!(reader.read_blocks(1, 2, 1 << 20).unwrap(), chain(2));
    assert!(matches!(
        reader.read_blocks(1, 3, 1 << 20),
        Err(StoreError::Corrupt { height: Some(3), file, .. }) if file == path
    ));
}

#[test]
fn a_damaged_blob_or_page_goes_when_it_is_read_so_that_it_can_be_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    store.persist(&blob(1), true).unwrap();
    store.persist(&blob(2), true).unwrap();
    store.persist(&Record::Snapshot(snapshot(0)), true).unwrap();
    let Record::Blob { root, bytes } = blob(1) else { unreachable!() };
    let page = snapshot(0).pages().next().unwrap().hash();
    let reader = store.reader();
    assert_eq!(reader.blob(&root).unwrap(), bytes);
    flip(&dir.path().join(format!("blobs/{root}")), 77, 3);
    let path = dir.path().join(format!("pages/{page}"));
    fs::write(&path, &fs::read(&path).unwrap()[1..]).unwrap();
    for (read, damaged) in [(reader.blob(&root), root), (reader.page(&page), page)] {
        assert!(matches!(read, Err(StoreError::CorruptBlob { root, .. }) if root == damaged));
    }
    assert!(!reader.has_blob(&root) && !reader.pages().contains(&page));
    let Record::Blob { root: other, .. } = blob(2) else { unreachable!() };
    assert!(reader.has_blob(&other), "only the damaged one goes");
}

#[test]
fn a_damaged_newest_checkpoint_falls_back_to_the_older() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let path = dir.path().join("checkpoints/00000001.checkpoint");
    let whole = fs::read(&path).unwrap();
    let damages = (0..whole.len()).step_by(7).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        bytes
    });
    let shortened = [0, 1, 87, 88, whole.len() - 1].map(|length| whole[..length].to_vec());
    let lengthened = [whole.as_slice(), &[0]].concat();
    for bytes in damages.chain(shortened).chain([lengthened]) {
        fs::write(&path, bytes).unwrap();
        let mut warnings = Vec::new();
        let disk = std::sync::Arc::new(Disk::default());
        let folder = dir.path().join("checkpoints");
        let (_, found) =
            crate::store::checkpoints::Checkpoints::open(disk, folder, session(), &mut warnings).unwrap();
        assert_eq!(found.unwrap().height, 0);
        assert!(warnings[0].to_string().contains("00000001.checkpoint"), "{}", warnings[0]);
    }
    flip(&dir.path().join("checkpoints/00000000.checkpoint"), 90, 0);
    let (store, recovered) = open(dir.path()).unwrap();
    assert!(recovered.checkpoint.is_none());
    assert!(matches!(store.warnings(), [Warning::Checkpoint(_), Warning::Checkpoint(_)]));
}

#[test]
fn a_bit_flipped_anywhere_in_a_snapshot_record_is_found() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let path = dir.path().join("pages/00000002.snapshot");
    let length = fs::read(&path).unwrap().len();
    for at in (0..length).step_by(5) {
        flip(&path, at, (at % 8) as u8);
        let (store, recovered) = open(dir.path()).unwrap();
        let [Warning::Snapshot { height: 2, error }] = store.warnings() else {
            panic!("{at}: {:?}", store.warnings())
        };
        assert!(error.is_corrupt() && error.to_string().contains("00000002.snapshot"), "{error}");
        assert_eq!(recovered.snapshot.unwrap().height(), 0);
        assert_eq!(recovered.blocks, chain(3));
        flip(&path, at, (at % 8) as u8);
    }
    // All bytes right, but another state than the block certifies.
    let mut wrong = snapshot(2);
    wrong.state.control.counted_tokens = 1;
    let (mut store, _) = open(dir.path()).unwrap();
    store.persist(&Record::Snapshot(wrong), true).unwrap();
    store.close().unwrap();
    let (store, recovered) = open(dir.path()).unwrap();
    assert!(store.warnings()[0].to_string().contains("digest"), "{}", store.warnings()[0]);
    assert_eq!(recovered.snapshot.unwrap().height(), 0);
}

#[test]
fn blobs_and_pages_are_checked_when_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let (mut store, _) = open(dir.path()).unwrap();
    let Record::Blob { root, bytes } = blob(1) else { unreachable!() };
    assert!(matches!(
        store.persist(&Record::Blob { root: Hash::of(b"no"), bytes: bytes.clone() }, true),
        Err(StoreError::WrongRoot { .. })
    ));
    store.persist(&Record::Blob { root, bytes }, true).unwrap();
    flip(&dir.path().join("blobs").join(root.to_string()), 100, 7);
    let reader = store.reader();
    assert!(matches!(reader.blob(&root), Err(StoreError::CorruptBlob { .. })));
    assert!(matches!(reader.blob(&Hash::of(b"no")), Err(StoreError::NotFound { .. })));
    let page = state(2).pages().next().unwrap().hash();
    flip(&dir.path().join("pages").join(page.to_string()), 0, 0);
    assert!(matches!(reader.page(&page), Err(StoreError::CorruptBlob { .. })));
}

#[test]
fn a_bit_flipped_in_the_height_record_is_harmless_or_found() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let path = dir.path().join("db/acknowledged");
    let whole = fs::read(&path).unwrap();
    for at in (0..56).chain(4096..4152) {
        flip(&path, at, 3);
        let (store, recovered) = open(dir.path()).unwrap();
        assert_eq!((store.height(), recovered.wal.len(), recovered.signed.len()), (3, 2, 2));
        store.close().unwrap();
        fs::write(&path, &whole).unwrap();
    }
    flip(&path, 9, 3);
    flip(&path, 4100, 3);
    assert!(matches!(open(dir.path()), Err(StoreError::Corrupt { file, .. }) if file == path));
    fs::remove_file(&path).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Journal { .. })));
}

#[test]
fn a_damaged_database_gives_a_typed_error_or_exactly_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("original");
    filled(&original);
    let (_, expected) = open(&original).unwrap();
    let length = fs::metadata(original.join("db/sled/db")).unwrap().len() as usize;
    let (mut refused, mut harmless) = (0, 0);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for trial in 0..150 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let copied = dir.path().join("copy");
        let _ = fs::remove_dir_all(&copied);
        copy(&original, &copied);
        // Most of the file is zeros that were never written: half of the flips go to its front.
        let range = if trial % 2 == 0 { length } else { length.min(16 << 10) };
        flip(&copied.join("db/sled/db"), (random >> 20) as usize % range, (random >> 8) as u8 % 8);
        match open(&copied) {
            Ok((_, found)) => {
                assert_eq!((found.wal, found.signed), (expected.wal.clone(), expected.signed.clone()));
                assert_eq!(found.blocks, expected.blocks);
                harmless += 1;
            }
            Err(error @ (StoreError::Journal { .. } | StoreError::Io { .. })) => {
                assert!(error.to_string().contains("sled"), "{error}");
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    println!("{refused} flips were refused, {harmless} changed nothing");
    assert!(refused > 0 && harmless > 0);
}

#[test]
fn a_database_from_an_older_copy_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    store.persist(&Record::Signed(signed(0, 0, 1)), true).unwrap();
    let old = dir.path().join("old");
    copy(&dir.path().join("db/sled"), &old);
    store.persist(&Record::Signed(signed(0, 1, 1)), true).unwrap();
    store.close().unwrap();
    fs::remove_dir_all(dir.path().join("db/sled")).unwrap();
    copy(&old, &dir.path().join("db/sled"));
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(&error, StoreError::Journal { reason, .. } if reason.contains("missing")), "{error}");
}
