//! The process dies at any step: what was acknowledged is there, the rest whole or not at all.

use std::path::Path;

use driftless_protocol::PeerKey;
use driftless_protocol::block::Reset;
use driftless_protocol::event::{Bar, Record, Recovered};
use driftless_protocol::identity::Signed;

use super::fixture::*;

/// What a peer went through, to be compared with what it recovers.
#[derive(Debug, Clone, Default)]
struct Known {
    height: u64,
    snapshot: Option<u64>,
    wal: usize,
    signed: usize,
    checkpoint: Option<u64>,
    bar: Option<Bar>,
    reset: Option<Signed<Reset>>,
}

impl Known {
    fn after(&self, record: &Record) -> Known {
        let mut next = self.clone();
        match record {
            Record::Wal(_) => next.wal += 1,
            Record::Signed(_) => next.signed += 1,
            Record::Block(block) => (next.height, next.wal) = (block.block.height, 0),
            Record::Snapshot(snapshot) => next.snapshot = Some(snapshot.height()),
            Record::Checkpoint(checkpoint) => next.checkpoint = Some(checkpoint.height),
            Record::Bar(bar) => next.bar = bar.clone(),
            Record::Reset(reset) => next.reset = Some(reset.clone()),
            Record::Blob { .. } | Record::Offer(_) | Record::Seatings(_) => {}
        }
        next
    }

    fn is(&self, recovered: &Recovered, height: u64) -> bool {
        let snapshot = recovered.snapshot.as_ref().map(|snapshot| snapshot.height());
        let base = snapshot.unwrap_or(0) as usize;
        recovered.blocks == chain(height)[base..]
            && (self.height, self.snapshot, self.wal) == (height, snapshot, recovered.wal.len())
            && self.signed == recovered.signed.len()
            && self.bar == recovered.bar
            && self.reset == recovered.reset
            && self.checkpoint == recovered.checkpoint.as_ref().map(|checkpoint| checkpoint.height)
    }
}

fn records() -> Vec<Record> {
    let mut records = vec![Record::Snapshot(snapshot(0))];
    for height in 1..=4 {
        records.push(Record::Signed(signed(1, height as u32, 1)));
        records.push(Record::Wal(vote(height, 0)));
        records.push(Record::Wal(large(height, 6_000)));
        records.push(Record::Block(block(height)));
        if height % 2 == 0 {
            records.push(Record::Snapshot(snapshot(height)));
            records.push(Record::Checkpoint(checkpoint(height)));
        }
    }
    let bar = Bar { key: PeerKey([7; 32]), reason: "an older copy".into(), lifted: false };
    records.extend([Record::Bar(Some(bar)), Record::Bar(None)]);
    records.extend([1, 2].map(|generation| Record::Reset(reset(generation))));
    records
}

/// Opens a copy of the folder as it is now, as after a kill.
fn reopened(running: &Path, copies: &Path) -> (Recovered, u64) {
    let copied = copies.join("killed");
    let _ = std::fs::remove_dir_all(&copied);
    copy(running, &copied);
    let (store, recovered) = open(&copied).unwrap();
    (recovered, store.height())
}

#[test]
fn a_kill_at_any_step_of_any_record_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let running = dir.path().join("running");
    let (mut store, _) = open(&running).unwrap();
    let mut known = Known::default();
    let mut kills = 0;
    for record in records() {
        let next = known.after(&record);
        for steps in 0.. {
            store.disk.faults.fail_after(steps);
            let done = store.persist(&record, true).is_ok();
            store.disk.faults.heal();
            let (recovered, height) = reopened(&running, dir.path());
            let as_before = known.is(&recovered, height);
            let as_after = next.is(&recovered, height);
            assert!(
                as_after || (!done && as_before),
                "step {steps} of {record:?}: {recovered:?} is neither {known:?} nor {next:?}"
            );
            kills += 1;
            if done {
                break;
            }
        }
        known = next;
    }
    println!("{kills} kills");
}
