//! What a session's outputs do to its world: the simulated half of the driver's contract.

use std::sync::Arc;

use driftless_protocol::Hash;
use driftless_protocol::block::{Announcement, Closing};
use driftless_protocol::event::{Input, Output, Record, Recovered, Snapshot};
use driftless_protocol::identity::{Domain, PeerKey, Scope, Signed};
use driftless_protocol::state::State;
use driftless_protocol::time::{Span, Time};
use driftless_protocol::transition::{CandidateError, CandidateJob};
use driftless_protocol::wire::Message;
use driftless_protocol::worker::Work;

use crate::checkers::{Caps, Checkers, Promise, Write};
use crate::happening::Happening;
use crate::peer::Peer;
use crate::setup::Lie;

use crate::world::{Decided, Violation, World, read};

/// Virtual time of computing a candidate state or putting a snapshot together.
const COMPUTE: Span = Span::millis(2);
/// Candidate states that are kept for others.
const CANDIDATES: usize = 16;

impl World {
    /// Acts on a session's outputs in order, until there are none, or the power goes, or the disk is full.
    pub(crate) fn drain(&mut self, peer: usize) -> Result<(), Violation> {
        self.peers[peer].told = self.peers[peer].told.wrapping_add(1);
        if let Peer { session: Some(session), told, .. } = &self.peers[peer] {
            Checkers::holds(session, *told).map_err(|broken| self.violation(peer, broken))?;
        }
        loop {
            match self.peers[peer].doom {
                Some((0, down)) => {
                    self.crash(peer, down);
                    return Ok(());
                }
                _ if self.peers[peer].held.is_some() => {
                    self.peers[peer].timer = None;
                    return Ok(());
                }
                Some((outputs, down)) => self.peers[peer].doom = Some((outputs - 1, down)),
                None => {}
            }
            let Some(session) = self.peers[peer].session.as_mut() else { return Ok(()) };
            let Some(output) = session.poll_output() else { break };
            self.act(peer, output)?;
        }
        let Some(session) = self.peers[peer].session.as_ref() else { return Ok(()) };
        let (state, timeout) = (session.state(), session.next_timeout());
        if !self.peers[peer].checked.as_ref().is_some_and(|checked| checked.is_shared_with(&state.control)) {
            let checked = state.control.clone();
            let key = self.peers[peer].key;
            self.checkers.state_reached(key, session).map_err(|broken| self.violation(peer, broken))?;
            self.peers[peer].checked = Some(checked);
        }
        self.set_timer(peer, timeout);
        Ok(())
    }

    fn set_timer(&mut self, peer: usize, timeout: Option<Time>) {
        let timeout = timeout.map(|at| self.peers[peer].clock.moment(at).max(self.now));
        if self.peers[peer].timer == timeout {
            return;
        }
        self.peers[peer].timer = timeout;
        if let Some(at) = timeout {
            let life = self.peers[peer].life;
            self.schedule(at, Happening::Timer { peer, life, at });
        }
    }

    /// Acts on one output. On a full disk a barrier holds up everything behind it, as in `node`.
    pub(crate) fn act(&mut self, peer: usize, output: Output) -> Result<(), Violation> {
        let life = self.peers[peer].life;
        match output {
            Output::Persist { sync: true, .. } if self.peers[peer].full.is_some() => {
                self.peers[peer].held = Some(output);
            }
            Output::Persist { record, sync } => return self.persist(peer, record, sync),
            Output::Send { to, message } => return self.send(peer, &to, message),
            Output::Publish(message) if self.topology.mesh(peer).is_some() => {
                let message = self.twist(peer, message);
                self.publish(peer, message);
            }
            Output::Publish(message) => {
                let to: Vec<PeerKey> = self.peers[peer].met.keys().map(|met| self.peers[*met].key).collect();
                return self.send(peer, &to, message);
            }
            Output::Fetch { root, length, sources } => self.fetch(peer, root, length, &sources),
            Output::Push { root, to, copies, within } => {
                let offered = Caps::offered(self.peers[peer].key, &to, copies);
                self.capped(peer, offered)?;
                self.push(peer, root, &to, copies, within)?;
            }
            Output::Evaluate(job) => {
                self.schedule(self.now + COMPUTE, Happening::Compute { peer, life, job: Box::new(job) });
            }
            Output::Assemble(job) => {
                self.schedule(self.now + COMPUTE, Happening::Assemble { peer, life, job: Box::new(job) });
            }
            Output::Reload => {
                let input = Input::Reloaded(self.reload(peer));
                self.schedule(self.now + COMPUTE, Happening::Input { peer, life, input: Box::new(input) });
            }
            Output::Work(work) => {
                Checkers::ordered(self.peers[peer].orders).map_err(|broken| self.violation(peer, broken))?;
                self.peers[peer].orders += 1;
                let duration = self.peers[peer].duration(self.now, &work, &mut self.steps);
                if matches!(work, Work::Train { .. }) {
                    self.peers[peer].trained = self.peers[peer].trained + duration;
                }
                let done = self.now + duration;
                self.schedule(done, Happening::Work { peer, life, work });
            }
            // What is on a path without lines arrives all the same, and does no harm.
            Output::Cancel(roots) => {
                self.checkers.caps.gave_up(peer, &roots);
                self.give_up(peer, &roots);
            }
            Output::Retain { from } => self.peers[peer].disk.retain(from),
            Output::Forget(roots) => self.peers[peer].disk.forget(&roots),
            Output::Event(event) => self.peers[peer].note(self.now, event),
            Output::Finished(ending) => {
                self.peers[peer].end(ending);
                self.checkers.progress.disturbed(self.now);
                self.look_around(peer);
            }
        }
        Ok(())
    }

    /// What a peer's disk holds, read again while it runs.
    fn reload(&self, peer: usize) -> Result<Box<Recovered>, String> {
        if self.peers[peer].unreadable {
            return Err("input/output error".into());
        }
        let mut recovered = self.peers[peer].disk.recover();
        let genesis = || Snapshot { block: None, state: self.genesis.clone() };
        recovered.snapshot = Some(recovered.snapshot.take().unwrap_or_else(genesis));
        Ok(Box::new(recovered))
    }

    fn persist(&mut self, peer: usize, record: Record, sync: bool) -> Result<(), Violation> {
        if let Record::Blob { root, .. } = &record {
            self.checkers.caps.made(*root);
        }
        if let Record::Snapshot(snapshot) = &record
            && snapshot.pages().any(|page| Hash::of(page.bytes()) != page.hash())
        {
            let (life, input) =
                (self.peers[peer].life, Input::StateDamaged("a page changed in memory".into()));
            self.schedule(self.now, Happening::Input { peer, life, input: Box::new(input) });
            return Ok(());
        }
        self.written(peer, &record)?;
        let decision = self.decision(&record);
        let peers = &self.peers;
        // The peer's own disk first: that is where it must be.
        let order = std::iter::once(peer).chain(0..peers.len());
        let mut find = |root: &Hash| {
            let found = order.clone().find_map(|index| read(&peers[index].disk, root).ok());
            found.ok_or_else(|| "on nobody's disk".to_owned())
        };
        let seen = self.checkers.persisted(peers[peer].key, &record, &mut find);
        seen.map_err(|broken| self.violation(peer, broken))?;
        if let Some(decided) = decision {
            let tokens = self.certified().control.counted_tokens;
            self.checkers.progress.decided(self.now, self.spare_seats());
            self.decided.push(Decided { tokens, ..decided });
        }
        match record {
            Record::Block(certified) => {
                if sync {
                    self.checkers.durable(self.peers[peer].key, certified.block.height);
                }
                let certified = self.shared(certified);
                self.peers[peer].disk.write_block(certified, sync);
            }
            record => {
                if let (Record::Snapshot(snapshot), true) = (&record, sync) {
                    self.checkers.durable(self.peers[peer].key, snapshot.height());
                }
                self.peers[peer].disk.persist(record, sync);
            }
        }
        Ok(())
    }

    /// A snapshot or a checkpoint is written: was it time? What was taken from others comes when it comes, and
    /// the last snapshot is written in any case.
    fn written(&mut self, peer: usize, record: &Record) -> Result<(), Violation> {
        let Peer { session: Some(session), setup, disk, .. } = &self.peers[peer] else { return Ok(()) };
        let control = &session.state().control;
        let last = self.charter.manifest.stop_at.is_some_and(|stop_at| control.counted_tokens >= stop_at);
        let (write, bytes) = match record {
            Record::Snapshot(snapshot) if disk.blocks().contains_key(&snapshot.height()) => {
                (Write::Snapshot, snapshot.pages().map(|page| page.bytes().len() as u64).sum())
            }
            Record::Checkpoint(checkpoint) => (Write::Checkpoint, checkpoint.bytes.len() as u64),
            _ => return Ok(()),
        };
        if last {
            return Ok(());
        }
        let per_day = setup.options.writes_per_day;
        let wrote = self.checkers.caps.wrote(peer, write, per_day, self.now, bytes);
        self.capped(peer, wrote)
    }

    /// What a checker of caps found.
    pub(crate) fn capped(&self, peer: usize, found: Result<(), String>) -> Result<(), Violation> {
        found.map_err(|what| self.violation(peer, Promise::Caps.broken(what)))
    }

    /// A block that is written down for the first time: what it closes, on the certified state.
    fn decision(&self, record: &Record) -> Option<Decided> {
        let Record::Block(certified) = record else { return None };
        let block = &certified.block;
        if block.height != self.decided.len() as u64 + 1 {
            return None;
        }
        let members = &self.certified().control.members;
        let peer = |member: u16| {
            let key = members.get(usize::from(member))?.key;
            self.index(&key)
        };
        let counted = |closing: &Closing| closing.counted.iter().filter_map(|one| peer(one.member)).collect();
        let closed = block.closings().map(|closing| (closing.slot, counted(closing))).collect();
        let traffic = self.peers.iter().map(|peer| peer.traffic);
        let sent = traffic.map(|traffic| traffic.messages_sent + traffic.blobs_sent).sum();
        Some(Decided { at: self.now, closed, tokens: 0, sent })
    }

    fn send(&mut self, from: usize, to: &[PeerKey], message: Message) -> Result<(), Violation> {
        let message = self.twist(from, message);
        let lie = self.second_story(from, &message);
        // Whoever makes up contributions is bound by none.
        if !matches!(self.peers[from].setup.lie, Some(Lie::Equivocates | Lie::StaleBase)) {
            let sent = self.checkers.sent(self.peers[from].key, &message);
            sent.map_err(|broken| self.violation(from, broken))?;
        }
        let bytes: Arc<[u8]> = message.to_bytes().into();
        let lie: Option<Arc<[u8]>> = lie.map(|lie| lie.to_bytes().into());
        for key in to {
            let Some(to) = self.index(key).filter(|to| self.peers[from].met.contains_key(to)) else {
                continue;
            };
            match &lie {
                Some(lie) if to % 2 == 1 => self.transmit_bytes(from, to, lie.clone(), false),
                _ => self.transmit_bytes(from, to, bytes.clone(), false),
            }
        }
        Ok(())
    }

    /// What a liar makes of a message to everybody.
    pub(crate) fn twist(&self, from: usize, message: Message) -> Message {
        match (self.peers[from].setup.lie, message) {
            (Some(Lie::Boasts), Message::Head { .. }) => Message::Head { height: u64::MAX },
            (Some(Lie::Boasts), Message::Statements(mut statements)) => {
                statements.head = u64::MAX;
                Message::Statements(statements)
            }
            (Some(Lie::Certifies), Message::Blocks(mut reply)) => {
                reply.blocks.iter_mut().for_each(|block| block.certificate.precommits.truncate(1));
                Message::Blocks(reply)
            }
            (Some(Lie::StaleBase), Message::Announce { announcement, mirrors, relay })
                if announcement.by == self.peers[from].key =>
            {
                let content = Announcement { base: Hash::of(b"elsewhere"), ..announcement.content };
                Message::Announce { announcement: self.announcement(from, content), mirrors, relay }
            }
            (_, message) => message,
        }
    }

    /// What an equivocator tells the others.
    fn second_story(&self, from: usize, message: &Message) -> Option<Message> {
        let Message::Announce { announcement, mirrors, relay } = message else { return None };
        let peer = &self.peers[from];
        if peer.setup.lie != Some(Lie::Equivocates) || announcement.by != peer.key {
            return None;
        }
        let mut content = announcement.content.clone();
        content.work.speed ^= 1;
        let announcement = self.announcement(from, content);
        Some(Message::Announce { announcement, mirrors: mirrors.clone(), relay: *relay })
    }

    fn announcement(&self, by: usize, content: Announcement) -> Signed<Announcement> {
        let generation = self.certified().control.generation;
        let scope = Scope { session: self.charter.session, generation };
        self.peers[by].signer.seal(Domain::Announcement, scope, content)
    }

    /// Computes a candidate state: once for all whose memory and processors are in order and who have what
    /// it takes.
    pub(crate) fn compute(&mut self, peer: usize, job: CandidateJob) -> Result<State, CandidateError> {
        let Peer { disk, odd, miscomputes, .. } = &self.peers[peer];
        let name = job.name();
        let known = self.candidates.iter().find(|(known, _)| *known == name && !odd);
        if let Some((_, state)) = known
            && job.blobs().iter().all(|root| disk.blob(root).is_some())
        {
            return Ok(state.clone());
        }
        let mut result = job.run(&mut |root| read(disk, root));
        match &mut result {
            Ok(state) if *miscomputes => state.control.counted_tokens += 1,
            Ok(state) if !odd => {
                self.candidates.push_back((name, state.clone()));
                self.candidates.drain(..self.candidates.len().saturating_sub(CANDIDATES));
            }
            _ => {}
        }
        result
    }

    /// Puts a message on a link as bytes.
    pub(crate) fn transmit(&mut self, from: usize, to: usize, message: &Message, reply: bool) {
        self.transmit_bytes(from, to, message.to_bytes().into(), reply);
    }

    fn transmit_bytes(&mut self, from: usize, to: usize, bytes: Arc<[u8]>, reply: bool) {
        self.peers[from].traffic.messages_sent += bytes.len() as u64;
        for delay in self.network.message(from, to) {
            let bytes = bytes.clone();
            self.schedule(self.now + delay, Happening::Deliver { from, to, bytes, reply });
        }
    }
}
