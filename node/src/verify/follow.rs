//! The chain, block by block: links, certificates and the control page after each.

use std::fs::TryLockError;
use std::path::Path;

use driftless_protocol::Hash;
use driftless_protocol::charter::Charter;
use driftless_protocol::election::{Committees, Sitting};
use driftless_protocol::membership::ControlPage;
use driftless_protocol::transition::{self, Plan};

use super::{Problem, list};
use crate::offline::OfflineError;
use crate::store::{
    ChainReader, ReadBlock, SessionFolder, TornTail, plain, read_committees, read_listing, snapshot_heights,
    snapshot_path,
};

/// A block with what it did.
pub struct Followed {
    /// The block and where it lies.
    pub read: ReadBlock,
    /// The control page before it, unless it is not known here.
    pub before: Option<ControlPage>,
    /// What it counted and the control page after it.
    pub plan: Option<Plan>,
}

/// Where the walk stands.
struct Walk<'a> {
    folder: &'a SessionFolder,
    charter: &'a Charter,
    committees: Committees,
    /// The control page at the head; none while it is not known.
    control: Option<ControlPage>,
    head: Hash,
}

/// Reads the chain of a folder in order and hands every block to `visit`. What does not hold is added
/// to `problems`.
///
/// # Errors
/// The folder cannot be read at all.
pub fn follow(
    folder: &SessionFolder,
    charter: &Charter,
    problems: &mut Vec<Problem>,
    visit: &mut dyn FnMut(&Followed),
) -> Result<(), OfflineError> {
    let snapshots = snapshot_heights(folder)?;
    let control = Some(charter.genesis_control());
    let committees = committees(folder, charter, problems);
    let mut walk = Walk { folder, charter, committees, control, head: charter.session };
    let running = is_running(folder);
    let mut reader = match ChainReader::open(folder, charter.session) {
        Ok(reader) => reader,
        Err(error) => {
            list(problems, Problem::from_store(error, folder));
            return Ok(());
        }
    };
    let mut last = 0;
    for read in reader.by_ref() {
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                list(problems, Problem::from_store(error, folder));
                return Ok(());
            }
        };
        last = read.block.block.height;
        let followed = walk.take(read, problems);
        visit(&followed);
        if snapshots.contains(&last) {
            walk.compare_with_snapshot(&followed, problems);
        }
    }
    if let Some(TornTail { file, offset, height }) = reader.torn().filter(|_| !running) {
        let reason = format!(
            "an unfinished record at byte {offset}: its process died while it was written, or it was damaged \
             since. The next `driftless run` cuts it off and fetches the block again"
        );
        list(problems, Problem::at(&file, reason).of_height(height));
    }
    if reader.acknowledged().is_none() && last > 0 && !running {
        let reason = "the file that says how much of the chain must be here is missing";
        list(problems, Problem::at(&folder.db().join("acknowledged"), reason));
    }
    Ok(())
}

impl Walk<'_> {
    fn take(&mut self, read: ReadBlock, problems: &mut Vec<Problem>) -> Followed {
        let block = &read.block.block;
        let height = block.height;
        let problem = |reason: String| Problem::at(&read.file, reason).of_height(height);
        if read.after_gap {
            self.control = None;
        }
        let certified = match &self.control {
            Some(control) => Sitting::of(control).certifies(self.charter, &read.block),
            None => self.committees.certifies(self.charter, &read.block),
        };
        if !certified {
            list(problems, problem("its certificate is not that of a quorum".into()));
        }
        let before = self.control.take();
        let plan = before.as_ref().and_then(|control| {
            match transition::follow(self.charter, control, self.head, block) {
                Ok(plan) => Some(plan),
                Err(invalid) => {
                    list(problems, problem(invalid.to_string()));
                    None
                }
            }
        });
        self.control = plan.as_ref().map(|plan| (*plan.control).clone());
        self.head = read.hash;
        Followed { read, before, plan }
    }

    /// A snapshot is of the chain's block, and its control page is the one that the blocks lead to.
    /// Where blocks are missing because a snapshot was taken over them, the walk goes on from its
    /// control page.
    fn compare_with_snapshot(&mut self, followed: &Followed, problems: &mut Vec<Problem>) {
        let block = &followed.read.block.block;
        // What is wrong with a snapshot by itself is found where all files are checked.
        let Ok(listing) = read_listing(self.folder, self.charter.session, block.height) else { return };
        let file = snapshot_path(self.folder, block.height);
        let mut problem = |reason: &str| list(problems, Problem::at(&file, reason).of_height(block.height));
        if listing.block.as_ref().is_none_or(|of| of.block != *block) {
            return problem("it is the snapshot of another block than the chain's");
        }
        match &self.control {
            Some(control) if control.to_bytes() != listing.control => {
                problem("its control page is not the one that the blocks lead to");
            }
            Some(_) => {}
            None if listing.is_certified(self.charter, &self.committees) => {
                self.control = ControlPage::from_bytes(&listing.control).ok();
            }
            None => {}
        }
    }
}

/// Who signed at every height; what is wrong with that is a problem.
pub(super) fn committees(
    folder: &SessionFolder,
    charter: &Charter,
    problems: &mut Vec<Problem>,
) -> Committees {
    read_committees(folder, charter).unwrap_or_else(|error| {
        list(problems, Problem::from_store(error, folder));
        Committees::founding(charter)
    })
}

/// Whether a node works on the data folder that this session lies in.
fn is_running(folder: &SessionFolder) -> bool {
    let data = folder.path().parent().and_then(Path::parent);
    let lock = data.and_then(|data| plain::open(&data.join("lock")).ok());
    lock.is_some_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}
