//! A block that was being written when the power went is cut and can be stored again; one that
//! was relied on must be there.

use std::fs;
use std::sync::Arc;

use driftless_protocol::event::Record;

use super::fixture::*;
use crate::store::chain::{Chain, ChainReader};
use crate::store::disk::Disk;
use crate::store::{Options, SessionFolder, StoreError, Warning};

fn open_chain(folder: &std::path::Path, acknowledged: Option<u64>) -> Result<(Chain, bool), StoreError> {
    let disk = Arc::new(Disk::default());
    let (chain, torn) = Chain::open(disk, folder, session(), acknowledged, 64 << 20, |_| Ok(()))?;
    Ok((chain, torn.is_some()))
}

#[test]
fn the_chain_is_cut_at_the_last_whole_record_wherever_the_last_one_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let (mut chain_file, _) = open_chain(dir.path(), None).unwrap();
    let path = dir.path().join("00000001.blocks");
    let mut ends = vec![0];
    for block in chain(3) {
        chain_file.append(&block).unwrap();
        ends.push(fs::metadata(&path).unwrap().len() as usize);
    }
    drop(chain_file);
    let whole = fs::read(&path).unwrap();
    for written in [1, 3] {
        let (start, end) = (ends[written - 1], ends[written]);
        for length in start..end {
            // What the file system makes of bytes that never came: nothing, or zeros.
            for padding in [0, end - length] {
                let mut bytes = whole[..length].to_vec();
                bytes.resize(length + padding, 0);
                if bytes == whole[..bytes.len()] && padding > 0 {
                    continue;
                }
                fs::write(&path, &bytes).unwrap();
                let height = written as u64 - 1;
                let (mut reopened, torn) = open_chain(dir.path(), Some(height)).unwrap();
                assert_eq!(reopened.next(), height + 1, "torn at {length}");
                assert_eq!(torn, bytes.len() > start || start == 0);
                for block in &chain(3)[written - 1..] {
                    reopened.append(block).unwrap();
                }
                drop(reopened);
                assert_eq!(fs::read(&path).unwrap(), whole);
            }
        }
    }
}

#[test]
fn a_torn_record_that_was_relied_on_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (mut chain_file, _) = open_chain(dir.path(), None).unwrap();
    let path = dir.path().join("00000001.blocks");
    chain(2).iter().for_each(|block| chain_file.append(block).unwrap());
    let whole = fs::read(&path).unwrap();
    let mut start = 0;
    for length in (0..whole.len()).rev() {
        fs::write(&path, &whole[..length]).unwrap();
        match open_chain(dir.path(), Some(2)) {
            Err(StoreError::Corrupt { file, height, .. }) => {
                assert!(file.starts_with(dir.path()));
                start = height.unwrap();
            }
            other => panic!("{length}: {other:?}"),
        }
    }
    assert_eq!(start, 1);
    fs::remove_file(&path).unwrap();
    assert!(matches!(open_chain(dir.path(), Some(2)), Err(StoreError::Corrupt { height: Some(1), .. })));
}

#[test]
fn a_store_that_died_while_appending_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let running = dir.path().join("running");
    let (mut store, _) = open(&running).unwrap();
    store.persist(&Record::Block(block(1)), true).unwrap();
    store.persist(&Record::Wal(vote(2, 0)), true).unwrap();
    copy(&running, &dir.path().join("killed"));
    store.persist(&Record::Block(block(2)), true).unwrap();
    // The killed process got as far as half of the record.
    let segment = "chain/00000001.blocks";
    let bytes = fs::read(running.join(segment)).unwrap();
    let killed = dir.path().join("killed");
    fs::write(killed.join(segment), &bytes[..bytes.len() - 50]).unwrap();

    let folder = SessionFolder::at(&killed);
    let read: Vec<_> = ChainReader::open(&folder, session()).unwrap().map(|b| b.unwrap().block).collect();
    assert_eq!(read, chain(1), "a reader stops at what is unfinished and changes nothing");
    let (mut store, recovered) = open(&killed).unwrap();
    assert!(matches!(store.warnings(), [Warning::TornTail { height: 2, .. }]));
    assert_eq!(recovered.wal, [vote(2, 0)], "the votes of the height that has no block come back");
    store.persist(&Record::Block(block(2)), true).unwrap();
    store.close().unwrap();
    assert_eq!(open(&killed).unwrap().1.blocks, chain(2));
}

#[test]
fn files_are_bounded_and_a_torn_new_file_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 700, ..Options::default() };
    let (mut store, _) = open_with(dir.path(), options).unwrap();
    chain(9).into_iter().for_each(|block| store.persist(&Record::Block(block), true).unwrap());
    let reader = store.reader();
    assert_eq!(reader.read_blocks(1, 64, 1 << 20).unwrap(), chain(9));
    store.close().unwrap();
    let mut files: Vec<_> =
        fs::read_dir(dir.path().join("chain")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 2);
    assert!(files.iter().all(|file| fs::metadata(file).unwrap().len() <= 700));
    fs::write(dir.path().join("chain/00000010.blocks"), b"DFTL").unwrap();
    let (store, recovered) = open_with(dir.path(), options).unwrap();
    assert!(matches!(store.warnings(), [Warning::TornTail { height: 10, .. }]));
    assert_eq!(recovered.blocks, chain(9));
    store.close().unwrap();
    fs::remove_file(&files[1]).unwrap();
    assert!(matches!(open_with(dir.path(), options), Err(StoreError::Corrupt { .. })));
}
