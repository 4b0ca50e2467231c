//! This peer's part in an elected committee: it says that it is there, tells whom it heard, and asks
//! for a seat.

use std::collections::BTreeMap;

use crate::block::{CertifiedBlock, Item, Presence, Roll, Stand};
use crate::committee::{Committee, MAX_SEATS};
use crate::election::{self, Sitting};
use crate::event::Event;
use crate::holdings::{Tell, tell};
use crate::identity::{Domain, Hash, PeerKey, Signature, Signed};
use crate::mutant::Mutant;
use crate::time::{Span, Time};
use crate::transition;
use crate::wire::Message;

use super::Session;

/// A word that is not in a block yet is repeated after this long.
const STAND_AGAIN: Span = Span::seconds(5);

/// Which voters are there.
#[derive(Debug, Default)]
pub(super) struct Elections {
    /// The block that the rest is about.
    block: Hash,
    own: Option<Signed<Presence>>,
    heard: BTreeMap<PeerKey, Signature>,
    /// Of those who applied the next block already.
    early: BTreeMap<PeerKey, Signed<Presence>>,
    /// Words of members that are not in a block yet.
    pub stands: BTreeMap<PeerKey, Signed<Stand>>,
    next_stand: Time,
}

impl Elections {
    pub fn holdings(&self, to: Tell<'_>) {
        tell(to, "presences", self.heard.len(), MAX_SEATS);
        tell(to, "early presences", self.early.len(), MAX_SEATS);
        tell(to, "candidacies", self.stands.len(), super::MAX_PENDING);
    }
}

impl Session {
    pub(super) fn is_elected(&self) -> bool {
        matches!(self.charter.manifest.committee, Committee::Elected { .. })
    }

    /// Who votes on the next height.
    pub(super) fn voters(&self) -> &[PeerKey] {
        self.adopted_reset().map_or(&self.state.control.seats, |reset| &reset.content.seats)
    }

    /// Whether a quorum of those whom the head seats certified a later block.
    pub(super) fn is_certified(&self, certified: &CertifiedBlock) -> bool {
        Mutant::BelievesCertificates.lives()
            || Sitting::of(&self.state.control).certifies(&self.charter, certified)
    }

    /// A voter that begins a height says that it is there.
    pub(super) fn begin_presence(&mut self) {
        if !self.is_elected() || self.elections.block == self.head {
            return;
        }
        self.elections.block = self.head;
        self.elections.heard.clear();
        let presence = Presence { height: self.height(), block: self.head };
        self.elections.own = Some(self.signer.seal(Domain::Presence, self.scope(), presence));
        for early in std::mem::take(&mut self.elections.early).into_values() {
            self.presence_received(early.by, early);
        }
        self.say_present(self.other_voters());
    }

    /// Tells other voters that this one is there, if it is.
    pub(super) fn say_present(&mut self, to: Vec<PeerKey>) {
        let own = self.elections.own.clone().filter(|_| self.elections.block == self.head);
        if let Some(own) = own.filter(|_| self.can_vote()) {
            self.send(to, Message::Presence(own));
        }
    }

    /// A voter is there, by its own word.
    pub(super) fn presence_received(&mut self, from: PeerKey, presence: Signed<Presence>) {
        let Presence { height, block } = presence.content;
        if !self.is_elected() || from != presence.by || !self.state.control.seats.contains(&from) {
            return;
        }
        if height == self.height() + 1 {
            // Seats change: whoever spoke of an earlier block may have none any more.
            self.elections.early.retain(|_, early| early.content.height == height);
            self.elections.early.insert(from, presence);
        } else if block == self.head
            && self.elections.block == block
            && !self.elections.heard.contains_key(&from)
            && self.charter.memory.holds(
                &from,
                Domain::Presence,
                self.scope(),
                &presence.content,
                &presence.signature,
            )
        {
            self.elections.heard.insert(from, presence.signature);
        }
    }

    /// Whom this proposer heard, for its block.
    pub(super) fn roll(&self) -> Option<Item> {
        let seats = &self.state.control.seats;
        if !self.is_elected() || seats.len() < 2 || self.elections.block != self.head {
            return None;
        }
        let signature = |key| self.elections.heard.get(key).copied();
        let present = seats.iter().enumerate().filter_map(|(seat, key)| Some((seat as u8, signature(key)?)));
        let roll = Roll { height: self.height() + 1, present: present.collect() };
        Some(Item::Roll(self.signer.seal(Domain::Roll, self.scope(), roll)))
    }

    /// Asks for a seat, or to be asked no more.
    pub(super) fn ask_for_seat(&mut self, now: Time) {
        let Some(stands) = self.wants_to_say().filter(|_| now >= self.elections.next_stand) else { return };
        self.elections.next_stand = now + STAND_AGAIN;
        let stand = Stand { height: self.height(), stands };
        let signed = self.signer.seal(Domain::Stand, self.scope(), stand);
        self.elections.stands.remove(&self.me);
        self.stand_received(signed.clone());
        self.send(self.other_voters(), Message::Stand(signed));
    }

    /// What the chain does not say yet of this peer's wish for a seat. (Who has one wants no other.)
    fn wants_to_say(&self) -> Option<bool> {
        let stands = self.options.stand.filter(|stands| !(*stands && self.is_voter()))?;
        let member = self.state.control.member(&self.me)?;
        let may = self.recall.may_sign() && self.ending.is_none() && self.knows_itself();
        (self.is_elected() && member.stands != stands && may).then_some(stands)
    }

    pub(super) fn stand_timeout(&self) -> Option<Time> {
        self.wants_to_say().map(|_| self.elections.next_stand)
    }

    pub(super) fn stand_received(&mut self, word: Signed<Stand>) {
        let stands = &self.elections.stands;
        if !self.is_voter() || stands.len() >= super::MAX_PENDING || stands.contains_key(&word.by) {
            return;
        }
        let (control, next) = (&self.state.control, self.height() + 1);
        if transition::check_stand(&self.charter, self.scope(), control, next, &word).is_ok() {
            self.elections.stands.insert(word.by, word);
        }
    }

    /// Drops words that the new head made true or stale.
    pub(super) fn forget_stands(&mut self) {
        let (control, next) = (&self.state.control, self.height() + 1);
        let (charter, scope) = (&self.charter, self.ground().scope());
        let mut stands = std::mem::take(&mut self.elections.stands);
        stands.retain(|_, word| transition::check_stand(charter, scope, control, next, word).is_ok());
        self.elections.stands = stands;
    }

    /// Others vote from now on: they have to be told what is under way.
    pub(super) fn seats_changed(&mut self) {
        self.contributing.resend_now();
        let (height, seats) = (self.height(), self.state.control.seats.len());
        let seated = self.is_voter();
        self.event(Event::Seats { height, seats, seated });
    }

    /// Voters that have not been there lately.
    pub(super) fn silent_voters(&self) -> Vec<PeerKey> {
        let control = &self.state.control;
        election::silent_seats(control).map(|seat| control.seats[seat]).collect()
    }
}
