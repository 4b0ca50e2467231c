//! What goes wrong, and what users wish, at moments that the scenario names.

use std::ops::RangeInclusive;

use driftless_protocol::event::Command;
use driftless_protocol::manifest::text;
use driftless_protocol::time::{Span, Time};
use serde::Deserialize;

use super::{Duration, ScenarioError, moment, per_mille, wrong};
use crate::faults::{self, Fault};
use crate::random::Random;
use crate::search::Wish;

/// How many times as long a step takes in a slow spell.
pub(super) const FACTORS: RangeInclusive<u32> = 1..=1000;

/// The most crashes that one line asks for.
const MAX_CRASHES: usize = 100_000;

/// One thing that happens.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum FaultForm {
    /// Peers lose power at once.
    PowerCut {
        #[serde(with = "text::span")]
        at: Span,
        peers: Vec<usize>,
        /// Until the power is back; for good if not given.
        #[serde(default)]
        down: Option<Duration>,
    },
    /// So many power cuts of single peers, at random moments.
    Crashes {
        count: usize,
        #[serde(with = "text::span")]
        until: Span,
        /// The longest until one is back.
        #[serde(with = "text::span")]
        down: Span,
    },
    /// A region reaches nobody else.
    Partition {
        #[serde(with = "text::span")]
        at: Span,
        region: String,
        #[serde(with = "text::span")]
        until: Span,
    },
    /// From now on this share of messages is lost.
    Loss {
        #[serde(with = "text::span")]
        at: Span,
        share: f64,
    },
    /// A spell in which a peer's steps take so many times as long.
    Slow {
        #[serde(with = "text::span")]
        at: Span,
        #[serde(with = "text::span")]
        until: Span,
        peer: usize,
        factor: u32,
    },
    /// Nothing more can be written on a peer's disk.
    FullDisk {
        #[serde(with = "text::span")]
        at: Span,
        #[serde(with = "text::span")]
        until: Span,
        peer: usize,
    },
    /// A bit of a peer's memory changes while it starts again.
    Flip {
        #[serde(with = "text::span")]
        at: Span,
        peer: usize,
    },
    /// A user's wish.
    Wish {
        #[serde(with = "text::span")]
        at: Span,
        peer: usize,
        wish: WishForm,
    },
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WishForm {
    Pause,
    Resume,
    Leave,
    Finish,
    Reset,
}

impl FaultForm {
    /// From when to when, of those that end.
    fn span(&self) -> Option<(Span, Span)> {
        match self {
            FaultForm::Partition { at, until, .. }
            | FaultForm::Slow { at, until, .. }
            | FaultForm::FullDisk { at, until, .. } => Some((*at, *until)),
            _ => None,
        }
    }

    /// Adds what happens to a world whose peers are in these regions.
    pub fn happen(
        &self,
        random: &mut Random,
        regions: &[String],
        faults: &mut Vec<(Time, Fault)>,
        wishes: &mut Vec<Wish>,
    ) -> Result<(), ScenarioError> {
        if self.span().is_some_and(|(at, until)| until <= at) {
            return Err(wrong("faults", "`until` has to come after `at`"));
        }
        let count = regions.len();
        let there = |peer: usize| match peer < count {
            true => Ok(peer),
            false => Err(wrong("faults", format!("there is no peer {peer}: they are 0 to {}", count - 1))),
        };
        match self {
            FaultForm::PowerCut { peers, .. } if peers.is_empty() => {
                return Err(wrong("faults", "a power cut is one of `peers`, such as [0, 3]"));
            }
            FaultForm::PowerCut { at, peers, down } => {
                for peer in peers {
                    let (peer, down) = (there(*peer)?, down.map(|Duration(down)| down));
                    faults.push((moment(*at), Fault::Crash { peer, outputs: 0, down }));
                }
            }
            FaultForm::Crashes { count: cuts, .. } if *cuts > MAX_CRASHES => {
                return Err(wrong("faults", format!("at most {MAX_CRASHES} crashes, not {cuts}")));
            }
            FaultForm::Crashes { count: cuts, until, down } => {
                let seed = random.below(u64::MAX);
                faults.extend(faults::crashes(seed, count, *cuts, moment(*until), *down));
            }
            FaultForm::Partition { at, region, until } => {
                if !regions.contains(region) {
                    return Err(wrong("faults", format!("no group is in region {region:?}")));
                }
                let parts = regions.iter().map(|other| u32::from(other == region)).collect();
                faults.push((moment(*at), Fault::Partition(parts)));
                faults.push((moment(*until), Fault::Heal));
            }
            FaultForm::Loss { at, share } => {
                faults.push((moment(*at), Fault::Loss(per_mille("faults", *share)?)));
            }
            FaultForm::Slow { factor, .. } if !FACTORS.contains(factor) => {
                return Err(wrong("faults", "a slow step takes 1 to 1000 times as long"));
            }
            FaultForm::Slow { at, until, peer, factor } => {
                let (peer, lasting) = (there(*peer)?, *until - *at);
                faults.push((moment(*at), Fault::Slow { peer, factor: *factor, lasting }));
            }
            FaultForm::FullDisk { at, until, peer } => {
                faults.push((moment(*at), Fault::Full { peer: there(*peer)?, lasting: *until - *at }));
            }
            FaultForm::Flip { at, peer } => {
                let seed = random.below(u64::MAX);
                faults.push((moment(*at), Fault::Flip { peer: there(*peer)?, seed }));
            }
            FaultForm::Wish { at, peer, wish } => {
                let command = match wish {
                    WishForm::Pause => Command::Pause,
                    WishForm::Resume => Command::Resume,
                    WishForm::Leave => Command::Leave,
                    WishForm::Finish => Command::Finish,
                    WishForm::Reset => Command::Reset,
                };
                wishes.push(Wish { at: moment(*at), peer: there(*peer)?, command });
            }
        }
        Ok(())
    }
}
