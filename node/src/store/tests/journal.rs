//! What was signed is never signed otherwise; the log of a height comes back whole.

use driftless_protocol::block::Slot;
use driftless_protocol::event::Record;

use super::fixture::*;
use crate::store::StoreError;

#[test]
fn another_contribution_to_a_slot_is_refused_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    store.persist(&Record::Signed(signed(0, 0, 1)), true).unwrap();
    store.persist(&Record::Signed(signed(0, 0, 1)), true).unwrap();
    let slot = Slot { stream: 0, ordinal: 0 };
    let refused = |error| matches!(error, Err(StoreError::AlreadySigned { slot: of, .. }) if of == slot);
    assert!(refused(store.persist(&Record::Signed(signed(0, 0, 2)), true)));
    store.close().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    assert!(refused(store.persist(&Record::Signed(signed(0, 0, 2)), true)));
    // Its slot closes; the signature stays.
    store.persist(&Record::Block(block(1)), true).unwrap();
    assert!(refused(store.persist(&Record::Signed(signed(0, 0, 2)), true)));
    store.close().unwrap();
    let (mut store, recovered) = open(dir.path()).unwrap();
    assert!(recovered.signed.is_empty());
    assert!(refused(store.persist(&Record::Signed(signed(0, 0, 2)), true)));
}

#[test]
fn the_log_ends_with_its_height_and_large_inputs_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    let inputs = |height| {
        let mut inputs: Vec<_> = (0..60).map(|attempt| vote(height, attempt)).collect();
        inputs.insert(5, large(height, 47_000));
        inputs.insert(9, large(height, 3_000));
        inputs
    };
    for height in 1..=6 {
        for input in inputs(height) {
            store.persist(&Record::Wal(input), true).unwrap();
        }
        // Of a height that is over, and of one that has not come.
        if height > 1 {
            store.persist(&Record::Wal(vote(height - 1, 99)), true).unwrap();
        }
        assert!(matches!(
            store.persist(&Record::Wal(vote(height + 1, 0)), true),
            Err(StoreError::NotNext { .. })
        ));
        if height < 6 {
            store.persist(&Record::Block(block(height)), true).unwrap();
        }
    }
    // sled never syncs the files that it puts large nodes into, so there must be none.
    assert_eq!(std::fs::read_dir(dir.path().join("db/sled/blobs")).unwrap().count(), 0);
    store.close().unwrap();
    let (mut store, recovered) = open(dir.path()).unwrap();
    assert_eq!(recovered.wal, inputs(6));
    store.persist(&Record::Wal(vote(6, 60)), true).unwrap();
    store.close().unwrap();
    let (mut store, recovered) = open(dir.path()).unwrap();
    assert_eq!(recovered.wal, [inputs(6), vec![vote(6, 60)]].concat());
    store.persist(&Record::Block(block(6)), true).unwrap();
    store.close().unwrap();
    assert!(open(dir.path()).unwrap().1.wal.is_empty());
}

#[test]
fn a_long_session_does_not_grow_its_database_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    let blocks = chain(400);
    for block in blocks {
        let height = block.block.height;
        store.persist(&Record::Wal(large(height, 47_000)), false).unwrap();
        store.persist(&Record::Signed(signed(0, height as u32, 1)), height % 50 == 0).unwrap();
        store.persist(&Record::Block(block), true).unwrap();
    }
    for height in 0..60 {
        store.persist(&Record::Signed(signed(1, height, 1)), true).unwrap();
        store.persist(&Record::Wal(large(401, 47_000)), true).unwrap();
    }
    store.close().unwrap();
    let size = std::fs::metadata(dir.path().join("db/sled/db")).unwrap().len();
    println!("database file: {size} bytes");
    assert!(size < 64 << 20);
}
