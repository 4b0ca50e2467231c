//! A session whose every record follows from a number, so that whatever comes back can be judged.

use driftless_protocol::Hash;
use driftless_protocol::block::*;
use driftless_protocol::charter::Charter;
use driftless_protocol::codec::Codec;
use driftless_protocol::committee::Committee;
use driftless_protocol::consensus::WalRecord;
use driftless_protocol::event::{Bar, Checkpoint, Snapshot};
use driftless_protocol::identity::{Domain, Scope, Signature, Signed, Signer};
use driftless_protocol::manifest::*;
use driftless_protocol::membership::{ControlPage, LeaseRules};
use driftless_protocol::method::Method;
use driftless_protocol::model::{GptShape, Model};
use driftless_protocol::state::{Array, State};
use driftless_protocol::time::Span;

/// Blocks that are made beforehand.
pub const HEIGHTS: Height = 400;

pub struct Session {
    pub signer: Signer,
    pub manifest: SignedManifest,
    pub charter: Charter,
    blocks: Vec<CertifiedBlock>,
}

impl Session {
    pub fn new() -> Session {
        let signer = Signer::from_seed([3; 32]);
        let mut terms = terms(&signer);
        let lengths = Charter::new(terms.clone()).unwrap().lengths;
        terms.genesis = state(&signer, &lengths, 0).digest();
        let charter = Charter::new(terms.clone()).unwrap();
        let manifest = SignedManifest::seal(terms, &signer).unwrap();
        let mut session = Session { signer, manifest, charter, blocks: Vec::new() };
        let mut parent = session.charter.session;
        for height in 1..=HEIGHTS {
            let block = session.make_block(height, parent);
            parent = block.block.hash();
            session.blocks.push(block);
        }
        session
    }

    /// Closes one slot with one contribution.
    fn make_block(&self, height: Height, parent: Hash) -> CertifiedBlock {
        let slot = slot_of(height);
        let announcement = self.signed(slot);
        let Announcement { payload, work, .. } = announcement.content;
        let counted = vec![Counted { member: 0, payload, work, signature: announcement.signature }];
        let digest = self.state(height).digest();
        let items = vec![Item::Close(Closing { slot, counted })];
        let block = Block { height, generation: 0, parent, items, digest };
        let certificate = Certificate { attempt: 0, precommits: vec![(0, Signature([height as u8; 64]))] };
        CertifiedBlock { block, certificate }
    }

    pub fn block(&self, height: Height) -> &CertifiedBlock {
        &self.blocks[height as usize - 1]
    }

    pub fn state(&self, height: Height) -> State {
        state(&self.signer, &self.charter.lengths, height)
    }

    pub fn snapshot(&self, height: Height) -> Snapshot {
        Snapshot { block: (height > 0).then(|| self.block(height).clone()), state: self.state(height) }
    }

    pub fn bar(&self) -> Bar {
        Bar { key: self.signer.key(), reason: "an older copy".into(), lifted: false }
    }

    pub fn signed(&self, slot: Slot) -> Signed<Announcement> {
        let bytes = blob(slot);
        let announcement = Announcement {
            slot,
            base: Hash::of(b"base"),
            payload: Payload::Blob { root: Hash::of(&bytes), length: bytes.len() as u64 },
            work: Work { steps: 1, tokens: u64::from(slot.ordinal), ..Work::default() },
        };
        self.signer.seal(Domain::Announcement, self.scope(), announcement)
    }

    /// What is logged as number `index` of the height: votes, and now and then a long proposal.
    pub fn wal(&self, height: Height, index: usize) -> WalRecord {
        let attempt = index as Attempt;
        let word = (height * 31 + index as u64 * 7) % 8;
        if word < 6 {
            let vote = Vote { height, attempt, step: Step::Prevote, block: Some(Hash::of(b"block")) };
            return WalRecord::OwnVote(self.signer.seal(Domain::Vote, self.scope(), vote));
        }
        let counted = |member: u16| Counted {
            member,
            payload: Payload::Inline(vec![member as u8; 400]),
            work: Work::default(),
            signature: Signature([index as u8; 64]),
        };
        let counted = (0..if word == 6 { 2 } else { 95 }).map(counted).collect();
        let items = vec![Item::Close(Closing { slot: slot_of(height), counted })];
        let block = Block { height, generation: 0, parent: Hash::default(), items, digest: Hash::default() };
        let proposal = Proposal { height, attempt, valid_attempt: None, block: block.hash() };
        let proposal = self.signer.seal(Domain::Proposal, self.scope(), proposal);
        WalRecord::OwnProposal { proposal, block: Some(block) }
    }

    fn scope(&self) -> Scope {
        Scope { session: self.charter.session, generation: 0 }
    }
}

/// The slot that the block of this height closes.
pub fn slot_of(height: Height) -> Slot {
    let before = height - 1;
    Slot { stream: (before % 2) as u16, ordinal: (before / 2) as u32 }
}

/// The height that closes this slot.
pub fn height_of(slot: Slot) -> Height {
    u64::from(slot.ordinal) * 2 + u64::from(slot.stream) + 1
}

/// The contribution to a slot: from less than a sector to several pages.
pub fn blob(slot: Slot) -> Vec<u8> {
    let height = height_of(slot);
    noise(height, [100, 4096, 20_000, 513][height as usize % 4])
}

pub fn checkpoint(number: u64) -> Checkpoint {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend(noise(number, 12_000));
    Checkpoint { height: number, bytes }
}

/// Bytes that are never zero, so that a hole is no part of them.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (word >> 56) as u8 | 1
    };
    (0..count).map(|_| next()).collect()
}

fn state(signer: &Signer, lengths: &[usize], height: Height) -> State {
    let mut control = ControlPage::genesis(
        2,
        vec![signer.key()],
        LeaseRules { target: 0, max_lag: 4, window: 1, batch: 1 },
    );
    control.height = height;
    control.closed = vec![height.div_ceil(2) as u32, (height / 2) as u32];
    let moving = |length: &usize| Array::new(&vec![height as f32; *length]);
    let fixed = |length: &usize| Array::new(&vec![0.5; *length]);
    State {
        control: control.into(),
        arrays: vec![lengths.iter().map(moving).collect(), lengths.iter().map(fixed).collect()],
        estimates: Default::default(),
    }
}

fn terms(founder: &Signer) -> Manifest {
    let mut preset = Manifest::preset("gpt:tiny").unwrap();
    preset.model = Model::Gpt(GptShape { layers: 2, heads: 1, width: 4, context: 8, vocabulary: 256 });
    let Method::StreamingDiLoCo(method) = &mut preset.method else { unreachable!() };
    (method.fragments, method.codec) = (2, Codec::E3M0);
    let committee = Committee::Steward { key: founder.key() };
    let manifest = preset.manifest(committee, Data::Private { max_tokens_per_slot: 1 << 20 });
    let deadline = DeadlineBounds { minimum: Span::seconds(1), maximum: Span::seconds(15) };
    Manifest { name: "power cut".into(), seed: [7; 32], deadline, ..manifest }
}
