//! The Driftless node: drives sessions of `protocol` over the network, the disk and the engine.

pub mod control;
pub mod bandwidth;
pub mod blobs;
pub mod store;
pub mod compute_worker;
pub mod driver;
pub mod engine;
pub mod node;
pub mod store_thread;
