//! The timers of one height: three of the current attempt, and the one that re-sends.

use std::collections::BTreeMap;

use super::wal::Timer;
use crate::block::Attempt;
use crate::time::{Span, Time};

/// How long consensus waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// For a proposal, beside the measured time of fetching and aggregating.
    pub propose: Span,
    /// For votes that disagree to become more.
    pub vote: Span,
    /// Added per attempt to both.
    pub step: Span,
    /// Upper bound of both, the measured time not included.
    pub maximum: Span,
    /// Until our latest statements are sent again.
    pub resend_first: Span,
    /// Upper bound of the doubled re-send interval.
    pub resend_maximum: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            propose: Span::seconds(3),
            vote: Span::seconds(1),
            step: Span::seconds(1),
            maximum: Span::seconds(60),
            resend_first: Span::seconds(1),
            resend_maximum: Span::seconds(10),
        }
    }
}

impl Timeouts {
    /// The duration of `timer` in `attempt`; `extra` is the caller's measured time.
    pub(super) fn duration(&self, timer: Timer, attempt: Attempt, extra: Span) -> Span {
        let (base, extra) = match timer {
            Timer::Propose => (self.propose, extra),
            Timer::Prevote | Timer::Precommit => (self.vote, Span::ZERO),
        };
        // Never zero: an attempt takes time even where the configuration says otherwise.
        (base + self.step.times(u64::from(attempt))).min(self.maximum).max(Span::millis(1)) + extra
    }
}

/// What is set. Timers of another height cannot exist: they go with their instance.
#[derive(Debug, Default)]
pub(super) struct Timers {
    attempts: BTreeMap<Timer, (Time, Attempt)>,
    resend: Option<(Time, Span)>,
}

impl Timers {
    /// Sets a timer; the one of an earlier attempt has no meaning any more.
    pub fn set(&mut self, timer: Timer, attempt: Attempt, at: Time) {
        self.attempts.insert(timer, (at, attempt));
    }

    /// Forgets a timer, because the log says that it ran out.
    pub fn forget(&mut self, timer: Timer, attempt: Attempt) {
        if self.attempts.get(&timer).is_some_and(|(_, set)| *set == attempt) {
            self.attempts.remove(&timer);
        }
    }

    /// Starts re-sending from its shortest interval.
    pub fn restart_resend(&mut self, now: Time, timeouts: &Timeouts) {
        let span = timeouts.resend_first.max(Span::millis(1));
        self.resend = Some((now + span, span));
    }

    /// Removes and returns what is due at `now`, earliest first.
    pub fn take_due(&mut self, now: Time) -> Vec<(Timer, Attempt)> {
        let mut due: Vec<(Time, Timer, Attempt)> = self
            .attempts
            .iter()
            .filter(|(_, (at, _))| *at <= now)
            .map(|(timer, (at, attempt))| (*at, *timer, *attempt))
            .collect();
        due.sort_unstable();
        self.attempts.retain(|_, (at, _)| *at > now);
        due.into_iter().map(|(_, timer, attempt)| (timer, attempt)).collect()
    }

    /// Whether to re-send now; if so the interval doubles.
    pub fn take_resend(&mut self, now: Time, timeouts: &Timeouts) -> bool {
        match self.resend {
            Some((at, span)) if at <= now => {
                let span = span.times(2).min(timeouts.resend_maximum).max(Span::millis(1));
                self.resend = Some((now + span, span));
                true
            }
            _ => false,
        }
    }

    /// The earliest moment at which something is due.
    pub fn next(&self) -> Option<Time> {
        let attempts = self.attempts.values().map(|(at, _)| *at);
        attempts.chain(self.resend.map(|(at, _)| at)).min()
    }

    /// Stops everything.
    pub fn clear(&mut self) {
        *self = Timers::default();
    }
}
