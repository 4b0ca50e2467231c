//! Tests of the store, a file per behaviour.

mod faults;
mod fixture;
mod gaps;
mod round_trip;
mod torn_tail;

pub(super) use faults::Faults;
