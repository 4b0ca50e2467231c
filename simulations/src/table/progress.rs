//! How far a table is: rate and time left, one line at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Tokens done by all runs together.
#[derive(Debug)]
pub struct Progress {
    total: u64,
    done: AtomicU64,
    since: Instant,
}

impl Progress {
    /// Nothing of `total` tokens is done.
    #[must_use]
    pub fn new(total: u64) -> Progress {
        Progress { total, done: AtomicU64::new(0), since: Instant::now() }
    }

    /// Books tokens.
    pub fn add(&self, tokens: u64) {
        self.done.fetch_add(tokens, Ordering::Relaxed);
    }

    /// Done, rate and time left, in words.
    #[must_use]
    pub fn line(&self) -> String {
        let done = self.done.load(Ordering::Relaxed);
        let seconds = self.since.elapsed().as_secs_f64().max(1e-3);
        let rate = done as f64 / seconds;
        let left = match done {
            0 => "?".into(),
            _ => {
                let left = self.total.saturating_sub(done) as f64 / rate;
                format!("{:.0} s", Duration::from_secs_f64(left.min(1e9)).as_secs_f64())
            }
        };
        let percent = 100 * done / self.total.max(1);
        format!("{percent}% of {} tokens, {rate:.0} tokens/s, {left} left", self.total)
    }
}
