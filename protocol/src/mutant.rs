//! Seeded protocol bugs, one of which lives at a time: does the simulator's search find them?
//!
//! Only a build with the feature `mutants` has them; in every other build nothing is left of them.

/// Whether this build has them.
pub const ARE_HERE: bool = cfg!(feature = "mutants");

/// A protocol bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(feature = "mutants"), allow(dead_code))]
pub enum Mutant {
    /// More than half of the seats decide where two thirds have to.
    HalfDecides,
    /// A vote leaves before it is durable.
    VotesBeforeFsync,
    /// A voter whose lock makes it prevote nil prevotes what is proposed.
    SkipsLock,
    /// A restart does not replay the log of the running height.
    ForgetsVotes,
    /// A restart forgets what it signed for open slots.
    ForgetsContributions,
    /// A peer that comes back does not ask what it said.
    AsksNobody,
    /// What a peer meets of its own key bars it from nothing.
    ShrugsAtItself,
    /// A proposal leaves and is not in the log.
    ForgetsProposals,
    /// The next lease is of the same samples.
    LeasesTwice,
    /// Samples that were counted stay leased.
    KeepsLeases,
    /// A contribution against other parameters is counted.
    TakesStaleBase,
    /// A state that does not have the certified digest is kept.
    KeepsWrongState,
    /// A proposal is voted for whatever its digest.
    BelievesProposers,
    /// Blocks are applied whatever their certificate.
    BelievesCertificates,
    /// Votes and proposals are said once.
    SaysOnce,
    /// Two votes of one key are a contradiction, whatever they are about.
    ConvictsVoters,
    /// Seats are given to whoever asks for one.
    SeatsAnybody,
    /// Own contributions stay when their slot is closed.
    HoardsAnnouncements,
    /// A contribution weighs what it claims, however much more that is than the others'.
    WeighsClaims,
    /// Newcomers are drawn like everybody else.
    DrawsNewcomers,
    /// Whoever missed three slots has to go.
    ShowsOutEarly,
    /// Snapshots and checkpoints are written whatever that wears out.
    WritesAlways,
}

#[cfg(feature = "mutants")]
mod living {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Mutant;

    /// The number of the mutant that lives, from 1 on; 0 for none.
    static LIVING: AtomicU8 = AtomicU8::new(0);

    impl Mutant {
        /// All of them.
        pub const ALL: [Mutant; 22] = [
            Mutant::HalfDecides,
            Mutant::VotesBeforeFsync,
            Mutant::SkipsLock,
            Mutant::ForgetsVotes,
            Mutant::ForgetsContributions,
            Mutant::AsksNobody,
            Mutant::ShrugsAtItself,
            Mutant::ForgetsProposals,
            Mutant::LeasesTwice,
            Mutant::KeepsLeases,
            Mutant::TakesStaleBase,
            Mutant::KeepsWrongState,
            Mutant::BelievesProposers,
            Mutant::BelievesCertificates,
            Mutant::SaysOnce,
            Mutant::ConvictsVoters,
            Mutant::SeatsAnybody,
            Mutant::HoardsAnnouncements,
            Mutant::WeighsClaims,
            Mutant::DrawsNewcomers,
            Mutant::ShowsOutEarly,
            Mutant::WritesAlways,
        ];

        /// From now on this one lives in every session of the process, or none does.
        pub fn release(mutant: Option<Mutant>) {
            LIVING.store(mutant.map_or(0, |mutant| mutant as u8 + 1), Ordering::Relaxed);
        }

        pub(crate) fn lives(self) -> bool {
            LIVING.load(Ordering::Relaxed) == self as u8 + 1
        }
    }
}

#[cfg(not(feature = "mutants"))]
impl Mutant {
    pub(crate) const fn lives(self) -> bool {
        false
    }
}
