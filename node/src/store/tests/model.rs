//! Any order of records, restarts and kills: what comes back is what a list of records says.

use driftless_protocol::event::Record;
use proptest::prelude::*;

use super::fixture::*;

#[derive(Debug, Clone, Copy)]
enum Action {
    Wal { large: bool, sync: bool },
    Sign { stream: u16, sync: bool },
    Block,
    Snapshot,
    Checkpoint,
    Restart,
    Kill,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (any::<bool>(), any::<bool>()).prop_map(|(large, sync)| Action::Wal { large, sync }),
        2 => (0..2u16, any::<bool>()).prop_map(|(stream, sync)| Action::Sign { stream, sync }),
        4 => Just(Action::Block),
        1 => Just(Action::Snapshot),
        1 => Just(Action::Checkpoint),
        1 => Just(Action::Restart),
        1 => Just(Action::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_was_durable_comes_back(actions in prop::collection::vec(action(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let mut path = dir.path().join("0");
        let mut store = open(&path).unwrap().0;
        let (mut wal, mut durable_wal) = (Vec::new(), 0);
        let (mut signed_all, mut durable_signed) = (Vec::new(), 0);
        let (mut height, mut newest, mut saved) = (0, None, None);
        for (index, action) in actions.into_iter().enumerate() {
            let mut barrier = false;
            match action {
                Action::Wal { large: is_large, sync } => {
                    let record =
                        if is_large { large(height + 1, 5_000) } else { vote(height + 1, index as u32) };
                    wal.push(record.clone());
                    store.persist(&Record::Wal(record), sync).unwrap();
                    barrier = sync;
                }
                Action::Sign { stream, sync } => {
                    // Slots far ahead, so that none of them closes.
                    let record = signed(stream, 1000 + index as u32, 1);
                    signed_all.push(record.clone());
                    store.persist(&Record::Signed(record), sync).unwrap();
                    barrier = sync;
                }
                Action::Block => {
                    height += 1;
                    store.persist(&Record::Block(block(height)), true).unwrap();
                    wal.clear();
                    barrier = true;
                }
                Action::Snapshot => {
                    newest = Some(height);
                    store.persist(&Record::Snapshot(snapshot(height)), true).unwrap();
                    barrier = true;
                }
                Action::Checkpoint => {
                    saved = Some(height);
                    store.persist(&Record::Checkpoint(checkpoint(height)), true).unwrap();
                    barrier = true;
                }
                Action::Restart | Action::Kill => {
                    if matches!(action, Action::Restart) {
                        store.close().unwrap();
                        barrier = true;
                    } else {
                        let killed = dir.path().join((index + 1).to_string());
                        copy(&path, &killed);
                        drop(store);
                        path = killed;
                        wal.truncate(durable_wal);
                        signed_all.truncate(durable_signed);
                    }
                    let (reopened, recovered) = open(&path).unwrap();
                    store = reopened;
                    prop_assert!(store.warnings().is_empty());
                    prop_assert_eq!(store.height(), height);
                    let base = recovered.snapshot.as_ref().map(|snapshot| snapshot.height());
                    prop_assert_eq!(base, newest);
                    prop_assert_eq!(&recovered.blocks[..], &chain(height)[base.unwrap_or(0) as usize..]);
                    prop_assert_eq!(&recovered.wal, &wal);
                    let mut expected = signed_all.clone();
                    expected.sort_by_key(|signed| signed.content.slot);
                    prop_assert_eq!(&recovered.signed, &expected);
                    prop_assert_eq!(recovered.checkpoint.map(|checkpoint| checkpoint.height), saved);
                }
            }
            if barrier {
                (durable_wal, durable_signed) = (wal.len(), signed_all.len());
            }
            durable_wal = durable_wal.min(wal.len());
        }
    }
}
