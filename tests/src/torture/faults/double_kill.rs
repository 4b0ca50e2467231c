//! So many are killed that the others have no quorum: those say that they wait, nothing is
//! decided, and everything goes on when the killed ones are back.

use crate::failure::Failure;
use crate::plan::Fault;
use crate::torture::Stage;

pub(super) fn run(stage: &mut Stage<'_>, fault: &Fault) -> Result<(), Failure> {
    stage.cast.end(&fault.targets, libc::SIGKILL)?;
    let before = stage.cast.ledger.highest();
    let others = stage.cast.all_but(&fault.targets);
    let took = stage
        .cast
        .until("the others say that they have no quorum", |ledger| ledger.say_no_quorum(&others))?;
    stage.nobody_decides(fault.lasts, "without a quorum")?;
    stage.at_most_one_more(before, "without a quorum")?;
    fault.targets.iter().try_for_each(|peer| stage.cast.start(*peer))?;
    stage.all_go_on(&format!("the others said after {:.1} s that they wait; all go on", took.as_secs_f64()))
}
