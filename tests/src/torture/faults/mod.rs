//! One file per kind of fault: inject it, see what the others do, see the recovery.

mod cut;
mod double_kill;
mod full_disk;
mod kill;
mod old_copy;
mod stop;

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::plan::{Fault, Kind};
use crate::torture::Stage;

/// Injects a fault and waits until the session is whole again.
pub fn inject(stage: &mut Stage<'_>, fault: &Fault) -> Result<(), Failure> {
    stage.moment(fault.phase)?;
    stage.report.injected(fault, stage.cast.ledger.highest());
    match fault.kind {
        Kind::Kill => kill::run(stage, fault),
        Kind::DoubleKill => double_kill::run(stage, fault),
        Kind::Stop => stop::run(stage, fault),
        Kind::FullDisk => full_disk::run(stage, fault),
        Kind::Cut => cut::run(stage, fault),
        Kind::OldCopy => old_copy::run(stage, fault),
    }
}

impl Stage<'_> {
    /// The peers that a fault left alone decide without the others. One height may have been
    /// decided with the votes that the others sent before; the second was not.
    fn others_go_on(&mut self, without: &[usize]) -> Result<Duration, Failure> {
        let others = self.cast.all_but(without);
        let goal = self.cast.ledger.highest() + 2;
        self.cast
            .until(&format!("the others go on without {without:?}"), |ledger| ledger.are_at(&others, goal))
    }

    /// Nobody decides anything for so long.
    fn nobody_decides(&mut self, span: Duration, why: &str) -> Result<(), Failure> {
        let before = self.cast.ledger.highest();
        self.cast.pass(span)?;
        match self.cast.ledger.highest() {
            after if after > before => Failure::broken(format!("height {after} was decided {why}")),
            _ => Ok(()),
        }
    }

    /// After a fault that took the quorum away, at most the height under way was decided.
    fn at_most_one_more(&self, before: u64, why: &str) -> Result<(), Failure> {
        match self.cast.ledger.highest() {
            after if after > before + 1 => {
                Failure::broken(format!("heights {} to {after} were decided {why}", before + 1))
            }
            _ => Ok(()),
        }
    }

    /// These are at the others' height again, all by themselves.
    fn catch_up(&mut self, peers: &[usize], how: &str) -> Result<(), Failure> {
        let goal = self.cast.ledger.highest();
        let took = self
            .cast
            .until(&format!("{peers:?} at height {goal} again"), |ledger| ledger.are_at(peers, goal))?;
        self.report.recovered(self.cast.ledger.highest(), took, how);
        Ok(())
    }

    /// Everybody goes on: two heights that none of them has yet.
    fn all_go_on(&mut self, how: &str) -> Result<(), Failure> {
        let all = self.cast.everybody();
        let (begun, goal) = (Instant::now(), self.cast.ledger.highest() + 2);
        self.cast.until("everybody goes on", |ledger| ledger.are_at(&all, goal))?;
        self.report.recovered(self.cast.ledger.highest(), begun.elapsed(), how);
        Ok(())
    }
}
