//! Blobs on their way: over shared access lines where there are any, and when a push to several peers
//! is over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use driftless_protocol::Hash;
use driftless_protocol::event::Input;
use driftless_protocol::identity::PeerKey;
use driftless_protocol::time::{Span, Time};

use crate::checkers::Way;
use crate::flows::{Access, Flows};
use crate::happening::Happening;
use crate::world::{Violation, World};

/// As in `node`: with one copy out, the others hold up the announcement only this long.
const ENOUGH: Span = Span::seconds(2);

/// After this long a fetch without any source fails.
const NO_SOURCE: Span = Span::millis(50);

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

/// A fetch that waits for the end of a push of the same blob: a peer takes each blob from one other at a time.
#[derive(Debug)]
struct Awaited {
    length: u64,
    sources: Vec<PeerKey>,
}

/// A push to several peers, as `node` does it: to so many candidates at a time, until enough hold the blob
/// or none is left. With one copy out, the others hold up its end for a while only, and go on behind it.
#[derive(Debug)]
struct Push {
    peer: usize,
    life: u32,
    root: Hash,
    length: u64,
    /// Candidates, best first.
    left: VecDeque<usize>,
    copies: usize,
    /// Whoever takes longer hangs.
    within: Span,
    held: Vec<usize>,
    running: BTreeSet<usize>,
    /// One copy is enough from then on.
    patient_until: Time,
}

/// All transfers of a world.
#[derive(Debug)]
pub(crate) struct Transfers {
    flows: Flows<Carried>,
    /// Changes whenever the next end does.
    version: u64,
    pushes: BTreeMap<u64, Push>,
    next_push: u64,
    /// Blobs on their way, by receiver and its life.
    coming: BTreeSet<(usize, u32, Hash)>,
    awaited: BTreeMap<(usize, u32, Hash), Awaited>,
}

impl Transfers {
    pub fn new(access: Vec<Access>) -> Transfers {
        Transfers {
            flows: Flows::new(access),
            version: 0,
            pushes: BTreeMap::new(),
            next_push: 0,
            coming: BTreeSet::new(),
            awaited: BTreeMap::new(),
        }
    }
}

impl Push {
    /// The next candidate, if one is needed.
    fn next(&mut self) -> Option<(Hash, usize)> {
        let needed = self.running.len() + self.held.len() < self.copies;
        let to = needed.then(|| self.left.pop_front()).flatten()?;
        Some((self.root, to))
    }

    fn is_over(&self, now: Time) -> bool {
        let enough = now >= self.patient_until && !self.held.is_empty();
        self.running.is_empty() || enough
    }
}

impl World {
    /// A blob of `length` bytes leaves.
    pub(crate) fn transfer(&mut self, transfer: Transfer, length: u64) {
        let Transfer { from, to, life, root, .. } = transfer;
        self.transfers.coming.insert((to, life, root));
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

    /// A push of a peer's begins.
    pub(crate) fn push(
        &mut self,
        peer: usize,
        root: Hash,
        to: &[PeerKey],
        copies: usize,
        within: Span,
    ) -> Result<(), Violation> {
        let life = self.peers[peer].life;
        let length = self.peers[peer].disk.blob(&root).map_or(0, |bytes| bytes.len() as u64);
        let length = self.nominal_length(length);
        let left = to.iter().filter_map(|key| self.index(key)).collect();
        let patient_until = self.now + ENOUGH;
        let (held, running) = (Vec::new(), BTreeSet::new());
        let push = Push { peer, life, root, length, left, copies, within, held, running, patient_until };
        self.transfers.next_push += 1;
        let number = self.transfers.next_push;
        self.transfers.pushes.insert(number, push);
        self.schedule(patient_until, Happening::Push(number));
        self.push_goes_on(number)
    }

    /// Begins what a push still needs, or ends it.
    pub(crate) fn push_goes_on(&mut self, number: u64) -> Result<(), Violation> {
        while let Some((root, to)) = self.transfers.pushes.get_mut(&number).and_then(Push::next) {
            self.push_to(number, root, to);
        }
        let over = self.transfers.pushes.get(&number).is_some_and(|push| push.is_over(self.now));
        match over.then(|| self.transfers.pushes.remove(&number)).flatten() {
            Some(Push { peer, life, root, held, .. }) if self.lives(peer, life) => {
                let to = held.into_iter().map(|holder| self.peers[holder].key).collect();
                self.input(peer, Input::Pushed { root, to })
            }
            _ => Ok(()),
        }
    }

    /// One candidate's turn.
    fn push_to(&mut self, number: u64, root: Hash, to: usize) {
        let Some(Push { peer, length, within, held, running, .. }) = self.transfers.pushes.get_mut(&number)
        else {
            return;
        };
        let (peer, length, within, life) = (*peer, *length, *within, self.peers[to].life);
        let busy = self.transfers.coming.contains(&(to, life, root));
        if busy || !self.peers[peer].met.contains_key(&to) || !self.network.carries(peer, to) {
            return;
        }
        // Whoever has it already takes the offer for a push.
        if self.peers[to].disk.blob(&root).is_some() {
            return held.push(to);
        }
        running.insert(to);
        self.transfer(Transfer { from: peer, to, life, root, push: Some(number) }, length);
        self.schedule(self.now + within, Happening::Pushed { push: number, to, late: true });
    }

    /// One part of a push ended, or has taken too long.
    pub(crate) fn pushed(&mut self, number: u64, to: usize, late: bool) -> Result<(), Violation> {
        let Some(push) = self.transfers.pushes.get_mut(&number) else { return Ok(()) };
        if !push.running.remove(&to) {
            return Ok(());
        }
        if self.peers[to].disk.blob(&push.root).is_some() {
            push.held.push(to);
        } else if late {
            self.stop(|transfer| transfer.push == Some(number) && transfer.to == to);
        }
        self.push_goes_on(number)
    }

    /// Transfers over access lines may be over.
    pub(crate) fn flows_end(&mut self, version: u64) -> Result<(), Violation> {
        if version != self.transfers.version {
            return Ok(());
        }
        for (from, to, carried) in self.transfers.flows.take_ended(self.now) {
            self.carried(&carried)?;
            let arrival = self.now + self.network.delay(from, to);
            self.arrives(carried.transfer, arrival);
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

    /// Transfers between peers that do not reach each other any more come to nothing, as both will notice.
    pub(crate) fn cut_flows(&mut self) {
        let (peers, network) = (&self.peers, &self.network);
        let joins = |a: usize, b: usize| peers[a].is_up() && peers[b].is_up() && network.joins(a, b);
        for (_, _, carried) in self.transfers.flows.take_cut(self.now, joins) {
            self.arrives(carried.transfer, self.now + self.detection);
        }
        self.await_next_end();
    }

    /// A peer neither waits for these any more nor pushes them: what is on a line goes no further.
    pub(crate) fn give_up(&mut self, peer: usize, roots: &[Hash]) {
        let life = self.peers[peer].life;
        for root in roots {
            self.transfers.awaited.remove(&(peer, life, *root));
        }
        let cut = self.stop(|transfer| {
            let whose = if transfer.push.is_some() { transfer.from } else { transfer.to };
            whose == peer && roots.contains(&transfer.root)
        });
        for push in cut.iter().filter_map(|transfer| transfer.push) {
            self.transfers.pushes.remove(&push);
        }
    }

    /// Transfers over access lines end here and now.
    fn stop(&mut self, which: impl Fn(&Transfer) -> bool) -> Vec<Transfer> {
        let cut = self.transfers.flows.take_given_up(self.now, |carried| which(&carried.transfer));
        let cut: Vec<Transfer> = cut.into_iter().map(|(_, _, carried)| carried.transfer).collect();
        if !cut.is_empty() {
            self.await_next_end();
        }
        for Transfer { to, life, root, .. } in &cut {
            self.came_to_nothing(*to, *life, *root);
        }
        cut
    }

    /// A blob is not on its way to a peer any more: what waited for that begins.
    fn came_to_nothing(&mut self, to: usize, life: u32, root: Hash) {
        self.transfers.coming.remove(&(to, life, root));
        if let Some(Awaited { length, sources }) = self.transfers.awaited.remove(&(to, life, root))
            && self.lives(to, life)
        {
            self.fetch(to, root, length, &sources);
        }
    }

    /// From the first source that has it; a blob that is here already is simply here.
    pub(crate) fn fetch(&mut self, peer: usize, root: Hash, length: u64, sources: &[PeerKey]) {
        let life = self.peers[peer].life;
        if self.peers[peer].disk.blob(&root).is_some() {
            let input = Input::BlobStored(root);
            return self.schedule(self.now, Happening::Input { peer, life, input: Box::new(input) });
        }
        if self.transfers.coming.contains(&(peer, life, root)) {
            let awaited = Awaited { length, sources: sources.to_vec() };
            self.transfers.awaited.insert((peer, life, root), awaited);
            return;
        }
        let has = |key: &PeerKey| {
            let index = self.index(key)?;
            let met = self.peers[peer].met.contains_key(&index) && self.network.carries(peer, index);
            (met && self.peers[index].disk.blob(&root).is_some()).then_some(index)
        };
        match sources.iter().find_map(has) {
            Some(from) => {
                let transfer = Transfer { from, to: peer, life, root, push: None };
                self.transfer(transfer, self.nominal_length(length));
            }
            None => {
                let input = Input::BlobFailed(root);
                self.schedule(self.now + NO_SOURCE, Happening::Input { peer, life, input: Box::new(input) });
            }
        }
    }

    fn arrives(&mut self, transfer: Transfer, at: Time) {
        let Transfer { from, to, life, root, push, .. } = transfer;
        self.schedule(at, Happening::Arrive { from, to, life, root, fetched: push.is_none() });
        if let Some(push) = push {
            self.schedule(at, Happening::Pushed { push, to, late: false });
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
            self.came_to_nothing(to, life, root);
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
                self.transfers.coming.remove(&(to, life, root));
                self.transfers.awaited.remove(&(to, life, root));
                self.input(to, Input::BlobStored(root))
            }
            None => {
                self.came_to_nothing(to, life, root);
                if fetched { self.input(to, Input::BlobFailed(root)) } else { Ok(()) }
            }
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
