//! A committee that lost its quorum, and the founder's word that seats others in its place.
//!
//! The word names the last block that the old committee decided; whoever holds a later one answers
//! with it, and the word is void then. The next block begins with it, so that the chain tells why
//! others sign from there on. Of several the highest generation holds; two of one generation stop a
//! peer, and so does a reset below its own head that others went on from: it asks its user.

use crate::block::{CertifiedBlock, Reset, Vote};
use crate::committee::Committee;
use crate::election::{self, Sitting};
use crate::event::{Event, Output, Record};
use crate::holdings::{Tell, tell};
use crate::identity::{Domain, PeerKey, Scope, Signed};
use crate::time::{Span, Time};
use crate::wire::Message;

use super::Session;

/// So long nobody decides after a reset: whoever holds a later certificate has to be heard first.
const LAST_CALL: Span = Span::seconds(10);
/// Precommits of earlier generations that are remembered.
const MAX_SAID: usize = 16;

/// The founder's last word for a new committee.
#[derive(Debug, Default)]
pub(super) struct Resets {
    pub last: Option<Signed<Reset>>,
    pub since: Time,
    /// What this peer precommitted at the next height in earlier generations: if the old committee
    /// did decide, its certificate may come yet.
    pub said: Vec<Vote>,
}

impl Resets {
    pub fn holdings(&self, to: Tell<'_>) {
        tell(to, "precommits before resets", self.said.len(), MAX_SAID);
    }
}

impl Session {
    /// The reset that the next block begins with.
    pub(super) fn adopted_reset(&self) -> Option<&Signed<Reset>> {
        self.resets.last.as_ref().filter(|reset| {
            let Reset { generation, height, parent, .. } = reset.content;
            generation > self.state.control.generation && (height, parent) == (self.height(), self.head)
        })
    }

    /// The generation of votes on the next height.
    pub(super) fn generation(&self) -> u32 {
        let control = &self.state.control;
        self.adopted_reset().map_or(control.generation, |reset| reset.content.generation)
    }

    /// When the new committee may decide.
    pub(super) fn reset_due(&self) -> Option<Time> {
        self.adopted_reset().map(|_| self.resets.since.max(self.head_at) + LAST_CALL)
    }

    pub(super) fn vote_scope(&self) -> Scope {
        Scope { session: self.charter.session, generation: self.generation() }
    }

    /// The founder's user asks for a reset: those who can be reached get the seats.
    pub(super) fn reset_committee(&mut self, now: Time) {
        match self.plan_reset(now) {
            Err(reason) => self.warn(format!("no reset: {reason}")),
            Ok(reset) => {
                let scope = Scope { session: self.charter.session, generation: reset.generation };
                let signed = self.signer.seal(Domain::Reset, scope, reset);
                self.take_reset(now, signed);
            }
        }
    }

    fn plan_reset(&self, now: Time) -> Result<Reset, String> {
        let control = &self.state.control;
        let Committee::Elected { founder } = self.charter.manifest.committee else {
            return Err("the voters of this session are named in its manifest and stay".into());
        };
        if founder != self.me {
            return Err(format!(
                "only the session's founder ({}) can. If it is gone for good, anybody who has this session's \
                 folder may stop and found a new one that goes on from it: `driftless new NAME --from {}`",
                founder.short(),
                self.charter.session.short()
            ));
        }
        let (height, highest) = (self.height(), self.catch_up.target());
        if highest > height || !self.knows_itself() || self.recall.listening.is_some() {
            return Err(format!(
                "this peer is at height {height}, and a peer it reaches tells of height {highest}: that is \
                 fetched first; ask again then"
            ));
        }
        let there = |key: &&PeerKey| **key == self.me || self.speaks(now, key);
        let heard: Vec<PeerKey> = control.seats.iter().filter(there).copied().collect();
        let open = |key: &PeerKey| control.convicted.binary_search(key).is_err();
        if heard.len() >= self.charter.quorum(control.seats.len()) {
            return Err(format!(
                "{} of {} voters answer, which is a quorum: they can decide",
                heard.len(),
                control.seats.len()
            ));
        }
        let candidates = election::candidates(control).into_iter();
        let candidates = candidates.filter(|key| *key == self.me || self.connected.contains(key));
        let mut seats: Vec<PeerKey> = heard.into_iter().chain(candidates).filter(open).collect();
        seats.truncate(control.seats.len());
        if seats.is_empty() {
            seats.push(self.me);
        }
        let last = self.resets.last.as_ref().map_or(0, |reset| reset.content.generation);
        let generation = control.generation.max(last) + 1;
        Ok(Reset { generation, height, parent: self.head, seats })
    }

    /// The founder's word came.
    pub(super) fn reset_received(&mut self, now: Time, from: PeerKey, reset: Signed<Reset>) {
        let Reset { generation, height, parent, .. } = reset.content;
        if self.resets.last.as_ref() == Some(&reset) || self.halted.is_some() {
            return;
        }
        if let Some(known) = self.resets.last.as_ref().filter(|known| known.content.generation == generation)
            && known.content != reset.content
            && election::check_reset(&self.charter, 0, &reset).is_ok()
        {
            return self.halt(format!(
                "the founder signed two resets of generation {generation}: which one holds is for people to \
                 say. This peer stops here; ask the founder"
            ));
        }
        if election::check_reset(&self.charter, self.state.control.generation, &reset).is_err() {
            return;
        }
        if height > self.height() {
            self.catch_up.told_head(from, height);
        }
        if height < self.height() {
            // It is void, unless others went on from it already: then this peer has to know.
            let own = self.height();
            self.send(vec![from], Message::Head { height: own });
            return self.send(vec![from], Message::GetBlocks { from: height + 1 });
        }
        if height == self.height() && parent != self.head {
            return;
        }
        self.take_reset(now, reset);
    }

    fn take_reset(&mut self, now: Time, reset: Signed<Reset>) {
        let known = self.resets.last.as_ref().map_or(0, |known| known.content.generation);
        if reset.content.generation <= known {
            return;
        }
        self.outputs.push_back(Output::Persist { record: Record::Reset(reset.clone()), sync: true });
        self.outputs.push_back(Output::Publish(Message::Reset(reset.clone())));
        let Reset { generation, height, ref seats, .. } = reset.content;
        let seats = seats.len();
        let said = self.voting.consensus.own_precommit().map(|vote| vote.content.clone());
        self.resets.said.extend(said.filter(|vote| !self.resets.said.contains(vote)));
        let gone = self.resets.said.len().saturating_sub(MAX_SAID);
        self.resets.said.drain(..gone);
        (self.resets.last, self.resets.since) = (Some(reset), now);
        self.event(Event::Reset { generation, height, seats });
        if self.adopted_reset().is_some() {
            self.begin_voting(now);
        }
    }

    /// Passes the last reset on to a peer that was met anew.
    pub(super) fn pass_reset_on(&mut self, to: Vec<PeerKey>) {
        if let Some(reset) = self.resets.last.clone() {
            self.send(to, Message::Reset(reset));
        }
    }

    /// Whether a block shows that others went on from a reset below this peer's head.
    pub(super) fn look_for_branch(&mut self, certified: &CertifiedBlock) {
        let block = &certified.block;
        if block.height > self.height() || block.generation <= self.state.control.generation {
            return;
        }
        let before = Sitting { since: 0, generation: self.state.control.generation, seats: Vec::new() };
        if block.reset().is_some() && before.certifies(&self.charter, certified) {
            let height = self.height();
            self.halt(format!(
                "the founder reset the committee at height {}, and others went on from there, without what \
                 this peer holds up to height {height}. To follow them, move this session's folder away and \
                 join again",
                block.height - 1
            ));
        }
    }

    /// After a reset, what is under way is signed anew: signatures are of a generation.
    pub(super) fn renew_signatures(&mut self, now: Time) {
        self.slots.forget_announcements();
        let scope = self.scope();
        for signed in self.contributing.renew(now, &self.signer, scope) {
            let record = Record::Signed(signed.clone());
            self.outputs.push_back(Output::Persist { record, sync: true });
            if self.is_voter() {
                self.announcement_received(now, signed, Vec::new(), false);
            }
        }
    }

    /// Who signs the certificate of the block after the head.
    pub(super) fn certifiers<'a>(&'a self, certified: &'a CertifiedBlock) -> &'a [PeerKey] {
        let seats = &self.state.control.seats;
        certified.block.reset().map_or(seats, |reset| &reset.content.seats)
    }

    /// Whether gossip about a reset may travel on.
    pub(super) fn vouches_for_reset(&self, reset: &Signed<Reset>) -> bool {
        election::check_reset(&self.charter, self.state.control.generation, reset).is_ok()
    }
}
