//! One process is killed: the others go on, and it comes back.

use crate::failure::Failure;
use crate::plan::Fault;
use crate::torture::Stage;

pub(super) fn run(stage: &mut Stage<'_>, fault: &Fault) -> Result<(), Failure> {
    stage.cast.end(&fault.targets, libc::SIGKILL)?;
    let took = stage.others_go_on(&fault.targets)?;
    fault.targets.iter().try_for_each(|peer| stage.cast.start(*peer))?;
    let how = format!("the others had two blocks after {:.1} s; it is back", took.as_secs_f64());
    stage.catch_up(&fault.targets, &how)
}
