//! Blobs that nobody needs go; what anybody may still need stays.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use driftless_protocol::Hash;
use driftless_protocol::block::{Announcement, CertifiedBlock, Closing, Counted, Item, Payload, Slot, Work};
use driftless_protocol::consensus::WalRecord;
use driftless_protocol::event::{Record, Snapshot};
use driftless_protocol::identity::{Domain, Scope, Signature};

use super::fixture::*;
use crate::store::{Options, SessionStore};

const HOUR: Duration = Duration::from_secs(3600);

/// A blob on the disk, last written two hours ago.
fn old(store: &SessionStore, content: u64) -> Hash {
    let root = store.reader().blobs().insert(&content.to_le_bytes().repeat(50)).unwrap();
    age(&store.folder.blobs().join(root.to_string()));
    root
}

fn age(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - 2 * HOUR).unwrap();
}

/// Blocks that count one blob each.
fn counting(roots: &[Hash]) -> Vec<CertifiedBlock> {
    let mut blocks = chain(roots.len() as u64);
    let mut parent = session();
    for (certified, root) in blocks.iter_mut().zip(roots) {
        let payload = Payload::Blob { root: *root, length: 400 };
        let counted = Counted { member: 0, payload, work: Work::default(), signature: Signature([1; 64]) };
        let Item::Close(Closing { slot, .. }) = certified.block.items[0].clone() else { unreachable!() };
        certified.block.items = vec![Item::Close(Closing { slot, counted: vec![counted] })];
        certified.block.parent = parent;
        parent = certified.block.hash();
    }
    blocks
}

/// Persists the blocks, with snapshots after some.
fn persist(store: &mut SessionStore, blocks: &[CertifiedBlock], snapshots: &[u64]) {
    for block in blocks {
        store.persist(&Record::Block(block.clone()), true).unwrap();
        let height = block.block.height;
        if snapshots.contains(&height) {
            let snapshot = Snapshot { block: Some(block.clone()), state: state(height) };
            store.persist(&Record::Snapshot(snapshot), true).unwrap();
        }
    }
}

fn held(store: &SessionStore) -> BTreeSet<Hash> {
    store.reader().blobs().list().unwrap().into_iter().map(|(root, _)| root).collect()
}

#[test]
fn what_blocks_since_the_older_snapshot_name_stays_and_the_rest_goes_when_it_is_old() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    let counted: Vec<Hash> = (0..5).map(|content| old(&store, content)).collect();
    let (pinned, junk) = (old(&store, 100), old(&store, 101));
    let young = store.reader().blobs().insert(b"just pushed").unwrap();
    let part = dir.path().join(format!("blobs/{}.part", Hash::of(b"given up")));
    fs::write(&part, "half").unwrap();
    age(&part);
    fs::write(dir.path().join("blobs/notes.txt"), "the user's").unwrap();
    persist(&mut store, &counting(&counted), &[2, 4]);
    assert_eq!(store.sweep(&[pinned].into(), HOUR).unwrap(), 4, "two old contributions, junk, the part");
    assert!(!held(&store).contains(&junk) && !part.exists());
    let stay: BTreeSet<Hash> = counted[2..].iter().copied().chain([pinned, young]).collect();
    assert_eq!(held(&store), stay);
    assert!(dir.path().join("blobs/notes.txt").exists());
}

#[test]
fn before_there_are_two_snapshots_every_block_may_be_needed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    let counted: Vec<Hash> = (0..3).map(|content| old(&store, content)).collect();
    persist(&mut store, &counting(&counted), &[2]);
    assert_eq!(store.sweep(&BTreeSet::new(), HOUR).unwrap(), 0);
}

#[test]
fn with_a_kept_history_nothing_that_a_block_names_goes() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { keep_history: true, ..Options::default() };
    let (mut store, _) = open_with(dir.path(), options).unwrap();
    let counted: Vec<Hash> = (0..5).map(|content| old(&store, content)).collect();
    old(&store, 101);
    persist(&mut store, &counting(&counted), &[2, 4]);
    assert_eq!(store.sweep(&BTreeSet::new(), HOUR).unwrap(), 1);
    assert_eq!(held(&store), counted.into_iter().collect());
}

#[test]
fn own_announcements_and_proposals_of_the_running_height_keep_their_blobs_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    let (own, proposed) = (old(&store, 1), old(&store, 2));
    let scope = Scope { session: session(), generation: 0 };
    let announcement = Announcement {
        slot: Slot { stream: 0, ordinal: 0 },
        base: Hash::of(b"base"),
        payload: Payload::Blob { root: own, length: 400 },
        work: Work::default(),
    };
    let signed = signer().seal(Domain::Announcement, scope, announcement);
    store.persist(&Record::Signed(signed), true).unwrap();
    let WalRecord::Proposal { proposal, .. } = large(1, 0) else { unreachable!() };
    let block = counting(&[proposed]).remove(0).block;
    let record = WalRecord::Proposal { proposal, valid: true, block: Some(block) };
    store.persist(&Record::Wal(record), true).unwrap();
    assert_eq!(store.sweep(&BTreeSet::new(), HOUR).unwrap(), 0);
    store.close().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    assert_eq!(store.sweep(&BTreeSet::new(), HOUR).unwrap(), 0);
    // Another block closes the slot: nobody needs either any more.
    let other = old(&store, 3);
    persist(&mut store, &counting(&[other]), &[]);
    assert_eq!(store.sweep(&BTreeSet::new(), HOUR).unwrap(), 2);
    assert_eq!(held(&store), [other].into());
}

#[test]
fn a_fetched_page_goes_when_a_snapshot_has_its_own_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    let pages: Vec<_> = snapshot(0).pages().cloned().collect();
    let blobs = store.reader().blobs().clone();
    pages.iter().for_each(|page| {
        blobs.insert(page.bytes()).unwrap();
    });
    let pinned = pages[0].hash();
    assert_eq!(store.sweep(&[pinned].into(), HOUR).unwrap(), 0);
    store.persist(&Record::Snapshot(snapshot(0)), true).unwrap();
    store.sweep(&[pinned].into(), HOUR).unwrap();
    assert_eq!(held(&store), [pinned].into());
}
