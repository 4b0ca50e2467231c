//! The threads of an engine, or the caller's own where waking others would take longer than the work.

use super::{EngineError, EngineOptions};

/// Products of parameters and samples of a step up to which the caller does all of it: about 100 microseconds.
const SMALL: usize = 1 << 17;

/// Who works on an engine's tasks.
pub(super) enum Pool {
    /// The calling thread.
    Caller,
    /// Threads that sleep in between.
    Threads(rayon::ThreadPool),
}

impl Pool {
    /// Threads for a model of so many parameters.
    pub(super) fn new(options: &EngineOptions, parameters: usize) -> Result<Pool, EngineError> {
        if options.threads == 1 || parameters.saturating_mul(options.batch) <= SMALL {
            return Ok(Pool::Caller);
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .thread_name(|index| format!("compute-{index}"))
            .build()
            .map_err(|error| EngineError::Threads(error.to_string()))?;
        Ok(Pool::Threads(pool))
    }

    /// Does every task, in any order, and returns when all are done.
    pub(super) fn run<T: Send>(&self, tasks: impl Iterator<Item = T> + Send, each: impl Fn(T) + Sync) {
        match self {
            Pool::Caller => tasks.for_each(each),
            Pool::Threads(pool) => pool.scope(|scope| {
                let each = &each;
                tasks.for_each(|task| scope.spawn(move |_| each(task)));
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::Optimizer;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn every_task_is_done_by_the_caller_or_by_threads() {
        for (threads, batch, alone) in [(1, 1 << 16, true), (2, 8, true), (2, 1 << 16, false)] {
            let options = EngineOptions { threads, batch, optimizer: Optimizer::default() };
            let pool = Pool::new(&options, 1000).unwrap();
            let caller = std::thread::current().id();
            let done = AtomicU64::new(0);
            pool.run(0..64_u64, |task| {
                assert_eq!(std::thread::current().id() == caller, alone);
                done.fetch_or(1 << task, Ordering::Relaxed);
            });
            assert_eq!(done.into_inner(), u64::MAX);
        }
    }
}
