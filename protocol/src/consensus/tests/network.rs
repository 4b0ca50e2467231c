//! A small network in virtual time: peers, delays, loss, crashes, and a checker of statements.
//!
//! The seed chooses every delay and fault, so a failure is its seed.

use std::collections::BTreeMap;

use super::super::*;
use super::solo::{seats, session, signers};
use crate::block::{CertifiedBlock, Evidence, Step};
use crate::committee::QuorumRule;
use crate::identity::Domain;
use crate::wire::{self, Message};

/// What may go wrong.
#[derive(Clone)]
pub struct Faults {
    /// Milliseconds on the way, at least and at most.
    pub delay: (u64, u64),
    /// Messages lost in a thousand.
    pub loss: u64,
    /// A peer that says nothing.
    pub silent: Option<usize>,
    /// The height at which the first proposer's proposal is not sent.
    pub mute_proposer_at: Option<Height>,
    /// A peer that signs nil beside each of its votes for a block.
    pub equivocator: Option<usize>,
    /// Crashes in a thousand actions, and how many in all.
    pub crash: (u64, u32),
    /// Whether a crash leaves the log.
    pub keep_log: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            delay: (5, 50),
            loss: 0,
            silent: None,
            mute_proposer_at: None,
            equivocator: None,
            crash: (0, 0),
            keep_log: true,
        }
    }
}

pub struct Random(u64);

impl Random {
    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

enum Event {
    Deliver(Box<Message>),
    /// The answers of a session; lost if the peer restarted meanwhile.
    Block {
        height: Height,
        attempt: Attempt,
        life: u32,
    },
    Verdict {
        block: Hash,
        life: u32,
    },
    Enter {
        height: Height,
    },
    Restart,
}

pub struct Peer {
    consensus: Consensus,
    up: bool,
    life: u32,
    durable: Vec<WalRecord>,
    buffered: Vec<WalRecord>,
    pub chain: Vec<CertifiedBlock>,
    pub evidence: Vec<Evidence>,
    pub replay_errors: Vec<ReplayError>,
}

/// Who said what where: one key, one statement.
type Said = BTreeMap<(usize, Height, Attempt, StatementKind), Option<Hash>>;

pub struct Network {
    pub now: Time,
    pub faults: Faults,
    pub random: Random,
    pub peers: Vec<Peer>,
    pub signers: Vec<Signer>,
    pub trace: Vec<(Time, usize, Hash)>,
    pub contradictions: u32,
    pub crashes: u32,
    quorum: QuorumRule,
    queue: BTreeMap<(Time, u64), (usize, Event)>,
    sequence: u64,
    said: Said,
    decided: BTreeMap<Height, Hash>,
}

impl Network {
    pub fn new(n: u8, quorum: QuorumRule, seed: u64, faults: Faults) -> Network {
        let signers = signers(n);
        let peer = |signer: &Signer| Peer {
            consensus: Consensus::new(Some(signer.clone()), session(), Timeouts::default()),
            up: true,
            life: 0,
            durable: vec![],
            buffered: vec![],
            chain: vec![],
            evidence: vec![],
            replay_errors: vec![],
        };
        let peers = signers.iter().map(peer).collect();
        let mut network = Network {
            now: Time(0),
            faults,
            random: Random(seed),
            peers,
            signers,
            trace: vec![],
            contradictions: 0,
            crashes: 0,
            quorum,
            queue: BTreeMap::new(),
            sequence: 0,
            said: Said::new(),
            decided: BTreeMap::new(),
        };
        for peer in 0..network.peers.len() {
            network.start_height(peer);
        }
        network
    }

    /// Runs until every peer that counts has `height` blocks; `false` if time is up before.
    pub fn run(&mut self, height: usize, limit: Span) -> bool {
        let limit = self.now + limit;
        while !self.done(height) {
            let timer = (0..self.peers.len())
                .filter(|peer| self.peers[*peer].up)
                .filter_map(|peer| Some((self.peers[peer].consensus.next_timeout()?, peer)))
                .min();
            let event = self.queue.keys().next().copied();
            match (timer, event) {
                (Some((at, peer)), event) if event.is_none_or(|(time, _)| at < time) => {
                    self.now = self.now.max(at);
                    self.peers[peer].consensus.handle_timeout(self.now);
                    self.act(peer);
                }
                (_, Some(key)) => {
                    self.now = self.now.max(key.0);
                    if let Some((peer, event)) = self.queue.remove(&key) {
                        self.handle(peer, event);
                    }
                }
                _ => return false,
            }
            if self.now > limit {
                return false;
            }
        }
        true
    }

    fn done(&self, height: usize) -> bool {
        let counts = |peer: &usize| Some(*peer) != self.faults.silent;
        (0..self.peers.len()).filter(counts).all(|peer| self.peers[peer].chain.len() >= height)
    }

    /// The highest attempt that decided a height.
    pub fn worst_attempt(&self) -> Attempt {
        let chain = |peer: &Peer| peer.chain.iter().map(|block| block.certificate.attempt).max();
        self.peers.iter().filter_map(chain).max().unwrap_or(0)
    }

    fn schedule(&mut self, span: Span, peer: usize, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + span, self.sequence), (peer, event));
    }

    fn soon(&mut self, at_most: u64) -> Span {
        Span::millis(self.random.below(at_most))
    }

    fn tip(&self, peer: usize) -> Hash {
        self.peers[peer].chain.last().map_or_else(session, |block| block.block.hash())
    }

    fn start_height(&mut self, peer: usize) {
        let parent = self.tip(peer);
        let height = self.peers[peer].chain.len() as Height + 1;
        let seats = seats(&self.signers, self.quorum);
        self.peers[peer].consensus.start_height(self.now, height, 0, parent, seats);
        let span = self.soon(300);
        self.schedule(span, peer, Event::Enter { height });
    }

    fn handle(&mut self, peer: usize, event: Event) {
        if !self.peers[peer].up && !matches!(event, Event::Restart) {
            return;
        }
        let now = self.now;
        match event {
            Event::Deliver(message) => self.deliver(peer, *message),
            Event::Block { height, attempt, life } if life == self.peers[peer].life => {
                let digest = Hash::of(format!("{peer} {height} {attempt} {life}").as_bytes());
                let parent = self.tip(peer);
                let block = Block { height, generation: 0, parent, items: vec![], digest };
                self.peers[peer].consensus.value_ready(now, height, attempt, block);
            }
            Event::Verdict { block, life } if life == self.peers[peer].life => {
                self.peers[peer].consensus.validity(now, block, true);
            }
            Event::Enter { height } if height == self.peers[peer].consensus.height() => {
                self.peers[peer].consensus.enter(now);
            }
            Event::Restart => self.restart(peer),
            _ => {}
        }
        self.act(peer);
    }

    fn deliver(&mut self, peer: usize, message: Message) {
        self.trace.push((self.now, peer, Hash::of(&wire::encode(&message))));
        let now = self.now;
        match message {
            Message::Vote(vote) => {
                self.answer_laggard(peer, vote.content.height, vote.by);
                self.peers[peer].consensus.vote_received(now, vote);
            }
            Message::Propose { proposal, block } => {
                self.answer_laggard(peer, proposal.content.height, proposal.by);
                self.peers[peer].consensus.proposal_received(now, proposal, block);
            }
            Message::Block(certified) => {
                let next = certified.block.height == self.peers[peer].chain.len() as Height + 1;
                if next && self.is_certified(&certified) {
                    self.append(peer, certified);
                }
            }
            _ => {}
        }
    }

    /// What a session does with a statement about a height that is decided here.
    fn answer_laggard(&mut self, peer: usize, height: Height, by: PeerKey) {
        let known = self.peers[peer].chain.get(height as usize - 1).cloned();
        let author = self.signers.iter().position(|signer| signer.key() == by);
        if let (Some(certified), Some(author)) = (known, author) {
            self.send(peer, author, Message::Block(certified));
        }
    }

    fn is_certified(&self, certified: &CertifiedBlock) -> bool {
        let seats = seats(&self.signers, self.quorum);
        certified.is_certified(session(), &seats.keys, seats.needed())
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let lost = self.random.below(1_000) < self.faults.loss;
        let (least, most) = self.faults.delay;
        let delay = Span::millis(least + self.random.below(most - least + 1));
        if !lost && self.faults.silent != Some(from) && from != to {
            self.schedule(delay, to, Event::Deliver(Box::new(message)));
        }
    }

    /// Acts on the outputs of a peer in order; it may crash before each of them.
    fn act(&mut self, peer: usize) {
        while let Some(output) = self.peers[peer].consensus.poll_output() {
            let (chance, most) = self.faults.crash;
            if self.crashes < most && self.random.below(1_000) < chance {
                return self.crash(peer);
            }
            match output {
                ConsensusOutput::Persist { record, sync } => {
                    let round_trip = WalRecord::from_bytes(&record.to_bytes());
                    self.peers[peer].buffered.push(round_trip.expect("records decode"));
                    if sync {
                        let buffered = std::mem::take(&mut self.peers[peer].buffered);
                        self.peers[peer].durable.extend(buffered);
                    }
                }
                ConsensusOutput::Broadcast(message) => self.broadcast(peer, message),
                ConsensusOutput::Tell { to, message } => {
                    let to = self.signers.iter().position(|signer| signer.key() == to).expect("a seat");
                    self.send(peer, to, message);
                }
                ConsensusOutput::NeedBlock { height, attempt } => {
                    let (span, life) = (self.soon(100), self.peers[peer].life);
                    self.schedule(span, peer, Event::Block { height, attempt, life });
                }
                ConsensusOutput::CheckBlock { block } => {
                    let (span, life) = (self.soon(100), self.peers[peer].life);
                    self.schedule(span, peer, Event::Verdict { block: block.hash(), life });
                }
                ConsensusOutput::Decided(certified) => {
                    assert!(self.is_certified(&certified), "a certificate must hold");
                    self.append(peer, certified);
                }
                ConsensusOutput::Evidence(evidence) => self.peers[peer].evidence.push(evidence),
                ConsensusOutput::Entered | ConsensusOutput::KeyInUseElsewhere { .. } => {}
            }
        }
    }

    fn append(&mut self, peer: usize, certified: CertifiedBlock) {
        let (height, hash) = (certified.block.height, certified.block.hash());
        let first = *self.decided.entry(height).or_insert(hash);
        if self.faults.keep_log {
            assert_eq!(first, hash, "two blocks at height {height}");
        }
        self.peers[peer].chain.push(certified);
        self.peers[peer].durable.clear();
        self.peers[peer].buffered.clear();
        self.start_height(peer);
    }

    fn broadcast(&mut self, peer: usize, message: Message) {
        self.check(peer, &message);
        let muted = match &message {
            Message::Propose { proposal, .. } => {
                proposal.content.attempt == 0 && self.faults.mute_proposer_at == Some(proposal.content.height)
            }
            _ => false,
        };
        let lie = self.lie(peer, &message);
        for to in 0..self.peers.len() {
            if !muted {
                self.send(peer, to, message.clone());
            }
            if let Some(lie) = &lie {
                self.send(peer, to, lie.clone());
            }
        }
    }

    /// The second face of an equivocator.
    fn lie(&self, peer: usize, message: &Message) -> Option<Message> {
        let Message::Vote(vote) = message else { return None };
        let own = vote.by == self.signers[peer].key() && vote.content.block.is_some();
        let liar = self.faults.equivocator == Some(peer) && own;
        let nil = Vote { block: None, ..vote.content.clone() };
        let scope = Scope { session: session(), generation: 0 };
        liar.then(|| Message::Vote(self.signers[peer].seal(Domain::Vote, scope, nil)))
    }

    /// Notes who said what, and counts contradictions. What others said is passed on, lies too.
    fn check(&mut self, peer: usize, message: &Message) {
        let (by, height, attempt, kind, block) = match message {
            Message::Vote(vote) => {
                let Vote { height, attempt, step, block } = vote.content;
                (vote.by, height, attempt, StatementKind::from(step), block)
            }
            Message::Propose { proposal, .. } => {
                let Proposal { height, attempt, block, .. } = proposal.content;
                (proposal.by, height, attempt, StatementKind::Proposal, Some(block))
            }
            _ => return,
        };
        let seat = self.signers.iter().position(|signer| signer.key() == by).expect("a seat");
        let said = *self.said.entry((seat, height, attempt, kind)).or_insert(block);
        let own = by == self.signers[peer].key();
        self.contradictions += u32::from(own && said != block);
    }

    /// Loses everything but what is durable and a part of what was about to be.
    fn crash(&mut self, peer: usize) {
        self.crashes += 1;
        let survives = self.random.below(self.peers[peer].buffered.len() as u64 + 1) as usize;
        let mut tail = std::mem::take(&mut self.peers[peer].buffered);
        tail.truncate(survives);
        self.peers[peer].durable.extend(tail);
        if !self.faults.keep_log {
            self.peers[peer].durable.clear();
        }
        self.peers[peer].up = false;
        let span = self.soon(3_000);
        self.schedule(span, peer, Event::Restart);
    }

    fn restart(&mut self, peer: usize) {
        let signer = Some(self.signers[peer].clone());
        self.peers[peer].consensus = Consensus::new(signer, session(), Timeouts::default());
        self.peers[peer].up = true;
        self.peers[peer].life += 1;
        self.start_height(peer);
        let records = self.peers[peer].durable.clone();
        if let Err(error) = self.peers[peer].consensus.replay(self.now, records) {
            self.peers[peer].replay_errors.push(error);
        }
    }

    /// Whether all statements in the evidence are of `peer`.
    pub fn convicts_only(&self, peer: usize) -> bool {
        let key = self.signers[peer].key();
        let all = self.peers.iter().flat_map(|peer| &peer.evidence);
        all.into_iter().all(|evidence| match evidence {
            Evidence::Votes(pair) => {
                let [a, b] = &**pair;
                let same = a.content.attempt == b.content.attempt && a.content.step == b.content.step;
                same && a.content != b.content && a.by == key && b.by == key
            }
            _ => false,
        })
    }

    /// Whether every peer decided the same blocks, as far as it is.
    pub fn agrees(&self) -> bool {
        let agrees = |peer: &Peer| {
            let mut parent = session();
            peer.chain.iter().all(|block| {
                let linked = block.block.parent == parent;
                parent = block.block.hash();
                linked && self.decided.get(&block.block.height) == Some(&parent)
            })
        };
        self.peers.iter().all(agrees)
    }

    /// Steps of the votes in all evidence, for tests.
    pub fn evidence_steps(&self) -> Vec<Step> {
        let all = self.peers.iter().flat_map(|peer| &peer.evidence);
        all.filter_map(|evidence| match evidence {
            Evidence::Votes(pair) => Some(pair[0].content.step),
            _ => None,
        })
        .collect()
    }
}
