//! Tests of the store, a file per behaviour.

mod crash;
mod damage;
mod faults;
mod fixture;
mod folder;
mod full_disk;
mod gaps;
mod journal;
mod model;
mod round_trip;
mod seatings;
mod sweep;
mod torn_tail;

pub(super) use faults::Faults;
