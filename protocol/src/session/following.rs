//! Following: blobs and blocks from others, catching up, joining.

use crate::block::{CertifiedBlock, Height, Join, Leave};
use crate::catch_up::{Ask, AssembleJob, OfferError, certifiers, check_offer};
use crate::election::Sitting;
use crate::event::{Event, Output, Record, Snapshot};
use crate::identity::{Domain, Hash, PeerKey, Signed};
use crate::membership::ControlPage;
use crate::mutant::Mutant;
use crate::state::State;
use crate::time::{Span, Time};
use crate::transition;
use crate::wire::{BlockReply, Message, SnapshotOffer, limits};

use super::Session;

/// A request to join is repeated after this long.
const JOIN_AGAIN: Span = Span::seconds(2);
/// Peers that are asked for one blob.
const MAX_SOURCES: usize = 32;
/// Neighbours that one beacon goes to, beside those that vote with this peer.
const TOLD: usize = 16;
/// A vote on the head's own height that comes this long after the head was applied is a repeated one.
const LATE: Span = Span::seconds(1);

impl Session {
    pub(super) fn peer_connected(&mut self, peer: PeerKey) {
        let room = self.connected.len() < super::MAX_IN_REACH;
        if peer != self.me && room && self.connected.insert(peer) {
            self.slots.came(&peer);
            self.introduce(peer);
        }
    }

    /// Another process answers for a peer: what the one before was told or asked is lost, and what the
    /// new one told may have come first.
    pub(super) fn peer_restarted(&mut self, peer: PeerKey) {
        self.catch_up.will_not_answer(&peer);
        self.slots.began_anew(peer);
        if self.connected.contains(&peer) {
            self.introduce(peer);
        }
    }

    fn introduce(&mut self, peer: PeerKey) {
        let height = self.chain_end();
        self.sends_again(&peer);
        self.send(vec![peer], Message::Head { height });
        self.ask_for_statements(peer);
        self.pass_reset_on(vec![peer]);
        if self.voters().contains(&peer) {
            self.contributing.resend_now();
            self.say_present(vec![peer]);
        }
    }

    /// A blob is in the store.
    pub(super) fn blob_stored(&mut self, now: Time, root: Hash) {
        self.fetching.remove(&root);
        if let Some(offer) = self.catch_up.page_stored(&root) {
            self.outputs.push_back(Output::Assemble(AssembleJob::new(self.charter.clone(), offer)));
        }
        self.hold(root);
        self.slots.blob_stored(now, &root);
    }

    /// Notes that a blob is in the store. What is forgotten for want of room, the store gives at once.
    pub(super) fn hold(&mut self, root: Hash) {
        if self.held.len() >= self.held_at_most() {
            let announced = self.slots.roots();
            self.held.retain(|root| announced.contains(root));
        }
        self.held.insert(root);
    }

    /// A blob cannot be had for now.
    pub(super) fn blob_failed(&mut self, now: Time, root: Hash) {
        // One that was given up may fail, too.
        if let Some(again) = self.fetching.get_mut(&root) {
            *again = Some(now + super::FETCH_AGAIN);
        }
        self.catch_up.page_failed(&root);
        let of_next = self.candidates.applying.as_ref().is_some_and(|applying| {
            let counted = applying.certified.block.closings().flat_map(|closing| &closing.counted);
            counted.into_iter().any(|counted| transition::blob_root(&counted.payload) == Some(root))
        });
        if of_next {
            self.catch_up.blob_failed(self.height(), self.charter.manifest.snapshot_every);
        }
    }

    /// A proposal or a vote, not verified yet: consensus takes it in; a peer that does not vote looks for
    /// what its own key said, and keeps what others did.
    pub(super) fn statement_received(&mut self, now: Time, from: PeerKey, statement: Message) {
        let Some((by, height)) = statement.statement() else { return };
        if self.is_welcome(now, from, by, height) {
            self.take_in(now, statement);
        }
    }

    pub(super) fn take_in(&mut self, now: Time, statement: Message) {
        if self.can_vote() {
            self.voting.consensus.take_in(now, statement);
        } else if statement.statement().is_some_and(|(by, _)| by == self.me) {
            self.look_for_own_statement(statement);
        } else {
            self.overhear(now, statement);
        }
    }

    /// Votes travel between voters only, and one of a height to come is taken from its author only: it
    /// cannot be verified before that height begins, and a forged one would take its place.
    fn is_welcome(&mut self, now: Time, from: PeerKey, by: PeerKey, height: Height) -> bool {
        if !self.voters().contains(&from) {
            return false;
        }
        self.answer_statement(now, from, height);
        self.catch_up.passed_on(from, height.saturating_sub(1));
        height <= self.height() + 1 || from == by
    }

    /// Whoever still votes on a height that is decided missed its block. (Ordinary votes come
    /// late too: a quorum does not wait for all.)
    fn answer_statement(&mut self, now: Time, from: PeerKey, height: Height) {
        let late = height < self.height() || now >= self.head_at + LATE;
        if height <= self.height() && late {
            let height = self.height();
            self.send(vec![from], Message::Head { height });
        }
    }

    /// Asks for a blob, once.
    pub(super) fn fetch(&mut self, root: Hash, length: u64, sources: Vec<PeerKey>) {
        if !self.is_at_hand(&root) {
            let keepers = self.keepers();
            self.fetch_from(root, length, sources, &keepers);
        }
    }

    fn is_at_hand(&self, root: &Hash) -> bool {
        self.held.contains(root) || self.fetching.contains_key(root)
    }

    /// Whether a blob comes, and so does everything else that was asked for.
    pub(super) fn is_on_its_way(&self, root: &Hash) -> bool {
        self.fetching.contains_key(root) && self.fetching.values().all(Option::is_none)
    }

    /// Whom to ask for anything: voters keep what blocks name, mirrors what was pushed to them.
    fn keepers(&self) -> Vec<PeerKey> {
        let (mut keepers, others): (Vec<PeerKey>, Vec<PeerKey>) =
            self.connected.iter().partition(|key| self.state.control.seats.contains(key));
        keepers.extend(others.into_iter().take(MAX_SOURCES));
        keepers
    }

    fn fetch_from(&mut self, root: Hash, length: u64, mut sources: Vec<PeerKey>, keepers: &[PeerKey]) {
        sources.retain(|key| *key != self.me && self.connected.contains(key));
        sources.reserve_exact(MAX_SOURCES.min(keepers.len()));
        for keeper in keepers {
            if sources.len() < MAX_SOURCES && !sources.contains(keeper) {
                sources.push(*keeper);
            }
        }
        self.fetching.insert(root, None);
        self.outputs.push_back(Output::Fetch { root, length, sources });
    }

    pub(super) fn fetch_all(&mut self, now: Time, missing: Vec<(Hash, u64, Vec<PeerKey>)>) {
        missing.iter().for_each(|(root, ..)| self.forget_failed(now, root));
        let missing: Vec<_> = missing.into_iter().filter(|(root, ..)| !self.is_at_hand(root)).collect();
        if missing.is_empty() {
            return;
        }
        let keepers = self.keepers();
        for (root, length, sources) in missing {
            // Two may have made the same blob.
            if !self.is_at_hand(&root) {
                self.fetch_from(root, length, sources, &keepers);
            }
        }
    }

    /// Announced blobs whose fetch failed are tried again.
    pub(super) fn fetch_missing(&mut self, now: Time) {
        let missing = self.slots.missing().into_iter();
        let missing = missing.map(|(root, length, author)| (root, length, vec![author]));
        self.fetch_all(now, missing.collect());
    }

    fn forget_failed(&mut self, now: Time, root: &Hash) {
        if self.fetching.get(root).is_some_and(|again| again.is_some_and(|again| again <= now)) {
            self.fetching.remove(root);
        }
    }

    pub(super) fn head_received(&mut self, from: PeerKey, height: Height) {
        self.catch_up.told_head(from, height);
        self.acknowledged(from, height);
        if height < self.height() && height + 1 >= self.height() {
            // One behind: it may have missed the gossip. Further behind, it asks for itself.
            let height = self.height();
            self.send(vec![from], Message::Head { height });
        }
    }

    pub(super) fn certified_received(&mut self, from: PeerKey, certified: CertifiedBlock) {
        let height = certified.block.height;
        self.look_for_branch(&certified);
        self.catch_up.passed_on(from, height);
        self.heard_spread(&certified);
        if height > self.height() && self.is_certified(&certified) {
            self.catch_up.queue(self.height(), certified);
        }
    }

    pub(super) fn blocks_received(&mut self, from: PeerKey, reply: BlockReply) {
        let mut useful = false;
        let mut sitting = Sitting::of(&self.state.control);
        for certified in reply.blocks {
            self.look_for_branch(&certified);
            // Seats may change from one block to the next.
            let next = certified.block.height > self.height();
            if next && (Mutant::BelievesCertificates.lives() || sitting.advance(&self.charter, &certified)) {
                useful |= self.catch_up.queue(self.height(), certified);
            }
        }
        self.catch_up.told_head(from, reply.head);
        if useful {
            self.catch_up.answered_blocks(from);
        }
    }

    /// The next block whose certificate is at hand.
    pub(super) fn next_certified(&mut self) -> Option<CertifiedBlock> {
        if let Some(restoring) = &self.restoring {
            return restoring.next(self.height()).cloned();
        }
        let next = self.catch_up.next_block(self.height())?.clone();
        if next.block.parent != self.head {
            self.warn(format!("two certified blocks of height {}: ours stays", self.height()));
            self.catch_up.drop_block(next.block.height);
            return None;
        }
        Some(next)
    }

    /// Asks for what is missing and for membership.
    pub(super) fn follow(&mut self, now: Time) {
        // What is on the disk comes first, unless it is of no use: a contribution that it needs is gone
        // everywhere, or it leads to no state.
        let useless = self.catch_up.needs_snapshot() || self.repair.needs_others();
        let replaying = self.restoring.is_some() || self.repair.lacks_state();
        if self.halted.is_some() || (replaying && !useless) {
            return;
        }
        // A kept history has no gaps, as long as others have what is in them.
        let longest = match self.options.keep_history {
            true => u64::MAX,
            false => u64::from(self.charter.manifest.snapshot_every),
        };
        if let Some(ask) = self.next_question(now, longest) {
            let (height, target) = (self.height(), self.catch_up.target());
            if target > height + 1 {
                self.event(Event::CatchingUp { height, target });
            }
            let message = match ask {
                Ask::Blocks { from, .. } => Message::GetBlocks { from },
                Ask::Snapshot { .. } => Message::GetSnapshot { since: self.sitting().since },
            };
            self.send(vec![ask.of()], message);
        }
        self.fetch_pages(now);
        self.ask_to_join(now);
        self.ask_for_seat(now);
    }

    fn next_question(&mut self, now: Time, longest: u64) -> Option<Ask> {
        loop {
            match self.catch_up.ask(now, self.height(), longest) {
                // What it told was handled after it went.
                Some(ask) if !self.connected.contains(&ask.of()) => self.catch_up.forget(&ask.of()),
                ask => return ask,
            }
        }
    }

    pub(super) fn wants_to_join(&self) -> bool {
        self.options.contribute && self.ending.is_none() && !self.is_member() && self.recall.may_sign()
    }

    fn ask_to_join(&mut self, now: Time) {
        if !self.wants_to_join() || now < self.next_join || self.catch_up.is_behind(self.height()) {
            return;
        }
        let voters = self.other_voters();
        if voters.is_empty() && !self.is_voter() {
            return;
        }
        self.next_join = now + JOIN_AGAIN;
        let ticket = self.options.ticket.as_ref();
        let admittance = ticket.map(|ticket| ticket.admit(self.charter.session, self.me));
        let join = Join { height: self.height(), admittance };
        let signed = self.signer.seal(Domain::Join, self.scope(), join);
        self.join_received(signed.clone());
        self.send(voters, Message::Join(signed));
    }

    pub(super) fn join_received(&mut self, join: Signed<Join>) {
        if !self.is_voter() || self.joins.len() >= super::MAX_PENDING || self.joins.contains_key(&join.by) {
            return;
        }
        let control = &self.state.control;
        if transition::check_join(&self.charter, self.scope(), control, control.height + 1, &join).is_ok() {
            self.joins.insert(join.by, join);
        }
    }

    pub(super) fn leave_received(&mut self, leave: Signed<Leave>) {
        if !self.is_voter() || self.leaves.len() >= super::MAX_PENDING || self.leaves.contains_key(&leave.by)
        {
            return;
        }
        let control = &self.state.control;
        if transition::check_leave(self.scope(), control, control.height + 1, &leave).is_ok() {
            self.leaves.insert(leave.by, leave);
        }
    }

    pub(super) fn snapshot_received(&mut self, from: PeerKey, offer: Option<SnapshotOffer>) {
        if !self.catch_up.answers_snapshot(from) {
            return;
        }
        let Some(offer) = offer else { return self.catch_up.no_snapshot() };
        if self.is_of_another_chain(&offer) {
            self.warn(format!(
                "the snapshot of {} is not of the chain that this peer was invited to",
                from.short()
            ));
            return self.catch_up.no_snapshot();
        }
        let mut sitting = self.sitting();
        match check_offer(&self.charter, &mut sitting, self.height(), &offer) {
            Err(OfferError::NotCertified)
                if offer.seatings.last().is_some_and(|last| last.block.height == sitting.since) =>
            {
                // A part of the way to the snapshot's seats.
                self.catch_up.walked = Some(sitting);
                let record = Record::Seatings(offer.seatings);
                self.outputs.push_back(Output::Persist { record, sync: false });
                self.catch_up.ask_again();
            }
            Ok(()) => {
                let record = Record::Offer(offer.clone());
                self.outputs.push_back(Output::Persist { record, sync: true });
                self.take_snapshot(offer);
            }
            Err(OfferError::NotNewer(_)) => self.catch_up.no_snapshot(),
            Err(error) => {
                self.warn(format!("the snapshot of {} is of no use: {error}", from.short()));
                self.catch_up.no_snapshot();
            }
        }
    }

    /// Whether other peers voted at the invitation's height than it names: those who voted long ago and
    /// have nothing to lose any more could make up another chain.
    fn is_of_another_chain(&self, offer: &SnapshotOffer) -> bool {
        let Some((height, invited)) = &self.options.invited else { return false };
        let start = self.sitting();
        if start.since > *height || offer.block.block.height < *height {
            return false;
        }
        let later = offer.seatings.iter().filter(|block| block.block.height <= *height);
        let last = later.filter_map(|block| block.block.seating()).next_back();
        let more = offer.seatings.len() == limits::BLOCKS_PER_REPLY
            && offer.seatings.last().is_some_and(|last| last.block.height < *height);
        !more && last.map_or(&start.seats, |seating| &seating.seats) != invited
    }

    /// Who votes, as far as this peer followed that.
    fn sitting(&self) -> Sitting {
        self.catch_up.walked.clone().unwrap_or_else(|| Sitting::of(&self.state.control))
    }

    /// Fetches what is missing of a checked snapshot.
    fn take_snapshot(&mut self, offer: SnapshotOffer) {
        let sizes =
            ControlPage::from_bytes(&offer.control).map(|page| self.charter.shape().page_sizes(&page));
        let pages = self.catch_up.begin_snapshot(offer, sizes.unwrap_or_default());
        let (height, target) = (self.height(), self.catch_up.target());
        self.event(Event::CatchingUp { height, target });
        for page in pages {
            // Of an earlier attempt, perhaps: the store answers at once then.
            self.held.remove(&page);
            self.fetch_page(page);
        }
    }

    /// Goes on with a snapshot whose pages were being fetched before a restart.
    pub(super) fn take_up_snapshot(&mut self, offer: SnapshotOffer) {
        if check_offer(&self.charter, &mut self.sitting(), self.height(), &offer).is_ok() {
            self.take_snapshot(offer);
        }
    }

    /// Each page of another peer first, so that many give a part.
    fn fetch_page(&mut self, root: Hash) {
        let Some((index, length)) = self.catch_up.page_place(&root) else { return };
        let mut sources: Vec<PeerKey> = self.connected.iter().copied().collect();
        let first = index % sources.len().max(1);
        sources.rotate_left(first);
        self.fetch(root, length, sources);
    }

    /// Pages that failed are asked for again.
    fn fetch_pages(&mut self, now: Time) {
        let failed = self.fetching.iter().filter(|(root, again)| {
            again.is_some_and(|again| again <= now) && self.catch_up.wants_page(root)
        });
        let failed: Vec<Hash> = failed.map(|(root, _)| *root).collect();
        for root in failed {
            self.fetching.remove(&root);
            self.fetch_page(root);
        }
    }

    /// A snapshot's pages are together: the state jumps there.
    pub(super) fn assembled(&mut self, now: Time, result: Result<Box<State>, String>) {
        let Some(offer) = self.catch_up.take_snapshot() else { return };
        match result {
            Ok(state) if state.control.height == offer.block.block.height && self.is_ahead(&state) => {
                let certifiers = certifiers(&offer, &self.sitting().seats).to_vec();
                let block = offer.block;
                let snapshot = Snapshot { block: Some(block.clone()), state: (*state).clone() };
                let counted = state.control.member(&self.me).map_or(0, |member| member.counted);
                self.look_for_own_in(&block, &certifiers, counted);
                self.store_snapshot(now, snapshot);
                self.jump(now, block, *state);
            }
            Ok(_) => {}
            Err(error) => self.warn(format!("the snapshot could not be put together: {error}")),
        }
    }

    fn is_ahead(&self, state: &State) -> bool {
        state.control.height > self.height()
    }

    /// Adopts a certified state without its history; uncounted local work is dropped.
    fn jump(&mut self, now: Time, block: CertifiedBlock, state: State) {
        let (height, digest) = (block.block.height, block.block.digest);
        let generation = self.state.control.generation;
        self.adopt(now, block.block.hash(), state);
        self.training.align(&self.state);
        self.contributing.jumped(&self.state.control.closed);
        if self.state.control.generation != generation {
            self.renew_signatures(now);
        }
        self.end_repair();
        self.event(Event::Block {
            height,
            digest,
            closed: Vec::new(),
            tokens: self.state.control.counted_tokens,
            counted_bytes: 0,
            last: self.is_complete(),
        });
        self.end_return(now);
        self.begin_height(now);
        // What is on the disk may all be older.
        self.end_restoring(now);
        self.check_completion(now);
    }

    /// Voters tell each other every time; of the others so many get their turn: in a crowd everybody has
    /// many neighbours, and somebody always tells.
    fn told_now(&mut self) -> Vec<PeerKey> {
        let voters = if self.is_voter() { self.other_voters() } else { Vec::new() };
        let others: Vec<PeerKey> =
            self.connected.iter().filter(|key| !voters.contains(key)).copied().collect();
        let turn = self.beacon_turn.min(others.len());
        let told: Vec<PeerKey> = others.iter().skip(turn).take(TOLD).copied().collect();
        self.beacon_turn = if turn + told.len() < others.len() { turn + told.len() } else { 0 };
        voters.into_iter().chain(told).collect()
    }

    pub(super) fn beacon(&mut self, now: Time) {
        if now >= self.next_beacon {
            self.next_beacon = now + super::BEACON;
            let height = self.chain_end();
            let to = self.told_now();
            self.send(to, Message::Head { height });
            // The question or its answer was lost.
            let unanswered = self.recall.asked.intersection(&self.connected).copied().collect();
            self.send(unanswered, Message::GetStatements);
            self.say_present(self.other_voters());
            if self.adopted_reset().is_some() {
                self.pass_reset_on(self.connected.iter().copied().collect());
            }
        }
    }
}
