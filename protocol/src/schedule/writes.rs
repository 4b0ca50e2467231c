//! What is written in a day, of all kinds together.
//!
//! Contributions are written by every peer that may have to give them to others, whether that is
//! much or little. Snapshots and checkpoints share what they leave, down to a fifth of the budget: a
//! session without snapshots could not let go of contributions, nor take anybody in.

use super::cadence::{Cadence, DAY};
use crate::time::{Span, Time};

/// The rate of contributions is a mean over the last day or two.
const WINDOW: Span = Span::seconds(2 * 24 * 3600);
/// Over less, a burst would be taken for a rate.
const AT_LEAST: Span = Span::seconds(3600);

/// The writes of one session.
#[derive(Debug)]
pub struct Writes {
    /// Bytes that may be written in a day.
    budget: u64,
    /// Bytes of contributions since a moment.
    contributions: u64,
    since: Time,
    /// Snapshots: a third of what contributions leave.
    pub snapshots: Cadence,
    /// Checkpoints: two thirds of it.
    pub checkpoints: Cadence,
    told: bool,
}

impl Writes {
    /// At most so many bytes a day from now on.
    pub fn new(now: Time, budget: u64) -> Writes {
        let mut writes = Writes {
            budget,
            contributions: 0,
            since: now,
            snapshots: Cadence::new(0),
            checkpoints: Cadence::new(0),
            told: false,
        };
        writes.share_the_rest(now);
        writes
    }

    /// So many bytes of contributions were written.
    pub fn contributed(&mut self, now: Time, bytes: u64) {
        let lasted = now.since(self.since);
        if lasted > WINDOW {
            self.since += Span(lasted.0 / 2);
            self.contributions /= 2;
        }
        self.contributions = self.contributions.saturating_add(bytes);
        self.share_the_rest(now);
    }

    /// Bytes of contributions in a day, once, when they leave less than the rarest snapshots and
    /// checkpoints take.
    pub fn excess(&mut self, now: Time) -> Option<u64> {
        let rate = self.rate(now);
        let exceeds = now.since(self.since) >= AT_LEAST && rate > self.budget - self.least();
        let news = exceeds && !std::mem::replace(&mut self.told, exceeds);
        news.then_some(rate)
    }

    fn rate(&self, now: Time) -> u64 {
        let lasted = now.since(self.since).max(AT_LEAST);
        let rate = u128::from(self.contributions) * u128::from(DAY.0) / u128::from(lasted.0);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    fn least(&self) -> u64 {
        self.budget / 5
    }

    fn share_the_rest(&mut self, now: Time) {
        let rest = self.budget.saturating_sub(self.rate(now)).clamp(self.least(), self.least() * 3);
        self.snapshots.share = rest / 3;
        self.checkpoints.share = rest - rest / 3;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;
    use crate::session::WRITES_PER_DAY;

    const DAYS: u64 = 20;

    /// Bytes written in 20 days of a `gpt:gpt2` session of `peers`, every slot counting all, and whether
    /// its user is told that it is too much.
    fn days_of_gpt2(peers: u64, step: Span) -> (u64, bool) {
        let preset = Manifest::preset("gpt:gpt2").unwrap();
        let parameters = preset.model.parameters();
        // E3M0: 4 bits and a scale of 32 bits per 256 parameters. Measured in a session of three
        // processes: 64.17 MB per model, each written once.
        let model = parameters / 2 + parameters.div_ceil(256) * 4;
        let (outer, engine) = (parameters * 8, parameters * 12);
        let fragments = u64::from(preset.method.fragments());
        let slot = Span(step.0 * u64::from(preset.method.period()) / fragments);
        let mut writes = Writes::new(Time::default(), WRITES_PER_DAY);
        let (mut bytes, mut told) = (0, false);
        for height in 1..=DAY.times(DAYS).0 / slot.0 {
            let now = Time(slot.times(height).0);
            writes.contributed(now, peers * model / fragments);
            bytes += peers * model / fragments;
            told |= writes.excess(now).is_some();
            if height % 16 == 0 && writes.snapshots.is_due_at(now, height / 16) {
                writes.snapshots.spent(now, outer);
                bytes += outer;
            }
            if height % (4 * fragments) == 0 && writes.checkpoints.is_due(now) {
                writes.checkpoints.spent(now, engine);
                bytes += engine;
            }
        }
        (bytes, told)
    }

    #[test]
    fn gpt2_at_h_100_writes_less_than_20_gb_a_day() {
        // One core takes 34 s for a step of 8,192 tokens.
        for (peers, seconds) in [(2, 34), (4, 34), (4, 17), (8, 34), (16, 60)] {
            let (bytes, told) = days_of_gpt2(peers, Span::seconds(seconds));
            // What snapshots and checkpoints may use ahead is a quarter of a day's.
            let most = WRITES_PER_DAY * DAYS + WRITES_PER_DAY / 4;
            assert!(bytes <= most && !told, "{peers} peers, {seconds} s a step: {bytes}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_told() {
        let (bytes, told) = days_of_gpt2(4, Span::seconds(8));
        assert!(bytes > WRITES_PER_DAY * DAYS && told, "{bytes}");
    }

    #[test]
    fn snapshots_and_checkpoints_have_three_fifths_while_contributions_leave_them() {
        let mut writes = Writes::new(Time::default(), 20_000);
        assert_eq!((writes.snapshots.share, writes.checkpoints.share), (4_000, 8_000));
        let hours = |from: u64, to: u64| (from..to).map(|hour| Time(Span::seconds(3600).times(hour).0));
        hours(1, 240).for_each(|now| writes.contributed(now, 7_200 / 24));
        assert_eq!((writes.snapshots.share, writes.checkpoints.share), (4_000, 8_000));
        hours(240, 480).for_each(|now| writes.contributed(now, 1_000));
        assert_eq!((writes.snapshots.share, writes.checkpoints.share), (1_333, 2_667));
    }
}
