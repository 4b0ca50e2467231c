//! Who is asked for which part of a blob. Pure: no sockets, no clock.
//!
//! The missing groups are cut into pieces that wait in a queue. A source works on a few pieces at a
//! time and takes the next when one is done. Sources start only while pieces wait, so a small blob
//! has one source, and the others stand by in case it fails.

use std::collections::VecDeque;
use std::ops::Range;

/// Groups of the smallest piece (1 MiB) and of the largest (16 MiB).
const PIECE: std::ops::RangeInclusive<u64> = 64..=1024;

/// What became of a source.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// May be asked: never tried, or has nothing more to do.
    Ready,
    /// Took too long for a piece while others had nothing to do.
    Slow,
}

/// The pieces of a blob that wait, and the sources (by index) that may take them.
#[derive(Debug)]
pub(super) struct Schedule {
    waiting: VecDeque<Range<u64>>,
    ready: VecDeque<usize>,
    /// Tried and too slow: asked again when nobody else is left.
    slow: VecDeque<usize>,
}

impl Schedule {
    /// Cuts `missing` into pieces: the largest for a single source, about four for each of several.
    pub(super) fn new(missing: Vec<Range<u64>>, sources: usize) -> Schedule {
        let mut schedule =
            Schedule { waiting: VecDeque::new(), ready: (0..sources).collect(), slow: VecDeque::new() };
        let total: u64 = missing.iter().map(|gap| gap.end - gap.start).sum();
        let piece = match sources {
            0 | 1 => *PIECE.end(),
            many => (total / (4 * many as u64)).next_power_of_two().clamp(*PIECE.start(), *PIECE.end()),
        };
        for gap in missing {
            let mut start = gap.start;
            while start < gap.end {
                // Pieces end at multiples of their size: the trees above them overlap least.
                let end = ((start / piece + 1) * piece).min(gap.end);
                schedule.waiting.push_back(start..end);
                start = end;
            }
        }
        schedule
    }

    /// The next piece for a source that works already.
    pub(super) fn next_piece(&mut self) -> Option<Range<u64>> {
        self.waiting.pop_front()
    }

    /// A source to start, with its first piece. `running` sources are at work.
    pub(super) fn start(&mut self, running: usize) -> Option<(usize, Range<u64>)> {
        if self.waiting.is_empty() {
            return None;
        }
        let source =
            self.ready.pop_front().or_else(|| if running == 0 { self.slow.pop_front() } else { None })?;
        self.waiting.pop_front().map(|piece| (source, piece))
    }

    /// Puts back what a source did not deliver.
    pub(super) fn put_back(&mut self, gaps: Vec<Range<u64>>) {
        for gap in gaps.into_iter().rev() {
            self.waiting.push_front(gap);
        }
    }

    /// A source ended without failing.
    pub(super) fn release(&mut self, source: usize, standing: Standing) {
        match standing {
            Standing::Ready => self.ready.push_back(source),
            Standing::Slow => self.slow.push_back(source),
        }
    }

    /// Whether somebody else could take over from a slow source.
    pub(super) fn has_spare(&self) -> bool {
        !self.ready.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    #[test]
    fn a_small_blob_starts_one_source_and_falls_over_to_the_next() {
        let mut schedule = Schedule::new(vec![0..14], 3);
        assert_eq!(schedule.start(0), Some((0, 0..14)));
        assert_eq!(schedule.start(1), None);
        schedule.put_back(vec![3..14]);
        assert_eq!(schedule.start(0), Some((1, 3..14)));
        schedule.put_back(vec![5..6, 8..14]);
        assert_eq!(schedule.start(0), Some((2, 5..6)));
        assert_eq!(schedule.next_piece(), Some(8..14));
        assert_eq!(schedule.start(0), None);
    }

    #[test]
    fn a_large_blob_is_cut_at_multiples_and_shared() {
        let mut schedule = Schedule::new(vec![10..300, 700..701], 2);
        assert_eq!(schedule.start(0), Some((0, 10..64)));
        assert_eq!(schedule.start(1), Some((1, 64..128)));
        assert_eq!(schedule.start(2), None);
        assert_eq!(schedule.next_piece(), Some(128..192));
        assert_eq!(schedule.next_piece(), Some(192..256));
        assert_eq!(schedule.next_piece(), Some(256..300));
        assert_eq!(schedule.next_piece(), Some(700..701));
        assert_eq!(schedule.next_piece(), None);
        let mut one = Schedule::new(vec![0..65_536], 1);
        assert_eq!(one.start(0), Some((0, 0..1024)));
        let mut many = Schedule::new(vec![0..65_536], 1000);
        assert_eq!(many.start(0), Some((0, 0..64)));
    }

    #[test]
    fn a_slow_source_is_asked_again_only_when_nobody_else_works() {
        let mut schedule = Schedule::new(vec![0..1], 2);
        let (slow, piece) = schedule.start(0).unwrap();
        assert!(schedule.has_spare());
        schedule.put_back(vec![piece]);
        schedule.release(slow, Standing::Slow);
        let (other, piece) = schedule.start(0).unwrap();
        assert_eq!(other, 1);
        assert!(!schedule.has_spare());
        schedule.put_back(vec![piece]);
        assert_eq!(schedule.start(1), None);
        assert_eq!(schedule.start(0), Some((0, 0..1)));
    }
}
