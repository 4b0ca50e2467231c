//! Disks are full for a while: their peers say so and say nothing else, the session goes on without
//! one and waits without two, and when there is space again the same processes go on.

use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::plan::{Fault, too_many};
use crate::tmpfs::Filler;
use crate::torture::Stage;

pub(super) fn run(stage: &mut Stage<'_>, fault: &Fault) -> Result<(), Failure> {
    let targets = &fault.targets;
    let mut fillers = Vec::new();
    for peer in targets {
        stage.cast.ledger.peers[*peer].disk_full = false;
        fillers.push(Filler::new(&stage.cast.part(*peer).dir)?);
    }
    let mut refused = Ok(());
    let took = stage.cast.until("the log says that the disk is full", |ledger| {
        // What the peer deletes meanwhile is taken, too.
        let filled = fillers.iter_mut().try_for_each(Filler::fill);
        refused = std::mem::replace(&mut refused, Ok(())).and(filled);
        refused.is_err() || targets.iter().all(|peer| ledger.peers[*peer].disk_full)
    })?;
    refused?;
    targets.iter().try_for_each(|peer| says_so(stage, *peer))?;
    if targets.len() < too_many(stage.cast.everybody().len()) {
        stage.others_go_on(targets)?;
        stage.cast.pass(fault.lasts)?;
    } else {
        // The height under way may still be decided with votes that were sent before.
        let before = stage.cast.ledger.highest();
        stage.cast.pass(fault.lasts)?;
        stage.at_most_one_more(before, "by peers whose disks are full")?;
    }
    let announcements = |ledger: &Ledger| -> Vec<usize> {
        targets.iter().map(|peer| ledger.peers[*peer].announcements).collect()
    };
    let before = announcements(&stage.cast.ledger);
    fillers.into_iter().try_for_each(Filler::remove)?;
    stage.all_go_on(&format!("they said so after {:.1} s; all go on", took.as_secs_f64()))?;
    stage.cast.until("they announce again", |ledger| {
        announcements(ledger).iter().zip(&before).all(|(now, before)| now > before)
    })?;
    Ok(())
}

/// `driftless status` says what is wrong, once the peer had a moment to notice.
fn says_so(stage: &Stage<'_>, peer: usize) -> Result<(), Failure> {
    let objects = stage.ask(peer, &["status"])?;
    let disk = objects.first().and_then(|object| object["disk"].as_str()).unwrap_or_default();
    match disk.contains("no space left") {
        true => Ok(()),
        false => Failure::broken(format!("the disk of peer {peer} is full, but its status says {objects:?}")),
    }
}
