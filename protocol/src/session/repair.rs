//! A state that does not lead to what was certified: a bit that changed in memory, or a computation
//! that went wrong.
//!
//! This peer stops, and rebuilds the state from its disk as a restart would: the newest snapshot,
//! then the blocks after it, their blobs from the disk or from others. Comparing the pages tells
//! which were wrong. If the disk cannot help, the next snapshot of the others does. A block that
//! fails on the rebuilt state as well halts this peer.

use std::fmt::Write;

use crate::block::Height;
use crate::event::{Output, Recovered};
use crate::state::{Array, PAGE_VALUES, Page, State};
use crate::time::Time;

use super::Session;
use super::voting::Voting;

/// Pages that a warning names.
const NAMED: usize = 8;

/// The repair of a state.
#[derive(Debug, Default)]
pub(super) struct Repair {
    /// What did not fit, until it is compared with what is right.
    suspect: Option<State>,
    stage: Stage,
    /// The block that a repair was for: it does not help twice.
    tried: Option<Height>,
}

/// How far a repair is. Nothing is said before it is over.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is to be repaired.
    #[default]
    Whole,
    /// The disk is read.
    Reads,
    /// Blocks are replayed from it.
    Replays,
    /// Only a snapshot of others helps.
    NeedsOthers,
}

impl Repair {
    pub fn is_going_on(&self) -> bool {
        self.stage != Stage::Whole
    }

    /// Whether there is no state on which a block could be applied.
    pub fn lacks_state(&self) -> bool {
        matches!(self.stage, Stage::Reads | Stage::NeedsOthers)
    }

    pub fn needs_others(&self) -> bool {
        self.stage == Stage::NeedsOthers
    }
}

impl Session {
    /// The state here does not lead to the certified block of `height`.
    pub(super) fn state_is_wrong(&mut self, height: Height, found: &str) {
        if self.repair.lacks_state() {
            return;
        }
        if self.repair.tried == Some(height) {
            return self.halt(format!("{found}, also after the state was rebuilt"));
        }
        self.warn(format!("{found}: it is rebuilt, and nothing is said meanwhile"));
        self.repair.tried = Some(height);
        self.repair.suspect = Some(self.state.clone());
        self.repair.stage = Stage::Reads;
        self.candidates.give_up();
        self.contributing.drop_prepared();
        self.outputs.push_back(Output::Reload);
    }

    /// What the disk holds; `Err` if it leads to no state.
    pub(super) fn reloaded(&mut self, now: Time, result: Result<Box<Recovered>, String>) {
        if self.repair.stage != Stage::Reads {
            return;
        }
        match result.map(|recovered| (recovered.snapshot.clone(), recovered)) {
            Ok((Some(snapshot), recovered)) => {
                let head = snapshot.block.as_ref().map_or(self.charter.session, |block| block.block.hash());
                self.repair.stage = Stage::Replays;
                self.adopt(now, head, snapshot.state);
                self.training.align(&self.state);
                self.voting = Voting::new(&self.charter, &self.signer);
                self.replay_from(now, *recovered);
            }
            Ok((None, _)) => self.ask_others("it holds no snapshot"),
            Err(error) => self.ask_others(&error),
        }
    }

    fn ask_others(&mut self, error: &str) {
        self.warn(format!(
            "the state cannot be rebuilt from this disk ({error}): waiting for a snapshot of the others"
        ));
        self.repair.stage = Stage::NeedsOthers;
        self.catch_up.only_snapshots(true);
    }

    /// Tells what was wrong once the right state of the same height is here.
    pub(super) fn compare_with_suspect(&mut self) {
        let height = self.height();
        if let Some(suspect) = self.repair.suspect.take_if(|suspect| suspect.control.height == height) {
            self.warn(difference(&suspect, &self.state));
        }
    }

    /// The state is rebuilt, or another one took its place.
    pub(super) fn end_repair(&mut self) {
        if std::mem::take(&mut self.repair.stage) == Stage::Whole {
            return;
        }
        self.catch_up.only_snapshots(false);
        if self.repair.suspect.take().is_some() {
            self.warn(format!("the state was replaced by that of height {}", self.height()));
        }
    }
}

/// What was wrong with a state, in words.
fn difference(wrong: &State, right: &State) -> String {
    let height = right.control.height;
    let mut names = Vec::new();
    for (array, (wrong, right)) in wrong.arrays.iter().zip(&right.arrays).enumerate() {
        for (fragment, (wrong, right)) in wrong.iter().zip(right).enumerate() {
            for (page, (wrong, right)) in wrong.pages().iter().zip(right.pages()).enumerate() {
                if !same(wrong, right) {
                    let first = page * PAGE_VALUES;
                    names.push(format!("array {array}, fragment {fragment}, from value {first}"));
                }
            }
        }
    }
    for (key, right) in &right.estimates {
        let wrong = wrong.estimates.get(key).into_iter().flat_map(Array::pages);
        for (page, (wrong, right)) in wrong.zip(right.pages()).enumerate() {
            if !same(wrong, right) {
                let first = page * PAGE_VALUES;
                names.push(format!("the estimate of {}, from value {first}", key.short()));
            }
        }
    }
    let control = wrong.control != right.control;
    if names.is_empty() && !control {
        return format!(
            "the state of height {height} was right, so a computation went wrong: it is done again"
        );
    }
    let mut text =
        format!("the state of height {height} is whole again: {} of its pages were wrong", names.len());
    for name in names.iter().take(NAMED) {
        let _ = write!(text, "; {name}");
    }
    if names.len() > NAMED {
        let _ = write!(text, "; and {} more", names.len() - NAMED);
    }
    if control {
        text.push_str("; and the control page");
    }
    text + ". This machine's memory is not to be trusted: a memory test tells more"
}

fn same(a: &Page, b: &Page) -> bool {
    a.hash() == b.hash() && a.bytes() == b.bytes()
}
