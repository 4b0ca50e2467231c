//! Whether this folder remembers everything that its key signed.
//!
//! What a peer meets of its own key and does not find in its folder tells that the folder was restored
//! from an older copy. Going on it could contradict itself and be convicted for it, so a voter signs
//! nothing more but a farewell until its user says that the newer folder is gone; whoever only
//! contributes passes over the slots that are open then. A voter that was told to go on signs nothing
//! about what ran at that moment, unless the others cannot go on without it.

use std::collections::BTreeSet;

use crate::block::{Announcement, Attempt, CertifiedBlock, Height, Step, Vote};
use crate::consensus::WalRecord;
use crate::event::{Bar, Output, Record};
use crate::holdings::{Tell, tell};
use crate::identity::{Domain, Hash, PeerKey, Signed};
use crate::mutant::Mutant;
use crate::time::{Span, Time};
use crate::wire::Message;

use super::Session;
use super::listening::{BEYOND, Listening};
use super::voting::Voting;

/// A height that is not decided for so long needs a voter that would rather leave it out.
const NEEDED: Span = Span::seconds(30);
/// Votes and proposals of this key that are kept.
const MAX_MET: usize = 16;

/// What is known of this key's past.
#[derive(Debug, Default)]
pub(super) struct Recall {
    pub listening: Option<Listening>,
    /// Who was asked for statements and did not answer yet.
    pub asked: BTreeSet<PeerKey>,
    bar: Option<Bar>,
    /// The user lifted the bar: until what ran then is over, what this key said elsewhere is held
    /// against nobody. On disk it is a bar that is lifted.
    returning: bool,
    /// When the running height is voted on after all.
    late: Option<Time>,
    /// Votes are made from this height on.
    vote_from: Height,
    /// Contributions are made to later slots than this ordinal's.
    contribute_after: Option<u32>,
    /// The latest slot of which this peer met a contribution that is not in this folder.
    met_slot: Option<u32>,
    /// Something of this key was met that is not in this folder.
    forgetful: bool,
    /// Votes and proposals of this key that it made, or that others showed, while it does not vote.
    met: Vec<Message>,
}

impl Recall {
    pub fn bar(&self) -> Option<&Bar> {
        self.bar.as_ref()
    }

    /// Whether anything may be signed.
    pub fn may_sign(&self) -> bool {
        self.listening.is_none() && self.bar.is_none()
    }

    pub fn may_vote_at(&self, height: Height) -> bool {
        self.may_sign() && height >= self.vote_from
    }

    pub fn may_contribute_to(&self, ordinal: u32) -> bool {
        self.contribute_after.is_none_or(|last| ordinal > last)
    }

    /// The chain went on.
    pub fn progressed(&mut self, now: Time) {
        if let Some(listening) = &mut self.listening {
            listening.progressed(now);
        }
    }

    pub fn timeouts(&self) -> impl Iterator<Item = Time> {
        self.listening.iter().flat_map(Listening::timeouts).chain(self.late)
    }

    pub fn holdings(&self, to: Tell<'_>) {
        tell(to, "peers asked for statements", self.asked.len(), super::MAX_IN_REACH);
        tell(to, "own statements met", self.met.len(), MAX_MET);
        if let Some(listening) = &self.listening {
            listening.holdings(to);
        }
    }

    /// Keeps the latest ones.
    fn keep_met(&mut self, statement: Message) {
        if self.met.contains(&statement) {
            return;
        }
        self.met.push(statement);
        self.met.sort_by_key(place);
        self.met.drain(..self.met.len().saturating_sub(MAX_MET));
    }
}

impl Session {
    pub(super) fn remember_bar(&mut self, bar: Option<Bar>) {
        let Some(bar) = bar.filter(|bar| bar.key == self.me) else { return };
        if bar.lifted {
            self.recall.returning = true;
        } else {
            self.warn(bar.reason.clone());
            self.recall.bar = Some(bar);
        }
    }

    /// What was signed before is known now.
    pub(super) fn stop_listening(&mut self, now: Time) {
        let Some(Listening { wal, .. }) = self.recall.listening.take() else { return };
        if std::mem::take(&mut self.recall.forgetful) || self.recall.returning {
            self.pass_over_open_slots();
        }
        if self.recall.returning {
            self.recall.vote_from = self.height() + 1 + BEYOND;
            self.recall.late = Some(now + NEEDED);
        }
        if self.recall.returning || self.recall.bar.is_some() {
            let said = wal.iter().filter_map(|record| own_statement(self.me, record));
            said.for_each(|statement| self.recall.keep_met(statement));
        }
        self.begin_height(now);
        self.replay_votes(now, wal);
        self.take_in_overheard(now);
        self.vote(now);
    }

    /// Whether what is at hand is all that this peer knows of itself: not while its disk is replayed,
    /// nor once it cannot go on.
    pub(super) fn knows_itself(&self) -> bool {
        self.restoring.is_none() && !self.repair.is_going_on() && self.halted.is_none()
    }

    /// A vote or a proposal of this peer's own key came while it does not vote: is it news?
    pub(super) fn look_for_own_statement(&mut self, statement: Message) {
        if !self.knows_itself() {
            return;
        }
        let known = |own: &WalRecord| match (own, &statement) {
            (WalRecord::OwnVote(own), Message::Vote(vote)) => own.content == vote.content,
            (WalRecord::OwnProposal { proposal: own, .. }, Message::Propose { proposal, .. }) => {
                own.content == proposal.content
            }
            _ => false,
        };
        let (what, height, holds) = match &statement {
            Message::Vote(vote) => ("vote", vote.content.height, vote.holds(Domain::Vote, self.vote_scope())),
            Message::Propose { proposal, .. } => {
                ("proposal", proposal.content.height, proposal.holds(Domain::Proposal, self.vote_scope()))
            }
            _ => return,
        };
        if holds && height > self.height() && !self.logged().any(known) {
            self.recall.keep_met(statement);
            self.met_own(&format!("a {what} at height {height}"));
        }
    }

    /// The log of the height that was running when this peer stopped, while it is not replayed.
    pub(super) fn logged(&self) -> impl Iterator<Item = &WalRecord> {
        let restoring = self.restoring.iter().flat_map(|restoring| restoring.wal());
        restoring.chain(self.recall.listening.iter().flat_map(|listening| &listening.wal))
    }

    /// An announcement of this peer's own key came back to it.
    pub(super) fn own_announcement_received(&mut self, signed: &Signed<Announcement>) {
        let slot = signed.content.slot;
        let next = self.state.control.closed.get(usize::from(slot.stream));
        let open = next.is_some_and(|next| slot.ordinal >= *next);
        if open
            && signed.by == self.me
            && self.knows_itself()
            && self.recall.may_contribute_to(slot.ordinal)
            && !self.contributing.announced(slot)
            && signed.holds(Domain::Announcement, self.scope())
        {
            // It may be a slot that is not open yet, where this peer stands.
            self.recall.met_slot = self.recall.met_slot.max(Some(slot.ordinal));
            self.met_own(&format!("a contribution to slot {} of stream {}", slot.ordinal, slot.stream));
        }
    }

    /// Looks for statements of this key in a certified block that came from others.
    pub(super) fn look_for_own(&mut self, certified: &CertifiedBlock, counts_me: &[bool]) {
        let block = &certified.block;
        for (closing, _) in block.closings().zip(counts_me).filter(|(_, counted)| **counted) {
            let slot = closing.slot;
            if !self.contributing.announced(slot) && self.recall.may_contribute_to(slot.ordinal) {
                let what = format!("a contribution to slot {} of stream {}", slot.ordinal, slot.stream);
                self.met_own(&what);
            }
        }
        if self.is_unknown_precommit(certified, self.certifiers(certified)) {
            self.met_own(&format!("a vote at height {}", block.height));
        }
    }

    fn is_unknown_precommit(&self, certified: &CertifiedBlock, certifiers: &[PeerKey]) -> bool {
        let (height, certificate) = (certified.block.height, &certified.certificate);
        let seat = certifiers.iter().position(|key| *key == self.me);
        let signed =
            seat.is_some_and(|seat| certificate.precommits.iter().any(|(by, _)| usize::from(*by) == seat));
        if !signed {
            return false;
        }
        let hash = certified.block.hash();
        let known = |vote: &Vote| vouches(vote, height, certificate.attempt, hash);
        let logged =
            self.logged().any(|record| matches!(record, WalRecord::OwnVote(own) if known(&own.content)));
        let said = self.voting.consensus.own_precommit().map(|vote| &vote.content);
        !(logged || said.into_iter().chain(&self.resets.said).any(known))
    }

    /// The state jumps over blocks that are not seen: what it counts of this peer must be known.
    pub(super) fn look_for_own_in(&mut self, block: &CertifiedBlock, certifiers: &[PeerKey], counted: u32) {
        if !self.knows_itself() {
            return;
        }
        let before = self.state.control.member(&self.me).map_or(0, |member| member.counted);
        let under_way = self.contributing.announced_count(0);
        if self.is_unknown_precommit(block, certifiers) {
            self.met_own(&format!("a vote at height {}", block.block.height));
        } else if counted as usize > before as usize + under_way {
            self.met_own(&format!("contributions before height {}", block.block.height));
        }
    }

    /// This key signed something that is not in this folder.
    pub(super) fn met_own(&mut self, what: &str) {
        if self.recall.bar.is_some() || self.recall.returning || Mutant::ShrugsAtItself.lives() {
            return;
        }
        if self.is_voter() {
            return self.bar(format!(
                "this key signed {what} that is not in this folder: the folder was restored from an older \
                 copy, or the key is in use elsewhere"
            ));
        }
        if self.recall.listening.is_some() {
            self.recall.forgetful = true;
        } else {
            self.pass_over_open_slots();
        }
    }

    /// What is open now may have a contribution of this key already.
    fn pass_over_open_slots(&mut self) {
        let open = self.ground().draws().into_iter().map(|(ordinal, _)| ordinal);
        let last = open.max().max(self.recall.met_slot);
        if self.recall.contribute_after < last {
            self.warn(
                "this key signed contributions that are not in this folder: the slots that are open now are \
                 left out, so as not to contradict them"
                    .into(),
            );
            self.recall.contribute_after = last;
            self.contributing.drop_prepared();
            self.set_draws();
        }
    }

    /// Ends this peer's statements until its user allows them again.
    pub(super) fn bar(&mut self, cause: String) {
        let reason = format!(
            "{cause}. It signs nothing more and only follows. If the newer folder is gone for good, \
             `driftless resume --vote` lets it take part again; otherwise the remedy is a new key \
             (`driftless identity --new`)"
        );
        let bar = Bar { key: self.me, reason: reason.clone(), lifted: false };
        self.outputs.push_back(Output::Persist { record: Record::Bar(Some(bar.clone())), sync: true });
        self.recall.bar = Some(bar);
        self.warn(reason);
        for statement in self.voting.consensus.statements_of(&self.me) {
            self.recall.keep_met(statement);
        }
        self.turn_to_overhearing();
        // What was about to be said or signed is not.
        self.voting = Voting::new(&self.charter, &self.signer);
        self.contributing.drop_prepared();
    }

    /// The user's word that nothing else signs with this key: it listens again, then takes part from
    /// the next slots and the next height on, since it may have signed something in those that run.
    pub(super) fn vote_again(&mut self, now: Time) {
        let Some(bar) = self.recall.bar.take() else { return };
        let lifted = Record::Bar(Some(Bar { lifted: true, ..bar }));
        self.outputs.push_back(Output::Persist { record: lifted, sync: true });
        self.recall.returning = true;
        self.training.start_over(&self.state);
        if self.restoring.is_none() && self.recall.listening.is_none() {
            self.listen(now, Vec::new());
        }
    }

    /// A height that is not decided without this voter: it takes what it said there, from its own log
    /// and from those who heard it, for said, and goes on from that.
    pub(super) fn vote_late(&mut self, now: Time) {
        if self.recall.late.take_if(|late| *late <= now).is_none() {
            return;
        }
        let next = self.height() + 1;
        if next < self.recall.vote_from {
            self.recall.vote_from = next;
            let met = std::mem::take(&mut self.recall.met);
            // Nothing of what was under way is of this voter's new beginning.
            self.voting = Voting::new(&self.charter, &self.signer);
            self.begin_height(now);
            self.voting.consensus.adopt_own(now);
            met.into_iter().for_each(|statement| self.voting.consensus.take_in(now, statement));
            self.take_in_overheard(now);
            self.vote(now);
        }
    }

    /// The chain went on: what ran when the bar was lifted may be over.
    pub(super) fn end_return(&mut self, now: Time) {
        if !self.recall.returning || self.restoring.is_some() || self.recall.listening.is_some() {
            return;
        }
        self.recall.late = Some(now + NEEDED);
        let closed = self.state.control.closed.iter().copied().min();
        let slots_are_over = closed.is_none_or(|next| self.recall.may_contribute_to(next));
        if slots_are_over && self.height() + 1 >= self.recall.vote_from {
            self.recall.returning = false;
            self.recall.met.clear();
            self.outputs.push_back(Output::Persist { record: Record::Bar(None), sync: true });
        }
    }
}

/// Where a statement belongs.
fn place(statement: &Message) -> (Height, Attempt) {
    match statement {
        Message::Vote(vote) => (vote.content.height, vote.content.attempt),
        Message::Propose { proposal, .. } => (proposal.content.height, proposal.content.attempt),
        _ => (0, 0),
    }
}

/// What a key said, in its own log: adopted statements stand there like those of others.
fn own_statement(key: PeerKey, record: &WalRecord) -> Option<Message> {
    match record {
        WalRecord::OwnVote(vote) | WalRecord::Vote(vote) if vote.by == key => {
            Some(Message::Vote(vote.clone()))
        }
        WalRecord::OwnProposal { proposal, block: Some(block) }
        | WalRecord::Proposal { proposal, block: Some(block), .. }
            if proposal.by == key =>
        {
            Some(Message::Propose { proposal: proposal.clone(), block: block.clone() })
        }
        _ => None,
    }
}

/// Whether an own vote shows that a precommit in a certificate is this peer's; of later attempts only
/// the last vote is kept.
fn vouches(vote: &Vote, height: Height, attempt: Attempt, block: Hash) -> bool {
    let same = vote.attempt > attempt || vote.block == Some(block);
    vote.step == Step::Precommit && vote.height == height && vote.attempt >= attempt && same
}
