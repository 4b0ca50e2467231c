//! How long a voter waits for a slot's announcements.
//!
//! A deadline is a duration from the voter's own receipt of the block that opened the slot; it is
//! estimated locally, so there is no wall clock and nothing to agree on: median + k MAD of the
//! times at which past slots were complete (after they had closed, if half of those drawn came too
//! late), but at least half as much again as the median, within the manifest's bounds. (Peers as regular as clocks have deviations near zero: without the
//! floor the smallest delay would leave somebody out.)

use std::collections::VecDeque;

use crate::time::Span;

/// Observations before the estimate is used.
const ENOUGH: usize = 8;
/// The deadline is at most this many of the voter's own slot times: whoever announces at the last
/// moment, slot after slot, cannot draw the others' medians up for ever.
const OWN_SLOT_TIMES: u64 = 6;
/// Median absolute deviations added to the median.
const K: u64 = 6;

/// The deadline of one stream's slots.
#[derive(Clone, Debug)]
pub struct DeadlineEstimator {
    minimum: Span,
    maximum: Span,
    observed: VecDeque<Span>,
    /// Median and median deviation of what was observed.
    center: Span,
    spread: Span,
}

impl DeadlineEstimator {
    /// Observations kept.
    pub const KEPT: usize = 64;

    /// Observations at hand.
    pub fn observed(&self) -> usize {
        self.observed.len()
    }

    /// An estimator within the manifest's bounds.
    pub fn new(minimum: Span, maximum: Span) -> DeadlineEstimator {
        let observed = VecDeque::new();
        DeadlineEstimator { minimum, maximum, observed, center: Span::ZERO, spread: Span::ZERO }
    }

    /// Notes that a slot's last drawn announcement came this long after the slot opened.
    pub fn observe(&mut self, span: Span) {
        if self.observed.len() == DeadlineEstimator::KEPT {
            self.observed.pop_front();
        }
        self.observed.push_back(span);
        let center = median(self.observed.iter().copied().collect());
        let distance = |span: &Span| Span(span.0.abs_diff(center.0));
        self.spread = median(self.observed.iter().map(distance).collect());
        self.center = center;
    }

    /// The deadline now. `own_slot_time` is how long this voter itself works on a slot, if known.
    pub fn deadline(&self, own_slot_time: Option<Span>) -> Span {
        let wanted = if self.observed.len() < ENOUGH {
            own_slot_time.map_or(self.maximum, |span| span.times(3))
        } else {
            let estimate = self.center + self.spread.times(K).max(Span(self.center.0 / 2));
            // What was observed may be out of date: this voter knows how fast it is today.
            own_slot_time
                .map_or(estimate, |own| estimate.clamp(own + Span(own.0 / 2), own.times(OWN_SLOT_TIMES)))
        };
        wanted.clamp(self.minimum, self.maximum)
    }

    /// How long those drawn have at least before a slot may close without an announcement of
    /// theirs: the deadline, where it is an estimate; one that only is the bound is no reason to
    /// hold up others.
    pub fn earliest(&self, own_slot_time: Option<Span>) -> Span {
        match self.observed.len() < ENOUGH && own_slot_time.is_none() {
            true => self.minimum,
            false => self.deadline(own_slot_time),
        }
    }
}

/// The lower median.
fn median(mut spans: Vec<Span>) -> Span {
    spans.sort_unstable();
    spans[(spans.len() - 1) / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimator() -> DeadlineEstimator {
        DeadlineEstimator::new(Span::seconds(2), Span::seconds(600))
    }

    #[test]
    fn before_eight_observations_it_is_three_own_slot_times_within_bounds() {
        let mut deadlines = estimator();
        assert_eq!(deadlines.deadline(None), Span::seconds(600));
        assert_eq!(deadlines.deadline(Some(Span::seconds(10))), Span::seconds(30));
        assert_eq!(deadlines.deadline(Some(Span::millis(10))), Span::seconds(2));
        (0..7).for_each(|_| deadlines.observe(Span::seconds(50)));
        assert_eq!(deadlines.deadline(Some(Span::seconds(10))), Span::seconds(30));
    }

    /// A simulated session of equally fast peers closed slots just before they were complete.
    #[test]
    fn peers_as_regular_as_clocks_get_half_as_much_time_again() {
        let mut deadlines = estimator();
        (0..9).for_each(|_| deadlines.observe(Span::seconds(10)));
        assert_eq!(deadlines.deadline(None), Span::seconds(15));
    }

    /// All peers became three times slower: slots close late and empty, and what completes just
    /// after the next one opened is observed as fast.
    #[test]
    fn a_voter_that_became_slower_gives_the_others_as_much_time_as_itself() {
        let mut deadlines = estimator();
        (0..9).for_each(|_| deadlines.observe(Span::seconds(10)));
        assert_eq!(deadlines.deadline(Some(Span::seconds(30))), Span::seconds(45));
    }

    #[test]
    fn announcing_at_the_last_moment_does_not_draw_the_deadline_up_for_ever() {
        let mut deadlines = estimator();
        for _ in 0..200 {
            let last_moment = deadlines.deadline(Some(Span::seconds(10)));
            deadlines.observe(last_moment);
        }
        assert_eq!(deadlines.deadline(Some(Span::seconds(10))), Span::seconds(60));
    }

    #[test]
    fn a_bound_is_no_reason_to_hold_up_a_proposal() {
        let deadlines = estimator();
        assert_eq!(deadlines.earliest(None), Span::seconds(2));
        assert_eq!(deadlines.earliest(Some(Span::seconds(10))), Span::seconds(30));
    }

    #[test]
    fn afterwards_it_is_the_median_and_six_deviations() {
        let mut deadlines = estimator();
        for seconds in [10, 12, 11, 13, 9, 10, 14, 40] {
            deadlines.observe(Span::seconds(seconds));
        }
        // Sorted 9 10 10 11 12 13 14 40: median 11; deviations 0 1 1 1 2 2 3 29: median 1.
        assert_eq!(deadlines.deadline(None), Span::seconds(11 + 6));
    }
}
