//! Driftless in virtual time: the product's `protocol` crate, driven by a simulated driver.
//!
//! N sessions run on one thread. Network, disks, engines and faults are simulated; everything is
//! decided by one seed. Checkers watch every step and name seed, time, peer and height of what
//! they find. Threads serve independent worlds only.

pub mod checkers;
mod clock;
pub mod commands;
pub mod disk;
mod effects;
pub mod engine;
pub mod faults;
pub mod flows;
mod gossip;
mod happening;
mod meeting;
pub mod network;
mod overdue;
pub mod peer;
pub mod random;
pub mod record;
pub mod replay;
pub mod report;
pub mod scenario;
pub mod search;
pub mod session_folder;
pub mod setup;
pub mod table;
mod topology;
mod transfers;
pub mod world;

pub use setup::{Lie, PeerSetup, Setup};
pub use world::{Violation, World};
