//! Starting again from what is on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::block::{Announcement, CertifiedBlock, Height, Step};
use crate::charter::Charter;
use crate::consensus::WalRecord;
use crate::event::{Checkpoint, Recovered};
use crate::identity::{Domain, Signed, Signer};
use crate::mutant::Mutant;
use crate::state::State;
use crate::time::Time;
use crate::training::SavedTraining;
use crate::wire::{self, SnapshotOffer};

use super::resets::Resets;
use super::{Options, Session};

/// The largest checkpoint that is read back, in bytes.
const MAX_CHECKPOINT: usize = 1 << 36;

/// What is still to be replayed before this peer takes part again.
#[derive(Debug)]
pub(super) struct Restoring {
    blocks: BTreeMap<Height, CertifiedBlock>,
    wal: Vec<WalRecord>,
    signed: Vec<Signed<Announcement>>,
    checkpoint: Option<Checkpoint>,
    offer: Option<SnapshotOffer>,
    /// This peer was counted after its checkpoint, or nobody knows.
    counted_since: bool,
}

impl Restoring {
    /// Whether the block of this height is on disk already.
    pub fn covers(&self, height: Height) -> bool {
        self.blocks.contains_key(&height)
    }

    /// The log of the height that was running.
    pub fn wal(&self) -> &[WalRecord] {
        &self.wal
    }

    /// The height of the last block.
    pub fn last(&self) -> Option<Height> {
        self.blocks.last_key_value().map(|(height, _)| *height)
    }

    /// The block after `head`.
    pub fn next(&self, head: Height) -> Option<&CertifiedBlock> {
        self.blocks.get(&(head + 1))
    }
}

#[derive(Encode, Decode)]
struct CheckpointBytes(SavedTraining, Vec<u8>);

impl Session {
    /// A session that goes on where its folder ends: with `genesis` if there is no snapshot, as in a new
    /// folder. An empty folder does not tell whether its key is new too.
    ///
    /// Blocks after the snapshot are applied again from their blobs, then the log of the running
    /// height is replayed (votes and locks come back), then the checkpoint is taken up. Until
    /// then, and until it heard from others (`recall`), this peer neither votes nor contributes.
    pub fn restore(
        now: Time,
        charter: Arc<Charter>,
        signer: Signer,
        options: Options,
        genesis: impl FnOnce() -> State,
        mut recovered: Recovered,
    ) -> Session {
        let (state, head) = match recovered.snapshot.take() {
            Some(snapshot) => {
                let head = snapshot.block.as_ref().map_or(charter.session, |block| block.block.hash());
                (snapshot.state, head)
            }
            None => (genesis(), charter.session),
        };
        let mut session = Session::at(now, charter, signer, options, state, head);
        session.remember_bar(recovered.bar.take());
        session.snapshots.found(now, &recovered.snapshots);
        session.resets = Resets { last: recovered.reset.take(), since: now, said: Vec::new() };
        session.replay_from(now, recovered);
        session.go_on(now);
        session
    }

    /// Begins to replay what follows the snapshot at which this peer stands.
    pub(super) fn replay_from(&mut self, now: Time, recovered: Recovered) {
        let base = self.height();
        let blocks = recovered.blocks.into_iter().map(|block| (block.block.height, block));
        self.restoring = Some(Restoring {
            counted_since: recovered.checkpoint.as_ref().is_none_or(|checkpoint| checkpoint.height < base),
            blocks: blocks.collect(),
            wal: if Mutant::ForgetsVotes.lives() { Vec::new() } else { recovered.wal },
            signed: if Mutant::ForgetsContributions.lives() { Vec::new() } else { recovered.signed },
            checkpoint: recovered.checkpoint,
            offer: recovered.offer,
        });
        self.begin_height(now);
        self.end_restoring(now);
        self.check_completion(now);
    }

    /// Notes while replaying whether a block after the checkpoint counted this peer.
    pub(super) fn note_counted(&mut self, height: Height, counted: &[bool]) {
        if let Some(restoring) = &mut self.restoring {
            let later = restoring.checkpoint.as_ref().is_some_and(|checkpoint| height > checkpoint.height);
            restoring.counted_since |= later && counted.contains(&true);
        }
    }

    /// Ends the replay once the last block on disk is applied.
    pub(super) fn end_restoring(&mut self, now: Time) {
        let head = self.height();
        let ended = self.restoring.as_ref().is_some_and(|restoring| restoring.next(head).is_none());
        if !ended {
            return;
        }
        let Some(restoring) = self.restoring.take() else { return };
        self.end_repair();
        self.begin_height(now);
        self.take_up_checkpoint(restoring.checkpoint, restoring.counted_since);
        // Whoever begins with the others is not back: it has to wait for them.
        if self.height() > 0 || !restoring.signed.is_empty() || !restoring.wal.is_empty() {
            self.training.come_back();
            let members = self.state.control.members.iter().map(|member| member.key);
            let away = members.filter(|key| *key != self.me && !self.connected.contains(key));
            self.slots.came_back(away);
        }
        for signed in restoring.signed {
            self.take_up_announcement(now, signed);
        }
        self.listen(now, restoring.wal);
        if let Some(offer) = restoring.offer {
            self.take_up_snapshot(offer);
        }
    }

    /// The log is continued if the height that it is of still runs.
    pub(super) fn replay_votes(&mut self, now: Time, wal: Vec<WalRecord>) {
        let next = self.height() + 1;
        let wal: Vec<WalRecord> = wal.into_iter().filter(|record| record.height() == next).collect();
        let said = wal.iter().filter_map(|record| match record {
            WalRecord::OwnVote(vote) => Some(vote.content.clone()),
            _ => None,
        });
        self.resets.said.extend(said.filter(|vote| vote.step == Step::Precommit));
        if wal.is_empty() || !self.can_vote() {
            return;
        }
        if let Err(error) = self.voting.consensus.replay(now, wal) {
            return self.bar(format!("the log of votes cannot be replayed ({error})"));
        }
        self.drain_consensus(now);
    }

    fn take_up_checkpoint(&mut self, checkpoint: Option<Checkpoint>, counted_since: bool) {
        let Some(checkpoint) = checkpoint else { return };
        match wire::decode_large::<CheckpointBytes>("checkpoint", &checkpoint.bytes, MAX_CHECKPOINT) {
            Ok(CheckpointBytes(saved, engine)) => {
                self.training.restore(saved, &self.state, counted_since);
                self.contributing.restore = Some(engine);
            }
            Err(error) => self.warn(format!("the checkpoint is not used: {error}")),
        }
    }

    /// A contribution signed before the restart is sent again; no other is signed for its slot.
    fn take_up_announcement(&mut self, now: Time, signed: Signed<Announcement>) {
        let slot = signed.content.slot;
        if signed.by != self.me || !self.slots.is_open(slot) {
            return;
        }
        self.training.restore_announced(slot, signed.content.work.clone());
        let signed = match signed.holds(Domain::Announcement, self.scope()) {
            true => signed,
            // A reset came between: signatures are of a generation.
            false => self.signer.seal(Domain::Announcement, self.scope(), signed.content),
        };
        self.announce(now, signed, Vec::new());
    }
}
