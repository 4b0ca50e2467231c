//! How often large things are written: the disk of a volunteer's machine wears out.
//!
//! Snapshots and checkpoints are worth more the newer they are, and on a large model they are what
//! is written most. Each has a share of the bytes that may be written in a day; some of it may be
//! used ahead, so that a young session and a small model have all they like.

use crate::mutant::Mutant;
use crate::time::{Span, Time};

pub(super) const DAY: Span = Span::seconds(24 * 3600);
/// This much of a day's share may be used ahead.
const AHEAD: Span = Span::seconds(6 * 3600);

/// The writes of one kind.
#[derive(Debug, Clone)]
pub struct Cadence {
    /// Bytes in a day.
    pub(super) share: u64,
    /// When the share has caught up with what was written.
    paid: Time,
}

impl Cadence {
    /// At most so many bytes a day.
    pub fn new(share: u64) -> Cadence {
        Cadence { share, paid: Time::default() }
    }

    /// Whether another write is within the share.
    pub fn is_due(&self, now: Time) -> bool {
        self.paid.since(now) <= AHEAD || Mutant::WritesAlways.lives()
    }

    /// Whether the `number`-th occasion is one to write at. The more is used ahead, the rarer they
    /// are: at multiples of a power of two, so that peers with about the same share choose the same
    /// and can give the same snapshot to a joiner together.
    pub fn is_due_at(&self, now: Time, number: u64) -> bool {
        let ahead = self.paid.since(now);
        if Mutant::WritesAlways.lives() {
            return true;
        }
        if ahead > AHEAD {
            return false;
        }
        let rarity = 2 * RAREST * (ahead - Span(AHEAD.0 / 2)).0 / AHEAD.0;
        u64::from(number.trailing_zeros()) >= rarity
    }

    /// So many bytes were written.
    pub fn spent(&mut self, now: Time, bytes: u64) {
        let cost = u128::from(DAY.0) * u128::from(bytes) / u128::from(self.share.max(1));
        self.paid = self.paid.max(now) + Span(u64::try_from(cost).unwrap_or(u64::MAX));
    }
}

/// Of 2^16 occasions at least one is taken, if the share allows it at all.
const RAREST: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    /// Bytes written in `days` at occasions `apart`, and the longest pause between two writes.
    fn written(share: u64, size: u64, apart: Span, days: u64) -> (u64, Span) {
        let mut cadence = Cadence::new(share);
        let (mut bytes, mut last, mut pause) = (0, Time::default(), Span::ZERO);
        for number in 1..=DAY.times(days).0 / apart.0 {
            let now = Time(apart.times(number).0);
            if cadence.is_due_at(now, number) {
                cadence.spent(now, size);
                (pause, last) = (pause.max(now.since(last)), now);
                bytes += size;
            }
        }
        (bytes, pause)
    }

    #[test]
    fn what_is_written_stays_within_the_share_and_a_quarter_of_a_day_ahead() {
        for (size, apart) in [(GB, 400), (GB, 4_000), (7_000_000, 16), (50_000_000, 600)] {
            let (bytes, pause) = written(4 * GB, size, Span::seconds(apart), 10);
            assert!(bytes <= 4 * GB * 10 + GB + size, "{size} every {apart} s: {bytes}");
            let fair = (DAY.0 / (4 * GB / size).max(1)).max(Span::seconds(apart).0);
            assert!(pause <= Span(fair * 4), "{size} every {apart} s: {pause:?}");
        }
    }

    #[test]
    fn what_is_cheap_is_written_at_every_occasion() {
        let (bytes, pause) = written(4 * GB, 100_000, Span::seconds(16), 2);
        assert_eq!((bytes, pause), (2 * 5_400 * 100_000, Span::seconds(16)));
    }

    #[test]
    fn peers_with_different_shares_and_histories_write_at_the_same_occasions_mostly() {
        let times = |share: u64, delay: u64| {
            let mut cadence = Cadence::new(share);
            let mut taken = Vec::new();
            for number in 1..20_000 {
                let now = Time(Span::seconds(100).times(number).0 + delay);
                if cadence.is_due_at(now, number) {
                    cadence.spent(now, GB / 10);
                    taken.push(number);
                }
            }
            taken
        };
        let (one, other) = (times(4 * GB, 0), times(17 * GB / 4, 30_000_000));
        let common = one.iter().filter(|number| other.contains(number)).count();
        // Without preferring powers of two it is 6%.
        assert!(
            common * 4 >= one.len().min(other.len()) * 3,
            "{common} of {} and {}",
            one.len(),
            other.len()
        );
    }
}
