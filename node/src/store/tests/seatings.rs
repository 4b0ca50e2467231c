//! Blocks that changed the seats: they stay, also where the chain has a gap, and are checked.

use driftless_protocol::block::{CertifiedBlock, Height, Item, Seating};
use driftless_protocol::event::Record;

use super::fixture::*;
use crate::store::StoreError;

/// The block of a height, which changes the seats.
fn seating(height: Height) -> CertifiedBlock {
    let mut certified = block(height);
    certified.block.items.push(Item::Seats(Seating { seats: vec![signer().key()], before: 0 }));
    certified
}

#[test]
fn they_are_kept_in_order_and_told_after_a_height() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    store.persist(&Record::Seatings(vec![seating(30), seating(7), block(8)]), true).unwrap();
    store.persist(&Record::Block(seating(1)), true).unwrap();
    drop(store);
    let (store, _) = open(dir.path()).unwrap();
    let heights = |since, up_to| -> Vec<Height> {
        store.seatings.between(since, up_to).iter().map(|block| block.block.height).collect()
    };
    assert_eq!(heights(0, 100), [1, 7, 30]);
    assert_eq!(heights(1, 29), [7]);
    assert!(heights(30, 100).is_empty());
}

#[test]
fn a_damaged_one_is_made_again_from_the_chain_or_named() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    store.persist(&Record::Block(seating(1)), true).unwrap();
    store.persist(&Record::Seatings(vec![seating(9)]), true).unwrap();
    drop(store);
    let file = |height: Height| dir.path().join(format!("chain/{height:08}.seats"));
    let whole = std::fs::read(file(1)).unwrap();
    for at in [0, 20, 60, whole.len() - 1] {
        flip(&file(1), at, 3);
        open(dir.path()).unwrap();
        assert_eq!(std::fs::read(file(1)).unwrap(), whole, "byte {at}");
    }
    flip(&file(9), 100, 3);
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { file: named, .. } if *named == file(9)), "{error}");
}
