//! When things are due: deadlines of slots, estimated by each voter for itself, and writes of what is
//! large.

pub mod cadence;
pub mod deadlines;
pub mod grace;
pub mod writes;
