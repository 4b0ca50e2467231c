//! Peers notice whom they reach, and whom no more.

use driftless_protocol::event::Input;

use crate::happening::Happening;
use crate::world::{Violation, World};

impl World {
    /// Peers that `peer` reaches will soon know, and so will those that it said goodbye to; the others notice
    /// that nothing comes from it.
    pub(crate) fn look_around(&mut self, peer: usize) {
        for other in self.topology.neighbours(peer) {
            let told = self.reach(peer, other) || self.peers[peer].ending().is_some();
            let wait = if told { self.network.latency(peer, other) } else { self.detection };
            self.schedule(self.now + wait, Happening::Link { a: peer, b: other });
        }
    }

    pub(crate) fn all_look_around(&mut self) {
        (0..self.peers.len()).for_each(|peer| self.look_around(peer));
    }

    fn reach(&self, a: usize, b: usize) -> bool {
        self.peers[a].is_up() && self.peers[b].is_up() && self.network.joins(a, b)
    }

    /// Tells `who` about `whom`, if anything changed.
    pub(crate) fn meet(&mut self, who: usize, whom: usize) -> Result<(), Violation> {
        if !self.peers[who].is_up() {
            return Ok(());
        }
        let now = self.reach(who, whom).then(|| self.peers[whom].life);
        let before = self.peers[who].met.get(&whom).copied();
        let key = self.peers[whom].key;
        match now {
            Some(life) => self.peers[who].met.insert(whom, life),
            None => self.peers[who].met.remove(&whom),
        };
        match (before, now) {
            (None, Some(_)) => self.input(who, Input::Connected(key)),
            (Some(_), None) => self.input(who, Input::Disconnected(key)),
            (Some(before), Some(now)) if before != now => self.input(who, Input::Restarted(key)),
            _ => Ok(()),
        }
    }
}
