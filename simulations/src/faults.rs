//! What goes wrong, when, and how: all of it from the seed.

use driftless_protocol::time::{Span, Time};

use crate::happening::Happening;
use crate::random::Random;
use crate::world::{Violation, World};

/// One thing that goes wrong, or right again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A peer loses power after acting on so many more outputs, and comes back later.
    Crash {
        /// Which peer.
        peer: usize,
        /// Outputs until then: a crash may fall between any two of them.
        outputs: u32,
        /// How long it is down; `None` for good.
        down: Option<Span>,
    },
    /// A peer's user copies its folder, as it is on the disk.
    Copy {
        /// Which peer.
        peer: usize,
    },
    /// The folder is lost and the copy takes its place; the peer comes back with it later.
    Restore {
        /// Which peer.
        peer: usize,
        /// How long it is down.
        down: Span,
    },
    /// A peer is started again, and while it reads its disk a bit of its state changes in memory.
    Flip {
        /// Which peer.
        peer: usize,
        /// Chooses the bit.
        seed: u64,
    },
    /// From now on every state that a peer computes is wrong in the same way: another binary, or a
    /// broken processor.
    Miscompute {
        /// Which peer.
        peer: usize,
    },
    /// From now on what a peer wrote cannot be read any more while it runs.
    Unreadable {
        /// Which peer.
        peer: usize,
    },
    /// Nothing more can be written on a peer's disk for a while.
    Full {
        /// Which peer.
        peer: usize,
        /// How long.
        lasting: Span,
    },
    /// Every step of a peer takes so many times as long for a while.
    Slow {
        /// Which peer.
        peer: usize,
        /// How many times.
        factor: u32,
        /// How long.
        lasting: Span,
    },
    /// The network falls into parts, one number per peer.
    Partition(Vec<u32>),
    /// It is whole again.
    Heal,
    /// Of 1000 messages so many are lost from now on.
    Loss(u32),
}

/// `count` crashes at random instants before `end`, each down for up to `down`.
#[must_use]
pub fn crashes(seed: u64, peers: usize, count: usize, end: Time, down: Span) -> Vec<(Time, Fault)> {
    let mut random = Random::new(seed, "crashes");
    let crash = |_| {
        let at = Time(random.below(end.0));
        let peer = random.below(peers as u64) as usize;
        let outputs = random.below(40) as u32;
        let down = random.span(Span::millis(1), down);
        (at, Fault::Crash { peer, outputs, down: Some(down) })
    };
    (0..count).map(crash).collect()
}

/// `count` partitions into two random parts, each for up to `lasting`; whole again at `end`.
#[must_use]
pub fn partitions(seed: u64, peers: usize, count: usize, end: Time, lasting: Span) -> Vec<(Time, Fault)> {
    let mut random = Random::new(seed, "partitions");
    let mut faults = Vec::new();
    for _ in 0..count {
        let at = Time(random.below(end.0));
        let groups = (0..peers).map(|_| random.below(2) as u32).collect();
        faults.push((at, Fault::Partition(groups)));
        faults.push(((at + random.span(Span::millis(1), lasting)).min(end), Fault::Heal));
    }
    faults.push((end, Fault::Heal));
    faults
}

impl World {
    pub(crate) fn fault(&mut self, fault: Fault) -> Result<(), Violation> {
        self.checkers.progress.disturbed(self.now);
        match fault {
            Fault::Crash { peer, outputs, down } => {
                if self.peers[peer].is_up() {
                    // Whoever waits acts on nothing more.
                    let outputs = if self.peers[peer].held.is_some() { 0 } else { outputs };
                    self.peers[peer].doom = Some((outputs, down));
                    self.drain(peer)?;
                }
            }
            Fault::Flip { peer, seed } => {
                self.cut_power(peer, Some(Span::millis(100)));
                self.peers[peer].flip = Some(seed);
            }
            Fault::Miscompute { peer } => {
                (self.peers[peer].miscomputes, self.peers[peer].odd) = (true, true);
            }
            Fault::Unreadable { peer } => self.peers[peer].unreadable = true,
            Fault::Copy { peer } => {
                self.peers[peer].copy_disk();
                self.checkers.copied(self.peers[peer].key);
            }
            Fault::Restore { peer, down } => {
                self.cut_power(peer, Some(down));
                self.peers[peer].restore_disk();
                let last = self.peers[peer].disk.blocks().last_key_value().map_or(0, |(height, _)| *height);
                self.checkers.restored(self.peers[peer].key, last);
            }
            Fault::Full { peer, lasting } => {
                let until = self.now + lasting;
                self.peers[peer].full = self.peers[peer].full.max(Some(until));
                self.schedule(until, Happening::Space(peer));
            }
            Fault::Slow { peer, factor, lasting } => {
                self.peers[peer].slow = Some((factor, self.now + lasting));
            }
            Fault::Partition(groups) => {
                self.checkers.caps.failed(self.now);
                self.network.part(groups);
                self.cut_flows();
                self.all_look_around();
            }
            Fault::Heal => {
                self.network.heal();
                self.all_look_around();
            }
            Fault::Loss(per_mille) => self.network.set_loss(per_mille),
        }
        Ok(())
    }

    /// A disk is not full any more: its driver goes on with what waited, in order.
    pub(crate) fn space(&mut self, peer: usize) -> Result<(), Violation> {
        if self.peers[peer].full.is_none_or(|until| until > self.now) {
            return Ok(());
        }
        self.peers[peer].full = None;
        self.checkers.progress.disturbed(self.now);
        if let Some(barrier) = self.peers[peer].held.take() {
            self.act(peer, barrier)?;
            self.drain(peer)?;
        }
        while let Some(happening) = self.peers[peer].waiting.pop_front() {
            self.happen(happening)?;
        }
        Ok(())
    }

    /// The power of a peer that is up goes. (Whoever is off comes back when it was to come back.)
    fn cut_power(&mut self, peer: usize, down: Option<Span>) {
        if self.peers[peer].is_up() {
            self.crash(peer, down);
        }
    }

    /// The power goes, and comes back after `down`.
    pub(crate) fn crash(&mut self, peer: usize, down: Option<Span>) {
        self.peers[peer].crash(&mut self.random);
        self.checkers.progress.disturbed(self.now);
        self.checkers.caps.failed(self.now);
        self.cut_flows();
        if let Some(down) = down {
            self.schedule(self.now + down, Happening::Start(peer));
        }
        self.look_around(peer);
    }
}
