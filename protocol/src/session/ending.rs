//! Ends: `stop_at` reached, finish, leave, stop.

use std::collections::BTreeSet;

use crate::block::{Height, Leave};
use crate::event::{Command, Ending as Outcome, Output};
use crate::identity::{Domain, PeerKey};
use crate::time::{Span, Time};
use crate::wire::Message;

use super::Session;

/// How long a complete session serves those who did not acknowledge the last block: they may have to
/// ask several times, and are told where the chain ends every ten seconds only.
const SERVE: Span = Span::seconds(20);
/// How long a farewell waits for its block.
const FAREWELL: Span = Span::seconds(10);
/// A farewell is repeated after this long.
const FAREWELL_AGAIN: Span = Span::seconds(1);

/// How this session is ending.
#[derive(Debug)]
pub(super) enum Ending {
    /// `stop_at` was reached.
    Complete { since: Time, acknowledged: BTreeSet<PeerKey> },
    /// The slot in flight is completed first.
    Finish,
    /// A farewell is on its way.
    Leave { since: Time, again: Time },
    /// A checkpoint is saved first.
    Stop,
    /// Nothing more happens.
    Over,
}

impl Session {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.ending, Some(Ending::Over))
    }

    pub(super) fn is_stopping(&self) -> bool {
        matches!(self.ending, Some(Ending::Stop))
    }

    /// Whether the head is the session's last block.
    pub(super) fn is_complete(&self) -> bool {
        self.charter.manifest.stop_at.is_some_and(|stop_at| self.state.control.counted_tokens >= stop_at)
    }

    pub(super) fn check_completion(&mut self, now: Time) {
        if !self.is_complete() || matches!(self.ending, Some(Ending::Complete { .. } | Ending::Over)) {
            return;
        }
        let height = self.height();
        // Others may have been there first, and say so once.
        let acknowledged = self.catch_up.who_has(height).collect();
        self.ending = Some(Ending::Complete { since: now, acknowledged });
        self.contributing.evaluate = true;
        self.contributing.request_save();
        let to = self.connected.iter().copied().collect();
        self.send(to, Message::Head { height });
    }

    /// A peer told where its chain ends.
    pub(super) fn acknowledged(&mut self, peer: PeerKey, height: Height) {
        let last = self.height();
        if let Some(Ending::Complete { acknowledged, .. }) = &mut self.ending
            && height >= last
        {
            acknowledged.insert(peer);
        }
    }

    pub(super) fn command(&mut self, now: Time, command: Command) {
        match command {
            Command::Pause => self.training.set_paused(true, &self.state),
            Command::Resume => self.training.set_paused(false, &self.state),
            Command::VoteAgain => self.vote_again(now),
            Command::Stand(stand) => self.options.stand = Some(stand),
            Command::Reset => self.reset_committee(now),
            Command::Finish if self.ending.is_none() => {
                self.training.finish();
                self.ending = Some(Ending::Finish);
            }
            Command::Leave if !self.is_complete() => {
                self.training.set_paused(true, &self.state);
                self.ending = Some(Ending::Leave { since: now, again: now });
            }
            Command::Stop if !self.is_over() => {
                self.ending = Some(Ending::Stop);
                self.contributing.request_save();
            }
            Command::Finish | Command::Leave | Command::Stop => {}
        }
    }

    pub(super) fn ending_timeout(&self) -> Option<Time> {
        match &self.ending {
            Some(Ending::Complete { since, .. }) => Some(*since + SERVE),
            Some(Ending::Leave { again, .. }) => Some(*again),
            _ => None,
        }
    }

    /// Goes on with an ending, as far as it can.
    pub(super) fn drive_ending(&mut self, now: Time) {
        match &self.ending {
            None | Some(Ending::Over) => {}
            Some(Ending::Complete { since, acknowledged }) => {
                let members = self.state.control.members.iter().map(|member| member.key);
                let served = members.chain(self.connected.iter().copied());
                let all = served.filter(|key| *key != self.me).all(|key| acknowledged.contains(&key));
                let served = all || now >= *since + SERVE;
                let done = self.contributing.evaluated && self.contributing.saved;
                if served && done && !self.contributing.is_working() {
                    self.finish_with(Outcome::Complete);
                }
            }
            Some(Ending::Finish) => {
                if self.training.is_finished() || self.recall.bar().is_some() {
                    self.ending = Some(Ending::Leave { since: now, again: now });
                    self.drive_ending(now);
                }
            }
            Some(Ending::Leave { since, again }) => {
                if !self.is_member() || now >= *since + FAREWELL {
                    self.finish_with(Outcome::Left);
                } else if now >= *again {
                    self.say_farewell(now, *since);
                }
            }
            Some(Ending::Stop) => {
                // While the chain is replayed there is nothing to save that is not on disk.
                let saved = self.contributing.saved || self.restoring.is_some();
                if saved && !self.contributing.is_working() {
                    self.finish_with(Outcome::Stopped);
                }
            }
        }
    }

    fn say_farewell(&mut self, now: Time, since: Time) {
        self.ending = Some(Ending::Leave { since, again: now + FAREWELL_AGAIN });
        let leave = Leave { height: self.height() };
        let signed = self.signer.seal(Domain::Leave, self.scope(), leave);
        self.leave_received(signed.clone());
        let voters = self.other_voters();
        self.send(voters, Message::Leave(signed));
        self.vote(now);
    }

    fn finish_with(&mut self, outcome: Outcome) {
        self.ending = Some(Ending::Over);
        self.outputs.push_back(Output::Finished(outcome));
    }

    pub(super) fn resend(&mut self, now: Time) {
        if !self.is_complete() {
            self.resend_announcements(now);
        }
    }

    pub(super) fn resend_timeout(&self) -> Option<Time> {
        if self.is_complete() { None } else { self.contributing.next_resend() }
    }
}
