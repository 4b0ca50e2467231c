//! Whether this folder remembers everything that its key signed.
//!
//! A peer that comes back listens before it signs anything: to so many voters that it could decide
//! with them, and until its chain ends where theirs do. What it meets there of its own key and does
//! not find in its folder tells that the folder was restored from an older copy. Going on it could
//! contradict itself and be convicted for it, so a voter signs nothing more until its user says that
//! the newer folder is gone; whoever only contributes passes over the slots that are open then.

use std::collections::BTreeSet;

use crate::block::{Announcement, Attempt, CertifiedBlock, Height, Step, Vote};
use crate::consensus::WalRecord;
use crate::event::{Bar, Output, Record};
use crate::identity::{Domain, Hash, PeerKey, Signed};
use crate::time::{Span, Time};
use crate::wire::Message;

use super::Session;

/// A voter that decides alone listens this long for somebody of its session.
const ALONE: Span = Span::seconds(20);
/// Who claims a longer chain and shows nothing of it for so long is not believed.
const QUIET: Span = Span::seconds(30);
/// Votes and proposals of this key that are kept.
const MAX_MET: usize = 16;
/// A voter whose chain's end is not known yet is asked for it this often.
const ASK_AGAIN: Span = Span::seconds(2);

/// What is known of this key's past.
#[derive(Debug, Default)]
pub(super) struct Recall {
    listening: Option<Listening>,
    bar: Option<Bar>,
    /// Votes are made from this height on.
    vote_from: Height,
    /// Up to this height, what this key said elsewhere is held against nobody.
    pardoned: Height,
    /// Contributions are made to later slots than this ordinal's.
    contribute_after: Option<u32>,
    /// Something of this key was met that is not in this folder.
    forgetful: bool,
    /// Votes and proposals of this key that others showed while it did not vote.
    met: Vec<Message>,
}

#[derive(Debug)]
struct Listening {
    since: Time,
    /// When the chain last went on.
    progress: Time,
    ask_again: Time,
    heard: BTreeSet<PeerKey>,
    /// The log of the height that was running, to be continued if it still is.
    wal: Vec<WalRecord>,
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
            listening.progress = now;
        }
    }

    pub fn timeouts(&self) -> impl Iterator<Item = Time> {
        let times = |l: &Listening| [l.since + ALONE, l.progress + QUIET, l.ask_again];
        self.listening.iter().flat_map(times)
    }
}

impl Session {
    /// Begins to listen, with the log of the height that was running and what was known before.
    pub(super) fn listen(&mut self, now: Time, wal: Vec<WalRecord>) {
        let heard = BTreeSet::new();
        self.recall.listening = Some(Listening { since: now, progress: now, ask_again: now, heard, wal });
        self.go_on_listening(now);
    }

    pub(super) fn remember_bar(&mut self, bar: Option<Bar>) {
        self.recall.bar = bar.filter(|bar| bar.key == self.me);
        if let Some(bar) = &self.recall.bar {
            let reason = bar.reason.clone();
            self.warn(reason);
        }
    }

    /// A peer told where its chain ends, or answered a question about it.
    pub(super) fn heard(&mut self, from: PeerKey) {
        let counts = match self.decides_alone() {
            true => self.state.control.has_part(&from),
            false => self.state.control.seats.contains(&from),
        };
        if let Some(listening) = self.recall.listening.as_mut().filter(|_| counts) {
            listening.heard.insert(from);
        }
    }

    fn decides_alone(&self) -> bool {
        self.is_voter() && self.charter.quorum(self.state.control.seats.len()) == 1
    }

    /// How many others have to be heard.
    fn to_be_heard(&self) -> usize {
        let control = &self.state.control;
        match self.is_voter() {
            false => 1,
            true if self.decides_alone() => control.members.iter().any(|m| m.key != self.me).into(),
            true => self.charter.quorum(control.seats.len()) - 1,
        }
    }

    /// Ends the listening once nothing that was signed before can be missed, and asks until then.
    pub(super) fn go_on_listening(&mut self, now: Time) {
        let needed = self.to_be_heard();
        let (alone, height) = (self.decides_alone(), self.height());
        let Some(listening) = &mut self.recall.listening else { return };
        let heard = listening.heard.len() >= needed || (alone && now >= listening.since + ALONE);
        let claimed = self.catch_up.target() > height && now < listening.progress + QUIET;
        if heard && !claimed && !self.catch_up.has_more(height) {
            return self.stop_listening(now);
        }
        if now < listening.ask_again {
            return;
        }
        listening.ask_again = now + ASK_AGAIN;
        let unheard = |key: &&PeerKey| !listening.heard.contains(key);
        let (seats, connected) = (&self.state.control.seats, self.connected.iter());
        let ask = connected.filter(|key| alone || seats.contains(key)).filter(unheard);
        let ask = ask.copied().collect();
        self.send(ask, Message::GetBlocks { from: height + 1 });
    }

    fn stop_listening(&mut self, now: Time) {
        let Some(Listening { wal, .. }) = self.recall.listening.take() else { return };
        if std::mem::take(&mut self.recall.forgetful) {
            self.pass_over_open_slots();
        }
        self.begin_height(now);
        self.replay_votes(now, wal);
        self.vote(now);
    }

    /// Tells a peer what it said in the running height and for the open slots: after a restart it
    /// compares that with its folder.
    pub(super) fn remind(&mut self, peer: PeerKey) {
        // Statements of a height that is decided would be answered with where the chain ends, and so on.
        let running = self.voting.consensus.height() == self.height() + 1;
        let mut said = if running { self.voting.consensus.statements_of(&peer) } else { Vec::new() };
        let announcements = self.slots.announcements_of(&peer);
        said.extend(announcements.into_iter().map(|announcement| Message::Announce {
            announcement,
            mirrors: Vec::new(),
            relay: false,
        }));
        said.into_iter().for_each(|message| self.send(vec![peer], message));
    }

    /// A vote or a proposal of this peer's own key came while it does not vote.
    pub(super) fn own_statement_received(&mut self, statement: Message) {
        if self.is_stuck() {
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
            Message::Vote(vote) => ("vote", vote.content.height, vote.holds(Domain::Vote, self.scope())),
            Message::Propose { proposal, .. } => {
                ("proposal", proposal.content.height, proposal.holds(Domain::Proposal, self.scope()))
            }
            _ => return,
        };
        if holds && height > self.height() && !self.is_pardoned(height) && !self.logged().any(known) {
            if self.recall.met.len() < MAX_MET && !self.recall.met.contains(&statement) {
                self.recall.met.push(statement);
            }
            self.met_own(&format!("a {what} at height {height}"));
        }
    }

    fn logged(&self) -> impl Iterator<Item = &WalRecord> {
        let restoring = self.restoring.iter().flat_map(|restoring| restoring.wal());
        restoring.chain(self.recall.listening.iter().flat_map(|listening| &listening.wal))
    }

    /// An announcement of this peer's own key came back to it.
    pub(super) fn own_announcement_received(&mut self, signed: &Signed<Announcement>) {
        let slot = signed.content.slot;
        let next = self.state.control.closed.get(usize::from(slot.stream));
        let open = next.is_some_and(|next| slot.ordinal >= *next);
        let open = open && self.recall.may_contribute_to(slot.ordinal);
        // While the state is rebuilt, what was signed is not at hand.
        let restored = self.is_stuck() || self.restoring.iter().any(|restoring| restoring.announced(slot));
        if open
            && !restored
            && !self.contributing.announced(slot)
            && signed.holds(Domain::Announcement, self.scope())
        {
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
        if self.is_unknown_precommit(certified) {
            self.met_own(&format!("a vote at height {}", block.height));
        }
    }

    /// Whether what this key signed at a height was left out on purpose: its user said that nothing
    /// else signs any more.
    fn is_pardoned(&self, height: Height) -> bool {
        height <= self.recall.pardoned
    }

    fn is_unknown_precommit(&self, certified: &CertifiedBlock) -> bool {
        let (height, certificate) = (certified.block.height, &certified.certificate);
        let seat = self.state.control.seats.iter().position(|key| *key == self.me);
        let signed =
            seat.is_some_and(|seat| certificate.precommits.iter().any(|(by, _)| usize::from(*by) == seat));
        if !signed || self.is_pardoned(height) {
            return false;
        }
        let hash = certified.block.hash();
        let known = |vote: &Vote| vouches(vote, height, certificate.attempt, hash);
        let logged =
            self.logged().any(|record| matches!(record, WalRecord::OwnVote(own) if known(&own.content)));
        let said = self.voting.consensus.own_precommit().is_some_and(|vote| known(&vote.content));
        !(logged || said)
    }

    /// The state jumps over blocks that are not seen: what it counts of this peer must be known.
    pub(super) fn look_for_own_in(&mut self, block: &CertifiedBlock, counted: u32) {
        let before = self.state.control.member(&self.me).map_or(0, |member| member.counted);
        let under_way = self.contributing.announced_count(0);
        if self.is_unknown_precommit(block) {
            self.met_own(&format!("a vote at height {}", block.block.height));
        } else if counted as usize > before as usize + under_way {
            self.met_own(&format!("contributions before height {}", block.block.height));
        }
    }

    /// This key signed something that is not in this folder.
    pub(super) fn met_own(&mut self, what: &str) {
        if self.recall.bar.is_some() {
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
        let last = self.state.control.closed.iter().copied().max();
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
        let bar = Bar { key: self.me, reason: reason.clone() };
        self.outputs.push_back(Output::Persist { record: Record::Bar(Some(bar.clone())), sync: true });
        self.recall.bar = Some(bar);
        self.warn(reason);
        // What was about to be said or signed is not.
        while self.voting.consensus.poll_output().is_some() {}
        self.contributing.drop_prepared();
    }

    /// The user's word that nothing else signs with this key: it takes part again from the next
    /// slots and the next height on, since it may have signed something in those that run. Where a
    /// height cannot be decided without it, it takes what it said there from those who heard it.
    pub(super) fn vote_again(&mut self, now: Time) {
        if self.recall.bar.take().is_none() {
            return;
        }
        self.outputs.push_back(Output::Persist { record: Record::Bar(None), sync: true });
        let next = self.height() + 1;
        let seats = self.state.control.seats.len();
        let needed = self.charter.quorum(seats) == seats;
        self.recall.vote_from = if needed { next } else { next + 1 };
        self.recall.pardoned = next;
        self.recall.contribute_after = self.state.control.closed.iter().copied().max();
        self.training.start_over(&self.state);
        self.begin_height(now);
        let met = std::mem::take(&mut self.recall.met);
        if needed {
            self.voting.consensus.adopt_own();
            met.into_iter().for_each(|statement| self.voting.take_in(now, statement));
        }
        self.vote(now);
    }
}

/// Whether an own vote shows that a precommit in a certificate is this peer's; of later attempts only
/// the last vote is kept.
fn vouches(vote: &Vote, height: Height, attempt: Attempt, block: Hash) -> bool {
    let same = vote.attempt > attempt || vote.block == Some(block);
    vote.step == Step::Precommit && vote.height == height && vote.attempt >= attempt && same
}
