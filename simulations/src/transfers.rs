//! Blobs on their way: over shared access lines where there are any, and when a push to several peers
//! is over.

use std::collections::BTreeMap;

use driftless_protocol::Hash;
use driftless_protocol::event::Input;
use driftless_protocol::time::Time;

use crate::checkers::Way;
use crate::flows::{Access, Flows};
use crate::happening::Happening;
use crate::world::{Violation, World};

/// One blob on its way to one peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transfer {
    pub from: usize,
    pub to: usize,
    /// The life of the receiver that asked for it.
    pub life: u32,
    pub root: Hash,
    /// The push that it is a part of; the receiver fetches what is in none.
    pub push: Option<u64>,
}

/// One blob on access lines.
#[derive(Debug)]
struct Carried {
    transfer: Transfer,
    began: Time,
    length: u64,
}

/// A push to several peers.
#[derive(Debug)]
struct Push {
    peer: usize,
    life: u32,
    root: Hash,
    to: Vec<usize>,
    under_way: usize,
    last: Time,
}

/// All transfers of a world.
#[derive(Debug)]
pub(crate) struct Transfers {
    flows: Flows<Carried>,
    /// Changes whenever the next end does.
    version: u64,
    pushes: BTreeMap<u64, Push>,
    next_push: u64,
}

impl Transfers {
    pub fn new(access: Vec<Access>) -> Transfers {
        Transfers { flows: Flows::new(access), version: 0, pushes: BTreeMap::new(), next_push: 0 }
    }

    /// A push of `peer`'s to these peers begins, so many of which do not have the blob yet.
    pub fn push(
        &mut self,
        now: Time,
        (peer, life): (usize, u32),
        root: Hash,
        to: Vec<usize>,
        under_way: usize,
    ) -> u64 {
        let push = Push { peer, life, root, to, under_way, last: now };
        self.next_push += 1;
        self.pushes.insert(self.next_push, push);
        self.next_push
    }
}

impl World {
    /// A blob of `length` bytes leaves.
    pub(crate) fn transfer(&mut self, transfer: Transfer, length: u64) {
        let (from, to) = (transfer.from, transfer.to);
        if self.transfers.flows.are_limited(from, to) {
            let path = self.network.path(from, to);
            let carried = Carried { transfer, began: self.now, length };
            self.transfers.flows.begin(self.now, (from, to), path, length, carried);
            self.await_next_end();
        } else {
            let arrival = self.now + self.network.transfer(from, to, length);
            self.arrives(transfer, arrival);
        }
    }

    /// Ends a push whose parts are all over.
    pub(crate) fn push_goes_on(&mut self, push: u64) {
        if self.transfers.pushes.get(&push).is_none_or(|push| push.under_way > 0) {
            return;
        }
        if let Some(Push { peer, life, root, to, last, .. }) = self.transfers.pushes.remove(&push) {
            self.schedule(last, Happening::Pushed { peer, life, root, to });
        }
    }

    /// Transfers over access lines may be over.
    pub(crate) fn flows_end(&mut self, version: u64) -> Result<(), Violation> {
        if version != self.transfers.version {
            return Ok(());
        }
        for (from, to, carried) in self.transfers.flows.take_ended(self.now) {
            self.carried(&carried)?;
            let arrival = self.now + self.network.delay(from, to);
            self.over(carried.transfer, arrival);
        }
        self.await_next_end();
        Ok(())
    }

    /// Both lines carried it.
    fn carried(&mut self, carried: &Carried) -> Result<(), Violation> {
        let Carried { transfer: Transfer { from, to, .. }, began, length } = *carried;
        let (up, down) = (self.peers[from].setup.access.up, self.peers[to].setup.access.down);
        for (peer, way, rate) in [(from, Way::Up, up), (to, Way::Down, down)] {
            if let Some(rate) = rate {
                let carried = self.checkers.caps.carried((peer, way), rate, (began, self.now), length);
                self.capped(peer, carried)?;
            }
        }
        Ok(())
    }

    /// Transfers between peers that do not reach each other any more come to nothing at once.
    pub(crate) fn cut_flows(&mut self) {
        let (peers, network) = (&self.peers, &self.network);
        let joins = |a: usize, b: usize| peers[a].is_up() && peers[b].is_up() && network.joins(a, b);
        for (_, _, carried) in self.transfers.flows.take_cut(self.now, joins) {
            self.over(carried.transfer, self.now);
        }
        self.await_next_end();
    }

    /// A peer neither waits for these any more nor pushes them: what is on a line goes no further.
    pub(crate) fn give_up(&mut self, peer: usize, roots: &[Hash]) {
        let given_up = |Carried { transfer, .. }: &Carried| {
            let whose = if transfer.push.is_some() { transfer.from } else { transfer.to };
            whose == peer && roots.contains(&transfer.root)
        };
        let cut = self.transfers.flows.take_given_up(self.now, given_up);
        cut.iter().filter_map(|(_, _, carried)| carried.transfer.push).for_each(|push| {
            self.transfers.pushes.remove(&push);
        });
        if !cut.is_empty() {
            self.await_next_end();
        }
    }

    fn over(&mut self, transfer: Transfer, at: Time) {
        self.arrives(transfer, at);
        if let Some(push) = transfer.push {
            self.push_goes_on(push);
        }
    }

    fn arrives(&mut self, transfer: Transfer, at: Time) {
        let Transfer { from, to, life, root, push, .. } = transfer;
        self.schedule(at, Happening::Arrive { from, to, life, root, fetched: push.is_none() });
        if let Some(push) = push.and_then(|push| self.transfers.pushes.get_mut(&push)) {
            push.under_way -= 1;
            push.last = push.last.max(at);
        }
    }

    pub(crate) fn arrive(
        &mut self,
        from: usize,
        to: usize,
        life: u32,
        root: Hash,
        fetched: bool,
    ) -> Result<(), Violation> {
        if !self.lives(to, life) {
            return Ok(());
        }
        let source = &self.peers[from];
        let there = source.is_up() && self.network.joins(from, to);
        let fits = self.peers[to].full.is_none();
        match source.disk.blob(&root).filter(|_| there && fits) {
            Some(bytes) => {
                let length = self.nominal_length(bytes.len() as u64);
                self.peers[from].traffic.blobs_sent += length;
                self.peers[to].traffic.blobs_received += length;
                *self.peers[to].blobs_from.entry(from).or_default() += length;
                if fetched && self.topology.mesh(to).is_none() {
                    self.peers[to].fetched.push((root, length));
                }
                if self.peers[to].disk.received(&root) {
                    let again = self.checkers.caps.arrived_again(self.now, from, to, root);
                    self.capped(to, again)?;
                }
                self.peers[to].disk.store_blob(root, bytes);
                self.input(to, Input::BlobStored(root))
            }
            None if fetched => self.input(to, Input::BlobFailed(root)),
            None => Ok(()),
        }
    }

    fn await_next_end(&mut self) {
        self.transfers.version += 1;
        let version = self.transfers.version;
        if let Some(end) = self.transfers.flows.next_end() {
            self.schedule(end, Happening::Flows { version });
        }
    }
}
