//! Worlds that a seed makes up: committee, peers, links, faults and what users wish. After the last
//! fault they must come to their end within a bound.

use driftless_protocol::codec::{Codec, TopK};
use driftless_protocol::committee::QuorumRule;
use driftless_protocol::event::Command;
use driftless_protocol::manifest::Pacing;
use driftless_protocol::method::one_byte::{Directions, Estimator};
use driftless_protocol::method::{Co2, Combine, Ef21, Method, OneByte, Overrun, SparseLoCo};
use driftless_protocol::time::{Span, Time};

use crate::faults::{self, Fault};
use crate::flows::Access;
use crate::network::{Link, Reach};
use crate::random::Random;
use crate::setup::{Lie, PeerSetup, Setup};

/// Faults happen before this moment.
const FAULTS: Time = Time(Span::seconds(25).0);
/// A partition lasts no longer.
const PARTITION: Span = Span::seconds(8);
/// Until a peer that is up has acted on as many outputs as a crash waits for.
const OUTPUTS: Span = Span::seconds(4);
/// In elected sessions they begin so much later: it takes 64 slots until anybody is elected.
const GROWTH: Span = Span::seconds(45);

/// A world before it starts, with what its users will wish.
#[derive(Debug, Clone)]
pub struct Draw {
    /// Peers, terms, links and faults.
    pub setup: Setup,
    /// What users wish.
    pub wishes: Vec<Wish>,
}

/// What a peer's user wishes at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// When.
    pub at: Time,
    /// Whose user.
    pub peer: usize,
    /// What.
    pub command: Command,
}

impl Draw {
    /// The world of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Draw {
        let mut draw = Draw::streaming(seed);
        method(&mut draw.setup);
        gradients(&mut draw.setup);
        batches_of_steps(&mut draw.setup);
        draw
    }

    /// The same under Streaming DiLoCo, whatever the seed says.
    #[must_use]
    pub fn streaming(seed: u64) -> Draw {
        let mut random = Random::new(seed, "random world");
        let mut setup = Setup::small(seed, 1 + random.below(5) as usize);
        peers(&mut random, &mut setup);
        terms(&mut random, &mut setup);
        links(&mut random, &mut setup);
        random_faults(&mut random, &mut setup);
        lines(&mut setup);
        a_liar(&mut setup);
        a_broken_processor(&mut setup);
        setup.manifest.stop_at = Some(8 * 6 * setup.peers.len() as u64 * 12);
        let mut wishes = wishes(&mut random, &setup);
        elections(&mut setup, &mut wishes);
        detection(&mut setup);
        spared_disks(&mut setup);
        copies(&mut setup);
        reach(&mut setup);
        spells(&mut setup);
        clocks(&mut setup);
        full_disks(&mut setup);
        Draw { setup, wishes }
    }

    /// When the last fault has happened.
    #[must_use]
    pub fn faults_end(&self) -> Time {
        growing(&self.setup, FAULTS)
    }
}

fn at(millis: u64) -> Time {
    Time(Span::millis(millis).0)
}

fn peers(random: &mut Random, setup: &mut Setup) {
    for _ in 0..random.below(3) {
        let start = at(random.below(8_000));
        let peer = if random.chance(700) { PeerSetup::contributor() } else { PeerSetup::follower() };
        setup.peers.push(PeerSetup { start, ..peer });
    }
    if random.chance(100) {
        let boaster = random.below(setup.peers.len() as u64) as usize;
        setup.peers[boaster].lie = Some(Lie::Boasts);
    }
    for peer in &mut setup.peers {
        peer.step = Span::millis(50 + random.below(200));
        peer.options.keep_history = random.chance(500);
        peer.options.checkpoint_every = 1 + random.below(4) as u32;
    }
}

fn terms(random: &mut Random, setup: &mut Setup) {
    setup.manifest.snapshot_every = [2, 4, 16, 1_000][random.below(4) as usize];
    setup.quorum = [QuorumRule::TwoThirds, QuorumRule::Majority][usize::from(random.chance(250))];
    setup.manifest.max_lag = 1 + random.below(5) as u32;
    setup.manifest.max_contributors = [2, 64, 64][random.below(3) as usize];
    setup.method().max_overrun =
        [Overrun::Strict, Overrun::Slot, Overrun::Steps(3)][random.below(3) as usize];
    setup.method().tau = 1 + random.below(3) as u32;
    if random.chance(300) {
        let slot_time = Span::millis(600 + random.below(600));
        setup.manifest.pacing = Pacing::Proportional { slot_time, minimum: 1, maximum: 12 };
    }
}

fn links(random: &mut Random, setup: &mut Setup) {
    setup.link = Link {
        latency: Span::millis(1 + random.below(60)),
        jitter: Span::millis(random.below(150)),
        loss: random.below(120) as u32,
        bandwidth: random.chance(300).then_some(3_000),
        ..Link::default()
    };
}

/// That a peer is gone is noticed late, as in `node`, or soon.
fn detection(setup: &mut Setup) {
    let mut random = Random::new(setup.seed, "detection");
    if random.chance(500) {
        setup.detection = Span::seconds(2);
    }
}

/// Disks may have to be spared.
fn spared_disks(setup: &mut Setup) {
    let mut random = Random::new(setup.seed, "writes");
    if random.chance(200) {
        for peer in &mut setup.peers {
            peer.options.writes_per_day = 200_000 + random.below(2_000_000);
        }
    }
}

/// Messages may arrive twice.
fn copies(setup: &mut Setup) {
    let mut random = Random::new(setup.seed, "copies of messages");
    if random.chance(200) {
        setup.link.duplicated = 1 + random.below(400) as u32;
    }
}

fn random_faults(random: &mut Random, setup: &mut Setup) {
    let (seed, count) = (setup.seed, setup.peers.len());
    let (cuts, parts) = (random.below(8) as usize, random.below(4) as usize);
    setup.faults = faults::crashes(seed, count, cuts, FAULTS, Span::seconds(6));
    setup.faults.extend(faults::partitions(seed, count, parts, FAULTS, PARTITION));
    setup.faults.push((FAULTS, Fault::Loss(0)));
    let moment = |random: &mut Random, end: u64| Time(random.below(end / 1_000) * 1_000);
    if random.chance(250) {
        let peer = random.below(count as u64) as usize;
        setup.faults.push((moment(random, FAULTS.0), Fault::Flip { peer, seed }));
        // Where it is needed for the snapshot that it waits for, only its user can help.
        if spare(setup, peer) && Random::new(seed, "unreadable").chance(300) {
            setup.faults.push((at(0), Fault::Unreadable { peer }));
        }
    }
    let peer = random.below(count as u64) as usize;
    // Where every voter is needed, one that comes back with less than it said has to be told by the
    // others what that was, and they may have missed it. In a majority whoever knows may be away.
    if spare(setup, peer) && random.chance(300) {
        let copied = moment(random, FAULTS.0 / 2);
        let restored = copied + Span(moment(random, FAULTS.0 / 2).0);
        let down = random.span(Span::millis(1), Span::seconds(4));
        // Announcements are in memory only: of one that all who heard it forgot, nobody knows. (A crash may
        // come some outputs later than its moment; whose memory flips begins anew.)
        let forgets = |(at, fault): &(Time, Fault)| match fault {
            Fault::Crash { peer: other, .. } => *at + OUTPUTS >= copied && *other != peer,
            Fault::Flip { peer: other, .. } => *at >= copied && *other != peer,
            _ => false,
        };
        setup.faults.retain(|fault| !forgets(fault));
        // Nor does anybody know what was said to nobody, or only to voters that are out of reach when it comes
        // back: there are no partitions from the copy on until it asked.
        let asked = restored + down + Span::seconds(8);
        let parts = |(at, fault): &(Time, Fault)| {
            matches!(fault, Fault::Partition(_)) && *at + PARTITION >= copied && *at < asked
        };
        setup.faults.retain(|fault| !parts(fault));
        setup.faults.push((restored, Fault::Heal));
        // Of two such the others can do without one.
        let unreadable = |(_, fault): &(Time, Fault)| matches!(fault, Fault::Unreadable { .. });
        if !setup.faults.iter().any(unreadable) {
            setup.faults.push((copied, Fault::Copy { peer }));
            setup.faults.push((restored, Fault::Restore { peer, down }));
        }
    }
}

/// Peers may sit behind home lines: an update of 1.6 kB takes up to two seconds to leave.
fn lines(setup: &mut Setup) {
    let mut random = Random::new(setup.seed, "lines");
    if random.chance(200) {
        for peer in &mut setup.peers {
            let up = 800 + random.below(8_000);
            peer.access = Access { up: Some(up), down: Some(4 * up) };
        }
    }
}

/// Who has no seat may be out of reach for others.
fn reach(setup: &mut Setup) {
    let mut random = Random::new(setup.seed, "reach");
    let kinds = [Reach::Dialable, Reach::BehindNat, Reach::RelayOnly, Reach::RelayOnly];
    if random.chance(200) {
        for peer in setup.peers.iter_mut().filter(|peer| !peer.seat) {
            peer.reach = kinds[random.below(kinds.len() as u64) as usize];
        }
    }
}

/// Machines may be uneven, and busy with something else for a while.
fn spells(setup: &mut Setup) {
    let mut random = Random::new(setup.seed, "spells");
    if !random.chance(200) {
        return;
    }
    for peer in 0..setup.peers.len() {
        setup.peers[peer].jitter = random.below(500) as u32;
        if random.chance(400) {
            let from = Time(random.below(FAULTS.0));
            let until = (from + random.span(Span::millis(1), Span::seconds(8))).min(FAULTS);
            let (factor, lasting) = (2 + random.below(15) as u32, until.since(from));
            setup.faults.push((growing(setup, from), Fault::Slow { peer, factor, lasting }));
        }
    }
}

/// Clocks may be fast or slow.
fn clocks(setup: &mut Setup) {
    let mut random = Random::new(setup.seed, "clocks");
    if random.chance(200) {
        setup.peers.iter_mut().for_each(|peer| peer.drift = random.below(1_001) as i32 - 500);
    }
}

/// Disks may be full for a while. Where a peer comes back with an old copy, nobody else may be out of reach.
fn full_disks(setup: &mut Setup) {
    let mut random = Random::new(setup.seed, "full disks");
    let copied = setup.faults.iter().any(|(_, fault)| matches!(fault, Fault::Restore { .. }));
    if !random.chance(200) || copied {
        return;
    }
    for _ in 0..1 + random.below(3) {
        let peer = random.below(setup.peers.len() as u64) as usize;
        let from = Time(random.below(FAULTS.0));
        let until = (from + random.span(Span::millis(1), Span::seconds(8))).min(FAULTS);
        let full = Fault::Full { peer, lasting: until.since(from) };
        setup.faults.push((growing(setup, from), full));
    }
}

/// Contributions may leave something out, which is sent later, be decided a round late, and be combined in another
/// way; slots may not wait for the slow.
fn method(setup: &mut Setup) {
    let mut random = Random::new(setup.seed, "method");
    let top = Codec::TopK(TopK { keep: 8, of: 64, whole: false, statistical: random.chance(500) });
    if random.chance(250) {
        let (period, eta, beta) = (setup.method().period, 0.8, 0.95);
        setup.manifest.method = Method::SparseLoCo(SparseLoCo { period, eta, beta, codec: top });
    } else if random.chance(250) {
        let (period, codec) = (setup.method().period, setup.method().codec);
        let (eta, beta, phi, penalty) = (0.8, 0.2, 1.0, random.chance(500));
        setup.manifest.method = Method::Co2(Co2 { period, eta, beta, phi, penalty, codec });
        // Where two slots are open at a time, less is refused.
        setup.manifest.max_lag = setup.manifest.max_lag.max(3);
    } else if random.chance(150) {
        setup.method().codec = [Codec::Sign, Codec::Statistical, top][random.below(3) as usize];
        setup.method().feedback = Some(1.0);
    } else if random.chance(150) && !setup.elected && setup.peers.iter().filter(|peer| peer.seat).count() > 1
    {
        let ways = [Combine::Median, Combine::TrimmedMean { trim: 0.2 }, Combine::RadialDirectional];
        setup.manifest.combine = ways[random.below(3) as usize];
    }
    if random.chance(150) && setup.manifest.pacing == Pacing::Uniform && !setup.elected {
        setup.manifest.pacing = Pacing::Decoupled { quorum_percent: 30 + random.below(60) as u8 };
        setup.manifest.max_lag = setup.manifest.pacing.max_lag();
    }
}

/// Contributions may be gradients.
fn gradients(setup: &mut Setup) {
    let mut random = Random::new(setup.seed, "gradients");
    if !random.chance(150) || setup.manifest.combine != Combine::Mean {
        return;
    }
    let codec = Codec::TopK(TopK { keep: 8, of: 64, whole: false, statistical: random.chance(300) });
    let eta = if random.chance(500) { 1.0 } else { 0.5 };
    let (batches, gamma) = (setup.manifest.method.period(), 0.2);
    setup.manifest.method = Method::Ef21(Ef21 { batches, gamma, eta, members: 8, codec });
}

/// Slots may be batches of steps that all take together.
fn batches_of_steps(setup: &mut Setup) {
    let mut random = Random::new(setup.seed, "batches of steps");
    if !random.chance(150) {
        return;
    }
    let estimator = [Estimator::Spsa, Estimator::Fzoo][random.below(2) as usize];
    let (samples, batch_steps) = (2 + random.below(3) as u16, 1 + random.below(12) as u32);
    let staleness = random.below(3) as u32;
    let directions = [Directions::Rademacher, Directions::Gaussian][random.below(2) as usize];
    let audit = [0.0, 1.0 / 32.0, 1.0 / 8.0][random.below(3) as usize];
    setup.manifest.method = Method::OneByte(OneByte {
        directions,
        samples,
        batch_steps,
        staleness,
        audit,
        ..OneByte::of(estimator, 1e-2)
    });
    (setup.manifest.pacing, setup.manifest.combine) = (Pacing::Uniform, Combine::Mean);
    let honest = |peer: &&mut PeerSetup| !peer.seat && peer.lie.is_none();
    if let Some(peer) = setup.peers.iter_mut().find(honest).filter(|_| random.chance(300)) {
        peer.lie = Some(Lie::Invents);
        // It is shown out and comes back, time and again: two heights each.
        setup.manifest.stop_at = setup.manifest.stop_at.map(|tokens| tokens / 2);
    }
}

/// A moment among the faults of a world.
fn growing(setup: &Setup, at: Time) -> Time {
    if setup.elected { at + GROWTH } else { at }
}

/// One that has no seat may lie.
fn a_liar(setup: &mut Setup) {
    let mut random = Random::new(setup.seed, "liars");
    let kinds = [Lie::Equivocates, Lie::StaleBase, Lie::Certifies];
    let lie = kinds[random.below(kinds.len() as u64) as usize];
    let contributes = |peer: &&mut PeerSetup| !peer.seat && peer.lie.is_none();
    if let Some(peer) = setup.peers.iter_mut().find(contributes).filter(|_| random.chance(300)) {
        peer.lie = Some(lie);
    }
}

/// A peer that the others can do without may compute wrongly from some moment on, and halts then.
fn a_broken_processor(setup: &mut Setup) {
    let mut random = Random::new(setup.seed, "processors");
    let peer = random.below(setup.peers.len() as u64) as usize;
    let from = Time(random.below(FAULTS.0));
    let another = |fault: &Fault| matches!(fault, Fault::Restore { .. } | Fault::Unreadable { .. });
    let alone = !setup.faults.iter().any(|(_, fault)| another(fault));
    if random.chance(100) && alone && spare(setup, peer) {
        setup.faults.push((from, Fault::Miscompute { peer }));
    }
}

/// A session may be elected: a founder, candidates, and what goes wrong once there are voters.
fn elections(setup: &mut Setup, wishes: &mut Vec<Wish>) {
    let mut random = Random::new(setup.seed, "elections");
    if !random.chance(80) {
        return;
    }
    let lied = setup.peers.iter().find_map(|peer| peer.lie);
    setup.elected = true;
    setup.quorum = QuorumRule::TwoThirds;
    setup.peers = vec![PeerSetup::default()];
    setup.peers.extend(vec![PeerSetup::candidate(); 4 + random.below(4) as usize]);
    setup.peers.extend(lied.map(|lie| PeerSetup { lie: Some(lie), ..PeerSetup::contributor() }));
    let count = setup.peers.len();
    for peer in &mut setup.peers {
        peer.step = Span::millis(50 + random.below(20));
    }
    setup.manifest.max_contributors = 64;
    setup.manifest.pacing = Pacing::Uniform;
    setup.manifest.stop_at = Some(8 * 6 * count as u64 * 130);
    let (cuts, parts) = (random.below(8) as usize, random.below(3) as usize);
    setup.faults = faults::crashes(setup.seed, count, cuts, FAULTS, Span::seconds(6));
    setup.faults.extend(faults::partitions(setup.seed, count, parts, FAULTS, PARTITION));
    setup.faults.push((FAULTS, Fault::Loss(0)));
    setup.faults = setup.faults.drain(..).map(|(at, fault)| (at + GROWTH, fault)).collect();
    wishes.clear();
    if random.chance(300) {
        let at = FAULTS + Span::seconds(random.below(20));
        wishes.push(Wish { at, peer: 1 + random.below(count as u64 - 1) as usize, command: Command::Leave });
    }
}

/// Whether the others can decide without a peer, and have one among them that heard it.
fn spare(setup: &Setup, peer: usize) -> bool {
    let seats = setup.peers.iter().filter(|peer| peer.seat).count();
    (seats > 3 && setup.quorum == QuorumRule::TwoThirds) || !setup.peers[peer].seat
}

fn wishes(random: &mut Random, setup: &Setup) -> Vec<Wish> {
    let mut wishes = Vec::new();
    let mut wish = |at, peer, command| wishes.push(Wish { at, peer, command });
    let last = setup.peers.len() - 1;
    if random.chance(400) {
        let peer = random.below(last as u64 + 1) as usize;
        let from = at(random.below(8_000));
        wish(from, peer, Command::Pause);
        wish(from + Span::seconds(3), peer, Command::Resume);
    }
    if !setup.peers[last].seat && random.chance(400) {
        let command = if random.chance(500) { Command::Leave } else { Command::Finish };
        wish(at(random.below(15_000)), last, command);
    }
    wishes
}
