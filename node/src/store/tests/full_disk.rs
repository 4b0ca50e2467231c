//! A full disk is told from damage, breaks nothing, and is over when there is space again.

use std::fs;

use driftless_protocol::event::Record;

use super::fixture::*;
use crate::store::{SessionStore, StoreError};

fn records() -> Vec<Record> {
    vec![
        Record::Snapshot(snapshot(0)),
        Record::Wal(vote(1, 0)),
        Record::Signed(signed(1, 0, 1)),
        Record::Block(block(1)),
        blob(1),
        Record::Checkpoint(checkpoint(1)),
        Record::Wal(large(2, 20_000)),
        Record::Block(block(2)),
        Record::Snapshot(snapshot(2)),
        Record::Block(block(3)),
        Record::Snapshot(snapshot(3)),
        Record::Checkpoint(checkpoint(3)),
        Record::Wal(vote(4, 0)),
    ]
}

fn check(path: &std::path::Path) {
    let (store, recovered) = open(path).unwrap();
    assert!(store.warnings().is_empty(), "{:?}", store.warnings());
    assert_eq!(recovered.snapshot.unwrap().height(), 3);
    assert_eq!(store.reader().read_blocks(1, 9, 1 << 20).unwrap(), chain(3));
    assert_eq!(recovered.wal, [vote(4, 0)]);
    assert_eq!(recovered.signed, [signed(1, 0, 1)]);
    assert_eq!(recovered.checkpoint.unwrap().height, 3);
    let Record::Blob { root, .. } = blob(1) else { unreachable!() };
    store.reader().blob(&root).unwrap();
}

/// Persists a record, failing at its first step, then its second, and so on until it succeeds.
fn stubbornly(store: &mut SessionStore, record: &Record) -> u64 {
    for steps in 0.. {
        store.disk.faults.fail_after(steps);
        let result = store.persist(record, true);
        store.disk.faults.heal();
        match result {
            Ok(()) => return steps,
            Err(error) => assert!(error.is_full() && !error.is_corrupt(), "{error}"),
        }
    }
    unreachable!()
}

#[test]
fn every_record_can_be_persisted_again_wherever_it_failed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    let steps: u64 = records().iter().map(|record| stubbornly(&mut store, record)).sum();
    assert!(steps > 30, "{steps}");
    store.close().unwrap();
    check(dir.path());
}

#[test]
fn a_record_that_failed_need_not_be_persisted_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    for ordinal in 0..6 {
        store.disk.faults.fail_after(u64::from(ordinal) % 3);
        let first = store.persist(&Record::Signed(signed(0, ordinal, 1)), true).is_ok();
        let second = store.persist(&Record::Wal(large(1, 9_000)), true).is_ok();
        store.disk.faults.heal();
        assert!(!first || !second);
        // What failed was not signed: something else may be.
        if !first && ordinal < 4 {
            store.persist(&Record::Signed(signed(0, ordinal, 2)), true).unwrap();
        }
        store.persist(&Record::Wal(vote(1, ordinal)), true).unwrap();
    }
    store.close().unwrap();
    let (_, recovered) = open(dir.path()).unwrap();
    let votes: Vec<_> = (0..6).map(|attempt| vote(1, attempt)).collect();
    let logged: Vec<_> = recovered.wal.into_iter().filter(|record| votes.contains(record)).collect();
    assert_eq!(logged, votes);
    assert!(recovered.signed.iter().all(|signed| signed.content.slot.ordinal < 6));
}

/// A file system of a few megabytes, where this process may make one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(bytes: u64) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={bytes}");
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then(|| SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Takes all space but `leave` bytes.
fn fill(disk: &SmallDisk, leave: u64) -> std::path::PathBuf {
    let path = disk.0.path().join("ballast");
    let free = crate::store::disk::free_bytes(disk.0.path()).unwrap();
    fs::write(&path, vec![1; free.saturating_sub(leave) as usize]).unwrap();
    path
}

#[test]
fn on_a_disk_that_is_really_full_nothing_is_lost_and_it_goes_on_when_there_is_space() {
    let Some(disk) = SmallDisk::mount(16 << 20) else {
        println!("skipped: this process may not mount a tmpfs");
        return;
    };
    let folder = disk.0.path().join("session");
    let (mut store, _) = open(&folder).unwrap();
    for (index, record) in records().iter().enumerate() {
        // None at all, less than a page, and less than the database wants to keep free.
        for leave in [0, 3000, 1 << 20] {
            let ballast = fill(&disk, leave);
            match store.persist(record, true) {
                Ok(()) => {}
                Err(StoreError::Full { .. }) => {}
                Err(error) => panic!("record {index}, {leave} bytes left: {error}"),
            }
            fs::remove_file(ballast).unwrap();
        }
        store.persist(record, true).unwrap();
    }
    store.close().unwrap();
    let copied = tempfile::tempdir().unwrap();
    copy(&folder, copied.path());
    let (_, recovered) = open(copied.path()).unwrap();
    // An input may be logged as often as it was persisted, all after the others of its height.
    assert!(recovered.wal.iter().all(|record| *record == vote(4, 0)) && !recovered.wal.is_empty());
    assert_eq!(recovered.signed, [signed(1, 0, 1)]);
    assert_eq!(recovered.snapshot.unwrap().height(), 3);
}
