//! Whatever was persisted comes back, after an orderly close and after a kill.

use driftless_protocol::Hash;
use driftless_protocol::event::Record;
use driftless_protocol::state::{Array, PAGE_VALUES, State};

use super::fixture::*;
use crate::store::recovery::{Shape, recover};
use crate::store::{Options, SessionFolder, Warning};

#[test]
fn a_new_session_has_nothing_to_recover() {
    let dir = tempfile::tempdir().unwrap();
    let (store, recovered) = open(dir.path()).unwrap();
    assert_eq!(store.height(), 0);
    assert!(recovered.snapshot.is_none() && recovered.checkpoint.is_none());
    assert!(recovered.blocks.is_empty() && recovered.wal.is_empty() && recovered.signed.is_empty());
    assert!(store.warnings().is_empty());
    assert!(store.reader().snapshot_offer(0).is_none());
}

fn fill(store: &mut crate::store::SessionStore) {
    store.persist(&Record::Snapshot(snapshot(0)), true).unwrap();
    for height in 1..=5 {
        store.persist(&Record::Wal(vote(height, 0)), true).unwrap();
        store.persist(&Record::Block(block(height)), true).unwrap();
        if height == 3 {
            store.persist(&Record::Snapshot(snapshot(3)), true).unwrap();
        }
    }
    store.persist(&blob(7), true).unwrap();
    store.persist(&Record::Signed(signed(0, 4, 1)), false).unwrap();
    store.persist(&Record::Signed(signed(0, 5, 1)), false).unwrap();
    store.persist(&Record::Signed(signed(1, 0, 2)), false).unwrap();
    store.persist(&Record::Checkpoint(checkpoint(4)), true).unwrap();
    store.persist(&Record::Wal(vote(6, 0)), false).unwrap();
    store.persist(&Record::Wal(large(6, 40_000)), false).unwrap();
    store.persist(&Record::Wal(vote(6, 1)), true).unwrap();
}

fn check(path: &std::path::Path) {
    let (store, recovered) = open(path).unwrap();
    assert!(store.warnings().is_empty(), "{:?}", store.warnings());
    assert_eq!(store.height(), 5);
    let found = recovered.snapshot.unwrap();
    assert_eq!((found.block, found.state), (Some(block(3)), state(3)));
    assert_eq!(recovered.blocks, chain(5)[3..]);
    assert_eq!(recovered.wal, [vote(6, 0), large(6, 40_000), vote(6, 1)]);
    // Slot (0, 4) was closed by block 5.
    assert_eq!(recovered.signed, [signed(0, 5, 1), signed(1, 0, 2)]);
    let found = recovered.checkpoint.unwrap();
    assert_eq!((found.height, found.bytes), (4, checkpoint(4).bytes));
    let reader = store.reader();
    let Record::Blob { root, bytes } = blob(7) else { unreachable!() };
    assert_eq!(reader.blob(&root).unwrap(), bytes);
    assert!(reader.has_blob(&root) && !reader.has_blob(&Hash::of(b"another")));
    let offer = reader.snapshot_offer(0).unwrap();
    assert_eq!(offer.block, block(3));
    let pages: Vec<Hash> = state(3).pages().map(|page| page.hash()).collect();
    assert_eq!(offer.pages, pages);
    assert_eq!(reader.page(&pages[0]).unwrap(), state(3).pages().next().unwrap().bytes());
    assert_eq!(reader.read_blocks(1, 64, 1 << 20).unwrap(), chain(5));
}

#[test]
fn every_kind_of_record_comes_back_after_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    fill(&mut store);
    store.close().unwrap();
    check(dir.path());
    check(dir.path());
}

#[test]
fn every_kind_of_record_comes_back_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir.path().join("running")).unwrap();
    fill(&mut store);
    copy(&dir.path().join("running"), &dir.path().join("killed"));
    check(&dir.path().join("killed"));
}

#[test]
fn records_persisted_without_sync_wait_for_the_next_that_asks() {
    let dir = tempfile::tempdir().unwrap();
    let running = dir.path().join("running");
    let (mut store, _) = open(&running).unwrap();
    let before = store.disk_use();
    store.persist(&Record::Wal(vote(1, 0)), false).unwrap();
    store.persist(&Record::Signed(signed(0, 0, 1)), false).unwrap();
    assert_eq!(store.disk_use(), before);
    copy(&running, &dir.path().join("early"));
    let (_, recovered) = open(&dir.path().join("early")).unwrap();
    assert!(recovered.wal.is_empty() && recovered.signed.is_empty());

    // A block's barrier takes the signature along.
    store.persist(&Record::Block(block(1)), true).unwrap();
    copy(&running, &dir.path().join("late"));
    let (_, recovered) = open(&dir.path().join("late")).unwrap();
    assert!(recovered.wal.is_empty());
    assert_eq!(recovered.blocks, chain(1));
}

#[test]
fn two_snapshots_and_two_checkpoints_are_kept_and_pages_nobody_names_go() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    for height in 0..=4 {
        if height > 0 {
            store.persist(&Record::Block(block(height)), true).unwrap();
        }
        store.persist(&Record::Snapshot(snapshot(height)), true).unwrap();
        store.persist(&Record::Checkpoint(checkpoint(height)), true).unwrap();
    }
    assert_eq!(store.snapshots.heights(), [3, 4]);
    // Per state two outer pages of its own and two shared ones.
    assert_eq!(store.reader().pages().list().unwrap().len(), 2 * 2 + 2);
    let checkpoints = std::fs::read_dir(dir.path().join("checkpoints")).unwrap().count();
    assert_eq!(checkpoints, 2);
    store.close().unwrap();
    let (store, recovered) = open(dir.path()).unwrap();
    assert_eq!(store.snapshots.heights(), [3, 4]);
    assert_eq!(recovered.snapshot.unwrap().height(), 4);
    assert_eq!(recovered.checkpoint.unwrap().height, 4);
    assert!(recovered.blocks.is_empty());
}

#[test]
fn a_state_of_several_full_pages_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<f32> = (0..PAGE_VALUES + 3).map(|index| index as f32).collect();
    let full = State { arrays: vec![vec![Array::new(&values)]], ..state(0) };
    let pages = driftless_protocol::state::Shape { arrays: 1, lengths: vec![values.len()], estimates: None };
    let shape = Shape { session: session(), genesis: full.digest(), pages };
    let open = || recover(SessionFolder::at(dir.path()), &shape, Options::default()).unwrap();
    let (mut store, _) = open();
    let snapshot = driftless_protocol::event::Snapshot { block: None, state: full.clone() };
    store.persist(&Record::Snapshot(snapshot), true).unwrap();
    store.close().unwrap();
    assert_eq!(open().1.snapshot.unwrap().state, full);
}

#[test]
fn the_same_block_again_is_no_news_and_another_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    chain(3).into_iter().for_each(|block| store.persist(&Record::Block(block), true).unwrap());
    store.persist(&Record::Block(block(2)), true).unwrap();
    let mut other = block(2);
    other.block.digest = Hash::of(b"another state");
    assert!(matches!(
        store.persist(&Record::Block(other), true),
        Err(crate::store::StoreError::Fork { height: 2, .. })
    ));
    assert!(matches!(
        store.persist(&Record::Block(block(5)), true),
        Err(crate::store::StoreError::NotNext { expected: 4, found: 5 })
    ));
    let mut stray = block(4);
    stray.block.parent = Hash::of(b"another parent");
    assert!(matches!(
        store.persist(&Record::Block(stray), true),
        Err(crate::store::StoreError::Fork { height: 4, .. })
    ));
    store.persist(&Record::Block(block(4)), true).unwrap();
    assert_eq!(store.height(), 4);
}

#[test]
fn a_deleted_database_is_started_anew_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    fill(&mut store);
    store.close().unwrap();
    std::fs::remove_dir_all(dir.path().join("db")).unwrap();
    let (store, recovered) = open(dir.path()).unwrap();
    assert!(matches!(store.warnings(), [Warning::JournalGone { .. }]));
    assert!(recovered.signed.is_empty() && recovered.wal.is_empty());
    assert_eq!(store.height(), 5);
    drop(store);
    assert!(open(dir.path()).unwrap().0.warnings().is_empty());
}

#[test]
fn barriers_and_bytes_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    store.persist(&Record::Wal(vote(1, 0)), true).unwrap();
    store.persist(&Record::Block(block(1)), true).unwrap();
    let before = store.disk_use();
    store.persist(&Record::Wal(vote(2, 0)), true).unwrap();
    let vote = store.disk_use();
    assert_eq!(vote.fsyncs - before.fsyncs, 2, "the database and the height record");
    store.persist(&Record::Block(block(2)), true).unwrap();
    let block = store.disk_use();
    assert_eq!(block.fsyncs - vote.fsyncs, 2, "the chain file and the height record");
    assert!(vote.bytes_written > before.bytes_written && block.bytes_written > vote.bytes_written);
}
