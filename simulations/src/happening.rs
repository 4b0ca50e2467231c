//! What can happen next in a world.

use std::borrow::Cow;
use std::sync::Arc;

use driftless_protocol::Hash;
use driftless_protocol::catch_up::AssembleJob;
use driftless_protocol::event::{Command, Input};
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
    /// A message comes along the mesh of a crowd.
    Gossip { from: usize, to: usize, name: u32 },
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
    /// A push may have enough.
    Push(u64),
    /// A part of a push ends, or has taken too long.
    Pushed { push: u64, to: usize, late: bool },
    /// A transfer over access lines may be over, if nothing began or ended there since.
    Flows { version: u64 },
    /// A peer's user wishes something.
    Wish { peer: usize, command: Command },
    /// Two peers look whether they reach each other.
    Link { a: usize, b: usize },
    /// There may be space on a peer's disk again.
    Space(usize),
    /// Something goes wrong.
    Fault(Fault),
}

impl Happening {
    /// Kind, subject and a few bytes: what the trace remembers.
    pub fn trace(&self) -> (u8, usize, Cow<'_, [u8]>) {
        let nothing = Cow::Borrowed(&[][..]);
        match self {
            Happening::Start(peer) => (0, *peer, nothing),
            Happening::Input { peer, .. } => (1, *peer, nothing),
            Happening::Deliver { to, bytes, .. } => (2, *to, Cow::Borrowed(&**bytes)),
            Happening::Timer { peer, .. } => (3, *peer, nothing),
            Happening::Work { peer, .. } => (4, *peer, nothing),
            Happening::Compute { peer, .. } => (5, *peer, nothing),
            Happening::Assemble { peer, .. } => (6, *peer, nothing),
            Happening::Arrive { to, root, .. } => (7, *to, Cow::Borrowed(&root.0)),
            Happening::Push(push) => (15, 0, Cow::Owned(push.to_le_bytes().to_vec())),
            Happening::Pushed { push, to, .. } => (8, *to, Cow::Owned(push.to_le_bytes().to_vec())),
            Happening::Link { a, b } => (9, *a, Cow::Owned((*b as u64).to_le_bytes().to_vec())),
            Happening::Fault(_) => (10, 0, nothing),
            Happening::Flows { .. } => (11, 0, nothing),
            Happening::Space(peer) => (13, *peer, nothing),
            Happening::Wish { peer, .. } => (14, *peer, nothing),
            Happening::Gossip { to, name, .. } => (12, *to, Cow::Owned(name.to_le_bytes().to_vec())),
        }
    }
}
