//! How much a session holds beside what it may hold, so that whoever drives it can watch that every
//! map and queue is bounded.
//!
//! A bound follows from constants and from the manifest, never from what is held; each part names the
//! one that it enforces. Not told: what came from the own disk and is given away as it is replayed, and
//! the names of the contributions that blocks counted since the oldest snapshot, of which there are as
//! many as the disk keeps contributions.

/// What one map or queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// What is held.
    pub name: &'static str,
    /// How many there are; of maps of one kind the fullest counts.
    pub length: usize,
    /// How many there may be.
    pub bound: usize,
}

/// Hears of every holding.
pub type Tell<'a> = &'a mut dyn FnMut(Holding);

/// Tells of one holding.
pub(crate) fn tell(to: Tell<'_>, name: &'static str, length: usize, bound: usize) {
    to(Holding { name, length, bound });
}
