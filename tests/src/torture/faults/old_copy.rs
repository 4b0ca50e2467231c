//! A folder is put back to an older copy of itself: its peer must find out that it signed something
//! since, sign nothing more, and follow. Then the newest folder comes back in its place, since nothing
//! else was said in its name.

use std::path::Path;
use std::process::Command;

use driftless::store::SessionFolder;

use crate::failure::Failure;
use crate::plan::Fault;
use crate::torture::Stage;

pub(super) fn run(stage: &mut Stage<'_>, fault: &Fault) -> Result<(), Failure> {
    let Some(&peer) = fault.targets.first() else { return Ok(()) };
    let folder = stage.session.folders[peer].clone();
    let session = folder.session(stage.session.charter.session);
    let beside = |name: &str| folder.path().join(format!("{name}-{}", fault.number));
    let (copy, newest) = (beside("copy"), beside("newest"));
    copy_of(stage, peer, session.path(), &copy)?;

    let all = stage.cast.everybody();
    let later = stage.cast.ledger.highest() + fault.lasts.as_secs();
    stage.cast.until("some blocks after the copy", |ledger| ledger.are_at(&all, later))?;
    stage.moment(fault.phase)?;
    stage.cast.end(&[peer], libc::SIGKILL)?;
    rename(session.path(), &newest)?;
    rename(&copy, session.path())?;

    stage.cast.ledger.may_be_barred = Some(peer);
    let goal = stage.cast.ledger.highest();
    stage.cast.start(peer)?;
    stage.cast.until("the copy finds out", |ledger| ledger.peers[peer].barred.is_some())?;
    stage.cast.until("it follows", |ledger| ledger.are_at(&[peer], goal))?;
    stage.others_go_on(&[peer])?;
    let of = &stage.cast.ledger.peers[peer];
    let reason = of.barred.clone().unwrap_or_default();
    stage.report.barred();
    if of.announcements > 0 {
        return Failure::broken(format!("peer {peer} announced something before it found out: {reason}"));
    }
    stage.cast.end(&[peer], libc::SIGINT)?;
    let barred = beside("barred");
    rename(session.path(), &barred)?;
    rename(&newest, session.path())?;
    stage.set_aside.push(SessionFolder::at(barred));
    stage.cast.ledger.may_be_barred = None;
    stage.cast.start(peer)?;
    stage.catch_up(&[peer], &format!("it said: {reason}; its newest folder is back"))
}

/// What a crash at this instant would leave, the writes of the running process included.
fn copy_of(stage: &mut Stage<'_>, peer: usize, from: &Path, to: &Path) -> Result<(), Failure> {
    stage.cast.signal(peer, libc::SIGSTOP)?;
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    stage.cast.signal(peer, libc::SIGCONT)?;
    match copied.map_err(Failure::system("cp"))?.success() {
        true => Ok(()),
        false => Err(Failure::setup(format!("{} cannot be copied", from.display()))),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::rename(from, to).map_err(Failure::system(format!("{} to {}", from.display(), to.display())))
}
