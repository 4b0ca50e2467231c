//! The deterministic core of Driftless.
//!
//! A [`Session`](session) is a state machine: inputs in, outputs out. It has no clock, no sockets, no
//! threads, no ambient randomness and no hash-map iteration; two peers that apply the same
//! certified blocks hold the same state, bit for bit.

pub mod archive;
pub mod batch;
pub mod block;
pub mod catch_up;
pub mod charter;
pub mod codec;
pub mod committee;
pub mod consensus;
pub mod control;
pub mod election;
pub mod event;
pub mod genesis;
pub mod holdings;
pub mod identity;
pub mod invitation;
pub mod layout;
pub mod manifest;
pub mod membership;
mod memory;
pub mod method;
pub mod model;
pub mod mutant;
pub mod planner;
pub mod positions;
pub mod rate;
pub mod schedule;
pub mod session;
pub mod slot;
pub mod state;
pub mod time;
pub mod training;
pub mod transition;
pub mod wire;
pub mod worker;

pub use identity::{Hash, PeerKey};
