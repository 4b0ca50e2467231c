//! Whether a disk still holds what was relied on, and nothing wrong.

use std::path::Path;

use driftless::store::Warning;
use driftless_protocol::Hash;
use driftless_protocol::event::Record;

use super::life::{Known, Life, known_of, open};
use super::session::*;

/// Opens the disk at `root` as after a start and compares; returns what can be relied on now.
pub fn check(session: &Session, root: &Path, known: &Known, life: &Life) -> Result<Known, String> {
    let listed = driftless::store::Folder::open(root).and_then(|folder| folder.sessions());
    let listed = listed.map_err(|error| error.to_string())?.len();
    if known.founded && listed != 1 {
        return Err("the session's manifest is gone".into());
    }
    let (mut store, recovered) = open(session, root).map_err(|error| format!("opening: {error}"))?;
    let expect = |holds: bool, what: String| if holds { Ok(()) } else { Err(what) };
    for warning in store.warnings() {
        expect(matches!(warning, Warning::TornTail { .. }), format!("a warning: {warning}"))?;
    }
    let (height, reader) = (store.height(), store.reader());
    expect(height >= known.height, format!("height {height}, {} was acknowledged", known.height))?;
    for height in (1..=height).filter(|height| !known.missing.contains(height)) {
        let read = reader.read_blocks(height, 1, 1 << 20).map_err(|error| error.to_string())?;
        match read.first() {
            Some(block) => expect(block == session.block(height), format!("block {height} is another"))?,
            None => expect(height > known.height, format!("block {height} is gone"))?,
        }
    }
    let snapshot = recovered.snapshot.as_ref().map(|snapshot| snapshot.height());
    let newest = known.snapshots.last().copied();
    expect(snapshot >= newest, format!("snapshot {snapshot:?}, {newest:?} was acknowledged"))?;
    if let Some(snapshot) = &recovered.snapshot {
        let expected = session.snapshot(snapshot.height());
        expect(snapshot.state == expected.state, "the snapshot's state is another".into())?;
        expect(snapshot.block == expected.block, "the snapshot's block is another".into())?;
        for page in snapshot.pages() {
            reader.page(&page.hash()).map_err(|error| format!("a page: {error}"))?;
        }
    }
    let from = snapshot.unwrap_or(0) + 1;
    let replayed: Vec<_> = (from..=height).map(|height| session.block(height).clone()).collect();
    expect(recovered.blocks == replayed, format!("{} blocks to replay", recovered.blocks.len()))?;
    let least = if height == known.height { known.wal } else { 0 };
    let logged = life.wal.get(&(height + 1)).map_or(&[][..], Vec::as_slice);
    let found = recovered.wal.len();
    expect(found >= least, format!("{found} inputs of height {}, {least} were acknowledged", height + 1))?;
    expect(logged.starts_with(&recovered.wal), format!("{found} inputs are not the first that were logged"))?;
    for signed in &recovered.signed {
        let slot = signed.content.slot;
        expect(*signed == session.signed(slot), format!("another signature for {slot:?}"))?;
        expect(height_of(slot) > height, format!("{slot:?} is closed"))?;
    }
    for slot in known.signed.iter().filter(|slot| height_of(**slot) > height) {
        let there = recovered.signed.iter().any(|signed| signed.content.slot == *slot);
        expect(there, format!("the signature for {slot:?} is gone"))?;
    }
    for slot in &known.blobs {
        let read = reader.blob(&Hash::of(&blob(*slot)));
        expect(read.is_ok_and(|bytes| bytes == blob(*slot)), format!("the blob of {slot:?} is gone"))?;
    }
    expect(recovered.bar.is_some() || !known.barred, "that this key signs nothing is forgotten".into())?;
    let number = recovered.checkpoint.as_ref().map(|checkpoint| checkpoint.height);
    let relied_on = known.checkpoint;
    expect(number >= relied_on, format!("checkpoint {number:?}, {relied_on:?} was acknowledged"))?;
    if let Some(found) = &recovered.checkpoint {
        let whole = found.bytes == checkpoint(found.height).bytes;
        expect(whole, format!("checkpoint {} is another", found.height))?;
    }
    let found = Known { founded: listed == 1, ..known_of(&store, &recovered, known) };
    // It goes on: the next vote and the next block.
    let records =
        [Record::Wal(session.wal(height + 1, found.wal)), Record::Block(session.block(height + 1).clone())];
    for record in records {
        store.persist(&record, true).map_err(|error| format!("going on with {record:?}: {error}"))?;
    }
    Ok(found)
}
