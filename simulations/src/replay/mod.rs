//! A real session against the simulator: every contribution and every state of a recorded chain computed
//! again.
//!
//! The chain says who was counted when; everything else is made anew: each peer runs the product's
//! `protocol::training` and `protocol::worker` on the CPU engine, its blobs are compared with the recorded
//! roots, the outer steps are taken with them, and the digests are compared.
//!
//! Where `max_overrun` is strict, all peers take the same number of steps, and each slot counts everybody who
//! was drawn, nothing that a peer computes depends on when its messages arrive: it merges a fragment at
//! exactly tau steps after its contribution, whether the certificate came before or is waited for. Between the
//! two the learning rate is planned with the tokens that were counted; those of all contributors are what the
//! peer assumes before it knows. [`Certificates`] are the two extremes; both must lead to the recorded bits.
//!
//! A slot that closes without somebody is where that ends: at which of its steps the one left out, and for
//! the learning rate everybody else, heard of it is not in the chain.

mod engines;
mod peer;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;

use driftless_protocol::block::{CertifiedBlock, Closing, Slot};
use driftless_protocol::charter::Charter;
use driftless_protocol::identity::Hash;
use driftless_protocol::slot::Ground;
use driftless_protocol::state::State;
use driftless_protocol::transition::{self, CandidateJob, Parent, Plan, blob_root};

use crate::session_folder::SessionFolder;
use engines::Engines;
use peer::Peer;
pub use verdict::{Difference, Progress, ReplayError, Report, Verdict};

/// When certificates arrive at the peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Certificates {
    /// Before anything more is trained.
    #[default]
    Early,
    /// When nothing more can be trained without them.
    Late,
}

/// How a session is computed again.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Compute threads of an engine.
    pub threads: usize,
    /// Peers that compute at the same time.
    pub at_once: usize,
    /// When certificates arrive.
    pub certificates: Certificates,
}

/// A session on its way through the chain.
struct Replay {
    charter: Arc<Charter>,
    options: Options,
    state: State,
    head: Hash,
    peers: Vec<Peer>,
    report: Report,
}

/// Computes a session again up to the first difference; `told` hears of every height.
///
/// # Errors
/// A session that no replay can follow, or a chain that is none.
pub fn replay(
    folder: &SessionFolder,
    options: Options,
    told: &mut dyn FnMut(&Progress),
) -> Result<Report, ReplayError> {
    let mut replay = Replay::new(folder, options)?;
    for certified in &folder.chain {
        replay.report.verdict = replay.height(certified)?;
        if replay.report.verdict != Verdict::Equal {
            break;
        }
        let steps = replay.peers.iter().map(|peer| peer.steps).sum();
        let counted_tokens = replay.state.control.counted_tokens;
        told(&Progress {
            height: certified.block.height,
            of: folder.chain.len() as u64,
            steps,
            counted_tokens,
        });
    }
    replay.report.steps = replay.peers.iter().map(|peer| peer.steps).max().unwrap_or(0);
    Ok(replay.report)
}

impl Replay {
    fn new(folder: &SessionFolder, options: Options) -> Result<Replay, ReplayError> {
        let charter = folder.charter.clone();
        let engines = Engines::of(folder)?;
        let state = charter.genesis_state();
        let head = charter.session;
        if state.digest() != charter.manifest.genesis {
            return Err(ReplayError::Genesis);
        }
        let ground = Ground { charter: &charter, state: &state, head };
        let peer = |key| {
            let engine = engines.engine(options.threads)?;
            Peer::new(&charter, key, engine, ground).map_err(ReplayError::Engine)
        };
        let peers = charter.founding_seats().into_iter().map(peer).collect::<Result<_, _>>()?;
        Ok(Replay { report: Report::default(), charter, options, state, head, peers })
    }

    /// Everything of one block; what it led to is the state afterwards.
    fn height(&mut self, certified: &CertifiedBlock) -> Result<Verdict, ReplayError> {
        let block = &certified.block;
        let height = block.height;
        let seats = &self.state.control.seats;
        if !certified.is_certified(self.charter.session, seats, self.charter.quorum(seats.len())) {
            return Err(ReplayError::NotCertified(height));
        }
        for closing in block.closings() {
            if let Some(reason) = self.unknowable(closing) {
                return Ok(Verdict::Unknowable { height, reason });
            }
        }
        if let Some(difference) = self.train(certified) {
            return Ok(Verdict::Differs(difference));
        }
        let parent = Parent { state: &self.state, hash: self.head };
        let plan = transition::continues(parent, block)
            .and_then(|()| transition::check(&self.charter, parent, &block.items))
            .map_err(|reason| ReplayError::Invalid { height, reason })?;
        let state = self.outer_steps(plan, height)?;
        self.report.heights = height;
        let found = state.digest();
        if found != block.digest {
            let (recorded, found) = (block.digest.to_string(), found.to_string());
            return Ok(Verdict::Differs(Difference { height, whose: None, slot: None, recorded, found }));
        }
        self.report.digests += 1;
        (self.state, self.head) = (state, block.hash());
        let ground = Ground { charter: &self.charter, state: &self.state, head: self.head };
        self.peers.iter_mut().for_each(|peer| peer.apply(block, ground));
        let gone = |peer: &Peer| ground.state.control.index_of(&peer.key).is_none();
        self.peers.retain(|peer| !gone(peer));
        Ok(Verdict::Equal)
    }

    /// Why what follows a closing depends on more than the chain tells, if it does.
    fn unknowable(&self, closing: &Closing) -> Option<String> {
        let Slot { stream, ordinal } = closing.slot;
        let ground = Ground { charter: &self.charter, state: &self.state, head: self.head };
        let (drawn, counted) = (ground.drawn(ordinal).len(), closing.counted.len());
        let slot = format!("slot {ordinal} of stream {stream}");
        if counted < drawn {
            return Some(format!(
                "{slot} counts {counted} of {drawn} peers: when the others heard that it closed without them is \
                 not in the chain"
            ));
        }
        let keys =
            closing.counted.iter().filter_map(|c| self.state.control.members.get(usize::from(c.member)));
        let unknown = keys.map(|member| member.key).find(|key| !self.peers.iter().any(|p| p.key == *key))?;
        Some(format!(
            "{slot} counts {}, which joined later: with which parameters is not in the chain",
            unknown.short()
        ))
    }

    /// The peers train until each has contributed what the block counts; the first that contributes
    /// something else.
    fn train(&mut self, certified: &CertifiedBlock) -> Option<Difference> {
        let slots: Vec<Slot> = certified.block.closings().map(|closing| closing.slot).collect();
        let (state, certificates) = (&self.state, self.options.certificates);
        let share = self.peers.len().div_ceil(self.options.at_once.max(1)).max(1);
        let stuck: BTreeMap<_, _> = std::thread::scope(|scope| {
            let slots = &slots;
            let work = |peers: &mut [Peer]| {
                let told = peers.iter_mut().map(|peer| (peer.key, peer.advance(state, slots, certificates)));
                told.filter_map(|(key, told)| Some((key, told.err()?))).collect::<Vec<_>>()
            };
            let parts = self.peers.chunks_mut(share);
            let threads: Vec<_> = parts.map(|peers| scope.spawn(move || work(peers))).collect();
            // A panic of the engine is one here.
            threads.into_iter().flat_map(|thread| thread.join().expect("the engine panicked")).collect()
        });
        for closing in certified.block.closings() {
            for counted in &closing.counted {
                let member = self.state.control.members.get(usize::from(counted.member))?;
                let peer = self.peers.iter().find(|peer| peer.key == member.key)?;
                let recorded = verdict::told(blob_root(&counted.payload), &counted.work);
                let found = match (peer.contribution(closing.slot), stuck.get(&peer.key)) {
                    (Some(made), _) => verdict::told(Some(made.root), &made.work),
                    (None, why) => why.cloned().unwrap_or_default(),
                };
                if recorded != found {
                    let (height, whose) = (certified.block.height, Some(peer.key.to_string()));
                    let slot = Some((closing.slot.stream, closing.slot.ordinal));
                    return Some(Difference { height, whose, slot, recorded, found });
                }
                self.report.contributions += 1;
            }
        }
        None
    }

    /// The state after the block, with the blobs that were made here.
    fn outer_steps(&self, plan: Plan, height: u64) -> Result<State, ReplayError> {
        let made = plan.aggregations.iter().flat_map(|aggregation| {
            let of = |key| self.peers.iter().find(move |peer| peer.key == key);
            aggregation.parts.iter().filter_map(move |part| of(part.member)?.contribution(aggregation.slot))
        });
        let blobs: BTreeMap<Hash, Vec<u8>> = made.map(|made| (made.root, made.bytes.clone())).collect();
        let mut read = |root: &Hash| blobs.get(root).cloned().ok_or_else(|| "not made here".to_owned());
        let job = CandidateJob::new(0, self.charter.clone(), self.state.clone(), plan);
        job.run(&mut read).map_err(|reason| ReplayError::Candidate { height, reason })
    }
}
