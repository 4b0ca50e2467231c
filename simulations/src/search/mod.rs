//! Looks for a world in which a promise breaks, and makes it small.

mod cut;
mod draw;
mod shrink;
mod trial;

pub use cut::Cut;
pub use draw::{Draw, Wish};
pub use shrink::shrink;
pub use trial::{Finding, quietly, try_out};

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Tries the worlds of these seeds, each on one thread of so many; `told` hears how many are done.
/// Returns the finding of the lowest seed among those tried before the search stopped, if there is any.
pub fn search(
    seeds: std::ops::Range<u64>,
    threads: usize,
    told: &(dyn Fn(u64) + Sync),
) -> Option<(u64, Finding)> {
    let (next, done, stop) = (AtomicU64::new(seeds.start), AtomicU64::new(0), AtomicBool::new(false));
    let found: Mutex<Option<(u64, Finding)>> = Mutex::new(None);
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            if let Err(finding) = try_out(&Draw::new(seed)) {
                stop.store(true, Ordering::Relaxed);
                let mut found = found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if found.as_ref().is_none_or(|(other, _)| seed < *other) {
                    *found = Some((seed, finding));
                }
            }
            told(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    std::thread::scope(|scope| {
        (0..threads.max(1)).for_each(|_| drop(scope.spawn(work)));
    });
    found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}
