//! One process stands still: the others go on, and it catches up.

use std::time::Instant;

use crate::failure::Failure;
use crate::plan::Fault;
use crate::torture::Stage;

pub(super) fn run(stage: &mut Stage<'_>, fault: &Fault) -> Result<(), Failure> {
    let begun = Instant::now();
    fault.targets.iter().try_for_each(|peer| stage.cast.signal(*peer, libc::SIGSTOP))?;
    let took = stage.others_go_on(&fault.targets)?;
    stage.cast.pass(fault.lasts.saturating_sub(begun.elapsed()))?;
    fault.targets.iter().try_for_each(|peer| stage.cast.signal(*peer, libc::SIGCONT))?;
    let stood = begun.elapsed().as_secs_f64();
    let how =
        format!("it stood still for {stood:.1} s, the others went on after {:.1} s", took.as_secs_f64());
    stage.catch_up(&fault.targets, &how)
}
