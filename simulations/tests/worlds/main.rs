//! Sessions in simulated worlds. Every test names a behaviour; all of them run under all checkers.

mod scenarios;
mod support;

mod chaos; // peers that keep failing
mod clocks; // that are fast or slow
mod commands; // pause, resume, finish, leave, stop
mod crashes; // power cuts between any two outputs
mod crowd; // more peers than can all know each other
mod decoupled; // slots that do not wait for the slow
mod determinism; // one seed, one trace
mod digits; // checks C2 and E6
mod ef21; // and what is known of every member's gradient
mod elections;
mod endings; // stop_at
mod engines; // losses that are not finite, the product's engine
mod full_disks; // and drivers that wait for space
mod honest_work; // no step is contributed twice
mod joining; // late joiners, followers, laggards, stewards
mod liars; // an equivocator
mod memory_faults;
mod nat; // who can be dialled, and who cannot
mod network; // jitter, loss, partitions, slow links
mod old_copies;
mod one_byte; // checks B2, B3 and B5
mod overlap; // rounds that hide an exchange
mod pacing; // slow peers, overrun
mod planned; // bytes that a plan foretells
mod promises; // writes, progress, bounds
mod random_worlds; // what a seed makes up
mod recorded; // a session computed again, and as a scenario
mod textbook; // the paper's loop without a session
