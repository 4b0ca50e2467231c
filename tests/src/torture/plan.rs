//! Which faults come in which order, at what time and to whom: drawn before anything runs.

use std::time::Duration;

use crate::args::Arguments;
use crate::random::Random;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One process is killed.
    Kill,
    /// So many are killed that the others have no quorum.
    DoubleKill,
    /// One process stands still.
    Stop,
    /// One disk, or as many as leave no quorum, are full.
    FullDisk,
    /// The network falls into halves.
    Cut,
    /// A folder is an older copy of itself.
    OldCopy,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its place in the run, from 1.
    pub number: usize,
    /// What goes wrong.
    pub kind: Kind,
    /// With whom; in a cut, one of the halves.
    pub targets: Vec<usize>,
    /// When, in thousandths of the time between two blocks.
    pub phase: u32,
    /// How long, where that is for us to say.
    pub lasts: Duration,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 6] =
        [Kind::Kill, Kind::DoubleKill, Kind::Stop, Kind::FullDisk, Kind::Cut, Kind::OldCopy];

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Kill => "kill",
            Kind::DoubleKill => "double-kill",
            Kind::Stop => "stop",
            Kind::FullDisk => "full-disk",
            Kind::Cut => "cut",
            Kind::OldCopy => "old-copy",
        }
    }

    /// How many were asked for.
    pub fn asked(self, args: &Arguments) -> u32 {
        match self {
            Kind::Kill => args.kills,
            Kind::DoubleKill => args.double_kills,
            Kind::Stop => args.stops,
            Kind::FullDisk => args.full_disks,
            Kind::Cut => args.cuts,
            Kind::OldCopy => args.old_copies,
        }
    }
}

/// So many peers away leave no quorum of two thirds.
pub fn too_many(peers: usize) -> usize {
    peers - (2 * peers / 3 + 1) + 1
}

/// The faults in order.
pub fn draw(args: &Arguments) -> Vec<Fault> {
    let count = |kind: &Kind| std::iter::repeat_n(*kind, kind.asked(args) as usize);
    let mut kinds: Vec<Kind> = Kind::ALL.iter().flat_map(count).collect();
    Random::new(args.seed, "order").shuffle(&mut kinds);
    // One after the other, so that the second is a full disk of several also in a short run.
    let mut full = 0;
    let mut faults = Vec::new();
    for kind in kinds {
        full += usize::from(kind == Kind::FullDisk);
        let number = faults.len() + 1;
        faults.push(fault(args, kind, number, full.is_multiple_of(2)));
    }
    faults
}

fn fault(args: &Arguments, kind: Kind, number: usize, several_disks: bool) -> Fault {
    let mut random = Random::new(args.seed, &format!("fault {number}"));
    let peers = usize::from(args.peers);
    let several = match kind {
        Kind::DoubleKill => too_many(peers),
        Kind::FullDisk if several_disks => too_many(peers),
        Kind::Cut => peers / 2,
        _ => 1,
    };
    let targets = random.choose(several, peers);
    let phase = random.below(1000) as u32;
    // A stop of more than about 10 s also ends connections.
    let longest = if kind == Kind::Stop { 30_000 } else { 5_000 };
    let lasts = Duration::from_millis(1_000 + random.below(longest));
    Fault { number, kind, targets, phase, lasts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Arguments {
        clap::Parser::parse_from(text.split(' '))
    }

    #[test]
    fn a_seed_is_a_plan() {
        let all = "t --kills 9 --double-kills 4 --stops 3 --full-disks 2 --cuts 2 --old-copies 1 --seed";
        let [one, again, other] = ["7", "7", "8"].map(|seed| draw(&args(&format!("{all} {seed}"))));
        assert_eq!(one, again);
        assert_ne!(one, other);
        let count = |kind| one.iter().filter(|fault| fault.kind == kind).count();
        assert_eq!(Kind::ALL.map(count), [9, 4, 3, 2, 2, 1]);
        let targets = |kind| one.iter().filter(move |fault| fault.kind == kind).map(|f| f.targets.len());
        assert!(targets(Kind::DoubleKill).chain(targets(Kind::Cut)).all(|count| count == 2));
        assert_eq!(targets(Kind::FullDisk).collect::<Vec<_>>(), [1, 2]);
        assert!(one.iter().all(|fault| fault.targets.is_sorted() && fault.phase < 1000));
    }

    #[test]
    fn a_quorum_is_more_than_two_thirds() {
        // Of 4 seats 3 are needed, of 5 are 4, of 6 are 5.
        assert_eq!([4, 5, 6].map(too_many), [2, 2, 2]);
    }
}
