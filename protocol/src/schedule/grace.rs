//! How long a slot waits for more, once enough contributions are here (decoupled pacing).
//!
//! Source: Douillard et al. 2026, "Decoupled DiLoCo", arXiv 2604.21428: a minimum quorum and an adaptive
//! grace window. The window's length is ours: half as long again as it lately took from the quorum to the
//! middle one of those drawn, and between an eighth and half of a slot's time. (Peers of one speed announce
//! within moments of each other: without the floor half of them would miss every slot by as much, and two
//! halves would close slots in turn.)

use std::collections::VecDeque;

use crate::time::{Span, Time};

/// Slots that are remembered.
const KEPT: usize = 16;

/// The grace windows of one stream's slots.
#[derive(Clone, Debug)]
pub struct Grace {
    /// Of those drawn, in hundredths.
    quorum_percent: u8,
    spreads: VecDeque<Span>,
}

impl Grace {
    /// A slot waits for so many hundredths of those drawn before its window begins.
    pub fn new(quorum_percent: u8) -> Grace {
        Grace { quorum_percent, spreads: VecDeque::new() }
    }

    /// When a slot's window ends, if it began: `arrivals`, ascending, are those of contributions that are
    /// here. Without a `slot_time` nobody knows how long is too long.
    pub fn end(&self, arrivals: &[Time], drawn: usize, slot_time: Option<Span>) -> Option<Time> {
        let enough = arrivals.get(self.quorum(drawn) - 1)?;
        let slot_time = slot_time.unwrap_or(Span::ZERO);
        let (shortest, longest) = (Span(slot_time.0 / 8), Span(slot_time.0 / 2));
        let wanted = |spread: Span| (spread + Span(spread.0 / 2)).clamp(shortest, longest);
        let window = self.spread().map_or(longest, wanted);
        Some(*enough + window)
    }

    /// A slot closed. Where not even the middle one came, nothing is learned.
    pub fn observe(&mut self, arrivals: &[Time], drawn: usize) {
        let (enough, middle) = (arrivals.get(self.quorum(drawn) - 1), arrivals.get(drawn / 2));
        let Some((enough, middle)) = enough.zip(middle) else { return };
        if self.spreads.len() == KEPT {
            self.spreads.pop_front();
        }
        self.spreads.push_back(middle.since(*enough));
    }

    fn quorum(&self, drawn: usize) -> usize {
        (drawn * usize::from(self.quorum_percent)).div_ceil(100).max(1)
    }

    /// The median of what was observed.
    fn spread(&self) -> Option<Span> {
        let mut spreads: Vec<Span> = self.spreads.iter().copied().collect();
        spreads.sort_unstable();
        spreads.get(spreads.len().checked_sub(1)? / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: &[u64]) -> Vec<Time> {
        seconds.iter().map(|seconds| Time(0) + Span::seconds(*seconds)).collect()
    }

    #[test]
    fn a_window_begins_with_the_quorum_and_is_half_a_slot_until_something_is_known() {
        let mut grace = Grace::new(50);
        let slot = Some(Span::seconds(20));
        assert_eq!(grace.end(&at(&[5, 6, 7]), 8, slot), None);
        assert_eq!(grace.end(&at(&[5, 6, 7, 8]), 8, slot), Some(at(&[18])[0]));
        assert_eq!(grace.end(&at(&[5, 6, 7, 8]), 8, None), Some(at(&[8])[0]));
        // The fifth of eight is the middle one: two seconds after the fourth.
        grace.observe(&at(&[5, 6, 7, 8, 10, 30]), 8);
        grace.observe(&at(&[5, 6, 7, 8]), 8);
        assert_eq!(grace.end(&at(&[5, 6, 7, 8]), 8, slot), Some(at(&[11])[0]));
        (0..16).for_each(|_| grace.observe(&at(&[1, 1, 1, 1, 1]), 8));
        let end = grace.end(&at(&[5, 6, 7, 8]), 8, Some(Span::seconds(24)));
        assert_eq!(end, Some(at(&[11])[0]), "at least an eighth");
        (0..16).for_each(|_| grace.observe(&at(&[1, 1, 1, 1, 90]), 8));
        assert_eq!(grace.end(&at(&[5, 6, 7, 8]), 8, slot), Some(at(&[18])[0]), "at most half a slot");
        assert_eq!(Grace::new(1).end(&at(&[5]), 3, None), Some(at(&[5])[0]), "one at least");
        assert_eq!(Grace::new(50).end(&at(&[5]), 3, None), None, "half of three is two");
    }
}
