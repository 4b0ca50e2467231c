//! The network falls into halves: neither decides anything, both say that they wait, and when it
//! is whole again everything goes on.

use crate::failure::Failure;
use crate::plan::Fault;
use crate::torture::Stage;

pub(super) fn run(stage: &mut Stage<'_>, fault: &Fault) -> Result<(), Failure> {
    let Some(network) = &stage.network else { return Ok(()) };
    network.cut(&fault.targets)?;
    let before = stage.cast.ledger.highest();
    let all = stage.cast.everybody();
    let took =
        stage.cast.until("both halves say that they have no quorum", |ledger| ledger.say_no_quorum(&all))?;
    stage.nobody_decides(fault.lasts, "in half a network")?;
    stage.at_most_one_more(before, "in half a network")?;
    if let Some(network) = &stage.network {
        network.heal()?;
    }
    stage.all_go_on(&format!("both halves said after {:.1} s that they wait; all go on", took.as_secs_f64()))
}
