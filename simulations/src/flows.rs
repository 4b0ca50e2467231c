//! Transfers that share access lines. The rate of one is the smaller of its shares at its source and at
//! its sink, and at most what the path between the two carries; it changes whenever another begins or
//! ends there. All of it in integers: microseconds, bytes a second, millionths of a byte.

use std::collections::BTreeMap;

use driftless_protocol::time::{Span, Time};

/// What a peer's line carries in each direction, in bytes per second; `None` for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access {
    /// From the peer.
    pub up: Option<u64>,
    /// To the peer.
    pub down: Option<u64>,
}

/// A transfer under way, with what is to happen at its end.
#[derive(Debug)]
struct Flow<T> {
    from: usize,
    to: usize,
    path: Option<u64>,
    /// Millionths of a byte that were left when the rate last changed.
    left: u64,
    since: Time,
    rate: u64,
    then: T,
}

impl<T> Flow<T> {
    fn end(&self) -> Time {
        self.since + Span(self.left.div_ceil(self.rate))
    }

    fn runs_at(&mut self, now: Time, rate: u64) {
        if rate != self.rate {
            self.left = self.left.saturating_sub(now.since(self.since).0.saturating_mul(self.rate));
            (self.since, self.rate) = (now, rate);
        }
    }
}

/// All transfers of a world.
#[derive(Debug)]
pub(crate) struct Flows<T> {
    access: Vec<Access>,
    flows: BTreeMap<u64, Flow<T>>,
    next: u64,
}

impl<T> Flows<T> {
    pub fn new(access: Vec<Access>) -> Flows<T> {
        Flows { access, flows: BTreeMap::new(), next: 0 }
    }

    /// Whether anything between the two is shared.
    pub fn are_limited(&self, from: usize, to: usize) -> bool {
        self.access[from].up.is_some() || self.access[to].down.is_some()
    }

    /// A transfer of `length` bytes begins, over a path of this rate.
    pub fn begin(&mut self, now: Time, between: (usize, usize), path: Option<u64>, length: u64, then: T) {
        let (from, to) = between;
        let left = length.saturating_mul(1_000_000);
        self.flows.insert(self.next, Flow { from, to, path, left, since: now, rate: 1, then });
        self.next += 1;
        self.share(now);
    }

    /// When the next one ends.
    pub fn next_end(&self) -> Option<Time> {
        self.flows.values().map(Flow::end).min()
    }

    /// Those that are over, in order of their beginnings.
    pub fn take_ended(&mut self, now: Time) -> Vec<(usize, usize, T)> {
        self.take(now, |flow| flow.end() <= now)
    }

    /// Those that are cut off: `joins` tells whether two peers still reach each other.
    pub fn take_cut(&mut self, now: Time, joins: impl Fn(usize, usize) -> bool) -> Vec<(usize, usize, T)> {
        self.take(now, |flow| !joins(flow.from, flow.to))
    }

    /// Those that are given up.
    pub fn take_given_up(&mut self, now: Time, given_up: impl Fn(&T) -> bool) -> Vec<(usize, usize, T)> {
        self.take(now, |flow| given_up(&flow.then))
    }

    fn take(&mut self, now: Time, over: impl Fn(&Flow<T>) -> bool) -> Vec<(usize, usize, T)> {
        let ids: Vec<u64> = self.flows.iter().filter(|(_, flow)| over(flow)).map(|(id, _)| *id).collect();
        let ended = ids.iter().filter_map(|id| self.flows.remove(id));
        let ended: Vec<_> = ended.map(|flow| (flow.from, flow.to, flow.then)).collect();
        if !ended.is_empty() {
            self.share(now);
        }
        ended
    }

    /// Gives each its rate.
    fn share(&mut self, now: Time) {
        let (mut sources, mut sinks) = (vec![0_u64; self.access.len()], vec![0_u64; self.access.len()]);
        for flow in self.flows.values() {
            sources[flow.from] += 1;
            sinks[flow.to] += 1;
        }
        for flow in self.flows.values_mut() {
            let up = self.access[flow.from].up.map(|rate| rate / sources[flow.from]);
            let down = self.access[flow.to].down.map(|rate| rate / sinks[flow.to]);
            let rate = [up, down, flow.path].into_iter().flatten().min();
            flow.runs_at(now, rate.unwrap_or(u64::MAX).max(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(up: u64, down: u64) -> Access {
        Access { up: Some(up), down: Some(down) }
    }

    /// Ends of all flows, in order.
    fn run(flows: &mut Flows<char>) -> Vec<(u64, char)> {
        let mut ends = Vec::new();
        while let Some(end) = flows.next_end() {
            ends.extend(flows.take_ended(end).into_iter().map(|(_, _, name)| (end.0, name)));
        }
        ends
    }

    #[test]
    fn one_transfer_has_the_slower_of_both_lines() {
        let mut flows = Flows::new(vec![line(100, 100), line(1_000, 1_000)]);
        flows.begin(Time(0), (0, 1), None, 50, 'a');
        flows.begin(Time(0), (1, 0), Some(20), 50, 'b');
        assert_eq!(run(&mut flows), [(500_000, 'a'), (2_500_000, 'b')]);
    }

    /// Two share an upload of 100 B/s; once the short one is through, the other has it alone.
    #[test]
    fn shares_change_when_others_begin_and_end() {
        let mut flows = Flows::new(vec![line(100, 100), line(1_000, 1_000), line(1_000, 10)]);
        flows.begin(Time(0), (0, 1), None, 100, 'a');
        flows.begin(Time(500_000), (0, 1), None, 25, 'b');
        // a: 50 B in 0.5 s, 25 B in the next 0.5 s, then 25 B alone.
        assert_eq!(run(&mut flows), [(1_000_000, 'b'), (1_250_000, 'a')]);
        // A slow sink does not use up its share, and nobody else gets what it leaves.
        flows.begin(Time(2_000_000), (0, 1), None, 100, 'c');
        flows.begin(Time(2_000_000), (0, 2), None, 10, 'd');
        assert_eq!(run(&mut flows), [(3_000_000, 'd'), (3_500_000, 'c')]);
    }

    #[test]
    fn what_is_cut_off_ends_at_once() {
        let mut flows = Flows::new(vec![line(100, 100); 3]);
        flows.begin(Time(0), (0, 1), None, 100, 'a');
        flows.begin(Time(0), (0, 2), None, 100, 'b');
        let cut = flows.take_cut(Time(1_000_000), |_, to| to != 1);
        assert_eq!(cut, [(0, 1, 'a')]);
        assert_eq!(run(&mut flows), [(1_500_000, 'b')]);
    }
}
