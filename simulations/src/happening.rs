//! What can happen next in a world.

use std::sync::Arc;

use driftless_protocol::Hash;
use driftless_protocol::catch_up::AssembleJob;
use driftless_protocol::event::Input;
use driftless_protocol::time::Time;
use driftless_protocol::transition::CandidateJob;
use driftless_protocol::worker::Work;

use crate::faults::Fault;

/// Something that is to happen at a moment of virtual time. What belongs to one life of a peer
/// does not happen in the next.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A peer is switched on.
    Start(usize),
    /// A session is told something.
    Input { peer: usize, life: u32, input: Box<Input> },
    /// A message arrives.
    Deliver { from: usize, to: usize, bytes: Arc<[u8]>, reply: bool },
    /// A timer that a session asked for.
    Timer { peer: usize, life: u32, at: Time },
    /// An order to the engine is done.
    Work { peer: usize, life: u32, work: Work },
    /// A candidate state is computed.
    Compute { peer: usize, life: u32, job: Box<CandidateJob> },
    /// A snapshot is put together.
    Assemble { peer: usize, life: u32, job: Box<AssembleJob> },
    /// A fetched or pushed blob arrives.
    Arrive { from: usize, to: usize, life: u32, root: Hash, fetched: bool },
    /// A push to these peers ends.
    Pushed { peer: usize, life: u32, root: Hash, to: Vec<usize> },
    /// A transfer over access lines may be over, if nothing began or ended there since.
    Flows { version: u64 },
    /// Two peers look whether they reach each other.
    Link { a: usize, b: usize },
    /// Something goes wrong.
    Fault(Fault),
}

impl Happening {
    /// Kind, subject and a few bytes: what the trace remembers.
    pub fn trace(&self) -> (u8, usize, Vec<u8>) {
        match self {
            Happening::Start(peer) => (0, *peer, Vec::new()),
            Happening::Input { peer, .. } => (1, *peer, Vec::new()),
            Happening::Deliver { to, bytes, .. } => (2, *to, bytes.to_vec()),
            Happening::Timer { peer, .. } => (3, *peer, Vec::new()),
            Happening::Work { peer, .. } => (4, *peer, Vec::new()),
            Happening::Compute { peer, .. } => (5, *peer, Vec::new()),
            Happening::Assemble { peer, .. } => (6, *peer, Vec::new()),
            Happening::Arrive { to, root, .. } => (7, *to, root.0.to_vec()),
            Happening::Pushed { peer, root, .. } => (8, *peer, root.0.to_vec()),
            Happening::Link { a, b } => (9, *a, (*b as u64).to_le_bytes().to_vec()),
            Happening::Fault(_) => (10, 0, Vec::new()),
            Happening::Flows { .. } => (11, 0, Vec::new()),
        }
    }
}
