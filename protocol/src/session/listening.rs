//! A peer that comes back asks what its key said, and signs nothing before it knows.
//!
//! It asks voters, so many that it could decide with them and that every quorum there ever was has
//! one among them, and waits until its chain ends where theirs do. Whoever is asked answers from its
//! own log too, so that peers that all come back at once can tell each other.

use std::collections::BTreeMap;

use crate::block::Height;
use crate::consensus::WalRecord;
use crate::holdings::{Tell, tell};
use crate::identity::PeerKey;
use crate::mutant::Mutant;
use crate::time::{Span, Time};
use crate::wire::{Message, Statements, limits};

use super::Session;

/// After so long, voters that could decide with this peer are enough, whatever others decided
/// before: in a majority committee, or where nobody else votes, the others may be gone for good.
const LONG: Span = Span::seconds(20);
/// For so long, every voter is waited for, though others are enough: what this peer said last may have
/// come to few, and connections take their time.
const COURTESY: Span = Span::seconds(6);
/// Who claims a longer chain and shows nothing of it for so long is not believed; so few that all of
/// them may lie are not waited for longer, whatever others show.
const PATIENCE: Span = Span::seconds(30);
/// Whoever did not answer, or knew less than this peer knows now, is asked again this often.
const ASK_AGAIN: Span = Span::seconds(1);
/// What this key said before it came back was about heights less than so far beyond the longest
/// chain of those who answer: they may be one block behind those who decided.
pub(super) const BEYOND: Height = 2;

#[derive(Debug)]
pub(super) struct Listening {
    since: Time,
    /// When the chain last went on.
    progress: Time,
    ask_again: Time,
    /// Where the chains of those who answered ended.
    heard: BTreeMap<PeerKey, Height>,
    /// Once the chain reaches this height, nothing that was said before is about what comes.
    safe_at: Option<Height>,
    /// The log of the height that was running, to be continued if it still is.
    pub wal: Vec<WalRecord>,
}

impl Listening {
    pub fn new(now: Time, wal: Vec<WalRecord>) -> Listening {
        Listening { since: now, progress: now, ask_again: now, heard: BTreeMap::new(), safe_at: None, wal }
    }

    pub fn holdings(&self, to: Tell<'_>) {
        tell(to, "answers while listening", self.heard.len(), super::MAX_IN_REACH);
    }

    /// Notes where the chain of a peer that answered ends.
    fn hear(&mut self, from: PeerKey, head: Height) {
        if self.heard.len() < super::MAX_IN_REACH || self.heard.contains_key(&from) {
            self.heard.insert(from, head);
        }
    }

    /// The chain went on: what was heard is about a height that is over.
    pub fn progressed(&mut self, now: Time) {
        (self.progress, self.ask_again) = (now, now);
    }

    pub fn timeouts(&self) -> [Time; 5] {
        let since = |span| self.since + span;
        [since(COURTESY), since(LONG), since(PATIENCE), self.progress + PATIENCE, self.ask_again]
    }

    /// Whether what was heard is enough to speak at the height after `head`.
    fn is_over(&mut self, now: Time, head: Height, needs: Needs) -> bool {
        let longest = self.heard.values().max().copied();
        if let (None, Some(longest), true) = (self.safe_at, longest, self.heard.len() >= needs.wanted) {
            self.safe_at = Some(longest.saturating_add(BEYOND));
        }
        let knowing = self.heard.values().filter(|heard| **heard >= head).count();
        let long = now >= self.since + LONG;
        let enough = knowing >= if long { needs.least } else { needs.wanted };
        let ahead = self.heard.values().filter(|heard| **heard > head).count();
        let shown = if ahead > needs.liars { self.progress } else { self.since };
        let claimed = ahead > 0 && now < shown + PATIENCE;
        (enough || self.safe_at.is_some_and(|safe| head >= safe)) && !claimed
    }
}

/// How many others have to be heard.
struct Needs {
    wanted: usize,
    /// After a long time.
    least: usize,
    /// So many may say anything.
    liars: usize,
}

impl Session {
    /// Begins to listen, with the log of the height that was running.
    pub(super) fn listen(&mut self, now: Time, wal: Vec<WalRecord>) {
        self.recall.listening = Some(Listening::new(now, wal));
        if Mutant::AsksNobody.lives() {
            return self.stop_listening(now);
        }
        self.go_on_listening(now);
    }

    /// Ends the listening once nothing that was signed before can be missed, and asks until then.
    pub(super) fn go_on_listening(&mut self, now: Time) {
        let (needs, alone, head) = (self.needs(), self.decides_alone(), self.height());
        let more = self.catch_up.has_more(head);
        let others: Vec<PeerKey> = match alone {
            true => self.connected.iter().copied().collect(),
            false => self.voters().iter().filter(|key| **key != self.me).copied().collect(),
        };
        let Some(listening) = &mut self.recall.listening else { return };
        let knows = |key: &PeerKey| listening.heard.get(key).is_some_and(|heard| *heard >= head);
        let control = &self.state.control;
        let unheard = others.into_iter().filter(|key| !knows(key) && !control.convicted.contains(key));
        let mut unheard: Vec<PeerKey> = unheard.collect();
        let all = unheard.is_empty() || now >= listening.since + COURTESY;
        if listening.is_over(now, head, needs) && all && !more {
            return self.stop_listening(now);
        }
        if now >= listening.ask_again {
            listening.ask_again = now + ASK_AGAIN;
            unheard.retain(|key| self.connected.contains(key));
            self.recall.asked.extend(&unheard);
            self.send(unheard, Message::GetStatements);
        }
    }

    /// A voter met anew is asked, also when others were enough: it may know what they did not.
    pub(super) fn ask_for_statements(&mut self, peer: PeerKey) {
        if self.decides_alone() || self.voters().contains(&peer) {
            self.recall.asked.insert(peer);
            self.send(vec![peer], Message::GetStatements);
        }
    }

    fn needs(&self) -> Needs {
        let control = &self.state.control;
        let seats = self.voters().len();
        let quorum = self.charter.quorum(seats);
        if !self.is_voter() {
            return Needs { wanted: 1, least: 1, liars: seats - quorum };
        }
        if self.decides_alone() {
            let anybody = control.members.iter().any(|member| member.key != self.me);
            return Needs { wanted: anybody.into(), least: 0, liars: usize::MAX };
        }
        let meets_every_quorum = seats - quorum + 1;
        Needs { wanted: meets_every_quorum.max(quorum - 1), least: quorum - 1, liars: seats - quorum }
    }

    /// A steward asks members: nobody else votes.
    fn decides_alone(&self) -> bool {
        self.is_voter() && self.charter.quorum(self.voters().len()) == 1
    }

    /// Answers what `peer`'s own key said that may still matter.
    pub(super) fn statements_asked(&mut self, peer: PeerKey) {
        let head = self.chain_end();
        let mut said = self.statements_of(&peer);
        said.extend(self.logged().filter(|record| record.height() > head).filter_map(statement));
        let mut statements =
            Statements { head, announcements: self.slots.announcements_of(&peer), ..Statements::default() };
        for message in said.into_iter().rev() {
            match message {
                Message::Vote(vote) if vote.by == peer => statements.votes.push(vote),
                Message::Propose { proposal, block } if proposal.by == peer => {
                    statements.proposal.get_or_insert((proposal, block));
                }
                _ => {}
            }
        }
        statements.votes.truncate(limits::STATED_VOTES);
        statements.announcements.truncate(limits::STATED_ANNOUNCEMENTS);
        self.send(vec![peer], Message::Statements(Box::new(statements)));
    }

    /// A peer answered what this key said.
    pub(super) fn statements_received(&mut self, now: Time, from: PeerKey, statements: Statements) {
        let Statements { head, votes, proposal, announcements } = statements;
        if !self.recall.asked.remove(&from) {
            return;
        }
        self.catch_up.told_head(from, head);
        let counts = match self.decides_alone() {
            true => self.state.control.has_part(&from),
            false => self.voters().contains(&from),
        };
        if !counts || !self.knows_itself() {
            return;
        }
        // Others' statements come from themselves.
        let votes = votes.into_iter().filter(|vote| vote.by == self.me).map(Message::Vote);
        let proposal = proposal.filter(|(proposal, _)| proposal.by == self.me);
        let proposal = proposal.map(|(proposal, block)| Message::Propose { proposal, block });
        for statement in votes.chain(proposal).collect::<Vec<_>>() {
            self.take_in(now, statement);
        }
        for announcement in announcements {
            self.own_announcement_received(&announcement);
        }
        if let Some(listening) = &mut self.recall.listening {
            listening.hear(from, head);
        }
    }

    /// Where this peer's chain ends: the end of what is on its disk, while that is replayed.
    pub fn chain_end(&self) -> Height {
        let restored = self.restoring.as_ref().and_then(|restoring| restoring.last());
        restored.unwrap_or(0).max(self.height())
    }
}

/// What somebody else said, in a log.
fn statement(record: &WalRecord) -> Option<Message> {
    match record {
        WalRecord::Vote(vote) => Some(Message::Vote(vote.clone())),
        WalRecord::Proposal { proposal, block: Some(block), .. } => {
            Some(Message::Propose { proposal: proposal.clone(), block: block.clone() })
        }
        _ => None,
    }
}
