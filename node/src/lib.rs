//! The Driftless node: drives sessions of `protocol` over the network, the disk and the engine.

pub mod bandwidth;
pub mod blobs;
pub mod compute_worker;
pub mod control;
pub mod disk_use;
pub mod driver;
pub mod engine;
pub mod node;
pub mod store;
pub mod store_thread;

pub mod args;
pub mod commands;
pub mod config;
pub mod demo;
pub mod local_socket;
pub mod offline;
pub mod output;
pub mod parameters;
pub mod report;
pub mod settings;
pub mod step_size;
pub mod succession;
pub mod terms;
pub mod verify;

const _: () = assert!(!driftless_protocol::mutant::ARE_HERE, "seeded bugs are for the simulator alone");
const _: () = assert!(!driftless_protocol::identity::SIGNATURES_ARE_CHEAP, "a product signs");
