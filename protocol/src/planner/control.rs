//! What is said about a slot, counted with the very messages: each is encoded, and its bytes are counted.
//!
//! A height that closes one slot at its first attempt: announcements to the voters, the proposal to the other
//! voters, two votes of each to each, the block to everybody, and where voters are elected their presence.
//! What is said now and then (where a chain ends, every ten seconds) is not counted; nor is what libp2p adds.

use super::{ByRole, Peers, Role};
use crate::block::{
    Announcement, Block, Certificate, CertifiedBlock, Closing, Counted, Item, Payload, Presence, Proposal,
    Roll, Slot, Step, Vote, Work,
};
use crate::committee::Committee;
use crate::identity::{Hash, PeerKey, Signature, Signed};
use crate::manifest::Manifest;
use crate::method::OneByte;
use crate::positions::Positions;
use crate::wire::Message;

/// Who waits longer than this for a certificate announces a second time. (`session/contributing.rs`: after
/// half of what the last slot took, but a second at least.)
pub(super) const RESENT_AFTER: f64 = 1.0;

/// Bytes of the messages of one slot.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Said {
    announcement: f64,
    proposal: f64,
    vote: f64,
    block: f64,
    presence: f64,
    drawn: f64,
    steps: Option<Steps>,
}

/// The messages of a batch's steps: of one member's samples, and of a list as it is sent to those in it.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Steps {
    count: f64,
    samples: f64,
    list: f64,
}

/// Bytes of messages that one peer sends and receives for a slot, on average.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Words {
    pub sent: f64,
    pub received: f64,
}

/// The messages of a slot to which `drawn` contribute.
pub(super) fn said(manifest: &Manifest, peers: &Peers, drawn: u32) -> Said {
    let elected = matches!(manifest.committee, Committee::Elected { .. });
    let present = if elected { peers.voters.saturating_sub(1) } else { 0 };
    let (payload, work) = contribution(manifest);
    let block = block(&payload, &work, drawn as usize, present as usize);
    // Not fewer than a quorum: a proposer that hears more has more of them.
    let quorum = manifest.committee.quorum_rule().needed(peers.voters as usize);
    let precommits = (0..quorum).map(|seat| (seat as u8, SIGNATURE)).collect();
    let certificate = Certificate { attempt: 0, precommits };
    // What all have from lists needs no mirrors.
    let most = if manifest.method.one_byte().is_some() { 0 } else { 2 };
    let mirrors = vec![PeerKey::default(); peers.count().saturating_sub(1).min(most) as usize];
    let vote = Vote { height: HEIGHT, attempt: 0, step: Step::Prevote, block: Some(HASH) };
    let proposal = Proposal { height: HEIGHT, attempt: 0, valid_attempt: None, block: HASH };
    let announcement = Announcement { slot: SLOT, base: HASH, payload, work };
    let length = |message: Message| message.to_bytes().len() as f64;
    Said {
        announcement: length(Message::Announce { announcement: signed(announcement), mirrors, relay: false }),
        proposal: length(Message::Propose { proposal: signed(proposal), block: block.clone() }),
        vote: length(Message::Vote(signed(vote))),
        block: length(Message::Block(CertifiedBlock { block, certificate })),
        presence: if elected {
            length(Message::Presence(signed(Presence { height: HEIGHT, block: HASH })))
        } else {
            0.0
        },
        drawn: f64::from(drawn),
        steps: manifest.method.one_byte().map(|method| steps(method, drawn)),
    }
}

impl Said {
    /// What each role sends and receives; `again` if announcements are sent twice.
    pub fn bytes(&self, peers: &Peers, again: bool) -> ByRole<Words> {
        let [contributors, voters, all] = [peers.contributors, peers.voters, peers.count()].map(f64::from);
        let share = self.drawn / contributors;
        let announcement = if again { 2.0 * self.announcement } else { self.announcement };
        let others = voters - 1.0;
        let among_voters = others * (2.0 * self.vote + self.presence);
        let (steps, lists) =
            (self.steps.unwrap_or(Steps { count: 0.0, samples: 0.0, list: 0.0 }), 1.0 / voters);
        // One voter orders: it gets the others' samples and gives each a list.
        let (samples, list) = (steps.count * steps.samples, steps.count * steps.list);
        let words = |role: Role| match role {
            Role::Voter => Words {
                sent: share * (1.0 - lists) * samples
                    + lists * list * (self.drawn - share)
                    + share * announcement * others
                    + among_voters
                    + (self.proposal * others + self.block * (all - 1.0)) / voters,
                received: share * (1.0 - lists) * list
                    + lists * samples * (self.drawn - share)
                    + (self.drawn - share) * announcement
                    + among_voters
                    + (self.proposal + self.block) * others / voters,
            },
            Role::Contributor => {
                Words { sent: share * (announcement * voters + samples), received: self.block + share * list }
            }
            Role::Follower => Words { sent: 0.0, received: self.block },
        };
        ByRole::new(words)
    }

    /// A block with its certificate, as the chain holds it.
    pub fn block(&self) -> f64 {
        self.block
    }
}

// Numbers as a session in its first days has them: their encodings grow with their values.
const HASH: Hash = Hash([0xff; 32]);
const SIGNATURE: Signature = Signature([0xff; 64]);
const HEIGHT: u64 = 1_000;
const SLOT: Slot = Slot { stream: 0, ordinal: 500 };
const SPEED: u32 = 10_000;

fn signed<T>(content: T) -> Signed<T> {
    Signed { by: PeerKey::default(), content, signature: SIGNATURE }
}

fn steps(method: &OneByte, drawn: u32) -> Steps {
    let (step, samples) = (method.batch_steps / 2, usize::from(method.samples));
    let length = |message: Message| message.to_bytes().len() as f64;
    // Batches are long: of these messages most name a small number.
    let slot = Slot { stream: 0, ordinal: 100 };
    let others = vec![0; samples * drawn.saturating_sub(1) as usize];
    let listed = u64::MAX >> (64 - drawn.clamp(1, 64));
    Steps {
        count: f64::from(method.batch_steps),
        samples: length(Message::Samples { slot, step, bytes: vec![0; samples] }),
        list: length(Message::List { slot, step, listed, bytes: others }),
    }
}

/// A contribution in the middle of the budget.
fn contribution(manifest: &Manifest) -> (Payload, Work) {
    let values = manifest.layout().fragments.first().map_or(0, |fragment| fragment.len);
    let length = manifest.method.usual_bytes(values as usize);
    let training = &manifest.training;
    let steps = manifest.largest_steps();
    let samples = u64::from(steps) * u64::from(training.batch);
    let context = u64::from(manifest.model.context());
    let first = training.budget_tokens / 2 / context.max(1);
    let used = Positions::range(first, u32::try_from(samples).unwrap_or(u32::MAX));
    let work = Work { steps, tokens: samples * context, samples: used, speed: SPEED };
    (Payload::Blob { root: HASH, length }, work)
}

fn block(payload: &Payload, work: &Work, counted: usize, present: usize) -> Block {
    let one = |member: usize| Counted {
        member: member as u16,
        payload: payload.clone(),
        work: work.clone(),
        signature: SIGNATURE,
    };
    let mut items = vec![Item::Close(Closing { slot: SLOT, counted: (0..counted).map(one).collect() })];
    if present > 0 {
        let present = (0..present).map(|seat| (seat as u8, SIGNATURE)).collect();
        items.push(Item::Roll(signed(Roll { height: HEIGHT, present })));
    }
    Block { height: HEIGHT, generation: 0, parent: HASH, items, digest: HASH }
}
