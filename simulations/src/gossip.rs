//! Gossip in a crowd, as gossipsub carries it: whoever hears a message first passes it on to its mesh,
//! if its session vouches for it. Copies of what was heard already are traffic and nothing else.
//!
//! As in `node`, whoever hears a message tells its mesh so, and nobody sends it to a peer whose word
//! came in time.

use std::collections::BTreeMap;
use std::sync::Arc;

use driftless_protocol::Hash;
use driftless_protocol::event::Input;
use driftless_protocol::time::Time;
use driftless_protocol::wire::Message;

use crate::happening::Happening;
use crate::world::{Violation, World};

/// Bytes of "I have it".
const HAVE: u64 = 60;
/// Messages that a peer remembers having heard.
const REMEMBERED: usize = 32;

/// All that was ever published.
#[derive(Debug, Default)]
pub(crate) struct Gossip {
    names: BTreeMap<Hash, u32>,
    messages: Vec<Arc<(Message, u64)>>,
}

/// What one peer heard, by the order of publication, and when.
pub(crate) type Heard = BTreeMap<u32, Time>;

impl Gossip {
    fn name(&mut self, message: Message) -> u32 {
        let bytes = message.to_bytes();
        let next = self.messages.len() as u32;
        let name = *self.names.entry(Hash::of(&bytes)).or_insert(next);
        if name == next {
            self.messages.push(Arc::new((message, bytes.len() as u64)));
        }
        name
    }
}

impl World {
    /// A peer of a crowd publishes a message.
    pub(crate) fn publish(&mut self, peer: usize, message: Message) {
        let name = self.gossip.name(message);
        if self.hears(peer, name) {
            self.pass_on(peer, None, name);
        }
    }

    /// A message came from a peer's mesh.
    pub(crate) fn gossip_arrives(&mut self, from: usize, to: usize, name: u32) -> Result<(), Violation> {
        if !self.peers[to].is_up() || !self.network.joins(from, to) {
            return Ok(());
        }
        let gossiped = self.gossip.messages[name as usize].clone();
        let (message, length) = &*gossiped;
        self.peers[to].traffic.messages_received += length;
        if !self.hears(to, name) {
            return Ok(());
        }
        if self.peers[to].session.as_ref().is_some_and(|session| session.vouches_for(message)) {
            self.pass_on(to, Some(from), name);
        }
        let from = self.peers[from].key;
        self.input(to, Input::Message { from, message: message.clone() })
    }

    /// Notes that a peer has a message. Returns whether that is news.
    fn hears(&mut self, peer: usize, name: u32) -> bool {
        let heard = &mut self.peers[peer].heard;
        if heard.contains_key(&name) {
            return false;
        }
        heard.insert(name, self.now);
        if heard.len() > REMEMBERED {
            heard.pop_first();
        }
        true
    }

    fn pass_on(&mut self, peer: usize, from: Option<usize>, name: u32) {
        let mesh = self.topology.mesh(peer).into_iter().flatten();
        let mesh: Vec<usize> = mesh.filter(|to| self.peers[peer].met.contains_key(to)).copied().collect();
        let length = self.gossip.messages[name as usize].1;
        for to in mesh {
            self.peers[peer].traffic.messages_sent += HAVE;
            self.peers[to].traffic.messages_received += HAVE;
            let word = self.peers[to].heard.get(&name).map(|at| *at + self.network.latency(to, peer));
            if Some(to) == from || word.is_some_and(|word| word <= self.now) {
                continue;
            }
            self.peers[peer].traffic.messages_sent += length;
            for delay in self.network.message(peer, to) {
                self.schedule(self.now + delay, Happening::Gossip { from: peer, to, name });
            }
        }
    }
}
