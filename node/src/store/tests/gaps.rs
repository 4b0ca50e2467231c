//! A peer that lagged takes a newer snapshot; the chain jumps over what it never had.

use driftless_protocol::event::Record;

use super::fixture::*;
use crate::store::chain::ChainReader;
use crate::store::{SessionFolder, StoreError, Warning};

#[test]
fn a_snapshot_ahead_of_the_chain_is_where_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    chain(2).into_iter().for_each(|block| store.persist(&Record::Block(block), true).unwrap());
    store.persist(&Record::Wal(vote(3, 0)), true).unwrap();
    store.persist(&Record::Snapshot(snapshot(7)), true).unwrap();
    assert_eq!(store.height(), 7);
    store.persist(&Record::Wal(vote(8, 0)), true).unwrap();
    store.persist(&Record::Block(block(8)), true).unwrap();
    store.persist(&Record::Wal(vote(9, 0)), true).unwrap();
    let reader = store.reader();
    assert_eq!(reader.read_blocks(1, 64, 1 << 20).unwrap(), chain(2));
    assert_eq!(reader.read_blocks(3, 64, 1 << 20).unwrap(), []);
    assert_eq!(reader.read_blocks(7, 64, 1 << 20).unwrap(), chain(8)[6..]);
    store.close().unwrap();
    let (_store, recovered) = open(dir.path()).unwrap();
    assert_eq!(recovered.snapshot.unwrap().height(), 7);
    assert_eq!(recovered.blocks, chain(8)[7..]);
    assert_eq!(recovered.wal, [vote(9, 0)]);
    let blocks: Vec<_> = ChainReader::open(&SessionFolder::at(dir.path()), session())
        .unwrap()
        .map(|found| found.map(|found| (found.block.block.height, found.after_gap)).unwrap())
        .collect();
    assert_eq!(blocks, [(1, false), (2, false), (7, true), (8, false)]);
}

#[test]
fn a_joiner_begins_with_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    store.persist(&Record::Snapshot(snapshot(4)), true).unwrap();
    store.persist(&Record::Block(block(5)), true).unwrap();
    store.close().unwrap();
    let (store, recovered) = open(dir.path()).unwrap();
    assert_eq!(recovered.snapshot.unwrap().height(), 4);
    assert_eq!(recovered.blocks, chain(5)[4..]);
    assert_eq!(store.reader().read_blocks(4, 64, 1 << 20).unwrap(), chain(5)[3..]);
}

#[test]
fn a_kill_between_snapshot_and_chain_is_made_good() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    store.persist(&Record::Block(block(1)), true).unwrap();
    // Pages (3 steps each with their content and folder in one), record (4), then the chain fails.
    let mut steps = 0;
    while open(&{
        let copied = dir.path().join(format!("copy-{steps}"));
        store.disk.faults.fail_after(steps);
        let failed = store.persist(&Record::Snapshot(snapshot(6)), true).is_err();
        store.disk.faults.heal();
        assert!(failed, "no step failed after the snapshot was listed");
        copy_session(dir.path(), &copied);
        copied
    })
    .unwrap()
    .1
    .snapshot
    .is_none()
    {
        steps += 1;
    }
    let (store, recovered) = open(&dir.path().join(format!("copy-{steps}"))).unwrap();
    assert_eq!((store.height(), recovered.snapshot.unwrap().height()), (6, 6));
}

fn copy_session(from: &std::path::Path, to: &std::path::Path) {
    for folder in ["chain", "pages", "blobs", "checkpoints", "db", "log"] {
        copy(&from.join(folder), &to.join(folder));
    }
}

#[test]
fn without_its_snapshot_a_chain_with_a_gap_leads_nowhere_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    store.persist(&Record::Snapshot(snapshot(4)), true).unwrap();
    store.persist(&Record::Block(block(5)), true).unwrap();
    store.close().unwrap();
    let record = file_in(&dir.path().join("pages"), ".snapshot");
    std::fs::remove_file(record).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::NoState { .. })));
}

#[test]
fn a_damaged_newest_snapshot_falls_back_to_the_older_and_more_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    store.persist(&Record::Snapshot(snapshot(0)), true).unwrap();
    chain(4).into_iter().for_each(|block| store.persist(&Record::Block(block), true).unwrap());
    store.persist(&Record::Snapshot(snapshot(4)), true).unwrap();
    store.close().unwrap();
    let page = state(4).pages().next().unwrap().hash();
    flip(&dir.path().join("pages").join(page.to_string()), 3, 1);
    let (mut store, recovered) = open(dir.path()).unwrap();
    assert!(matches!(
        store.warnings(),
        [Warning::Snapshot { height: 4, error }] if matches!(**error, StoreError::CorruptBlob { root, .. } if root == page)
    ));
    assert_eq!(recovered.snapshot.unwrap().height(), 0);
    assert_eq!(recovered.blocks, chain(4));
    // Written again, it is whole again.
    store.persist(&Record::Snapshot(snapshot(4)), true).unwrap();
    store.close().unwrap();
    let (store, recovered) = open(dir.path()).unwrap();
    assert!(store.warnings().is_empty());
    assert_eq!(recovered.snapshot.unwrap().height(), 4);
}
