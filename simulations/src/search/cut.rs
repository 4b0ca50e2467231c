//! What stays of a world: how a smaller one is named.

use super::draw::Draw;
use crate::faults::Fault;

/// A part of a seed's world. `None` keeps all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// The first so many peers.
    pub peers: Option<usize>,
    /// Faults by their number.
    pub faults: Option<Vec<usize>>,
    /// Wishes by their number.
    pub wishes: Option<Vec<usize>>,
    /// Tokens at which the session ends.
    pub tokens: Option<u64>,
}

impl Cut {
    /// What stays of it.
    #[must_use]
    pub fn of(&self, draw: &Draw) -> Draw {
        let mut draw = draw.clone();
        if let Some(kept) = &self.faults {
            draw.setup.faults = pick(&draw.setup.faults, kept);
        }
        if let Some(kept) = &self.wishes {
            draw.wishes = pick(&draw.wishes, kept);
        }
        if let Some(tokens) = self.tokens {
            draw.setup.manifest.stop_at = Some(tokens);
        }
        if let Some(peers) = self.peers {
            draw.setup.peers.truncate(peers.max(1));
            let peers = draw.setup.peers.len();
            draw.setup.faults.retain(|(_, fault)| subject(fault).is_none_or(|peer| peer < peers));
            draw.wishes.retain(|wish| wish.peer < peers);
        }
        draw
    }

    /// As options of `driftless-sim search`.
    #[must_use]
    pub fn options(&self) -> String {
        let mut text = String::new();
        let list = |kept: &[usize]| match kept {
            [] => "none".to_owned(),
            kept => kept.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        };
        if let Some(peers) = self.peers {
            text.push_str(&format!(" --peers {peers}"));
        }
        if let Some(faults) = &self.faults {
            text.push_str(&format!(" --faults {}", list(faults)));
        }
        if let Some(wishes) = &self.wishes {
            text.push_str(&format!(" --wishes {}", list(wishes)));
        }
        if let Some(tokens) = self.tokens {
            text.push_str(&format!(" --tokens {tokens}"));
        }
        text
    }
}

fn pick<T: Clone>(all: &[T], kept: &[usize]) -> Vec<T> {
    kept.iter().filter_map(|index| all.get(*index).cloned()).collect()
}

/// The peer that a fault is about.
fn subject(fault: &Fault) -> Option<usize> {
    match fault {
        Fault::Crash { peer, .. }
        | Fault::Copy { peer }
        | Fault::Restore { peer, .. }
        | Fault::Flip { peer, .. }
        | Fault::Miscompute { peer }
        | Fault::Full { peer, .. }
        | Fault::Slow { peer, .. }
        | Fault::Unreadable { peer } => Some(*peer),
        Fault::Partition(_) | Fault::Heal | Fault::Loss(_) => None,
    }
}
