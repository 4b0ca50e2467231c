//! What the other voters say while this one does not vote: it may be asked for it, and it may be the
//! only one who heard it.

use crate::consensus::{Consensus, Timeouts};
use crate::identity::PeerKey;
use crate::time::Time;
use crate::wire::Message;

use super::Session;

impl Session {
    /// A statement of another voter: kept by an observer, which verifies it and says nothing.
    pub(super) fn overhear(&mut self, now: Time, statement: Message) {
        if !self.is_voter() || !self.knows_itself() || self.is_complete() {
            return;
        }
        let (height, generation) = (self.height() + 1, self.generation());
        let seats = self.seats();
        let session = self.charter.session;
        let observer =
            self.observer.get_or_insert_with(|| Consensus::new(None, session, Timeouts::default()));
        if observer.height() != height {
            observer.start_height(now, height, generation, self.head, seats);
        }
        observer.take_in(now, statement);
        // What it would want to know concerns voters.
        while observer.poll_output().is_some() {}
    }

    /// This voter takes in what it overheard: from now on it is asked for what it was told itself.
    pub(super) fn take_in_overheard(&mut self, now: Time) {
        if !self.can_vote() {
            return;
        }
        for statement in self.overheard() {
            self.voting.consensus.take_in(now, statement);
        }
        self.observer = None;
    }

    /// What this voter was told by others is overheard from now on.
    pub(super) fn turn_to_overhearing(&mut self) {
        // An observer says nothing, so no time runs for it.
        let since = self.head_at;
        for statement in self.others_said(&self.voting.consensus) {
            self.overhear(since, statement);
        }
    }

    /// What a seat said last at the height after the head, as far as this peer was told.
    pub(super) fn statements_of(&self, key: &PeerKey) -> Vec<Message> {
        let running = [Some(&self.voting.consensus), self.observer.as_ref()].into_iter().flatten();
        let running = running.filter(|consensus| consensus.height() == self.height() + 1);
        running.flat_map(|consensus| consensus.statements_of(key)).collect()
    }

    fn overheard(&self) -> Vec<Message> {
        let observer = self.observer.as_ref().filter(|observer| observer.height() == self.height() + 1);
        observer.map_or_else(Vec::new, |observer| self.others_said(observer))
    }

    fn others_said(&self, consensus: &Consensus) -> Vec<Message> {
        let others = self.voters().iter().filter(|key| **key != self.me);
        others.flat_map(|key| consensus.statements_of(key)).collect()
    }
}
