//! What is left of a training whose machines keep failing: goodput against an undisturbed session, and
//! against synchronous data parallelism with the same failures.
//!
//! Each peer fails after exponentially distributed times and is back after exponentially distributed
//! repairs; the seed decides all of them. Ours is the product's protocol with a cost model for compute:
//! its goodput is the tokens counted, over those that the same session counts in the same time when
//! nothing fails. Synchronous training is what its rule says, without any cost of its own: a step counts
//! if every peer is up for all of it, and a failure takes back everything since the last checkpoint,
//! which costs nothing and is written as often as ours. It starts again the moment that all are up.

use driftless_protocol::manifest::Pacing;
use driftless_protocol::time::{Span, Time};

use crate::engine::{CostModel, EngineKind, LossCurve};
use crate::faults::Fault;
use crate::network::Link;
use crate::random::Random;
use crate::setup::{PeerSetup, Setup};
use crate::world::World;

/// Parameters of the nominal model.
const PARAMETERS: u64 = 1_000_000_000;
/// The most seats that a session has.
const SEATS: usize = 16;
/// Inner steps between two contributions of a fragment, and between two checkpoints.
const PERIOD: u32 = 30;
/// Virtual time of one inner step.
const STEP: Span = Span::seconds(1);
/// Mean time until a peer is back.
pub const REPAIR: Span = Span::seconds(60);
/// Sizes of the table.
pub const PEERS: [usize; 3] = [8, 64, 256];
/// Mean times between two failures of one peer.
pub const FAILURES: [Span; 3] = [Span::seconds(3600), Span::seconds(900), Span::seconds(300)];
/// The goodput that is required, and between which failures.
pub const REQUIRED: (f64, Span) = (0.85, Span::seconds(900));

/// What all cells share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Decides when who fails.
    pub seed: u64,
    /// Virtual time of a run.
    pub lasting: Span,
    /// Slots do not wait for the slow (check D3).
    pub decoupled: bool,
}

/// One run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Peers.
    pub peers: usize,
    /// Mean time between two failures of one; `None` if none fails.
    pub failures: Option<Span>,
}

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Tokens counted.
    pub tokens: u64,
    /// Heights decided.
    pub heights: u64,
    /// Failures that happened.
    pub crashes: u32,
    /// What names the run.
    pub trace: driftless_protocol::Hash,
}

/// A time in which a peer is away.
type Outage = (Time, Time);

impl Cell {
    /// The table's cells: every size undisturbed, and with each rate of failures.
    #[must_use]
    pub fn all(peers: &[usize], failures: &[Span]) -> Vec<Cell> {
        let rates = || std::iter::once(None).chain(failures.iter().copied().map(Some));
        peers.iter().flat_map(|peers| rates().map(|failures| Cell { peers: *peers, failures })).collect()
    }

    /// Runs the session.
    ///
    /// # Errors
    /// A promise that was broken, in words.
    pub fn run(&self, terms: Terms) -> Result<Outcome, String> {
        let mut world = World::new(self.setup(terms)).map_err(|error| error.to_string())?;
        world.run_until(Time(terms.lasting.0), |_| false).map_err(|violation| violation.to_string())?;
        let control = &world.certified().control;
        Ok(Outcome {
            tokens: control.counted_tokens,
            heights: control.height,
            crashes: world.peers().iter().map(crate::peer::Peer::crashes).sum(),
            trace: world.trace(),
        })
    }

    /// The world before it starts.
    #[must_use]
    pub fn setup(&self, terms: Terms) -> Setup {
        let mut setup = Setup::small(terms.seed, 1);
        setup.method().period = PERIOD;
        setup.manifest.stop_at = None;
        setup.manifest.training.budget_tokens = u64::MAX >> 16;
        setup.manifest.heartbeat = Span::seconds(60);
        if terms.decoupled {
            setup.manifest.pacing = Pacing::DECOUPLED;
            setup.manifest.max_lag = setup.manifest.pacing.max_lag();
        }
        setup.manifest.deadline.minimum = Span::seconds(5);
        setup.manifest.deadline.maximum = Span::seconds(120);
        setup.link = Link { latency: Span::millis(40), jitter: Span::millis(30), ..Link::default() };
        let losses = LossCurve::new(&[(0, 11_000_000)]).expect("one point is a curve");
        let mut peer = PeerSetup {
            step: STEP,
            engine: EngineKind::Cost(CostModel { parameters: PARAMETERS, losses }),
            ..PeerSetup::default()
        };
        (peer.options.keep_history, peer.options.checkpoint_every) = (false, 1);
        let with_seat = |index| PeerSetup { seat: index < SEATS, ..peer.clone() };
        setup.peers = (0..self.peers).map(with_seat).collect();
        let outages = self.outages(terms).into_iter().enumerate();
        let crash = |peer: usize, (from, to): Outage| {
            (from, Fault::Crash { peer, outputs: 0, down: Some(to.since(from)) })
        };
        setup.faults =
            outages.flat_map(|(peer, all)| all.into_iter().map(move |one| crash(peer, one))).collect();
        setup.faults.sort_by_key(|(at, _)| *at);
        setup
    }

    /// When each peer is away, in order.
    fn outages(&self, terms: Terms) -> Vec<Vec<Outage>> {
        let Some(mean) = self.failures else { return vec![Vec::new(); self.peers] };
        let of = |peer: usize| {
            let mut random = Random::new(terms.seed, &format!("chaos {peer}"));
            let mut outages = Vec::new();
            let mut at = Time(random.exponential(mean).0);
            while at < Time(terms.lasting.0) {
                let back = at + random.exponential(REPAIR).max(Span::millis(1));
                outages.push((at, back));
                at = back + random.exponential(mean);
            }
            outages
        };
        (0..self.peers).map(of).collect()
    }

    /// The share of its steps that synchronous training keeps.
    #[must_use]
    pub fn synchronous(&self, terms: Terms) -> f64 {
        let kept = kept_steps(self.outages(terms).into_iter().flatten().collect(), terms.lasting);
        kept as f64 / (terms.lasting.0 / STEP.0).max(1) as f64
    }
}

/// Steps that synchronous training still has at the end: those that are checkpointed, or in progress and
/// never lost.
fn kept_steps(mut outages: Vec<Outage>, lasting: Span) -> u64 {
    outages.sort_unstable();
    let (mut kept, mut up) = (0, Time(0));
    let steps_until = |up: Time, down: Time| down.since(up).0 / STEP.0;
    for (down, back) in outages {
        if down > up {
            // What the last checkpoint has of this stretch; it began at one.
            kept += steps_until(up, down) / u64::from(PERIOD) * u64::from(PERIOD);
        }
        up = up.max(back);
    }
    kept + steps_until(up.min(Time(lasting.0)), Time(lasting.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(from: u64, to: u64) -> Outage {
        (Time(from * 1_000_000), Time(to * 1_000_000))
    }

    #[test]
    fn synchronous_training_keeps_what_is_checkpointed_between_failures() {
        let kept = |outages: &[Outage]| kept_steps(outages.to_vec(), Span::seconds(300));
        assert_eq!(kept(&[]), 300);
        // 100 steps, 90 of them in checkpoints; then everything is up from 150 on.
        assert_eq!(kept(&[seconds(100, 150)]), 90 + 150);
        // One that fails while another is away, and one that is away until after the end.
        assert_eq!(kept(&[seconds(100, 150), seconds(120, 170)]), 90 + 130);
        assert_eq!(kept(&[seconds(100, 150), seconds(170, 400)]), 90);
    }

    #[test]
    fn the_seed_decides_who_fails_when_and_rates_are_what_they_are_called() {
        let terms = Terms { seed: 3, lasting: Span::seconds(36_000), decoupled: false };
        let cell = Cell { peers: 64, failures: Some(Span::seconds(900)) };
        let outages = cell.outages(terms);
        assert_eq!(outages, cell.outages(terms));
        assert!(outages.iter().flatten().all(|(from, to)| from < to));
        // 36,000 s of 960 s each, for 64 peers; away for a sixteenth of the time.
        let (count, away) = outages
            .iter()
            .flatten()
            .fold((0, 0), |(count, away), (from, to)| (count + 1, away + to.since(*from).0));
        assert!((2_200..2_600).contains(&count), "{count}");
        assert!((130..160).contains(&(away / 1_000_000 / 1000)), "{away}");
    }
}
