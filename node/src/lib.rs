//! To be written.

pub mod control;
pub mod bandwidth;
pub mod blobs;
pub mod store;
