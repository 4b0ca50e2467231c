//! A peer's own clock. A session is told no other time than what its process reads there.

use driftless_protocol::time::{Span, Time};

/// Millionths of the world's time that pass on a clock that is right.
const RIGHT: u32 = 1_000_000;
/// No clock is wrong by more millionths than these.
const MOST: i32 = 500_000;

/// The clock of one life of a peer: as in `node`, it starts at zero with the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Time,
    rate: u32,
}

impl Clock {
    /// A clock that starts now, and is fast by so many millionths, or slow.
    pub fn new(now: Time, drift: i32) -> Clock {
        Clock { origin: now, rate: RIGHT.saturating_add_signed(drift.clamp(-MOST, MOST)) }
    }

    /// What it shows at a moment of the world.
    pub fn local(&self, now: Time) -> Time {
        let passed = u128::from(now.since(self.origin).0) * u128::from(self.rate) / u128::from(RIGHT);
        Time(passed.try_into().unwrap_or(u64::MAX))
    }

    /// The first moment of the world at which it shows so much: a timer is never early.
    pub fn moment(&self, local: Time) -> Time {
        let passed = (u128::from(local.0) * u128::from(RIGHT)).div_ceil(u128::from(self.rate));
        self.origin + Span(passed.try_into().unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_gains_or_loses_what_its_drift_says() {
        let hour = Time(7) + Span::seconds(3600);
        let shown = |drift| Clock::new(Time(7), drift).local(hour).0;
        assert_eq!([shown(0), shown(500), shown(-500)], [3_600_000_000, 3_601_800_000, 3_598_200_000]);
        assert_eq!(shown(i32::MIN), 1_800_000_000, "the bound");
        assert_eq!(Clock::new(hour, 500).local(Time(0)), Time(0));
    }

    #[test]
    fn a_timer_is_due_at_the_first_moment_at_which_the_clock_shows_it() {
        for drift in [-500_000, -500, -1, 0, 1, 333, 500, 500_000] {
            let clock = Clock::new(Time(1_234), drift);
            for local in (0..3_000).chain(1_000_000_000..1_000_003_000).map(Time) {
                let due = clock.moment(local);
                assert!(clock.local(due) >= local, "{drift} {local:?}");
                assert!(local == Time(0) || clock.local(Time(due.0 - 1)) < local, "{drift} {local:?}");
            }
            assert!(clock.moment(Time(u64::MAX)).0 > u64::MAX / 2, "far away, and no overflow");
        }
    }
}
