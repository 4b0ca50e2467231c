//! Memory, medians, and the busiest second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::blobs::Traffic;

/// The middle value; zero of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
    }
}

/// Forgets this process's peak of resident memory and returns what is resident now, bytes.
/// Zero where the system does not tell.
pub(super) fn reset_peak() -> u64 {
    // 5: "reset the peak resident set size", proc(5).
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    status("VmRSS:")
}

/// The peak of resident memory since [`reset_peak`], bytes.
pub(super) fn peak() -> u64 {
    status("VmHWM:")
}

fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Watches a counter of received bytes on a thread of its own.
pub(super) struct Busiest {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl Busiest {
    pub(super) fn watch(traffic: Arc<Traffic>) -> Busiest {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut samples = vec![(Instant::now(), traffic.received())];
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
                samples.push((Instant::now(), traffic.received()));
            }
            busiest_second(&samples)
        });
        Busiest { stop, thread }
    }

    /// The most bytes in any second.
    pub(super) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or(0)
    }
}

fn busiest_second(samples: &[(Instant, u64)]) -> u64 {
    let (mut first, mut most) = (0, 0);
    for (at, bytes) in samples {
        while *at - samples[first].0 > Duration::from_secs(1) {
            first += 1;
        }
        most = most.max(bytes - samples[first].1);
    }
    most
}
