//! What goes wrong, and when: all of it from the seed.

use driftless_protocol::time::{Span, Time};

use crate::random::Random;

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
