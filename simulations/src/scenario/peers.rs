//! Groups of peers that are alike.

use driftless_protocol::event::Command;
use driftless_protocol::manifest::text;
use driftless_protocol::rate::Rate;
use driftless_protocol::session::Options;
use driftless_protocol::time::{Span, Time};
use serde::Deserialize;

use super::faults::FACTORS;
use super::{Duration, ScenarioError, moment, wrong};
use crate::engine::EngineKind;
use crate::faults::Fault;
use crate::flows::Access;
use crate::network::Reach;
use crate::random::Random;
use crate::search::Wish;
use crate::setup::{Lie, PeerSetup};

/// Peers of one kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct PeersForm {
    #[serde(default = "one")]
    pub count: usize,
    role: Role,
    #[serde(default)]
    pub region: String,
    /// Virtual time of an inner step.
    #[serde(with = "text::span")]
    step: Span,
    /// Each is slower or faster by up to this share.
    #[serde(default)]
    spread: f64,
    /// Each step takes longer or shorter by up to this share.
    #[serde(default)]
    jitter: f64,
    /// Mean time between two spells in which one is slow.
    #[serde(default)]
    slow_every: Option<Duration>,
    /// Mean time that a spell lasts.
    #[serde(with = "text::span", default = "one_minute")]
    slow_for: Span,
    /// How many times as long a step takes then.
    #[serde(default = "four")]
    slow_factor: u32,
    /// A clock is fast or slow by up to so many millionths.
    #[serde(default)]
    drift_ppm: u32,
    #[serde(default)]
    up: Rate,
    #[serde(default)]
    down: Rate,
    #[serde(default)]
    reach: ReachForm,
    /// When the first starts.
    #[serde(with = "text::span", default)]
    start: Span,
    /// The others follow one after the other.
    #[serde(with = "text::span", default)]
    every: Span,
    /// When they say farewell.
    #[serde(default)]
    leave: Option<Duration>,
    /// Mean time between two failures of one.
    #[serde(default)]
    fails_every: Option<Duration>,
    /// Mean time until it is back.
    #[serde(with = "text::span", default = "one_minute")]
    repair: Span,
    /// Never forget a contribution.
    #[serde(default = "yes")]
    keep_history: bool,
    #[serde(default)]
    lie: Option<LieForm>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Role {
    Voter,
    Candidate,
    Contributor,
    Follower,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ReachForm {
    #[default]
    Dialable,
    BehindNat,
    RelayOnly,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LieForm {
    Equivocates,
    Boasts,
    StaleBase,
    Certifies,
    Invents,
}

fn one() -> usize {
    1
}

fn four() -> u32 {
    4
}

fn yes() -> bool {
    true
}

fn one_minute() -> Span {
    Span::seconds(60)
}

/// The slowest line, in bytes per second: one kilobit.
const SLOWEST_LINE: u64 = 125;
/// Clocks of computers are better than this, in millionths.
const MAX_DRIFT: u32 = 500;

impl PeersForm {
    /// The peers of this group, the `index`-th.
    pub fn peers(
        &self,
        random: &mut Random,
        engine: &EngineKind,
        index: usize,
    ) -> Result<Vec<PeerSetup>, ScenarioError> {
        let field = |name: &str| format!("peers[{index}].{name}");
        if !(0.0..=0.9).contains(&self.spread) {
            return Err(wrong(&field("spread"), "a share of the step: 0 to 0.9"));
        }
        if !(0.0..=0.9).contains(&self.jitter) {
            return Err(wrong(&field("jitter"), "a share of the step: 0 to 0.9"));
        }
        if self.slow_every.is_some_and(|Duration(mean)| mean < Span::seconds(1)) {
            return Err(wrong(&field("slow-every"), "at least a second"));
        }
        if self.drift_ppm > MAX_DRIFT {
            return Err(wrong(&field("drift-ppm"), format!("0 to {MAX_DRIFT} millionths, fast or slow")));
        }
        if !FACTORS.contains(&self.slow_factor) {
            return Err(wrong(&field("slow-factor"), "1 to 1000 times as long"));
        }
        if self.step == Span::ZERO || self.step > Span::seconds(24 * 3600) {
            return Err(wrong(&field("step"), "a step takes time, and at most a day"));
        }
        for (name, rate) in [("up", &self.up), ("down", &self.down)] {
            if rate.limit().is_some_and(|limit| limit < SLOWEST_LINE) {
                return Err(wrong(&field(name), "at least 1kbit"));
            }
        }
        if self.fails_every.is_some_and(|Duration(mean)| mean < Span::seconds(1))
            || self.repair < Span::millis(1)
        {
            return Err(wrong(&field("fails-every"), "at least a second, and repair at least 1ms"));
        }
        if self.role == Role::Voter && !matches!(self.reach, ReachForm::Dialable) {
            return Err(wrong(&field("reach"), "voters have to reach each other: a voter is dialable"));
        }
        let spread = (self.step.0 as f64 * self.spread) as u64;
        let peer = |number: u64| PeerSetup {
            seat: self.role == Role::Voter,
            options: Options {
                contribute: self.role != Role::Follower,
                stand: matches!(self.role, Role::Voter | Role::Candidate).then_some(true),
                keep_history: self.keep_history,
                ..Options::default()
            },
            start: moment(self.start + self.every.times(number)),
            step: Span(self.step.0 - spread + random.below(2 * spread + 1)),
            jitter: (self.jitter * 1000.0).round() as u32,
            access: Access { up: self.up.limit(), down: self.down.limit() },
            reach: match self.reach {
                ReachForm::Dialable => Reach::Dialable,
                ReachForm::BehindNat => Reach::BehindNat,
                ReachForm::RelayOnly => Reach::RelayOnly,
            },
            engine: engine.clone(),
            lie: self.lie.map(|lie| match lie {
                LieForm::Equivocates => Lie::Equivocates,
                LieForm::Boasts => Lie::Boasts,
                LieForm::StaleBase => Lie::StaleBase,
                LieForm::Certifies => Lie::Certifies,
                LieForm::Invents => Lie::Invents,
            }),
            ..PeerSetup::default()
        };
        Ok((0..self.count as u64).map(peer).collect())
    }

    /// Sets the clocks of these peers.
    pub fn clocks(&self, random: &mut Random, peers: &mut [PeerSetup]) {
        let most = i64::from(self.drift_ppm);
        for peer in peers {
            let drift = random.below(2 * most.unsigned_abs() + 1) as i64 - most;
            peer.drift = drift as i32;
        }
    }

    /// Spells in which these peers are slow, until `limit`.
    pub fn spells(
        &self,
        random: &mut Random,
        peers: std::ops::Range<usize>,
        limit: Span,
        faults: &mut Vec<(Time, Fault)>,
    ) {
        let Some(Duration(mean)) = self.slow_every else { return };
        for peer in peers {
            let mut at = random.exponential(mean);
            while at < limit {
                let lasting = random.exponential(self.slow_for);
                faults.push((moment(at), Fault::Slow { peer, factor: self.slow_factor, lasting }));
                at = at + lasting + random.exponential(mean);
            }
        }
    }

    /// Failures and farewells of these peers until `limit`.
    pub fn churn(
        &self,
        random: &mut Random,
        peers: std::ops::Range<usize>,
        limit: Span,
        faults: &mut Vec<(Time, Fault)>,
        wishes: &mut Vec<Wish>,
    ) {
        for peer in peers {
            if let Some(Duration(leave)) = self.leave {
                wishes.push(Wish { at: moment(leave), peer, command: Command::Leave });
            }
            let Some(Duration(mean)) = self.fails_every else { continue };
            let mut at = random.exponential(mean);
            while at < limit {
                let down = random.exponential(self.repair).max(Span::millis(1));
                faults.push((moment(at), Fault::Crash { peer, outputs: 0, down: Some(down) }));
                at = at + down + random.exponential(mean);
            }
        }
    }
}
