//! A batch of steps as one peer sees it: the lists so far, and the own samples.
//!
//! One peer orders each step's samples and sends the list to the others (`session/stepping`). Nothing of this is
//! certified: what counts is what every contributor signs in the end, its own bytes of the steps in which it
//! was listed. Lists only let everybody go on meanwhile, so a wrong or missing one costs that batch and nothing else.

mod audits;

use std::collections::BTreeMap;

use crate::block::Slot;
use crate::holdings::{Tell, tell};
use crate::identity::PeerKey;
use crate::method::one_byte::{Audit, Log, Measurement, OneByte, Opening};

pub use audits::Audits;

/// The samples of one step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct List {
    /// Bit i is 1 where the i-th of those drawn is listed.
    pub listed: u64,
    /// The bytes of their samples, in that order.
    pub bytes: Vec<u8>,
}

/// Lists that wait for an earlier one, at most.
const EARLY: usize = 64;

/// One step's samples by member, in the order of their keys.
pub type Step = Vec<(PeerKey, Vec<u8>)>;

/// A batch that runs.
#[derive(Debug)]
pub struct Batch {
    /// Its slot.
    pub slot: Slot,
    /// What it opened with.
    pub opening: Opening,
    method: OneByte,
    /// Whose samples are listed, ascending.
    drawn: Vec<PeerKey>,
    /// This peer's place among them.
    me: Option<usize>,
    lists: Vec<List>,
    /// Lists that came before the one before them, by step.
    early: BTreeMap<u32, List>,
    /// Own samples by step.
    own: BTreeMap<u32, Vec<u8>>,
    /// The step that this peer measures next.
    next: u32,
    /// This peer measures nothing more.
    ended: bool,
    audits: Audits,
}

impl Batch {
    /// A batch whose samples are those of `drawn`, ascending; at most 64 of them.
    pub fn new(
        slot: Slot,
        opening: Opening,
        method: OneByte,
        drawn: Vec<PeerKey>,
        me: PeerKey,
        audits: Audits,
    ) -> Batch {
        let me = drawn.binary_search(&me).ok();
        Batch {
            slot,
            opening,
            method,
            drawn,
            me,
            lists: Vec::new(),
            early: BTreeMap::new(),
            own: BTreeMap::new(),
            next: 0,
            ended: false,
            audits,
        }
    }

    /// Those whose samples are listed.
    pub fn drawn(&self) -> &[PeerKey] {
        &self.drawn
    }

    /// Steps that are listed: the next list is of the step with this number.
    pub fn listed(&self) -> u32 {
        self.lists.len() as u32
    }

    /// Whether all steps are listed.
    pub fn is_full(&self) -> bool {
        self.listed() >= self.method.batch_steps
    }

    /// Whether this peer measures nothing more.
    pub fn is_over(&self) -> bool {
        self.ended || self.is_full()
    }

    /// Lets this peer measure nothing more; it still follows, and orders.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The step that this peer may measure now. Lists of steps that it did not measure take it along.
    pub fn due(&self) -> Option<u32> {
        let step = self.next.max(self.listed());
        let fresh = step <= self.listed().saturating_add(self.method.staleness);
        (self.me.is_some() && !self.is_over() && fresh && step < self.method.batch_steps).then_some(step)
    }

    /// The lists that parameters have behind them where a step is measured, from the `given`-th on.
    pub fn behind(&self, step: u32, given: u32) -> Vec<Step> {
        let end = step.saturating_sub(self.method.staleness);
        (given..end).filter_map(|step| self.step(step)).collect()
    }

    /// Notes what this peer measured; nothing where a loss was not finite.
    pub fn measured(&mut self, step: u32, bytes: Vec<u8>) {
        if self.due().is_none_or(|due| step > due) {
            // Of a batch for the same slot that was begun before this one.
            return;
        }
        self.next = step + 1;
        let me = self.me;
        let others = self.drawn.iter().enumerate().filter(|(place, _)| Some(*place) != me);
        self.audits.reached(step, others.map(|(_, key)| key));
        if bytes.len() == usize::from(self.method.samples) {
            self.own.insert(step, bytes);
        }
    }

    /// Whose samples of a step this peer measures again, before it goes on to the next one.
    pub fn next_audit(&mut self) -> Option<(u32, PeerKey)> {
        self.audits.take()
    }

    /// Notes what was found where a member's samples were measured again.
    pub fn audited(&mut self, step: u32, member: PeerKey, found: Measurement) {
        if found.bytes.len() == usize::from(self.method.samples) {
            self.audits.push(Audit { member, step, listed: None, found });
        }
    }

    /// What was found of the others, beside what the lists say of them.
    pub fn found(&self) -> impl Iterator<Item = Audit> {
        self.audits.done().iter().map(|audit| {
            let place = self.drawn.binary_search(&audit.member).ok();
            let list = self.lists.get(audit.step as usize);
            let listed = place.zip(list).and_then(|(place, list)| self.bytes_of(list, place));
            Audit { listed: listed.map(<[u8]>::to_vec), ..audit.clone() }
        })
    }

    /// Theta went back to the outer parameters.
    pub fn was_reset(&mut self) {
        self.audits.moved();
    }

    /// Another peer goes on ordering: others may have lists that this one has not.
    pub fn orderer_changed(&mut self) {
        self.audits.end(self.method.staleness + 1);
    }

    /// Whether theta in a step follows from what is certified, whatever was listed.
    pub fn is_certain(&self, step: u32) -> bool {
        step <= self.method.staleness
    }

    /// Tells how much is held.
    pub fn holdings(&self, to: Tell<'_>) {
        let steps = self.method.batch_steps as usize;
        tell(to, "steps that are listed", self.lists.len(), steps);
        tell(to, "lists that wait for others", self.early.len(), EARLY);
        tell(to, "own samples of a batch", self.own.len(), steps);
        self.audits.holdings(steps, self.drawn.len(), to);
    }

    /// Own samples of steps that are not listed.
    pub fn unlisted(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.own.range(self.listed()..).map(|(step, bytes)| (*step, &bytes[..]))
    }

    /// Adds the next step's list, and those after it that came before. One that comes too early is kept. Whoever
    /// sends it may leave out the receiver's own bytes.
    ///
    /// Returns whether it was taken: it is not where it is of another step or malformed, or where own bytes are
    /// left out that this peer does not know.
    pub fn push(&mut self, step: u32, listed: u64, bytes: Vec<u8>) -> bool {
        let most = self.drawn.len() * usize::from(self.method.samples);
        if step > self.listed() && self.early.len() < EARLY && bytes.len() <= most {
            self.early.insert(step, List { listed, bytes });
            return false;
        }
        let taken = self.push_next(step, listed, bytes);
        while let Some(List { listed, bytes }) = self.early.remove(&self.listed()) {
            if !self.push_next(self.listed(), listed, bytes) {
                break;
            }
        }
        self.early = self.early.split_off(&self.listed());
        taken
    }

    fn push_next(&mut self, step: u32, listed: u64, mut bytes: Vec<u8>) -> bool {
        let samples = usize::from(self.method.samples);
        let members = listed.count_ones() as usize;
        let known = self.drawn.len() == 64 || listed >> self.drawn.len() == 0;
        if step != self.listed() || self.is_full() || !known || listed == 0 {
            return false;
        }
        let me = self.me.filter(|me| listed >> me & 1 == 1);
        if let Some(me) = me
            && bytes.len() + samples == members * samples
        {
            let Some(own) = self.own.get(&step) else { return false };
            let at = rank(listed, me) * samples;
            bytes.splice(at..at, own.iter().copied());
        }
        if bytes.len() != members * samples {
            return false;
        }
        self.lists.push(List { listed, bytes });
        true
    }

    /// A step's list as it is sent to one of the drawn, without that one's own bytes, or whole.
    pub fn list(&self, step: u32, without: Option<usize>) -> Option<List> {
        let list = self.lists.get(step as usize)?;
        let mut list = list.clone();
        if let Some(member) = without.filter(|member| list.listed >> member & 1 == 1) {
            let samples = usize::from(self.method.samples);
            let at = rank(list.listed, member) * samples;
            list.bytes.drain(at..at + samples);
        }
        Some(list)
    }

    /// This peer's contribution: its samples where they were listed as it sent them.
    pub fn log(&self) -> Log {
        let Some(me) = self.me else { return Log::new(self.method.samples) };
        self.log_where(me, |step, bytes| self.own.get(&step).is_some_and(|own| own == bytes))
    }

    /// What `steps` steps of a member's contribution are, if the lists are right.
    pub fn log_of(&self, member: &PeerKey, steps: u32) -> Option<Log> {
        let place = self.drawn.binary_search(member).ok()?;
        let mut left = steps;
        let log = self.log_where(place, |_, _| {
            let takes = left > 0;
            left -= u32::from(takes);
            takes
        });
        (left == 0).then_some(log)
    }

    fn log_where(&self, place: usize, mut takes: impl FnMut(u32, &[u8]) -> bool) -> Log {
        let mut log = Log::new(self.method.samples);
        for (step, list) in (0..).zip(&self.lists) {
            if let Some(bytes) = self.bytes_of(list, place).filter(|bytes| takes(step, bytes)) {
                log.push(step, bytes);
            }
        }
        log
    }

    fn step(&self, step: u32) -> Option<Step> {
        let list = self.lists.get(step as usize)?;
        let members = self.drawn.iter().enumerate();
        Some(members.filter_map(|(place, key)| Some((*key, self.bytes_of(list, place)?.to_vec()))).collect())
    }

    fn bytes_of<'a>(&self, list: &'a List, place: usize) -> Option<&'a [u8]> {
        let samples = usize::from(self.method.samples);
        let at = rank(list.listed, place) * samples;
        (list.listed >> place & 1 == 1).then(|| list.bytes.get(at..at + samples)).flatten()
    }
}

/// How many are listed before a place.
fn rank(listed: u64, place: usize) -> usize {
    (listed & ((1 << place) - 1)).count_ones() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Hash;
    use crate::method::one_byte::Estimator;

    fn key(byte: u8) -> PeerKey {
        PeerKey([byte; 32])
    }

    fn batch(me: u8) -> Batch {
        let method = OneByte { samples: 2, batch_steps: 4, ..OneByte::of(Estimator::Spsa, 0.1) };
        let opening = Opening { base: Hash([0; 32]), ordinal: 0, counted: 0, budget: 1, tokens: 1, drawn: 0 };
        let slot = Slot { stream: 0, ordinal: 0 };
        Batch::new(slot, opening, method, vec![key(1), key(2), key(3)], key(me), Audits::default())
    }

    #[test]
    fn a_peer_is_one_step_ahead_of_the_lists_and_no_more() {
        let mut batch = batch(2);
        assert_eq!((batch.due(), batch.behind(0, 0)), (Some(0), vec![]));
        batch.measured(0, vec![20, 21]);
        assert_eq!((batch.due(), batch.behind(1, 0)), (Some(1), vec![]));
        batch.measured(1, vec![22, 23]);
        let unlisted = |batch: &Batch| batch.unlisted().map(|(step, _)| step).collect::<Vec<_>>();
        assert_eq!((batch.due(), unlisted(&batch)), (None, vec![0, 1]));
        assert!(batch.push(0, 0b011, vec![10, 11]));
        assert_eq!((batch.due(), unlisted(&batch)), (Some(2), vec![1]));
        let step = vec![(key(1), vec![10, 11]), (key(2), vec![20, 21])];
        assert_eq!((batch.behind(2, 0), batch.behind(2, 1)), (vec![step], vec![]));
        // Lists go on without it: it measures where they are.
        assert!(batch.push(1, 0b100, vec![30, 31]) && batch.push(2, 0b100, vec![32, 33]));
        assert_eq!((batch.due(), batch.behind(3, 1).len()), (Some(3), 1));
        assert!(batch.push(3, 0b100, vec![34, 35]) && batch.is_over());
        assert_eq!((batch.log().len(), batch.log().at(0)), (1, Some(&[20, 21][..])));
    }

    #[test]
    fn lists_leave_out_what_the_receiver_has() {
        let mut ordering = batch(1);
        ordering.measured(0, vec![10, 11]);
        assert!(ordering.push(0, 0b111, vec![10, 11, 20, 21, 30, 31]));
        let short = ordering.list(0, Some(1)).unwrap();
        assert_eq!(short, List { listed: 0b111, bytes: vec![10, 11, 30, 31] });
        let mut other = batch(2);
        // As after a restart: it asks for the whole list.
        assert!(!other.push(0, short.listed, short.bytes.clone()));
        other.measured(0, vec![20, 21]);
        assert!(other.push(0, short.listed, short.bytes));
        assert_eq!(other.list(0, None), ordering.list(0, None));
        assert_eq!(other.log_of(&key(3), 1).unwrap().at(0), Some(&[30, 31][..]));
        assert_eq!((other.log_of(&key(3), 2), other.log_of(&key(9), 1)), (None, None));
    }

    #[test]
    fn what_was_listed_is_signed_only_as_it_was_sent() {
        let mut batch = batch(2);
        batch.measured(0, vec![20, 21]);
        assert!(batch.push(0, 0b010, vec![99, 99]) && batch.push(1, 0b010, vec![98, 98]));
        assert!(batch.log().is_empty());
    }

    #[test]
    fn lists_that_overtake_others_wait_for_them() {
        let mut batch = batch(2);
        assert!(!batch.push(2, 0b001, vec![3, 3]) && !batch.push(1, 0b100, vec![2, 2]));
        assert_eq!(batch.listed(), 0);
        assert!(batch.push(0, 0b001, vec![1, 1]));
        assert_eq!((batch.listed(), batch.list(2, None).unwrap().bytes), (3, vec![3, 3]));
    }

    #[test]
    fn hostile_lists_are_refused() {
        let mut batch = batch(2);
        for (step, listed, bytes) in [
            (0, 0b1000, vec![1, 1]),
            (0, u64::MAX, vec![1; 128]),
            (0, 0b001, vec![1]),
            (0, 0b101, vec![1, 1]),
            (0, 0b110, vec![1, 1]),
        ] {
            assert!(!batch.push(step, listed, bytes.clone()), "{step} {listed:b} {bytes:?}");
        }
        assert!(!batch.push(0, 0, vec![]));
        batch.end();
        assert!(batch.push(0, 0b001, vec![1, 1]) && batch.due().is_none());
    }
}
