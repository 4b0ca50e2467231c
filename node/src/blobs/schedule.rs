//! Who is asked for which part of a blob. Pure: no sockets, no clock.
//!
//! The missing groups wait in a queue, of which sources take pieces. A source works on a few pieces at a time and
//! takes the next when one is done: small ones at first and larger ones as long as they come quickly, but never more
//! than a share of what waits, so that no slow source holds up the end alone. Sources start only while something
//! waits, so a small blob has one source, and the others stand by in case it fails.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

/// Groups of the smallest piece (64 KiB) and of the largest (16 MiB).
const LEAST: u64 = 4;
const MOST: u64 = 1024;
/// A source whose piece came sooner gets one twice as large; ...
const QUICK: Duration = Duration::from_millis(250);
/// ... and one whose piece came later gets one half as large.
const LATE: Duration = Duration::from_secs(1);

/// What became of a source.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// May be asked: never tried, or has nothing more to do.
    Ready,
    /// Took too long for a piece while others had nothing to do.
    Slow,
}

/// The groups of a blob that wait, and the sources (by index) that may take them.
#[derive(Debug)]
pub(super) struct Schedule {
    waiting: VecDeque<Range<u64>>,
    ready: VecDeque<usize>,
    /// Tried and too slow: asked again when nobody else is left.
    slow: VecDeque<usize>,
    /// Groups of each source's next piece, a power of two.
    sizes: Vec<u64>,
}

impl Schedule {
    /// Of a single source the largest pieces are taken.
    pub(super) fn new(missing: Vec<Range<u64>>, sources: usize) -> Schedule {
        let size = if sources < 2 { MOST } else { LEAST };
        Schedule {
            waiting: missing.into(),
            ready: (0..sources).collect(),
            slow: VecDeque::new(),
            sizes: vec![size; sources],
        }
    }

    /// The next piece for a source that works already.
    pub(super) fn next_piece(&mut self, source: usize) -> Option<Range<u64>> {
        let left: u64 = self.waiting.iter().map(|gap| gap.end - gap.start).sum();
        let share = match self.sizes.len() {
            0 | 1 => MOST,
            many => (left / (2 * many as u64)).max(LEAST),
        };
        let size = self.sizes[source].min(1 << share.ilog2());
        let gap = self.waiting.front_mut()?;
        // Pieces end at multiples of their size: the trees above them overlap least.
        let end = ((gap.start / size + 1) * size).min(gap.end);
        let piece = gap.start..end;
        gap.start = end;
        if gap.start == gap.end {
            self.waiting.pop_front();
        }
        Some(piece)
    }

    /// A source to start, with its first piece. `running` sources are at work.
    pub(super) fn start(&mut self, running: usize) -> Option<(usize, Range<u64>)> {
        if self.waiting.is_empty() {
            return None;
        }
        let source =
            self.ready.pop_front().or_else(|| if running == 0 { self.slow.pop_front() } else { None })?;
        self.next_piece(source).map(|piece| (source, piece))
    }

    /// A piece of a source came, and took so long.
    pub(super) fn came(&mut self, source: usize, took: Duration) {
        let size = &mut self.sizes[source];
        if took < QUICK {
            *size = (*size * 2).min(MOST);
        } else if took > LATE {
            *size = (*size / 2).max(LEAST);
        }
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
        let mut schedule = Schedule::new(vec![0..4], 3);
        assert_eq!(schedule.start(0), Some((0, 0..4)));
        assert_eq!(schedule.start(1), None);
        schedule.put_back(vec![1..4]);
        assert_eq!(schedule.start(0), Some((1, 1..4)));
        schedule.put_back(vec![1..2, 3..4]);
        assert_eq!(schedule.start(0), Some((2, 1..2)));
        assert_eq!(schedule.next_piece(2), Some(3..4));
        assert_eq!(schedule.start(0), None);
    }

    #[test]
    fn pieces_grow_as_long_as_they_come_quickly() {
        let mut schedule = Schedule::new(vec![2..10_000], 2);
        let quick = Duration::from_millis(1);
        assert_eq!(schedule.start(0), Some((0, 2..4)));
        assert_eq!(schedule.start(1), Some((1, 4..8)));
        assert_eq!(schedule.start(2), None);
        schedule.came(0, quick);
        assert_eq!(schedule.next_piece(0), Some(8..16));
        schedule.came(0, quick);
        schedule.came(0, Duration::from_millis(500));
        assert_eq!(schedule.next_piece(0), Some(16..32));
        assert_eq!(schedule.next_piece(1), Some(32..36), "each source has a size of its own");
        schedule.came(0, Duration::from_secs(2));
        assert_eq!(schedule.next_piece(0), Some(36..40));
        assert_eq!(schedule.next_piece(0), Some(40..48));
        let mut one = Schedule::new(vec![0..65_536], 1);
        assert_eq!(one.start(0), Some((0, 0..1024)));
    }

    #[test]
    fn near_the_end_nobody_takes_much() {
        let mut schedule = Schedule::new(vec![0..256], 2);
        (0..10).for_each(|_| schedule.came(0, Duration::ZERO));
        assert_eq!(schedule.start(0), Some((0, 0..64)));
        let rest: Vec<u64> =
            std::iter::from_fn(|| schedule.next_piece(0)).map(|piece| piece.end - piece.start).collect();
        assert_eq!(rest, [32, 32, 32, 16, 16, 16, 8, 8, 8, 4, 4, 4, 4, 4, 4]);
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
