//! What the peers of a demo reported, added up. Pure: lines go in, the table and the summary read it.

use std::collections::BTreeMap;
use std::time::Duration;

use driftless_protocol::Hash;

use crate::disk_use::DiskUse;
use crate::report::{Line, Report, waiting_for};

/// What does not change during a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Peers.
    pub peers: usize,
    /// Tokens of one inner step of one peer.
    pub tokens_per_step: u64,
    /// The model's parameters.
    pub parameters: u64,
    /// Counted tokens at which the session ends.
    pub stop_at: u64,
    /// A token is a row of a table.
    pub rows: bool,
}

/// A counter of a process that may be started again from zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    earlier: u64,
    now: u64,
}

impl Counter {
    fn set(&mut self, value: u64) {
        self.now = self.now.max(value);
    }

    fn restart(&mut self) {
        self.earlier += std::mem::take(&mut self.now);
    }

    /// The sum over all processes so far.
    pub fn total(self) -> u64 {
        self.earlier + self.now
    }
}

/// One peer as it reported itself.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// What it is doing.
    pub state: String,
    /// Its session ended: `complete`, `left` or `stopped`.
    pub ended: Option<String>,
    /// Inner steps, those that died with a process included.
    pub steps: u64,
    /// The step that its process reported last; `None` before the first report.
    step: Option<u64>,
    /// The last training loss.
    pub loss: Option<f32>,
    /// Steps per second.
    pub steps_per_second: f64,
    /// The highest block applied, and the digest after it.
    pub head: Option<(u64, Hash)>,
    /// The last evaluation: height and loss.
    pub evaluated: Option<(u64, f64)>,
    /// And the share of rows whose class was told.
    pub accuracy: Option<f64>,
    /// Bytes sent.
    pub sent: Counter,
    /// Bytes received.
    pub received: Counter,
    /// What writing cost its process so far.
    disk: DiskUse,
    /// Bytes sent, and what writing had cost, when the first contribution of all was announced.
    sent_before: u64,
    disk_before: DiskUse,
    /// Bytes sent and received when its last block was applied.
    at_head: (u64, u64),
    disk_at_head: DiskUse,
    trained: Option<Trained>,
}

#[derive(Debug, Clone, Copy)]
struct Trained {
    first: (u64, Duration),
    last: (u64, Duration),
}

impl Peer {
    /// Tokens trained per second, from its first report of training to its last.
    pub fn tokens_per_second(&self, facts: Facts) -> f64 {
        let Some(Trained { first, last }) = self.trained else { return 0.0 };
        let seconds = last.1.saturating_sub(first.1).as_secs_f64();
        if seconds > 0.0 { ((last.0 - first.0) * facts.tokens_per_step) as f64 / seconds } else { 0.0 }
    }

    /// Bytes sent from the first announcement to its last block.
    pub fn bytes_sent(&self) -> u64 {
        self.at_head.0.saturating_sub(self.sent_before)
    }

    /// What writing cost from the first announcement to its last block; of a process that was
    /// started again, since then.
    pub fn disk_use(&self) -> DiskUse {
        self.disk_at_head.since(self.disk_before)
    }

    /// Bytes received until its last block.
    pub fn bytes_received(&self) -> u64 {
        self.at_head.1
    }
}

/// A block as the peers reported it.
#[derive(Debug, Clone, PartialEq)]
pub struct Height {
    /// The digest that each peer reported, if it did.
    pub digests: Vec<Option<Hash>>,
    /// Tokens counted so far.
    pub tokens: u64,
    /// Encoded bytes of what it counted.
    pub counted_bytes: u64,
    /// Slots that it closed: stream and ordinal.
    pub slots: Vec<(u16, u32)>,
}

impl Height {
    /// The digest, if every peer reported the same.
    pub fn agreed(&self) -> Option<Hash> {
        let first = self.digests.first().copied().flatten()?;
        self.digests.iter().all(|digest| *digest == Some(first)).then_some(first)
    }
}

/// How long a slot took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotTimes {
    /// When its first contribution was announced.
    pub announced: Duration,
    /// When the last peer applied the block that closed it.
    pub applied: Option<Duration>,
}

/// Everything reported so far.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// What does not change.
    pub facts: Facts,
    /// The peers.
    pub peers: Vec<Peer>,
    /// The blocks by height.
    pub heights: BTreeMap<u64, Height>,
    /// Two peers, or one peer twice, reported different digests for one height.
    pub contradictions: Vec<u64>,
    /// When the first contribution was announced.
    pub first_announced: Option<Duration>,
    /// When the first block that closed a slot was applied by the first peer.
    pub first_slot: Option<Duration>,
    /// When the last block was applied by the last peer so far.
    pub last_block: Option<Duration>,
    /// Slots by stream and ordinal, from their first announcement on.
    pub slots: BTreeMap<(u16, u32), SlotTimes>,
}

impl Ledger {
    /// Nothing reported yet.
    pub fn new(facts: Facts) -> Ledger {
        let starting = Peer { state: "starting".into(), ..Peer::default() };
        Ledger {
            facts,
            peers: vec![starting; facts.peers],
            heights: BTreeMap::new(),
            contradictions: Vec::new(),
            first_announced: None,
            first_slot: None,
            last_block: None,
            slots: BTreeMap::new(),
        }
    }

    /// A peer's process begins again: its counters do too.
    pub fn restarted(&mut self, peer: usize) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.sent.restart();
            peer.received.restart();
            (peer.disk, peer.disk_before) = (DiskUse::default(), DiskUse::default());
            peer.step = None;
            peer.state = "restarting".into();
            peer.ended = None;
        }
    }

    /// Takes a peer's line, `now` after the start. Returns the height that all peers have with it.
    pub fn take(&mut self, index: usize, line: &Line, now: Duration) -> Option<u64> {
        let peer = self.peers.get_mut(index)?;
        peer.sent.set(line.bytes_sent);
        peer.received.set(line.bytes_received);
        peer.disk = line.disk_use.unwrap_or(peer.disk);
        match &line.report {
            Report::Started { .. } => peer.state = "connecting".into(),
            Report::Trained { step, loss, steps_per_second } => {
                // A process that was started again goes on from its last checkpoint.
                let before = peer.step.unwrap_or(if peer.steps == 0 { 0 } else { step.saturating_sub(1) });
                peer.steps += step.saturating_sub(before);
                peer.step = Some(*step);
                let steps = peer.steps;
                (peer.loss, peer.steps_per_second) = (Some(*loss), *steps_per_second);
                let first = peer.trained.map_or((steps, now), |trained| trained.first);
                peer.trained = Some(Trained { first, last: (steps, now) });
                peer.state = "training".into();
            }
            Report::Announced { stream, ordinal, .. } => {
                let times = SlotTimes { announced: now, applied: None };
                self.slots.entry((*stream, *ordinal)).or_insert(times);
                if self.first_announced.is_none() {
                    self.first_announced = Some(now);
                    for peer in &mut self.peers {
                        (peer.sent_before, peer.disk_before) = (peer.sent.total(), peer.disk);
                    }
                }
            }
            Report::Paused { reason } => peer.state = waiting_word(reason).into(),
            Report::Resumed => peer.state = "training".into(),
            Report::CatchingUp { height, target } => peer.state = format!("catching up {height}/{target}"),
            Report::Evaluated { height, loss, accuracy } => {
                peer.evaluated = Some((*height, *loss));
                peer.accuracy = *accuracy;
                peer.state = "serving".into();
            }
            Report::Ended { ending } => {
                peer.state = ending.clone();
                peer.ended = Some(ending.clone());
                peer.steps_per_second = 0.0;
            }
            Report::Block { height, digest, closed, tokens, counted_bytes, last, .. } => {
                if *last {
                    peer.state = "evaluating".into();
                }
                let block = Height {
                    digests: vec![None; self.facts.peers],
                    tokens: *tokens,
                    counted_bytes: *counted_bytes,
                    slots: closed.iter().map(|slot| (slot.stream, slot.ordinal)).collect(),
                };
                return self.block(index, *height, *digest, block, now);
            }
            _ => {}
        }
        None
    }

    fn block(
        &mut self,
        index: usize,
        height: u64,
        digest: Hash,
        block: Height,
        now: Duration,
    ) -> Option<u64> {
        let peer = &mut self.peers[index];
        if peer.head.is_none_or(|(head, _)| head < height) {
            peer.head = Some((height, digest));
            peer.at_head = (peer.sent.total(), peer.received.total());
            peer.disk_at_head = peer.disk;
            self.last_block = Some(now);
        }
        if !block.slots.is_empty() && self.first_slot.is_none() {
            self.first_slot = Some(now);
        }
        let known = self.heights.entry(height).or_insert(block);
        let other = known.digests.iter().flatten().any(|known| *known != digest);
        if other && !self.contradictions.contains(&height) {
            self.contradictions.push(height);
        }
        let news = known.digests[index].replace(digest).is_none();
        if !news || known.digests.iter().any(Option::is_none) {
            return None;
        }
        for slot in &known.slots {
            if let Some(times) = self.slots.get_mut(slot) {
                times.applied = Some(now);
            }
        }
        Some(height)
    }

    /// Tokens counted so far.
    pub fn tokens(&self) -> u64 {
        self.heights.last_key_value().map_or(0, |(_, block)| block.tokens)
    }

    /// How far it came, for a session that does not come to its end.
    pub fn so_far(&self) -> String {
        let height = self.heights.last_key_value().map_or(0, |(height, _)| *height);
        let digests = match self.contradictions.as_slice() {
            [] => "with one digest for every height".to_string(),
            [first, ..] => format!("with different digests at height {first}"),
        };
        format!("at height {height} and {} of {} tokens, {digests}", self.tokens(), self.facts.stop_at)
    }

    /// Encoded bytes of all counted contributions.
    pub fn counted_bytes(&self) -> u64 {
        self.heights.values().map(|block| block.counted_bytes).sum()
    }
}

/// A reason to wait, as it fits into a column.
fn waiting_word(reason: &str) -> &'static str {
    use driftless_protocol::event::Waiting;
    let words = [
        (Waiting::Paused, "paused"),
        (Waiting::Stopped, "not finite"),
        (Waiting::Quorum, "no quorum"),
        (Waiting::CatchUp, "catching up"),
        (Waiting::Repair, "repairing"),
        (Waiting::Barred, "an older copy"),
        (Waiting::Turn, "no lease yet"),
    ];
    let word = words.into_iter().find(|(waiting, _)| waiting_for(*waiting) == reason);
    word.map_or("waiting", |(_, word)| word)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::report::ClosedSlot;

    pub fn facts(peers: usize) -> Facts {
        Facts { peers, tokens_per_step: 768, parameters: 834_304, stop_at: 1_000_000, rows: false }
    }

    pub fn block(height: u64, digest: &[u8], sent: u64) -> Line {
        let closed = vec![ClosedSlot { stream: 0, ordinal: height as u32 - 1, counted: 2 }];
        let report = Report::Block {
            height,
            digest: Hash::of(digest),
            closed,
            counted: 2,
            tokens: height * 1000,
            counted_bytes: 100,
            last: false,
        };
        Line { bytes_sent: sent, bytes_received: sent, ..Line::new(report) }
    }

    pub fn announced(sent: u64) -> Line {
        let report = Report::Announced { stream: 0, ordinal: 0, root: Hash::default(), length: 50 };
        Line { bytes_sent: sent, ..Line::new(report) }
    }

    const NOW: Duration = Duration::from_secs(1);

    #[test]
    fn what_the_disk_cost_is_counted_from_the_first_announcement_to_the_last_block() {
        let cost = |fsyncs| DiskUse { fsyncs, bytes_written: 100 * fsyncs, seconds: fsyncs as f64 / 8.0 };
        let with = |line: Line, fsyncs| Line { disk_use: Some(cost(fsyncs)), ..line };
        let mut ledger = Ledger::new(facts(1));
        ledger.take(0, &with(Line::new(Report::Resumed), 6), NOW);
        ledger.take(0, &with(announced(0), 10), NOW);
        ledger.take(0, &with(block(1, b"a", 1), 30), NOW);
        ledger.take(0, &with(Line::new(Report::Resumed), 50), NOW);
        assert_eq!(ledger.peers[0].disk_use(), cost(20));
    }

    #[test]
    fn a_height_is_agreed_when_everybody_reported_one_digest() {
        let mut ledger = Ledger::new(facts(2));
        assert_eq!(ledger.take(0, &block(1, b"a", 1), NOW), None);
        assert_eq!(ledger.take(1, &block(1, b"a", 1), NOW), Some(1));
        assert_eq!(ledger.heights[&1].agreed(), Some(Hash::of(b"a")));
        ledger.take(0, &block(2, b"b", 1), NOW);
        ledger.take(1, &block(2, b"c", 1), NOW);
        assert_eq!((ledger.heights[&2].agreed(), ledger.contradictions.clone()), (None, vec![2]));
        assert!(ledger.so_far().contains("different digests at height 2"), "{}", ledger.so_far());
    }

    #[test]
    fn a_block_reported_again_after_a_restart_is_no_news() {
        let mut ledger = Ledger::new(facts(1));
        assert_eq!(ledger.take(0, &block(1, b"a", 100), NOW), Some(1));
        ledger.restarted(0);
        assert_eq!(ledger.take(0, &block(1, b"a", 7), NOW), None);
        assert_eq!(ledger.peers[0].sent.total(), 107);
        assert_eq!(ledger.peers[0].bytes_sent(), 100, "as of its highest block");
        assert!(ledger.contradictions.is_empty());
        ledger.take(0, &block(1, b"x", 7), NOW);
        assert_eq!(ledger.contradictions, [1], "it contradicts itself");
    }

    #[test]
    fn bytes_count_from_the_first_announcement_on() {
        let mut ledger = Ledger::new(facts(2));
        ledger.take(0, &announced(500), NOW);
        ledger.take(1, &announced(300), NOW);
        ledger.take(0, &block(1, b"a", 900), NOW);
        ledger.take(1, &block(1, b"a", 1000), NOW);
        let sent: Vec<u64> = ledger.peers.iter().map(Peer::bytes_sent).collect();
        assert_eq!(sent, [400, 1000], "of the second nothing was known before");
        assert_eq!((ledger.tokens(), ledger.counted_bytes()), (1000, 100));
    }

    #[test]
    fn steps_that_died_with_a_process_were_trained_all_the_same() {
        let mut ledger = Ledger::new(facts(1));
        let trained = |step| Line::new(Report::Trained { step, loss: 3.0, steps_per_second: 10.0 });
        for step in [1, 2, 9] {
            ledger.take(0, &trained(step), NOW);
        }
        ledger.restarted(0);
        // From the checkpoint after step 5.
        for step in [6, 7] {
            ledger.take(0, &trained(step), NOW);
        }
        assert_eq!(ledger.peers[0].steps, 9 + 2);
    }

    #[test]
    fn speed_is_measured_over_the_whole_run() {
        let mut ledger = Ledger::new(facts(1));
        for (step, at) in [(10, 1), (30, 3)] {
            let report = Report::Trained { step, loss: 3.0, steps_per_second: 10.0 };
            ledger.take(0, &Line::new(report), Duration::from_secs(at));
        }
        assert_eq!(ledger.peers[0].tokens_per_second(facts(1)), 20.0 * 768.0 / 2.0);
    }
}
