//! When things are due: deadlines of slots, estimated by each voter for itself.

pub mod deadlines;
