//! Token buckets: how a user's bandwidth caps are kept.
//!
//! [`Bucket`] is pure arithmetic over a clock that the caller supplies, so its promises are tested
//! in virtual time. [`Limiter`] is the same bucket behind a lock and the process's clock, shared by
//! whoever sends or receives: the data plane's socket, and later the control plane.
//!
//! The promise: in any interval of `t` seconds at most `rate * t + burst` bytes pass, with
//! `burst` three hundredths of a second's worth, or two datagrams if that is more. So above 100 kB/s
//! no second carries more than 1.03 times the cap.

use std::sync::Mutex;
use std::time::{Duration, Instant};

pub use driftless_protocol::rate::{Rate, RateError};

const NANOS: u128 = 1_000_000_000;

/// A user's caps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Caps {
    /// What may leave this machine.
    pub up: Rate,
    /// What may arrive.
    pub down: Rate,
}

/// A token bucket: tokens are bytes, time is any clock that never goes back.
///
/// Exact integer arithmetic: no drift over weeks.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Rate,
    burst: u64,
    /// Byte-nanoseconds; negative while in debt.
    tokens: i128,
    last: Duration,
}

impl Bucket {
    /// Smallest burst in bytes: two full datagrams of an ordinary link, so that caps below 100 kB/s
    /// still let whole datagrams pass.
    pub const MIN_BURST: u64 = 3_000;

    /// A full bucket at time `now`.
    pub fn new(rate: Rate, now: Duration) -> Bucket {
        let burst = (rate.limit().unwrap_or(0) * 3 / 100).max(Self::MIN_BURST);
        Bucket { rate, burst, tokens: (burst as u128 * NANOS) as i128, last: now }
    }

    /// The rate.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Bytes that may pass at once after a pause.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.last).as_nanos();
        self.last = self.last.max(now);
        let full = (self.burst as u128 * NANOS) as i128;
        // Below 2^127 for any rate up to 1 Tbit/s and any pause up to 10^11 years.
        let gained = (u128::from(self.rate.limit().unwrap_or(0)) * passed) as i128;
        self.tokens = self.tokens.saturating_add(gained).min(full);
    }

    /// How long until `bytes` may pass; zero means now. More than a burst waits for a full bucket.
    pub fn ready_in(&mut self, now: Duration, bytes: u64) -> Duration {
        let Some(rate) = self.rate.limit() else { return Duration::ZERO };
        self.refill(now);
        let wanted = (u128::from(bytes.min(self.burst)) * NANOS) as i128;
        let lacking = wanted - self.tokens;
        if lacking <= 0 {
            return Duration::ZERO;
        }
        let nanos = (lacking as u128).div_ceil(u128::from(rate));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Takes `bytes` if they may pass now; otherwise says how long to wait.
    pub fn take(&mut self, now: Duration, bytes: u64) -> Result<(), Duration> {
        let wait = self.ready_in(now, bytes);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        self.charge(now, bytes);
        Ok(())
    }

    /// Books `bytes` that passed anyway; the bucket may go into debt.
    pub fn charge(&mut self, now: Duration, bytes: u64) {
        if self.rate.limit().is_none() {
            return;
        }
        self.refill(now);
        self.tokens = self.tokens.saturating_sub((u128::from(bytes) * NANOS) as i128);
    }

    /// Gives back `bytes` that were taken and did not pass.
    pub fn refund(&mut self, bytes: u64) {
        let full = (u128::from(self.burst) * NANOS) as i128;
        self.tokens = self.tokens.saturating_add((u128::from(bytes) * NANOS) as i128).min(full);
    }
}

/// A [`Bucket`] on the process's clock, shared between tasks. Unlimited costs no lock.
#[derive(Debug)]
pub struct Limiter {
    rate: Rate,
    bucket: Mutex<Bucket>,
    epoch: Instant,
}

impl Limiter {
    /// A limiter with a full bucket.
    pub fn new(rate: Rate) -> Limiter {
        Limiter { rate, bucket: Mutex::new(Bucket::new(rate, Duration::ZERO)), epoch: Instant::now() }
    }

    /// The rate.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes `bytes` if they may pass now; otherwise says how long to wait.
    pub fn take(&self, bytes: u64) -> Result<(), Duration> {
        if self.rate().limit().is_none() {
            return Ok(());
        }
        self.lock().take(self.epoch.elapsed(), bytes)
    }

    /// How long until `bytes` may pass; zero means now.
    pub fn ready_in(&self, bytes: u64) -> Duration {
        if self.rate().limit().is_none() {
            return Duration::ZERO;
        }
        self.lock().ready_in(self.epoch.elapsed(), bytes)
    }

    /// Books `bytes` that passed anyway.
    pub fn charge(&self, bytes: u64) {
        if self.rate().limit().is_some() {
            self.lock().charge(self.epoch.elapsed(), bytes);
        }
    }

    /// Gives back `bytes` that were taken and did not pass.
    pub fn refund(&self, bytes: u64) {
        if self.rate().limit().is_some() {
            self.lock().refund(bytes);
        }
    }

    /// Waits until `bytes` may pass and takes them. More than a burst goes into debt.
    pub async fn acquire(&self, bytes: u64) {
        while let Err(wait) = self.take(bytes) {
            tokio::time::sleep(wait).await;
        }
    }

    /// Bytes that may pass at once after a pause; `u64::MAX` when unlimited.
    pub fn burst(&self) -> u64 {
        if self.rate().limit().is_none() { u64::MAX } else { self.lock().burst() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn mbit(n: u64) -> Rate {
        Rate::bytes_per_second(n * 125_000)
    }

    /// Sends `size`-byte units as fast as the bucket lets them for `seconds`; the times and sizes.
    fn saturate(bucket: &mut Bucket, size: u64, seconds: u64) -> Vec<(Duration, u64)> {
        let mut now = Duration::ZERO;
        let mut sent = Vec::new();
        while now < Duration::from_secs(seconds) {
            match bucket.take(now, size) {
                Ok(()) => sent.push((now, size)),
                // Timers of the real driver are a millisecond coarse.
                Err(wait) => {
                    now += wait.max(Duration::from_nanos(1));
                    now = Duration::from_millis(now.as_nanos().div_ceil(1_000_000) as u64);
                }
            }
        }
        sent
    }

    fn busiest_second(sent: &[(Duration, u64)]) -> u64 {
        let mut best = 0;
        let mut sum = 0;
        let mut first = 0;
        for (at, size) in sent {
            sum += size;
            while *at - sent[first].0 >= Duration::from_secs(1) {
                sum -= sent[first].1;
                first += 1;
            }
            best = best.max(sum);
        }
        best
    }

    #[test]
    fn a_saturated_cap_is_used_and_never_exceeded_in_any_second() {
        for (rate, unit) in [(mbit(10), 14_520), (mbit(10), 1_452), (mbit(1), 1_452), (mbit(200), 14_520)] {
            let sent = saturate(&mut Bucket::new(rate, Duration::ZERO), unit, 20);
            let cap = rate.limit().unwrap();
            let total: u64 = sent.iter().map(|(_, size)| size).sum();
            let busiest = busiest_second(&sent);
            assert!(busiest as f64 <= 1.05 * cap as f64, "{rate}: busiest second {busiest}");
            assert!(total as f64 >= 0.98 * (20 * cap) as f64, "{rate}: {total} in 20 s");
        }
    }

    #[test]
    fn a_pause_saves_no_more_than_one_burst() {
        let mut bucket = Bucket::new(mbit(10), Duration::ZERO);
        let burst = bucket.burst();
        let later = Duration::from_secs(3600);
        assert_eq!(bucket.take(later, burst), Ok(()));
        assert!(bucket.take(later, 1).is_err());
    }

    #[test]
    fn debt_is_paid_before_anything_passes() {
        let mut bucket = Bucket::new(mbit(8), Duration::ZERO);
        let burst = bucket.burst();
        bucket.charge(Duration::ZERO, burst + 1_000_000);
        let wait = bucket.take(Duration::ZERO, 1_000).unwrap_err();
        assert_eq!(wait, 1001 * MS);
        assert!(bucket.take(wait - MS, 1_000).is_err());
        assert_eq!(bucket.take(wait, 1_000), Ok(()));
    }

    #[test]
    fn unlimited_never_waits_and_more_than_a_burst_is_not_stuck() {
        let mut free = Bucket::new(Rate::UNLIMITED, Duration::ZERO);
        assert_eq!(free.take(Duration::ZERO, u64::MAX), Ok(()));
        let mut bucket = Bucket::new(mbit(8), Duration::ZERO);
        assert_eq!(bucket.take(Duration::ZERO, 10 * bucket.burst()), Ok(()));
        assert!(bucket.take(Duration::ZERO, 1).is_err());
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut bucket = Bucket::new(mbit(8), Duration::from_secs(5));
        assert_eq!(bucket.take(Duration::from_secs(5), bucket.burst()), Ok(()));
        assert!(bucket.take(Duration::from_secs(1), 1_000).is_err());
        assert!(bucket.take(Duration::from_secs(5), 1_000).is_err());
    }
}
