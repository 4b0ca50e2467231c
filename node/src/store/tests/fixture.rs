//! A small session's blocks, states and statements, and folders to put them in.

use std::fs;
use std::path::Path;

use driftless_protocol::Hash;
use driftless_protocol::block::*;
use driftless_protocol::consensus::WalRecord;
use driftless_protocol::event::{Checkpoint, Record, Recovered, Snapshot};
use driftless_protocol::identity::{Domain, Scope, Signature, Signed, Signer};
use driftless_protocol::membership::{ControlPage, LeaseRules};
use driftless_protocol::state::{Array, State};

use crate::store::recovery::{Shape, recover};
use crate::store::{Options, SessionFolder, SessionStore, StoreError};

pub(super) const LENGTHS: [usize; 2] = [40, 10];

pub(super) fn session() -> Hash {
    Hash::of(b"a session")
}

pub(super) fn signer() -> Signer {
    Signer::from_seed([3; 32])
}

/// The state after the block of `height`.
pub(super) fn state(height: Height) -> State {
    let mut control = ControlPage::genesis(
        2,
        vec![signer().key()],
        LeaseRules { target: 0, max_lag: 4, window: 1, batch: 1 },
    );
    control.height = height;
    control.closed = vec![height as u32, 0];
    let array = |length: &usize| Array::new(&vec![height as f32; *length]);
    let fixed = |length: &usize| Array::new(&vec![0.5; *length]);
    State {
        control: control.into(),
        arrays: vec![LENGTHS.iter().map(array).collect(), LENGTHS.iter().map(fixed).collect()],
        estimates: Default::default(),
    }
}

pub(super) fn shape() -> Shape {
    let pages = driftless_protocol::state::Shape { arrays: 2, lengths: LENGTHS.to_vec(), estimates: None };
    Shape { session: session(), genesis: state(0).digest(), pages }
}

/// The block that closes slot (0, height - 1), without contributions.
pub(super) fn block(height: Height) -> CertifiedBlock {
    chain(height).pop().expect("height is at least 1")
}

/// Blocks 1 to `height`.
pub(super) fn chain(height: Height) -> Vec<CertifiedBlock> {
    let mut parent = session();
    let mut blocks = Vec::new();
    for height in 1..=height {
        let slot = Slot { stream: 0, ordinal: height as u32 - 1 };
        let items = vec![Item::Close(Closing { slot, counted: Vec::new() })];
        let block = Block { height, generation: 0, parent, items, digest: state(height).digest() };
        parent = block.hash();
        let certificate = Certificate { attempt: 0, precommits: vec![(0, Signature([height as u8; 64]))] };
        blocks.push(CertifiedBlock { block, certificate });
    }
    blocks
}

pub(super) fn snapshot(height: Height) -> Snapshot {
    Snapshot { block: (height > 0).then(|| block(height)), state: state(height) }
}

pub(super) fn checkpoint(height: Height) -> Checkpoint {
    Checkpoint { height, bytes: vec![height as u8; 300] }
}

/// A contribution signed for a slot; `content` tells two of them apart.
pub(super) fn signed(stream: u16, ordinal: u32, content: u64) -> Signed<Announcement> {
    let scope = Scope { session: session(), generation: 0 };
    let announcement = Announcement {
        slot: Slot { stream, ordinal },
        base: Hash::of(b"base"),
        payload: Payload::Blob { root: Hash::of(&content.to_le_bytes()), length: 9 },
        work: Work { steps: 1, tokens: content, ..Work::default() },
    };
    signer().seal(Domain::Announcement, scope, announcement)
}

/// A logged vote of `height`.
pub(super) fn vote(height: Height, attempt: Attempt) -> WalRecord {
    let scope = Scope { session: session(), generation: 0 };
    let vote = Vote { height, attempt, step: Step::Prevote, block: Some(Hash::of(b"block")) };
    WalRecord::Vote(signer().seal(Domain::Vote, scope, vote))
}

/// A logged proposal with a body of about `bytes`.
pub(super) fn large(height: Height, bytes: usize) -> WalRecord {
    let scope = Scope { session: session(), generation: 0 };
    let counted = |member: u16| Counted {
        member,
        payload: Payload::Inline(vec![member as u8; 400]),
        work: Work::default(),
        signature: Signature([1; 64]),
    };
    let counted = (0..bytes as u16 / 480).map(counted).collect();
    let items = vec![Item::Close(Closing { slot: Slot { stream: 0, ordinal: 0 }, counted })];
    let block = Block { height, generation: 0, parent: session(), items, digest: Hash::default() };
    let proposal = Proposal { height, attempt: 0, valid_attempt: None, block: block.hash() };
    let proposal = signer().seal(Domain::Proposal, scope, proposal);
    WalRecord::Proposal { proposal, valid: true, block: Some(block) }
}

pub(super) fn blob(content: u64) -> Record {
    let bytes = content.to_le_bytes().repeat(100);
    Record::Blob { root: Hash::of(&bytes), bytes }
}

pub(super) fn open(path: &Path) -> Result<(SessionStore, Recovered), StoreError> {
    open_with(path, Options::default())
}

pub(super) fn open_with(path: &Path, options: Options) -> Result<(SessionStore, Recovered), StoreError> {
    recover(SessionFolder::at(path), &shape(), options)
}

/// What a disk would hold if the machine stopped now.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Flips one bit of a file.
pub(super) fn flip(path: &Path, at: usize, bit: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
}

/// The only file in a folder whose name ends so.
pub(super) fn file_in(folder: &Path, suffix: &str) -> std::path::PathBuf {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// The founder's word for a new committee.
pub(super) fn reset(generation: u32) -> Signed<Reset> {
    let scope = Scope { session: session(), generation };
    let seats = vec![signer().key()];
    signer().seal(Domain::Reset, scope, Reset { generation, height: 4, parent: block(4).block.hash(), seats })
}
