//! Votes per seat: what is new, what is known, what contradicts, what is too far away.
//!
//! The driver keeps every vote it is fed, so this is where votes are bounded: a window of attempts
//! around the current one and, beyond it, each seat's highest vote only. Once more than a third of
//! the seats are beyond the window it moves there, so a peer that was away for many attempts
//! catches up, and no smaller group can make it.

use std::collections::BTreeMap;

use super::Seats;
use crate::block::{Attempt, Step, Vote};
use crate::holdings::{Tell, tell};
use crate::identity::{Hash, PeerKey, Signature, Signed};
use crate::mutant::Mutant;
use crate::time::{Span, Time};

/// Attempts ahead of the current one whose votes and proposals are taken.
pub const FUTURE_ATTEMPTS: Attempt = 8;
/// Attempts behind the current one whose votes are taken.
pub const PAST_ATTEMPTS: Attempt = 16;
/// No attempt is higher: at a second each this is twelve days of one height.
pub const MAX_ATTEMPT: Attempt = 1 << 20;
/// Pairs of contradicting statements reported per seat and height.
pub const EVIDENCE_PER_SEAT: u8 = 3;

/// Attempts ahead of the current one that a single seat may occupy while the window moves.
pub(super) const AHEAD_PER_SEAT: usize = 32;
/// Signature checks that a seat's name may cost at once, and microseconds until one more.
const CHECKS: u64 = 256;
const CHECK_INTERVAL: u64 = 10_000;
/// A seat that stayed behind is helped at most this often.
const HELP_AGAIN: Span = Span::seconds(1);

/// What the ledger thinks of a vote whose signature was not checked yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Judgement {
    /// Not seen yet, and in the window.
    New,
    /// The same statement is known.
    Known,
    /// Contradicts this statement.
    Contradicts(Signed<Vote>),
    /// Beyond the window, and higher than what is parked there.
    Beyond,
    /// Too old, too far, or too many.
    Refused,
}

#[derive(Debug)]
struct Seat {
    key: PeerKey,
    heard: bool,
    votes: BTreeMap<(Attempt, Step), Signed<Vote>>,
    parked: BTreeMap<Step, Signed<Vote>>,
    /// The highest attempt of a verified vote.
    highest: Attempt,
    evidence: u8,
    checks: u64,
    checks_at: Time,
    /// When it may be helped again.
    help_at: Time,
}

/// The votes of one height.
#[derive(Debug)]
pub(super) struct Ledger {
    seats: Vec<Seat>,
    /// Seats that surely include an honest one.
    honest: usize,
}

impl Ledger {
    pub fn new(seats: &Seats, now: Time) -> Ledger {
        let seat = |key: &PeerKey| Seat {
            key: *key,
            heard: seats.hears(key),
            votes: BTreeMap::new(),
            parked: BTreeMap::new(),
            highest: 0,
            evidence: 0,
            checks: CHECKS,
            checks_at: now,
            help_at: now,
        };
        Ledger { seats: seats.keys.iter().map(seat).collect(), honest: seats.honest() }
    }

    /// The seat of a key that is heard.
    pub fn seat_of(&self, key: &PeerKey) -> Option<usize> {
        self.seats.iter().position(|seat| seat.heard && seat.key == *key)
    }

    /// The highest attempt whose statements are taken.
    pub fn ceiling(&self, current: Attempt) -> Attempt {
        let mut highest: Vec<Attempt> = self.seats.iter().map(|seat| seat.highest).collect();
        highest.sort_unstable_by(|a, b| b.cmp(a));
        let shared = highest.get(self.honest - 1).copied().unwrap_or(0);
        current.max(shared).saturating_add(FUTURE_ATTEMPTS).min(MAX_ATTEMPT)
    }

    /// Places a vote; `proof` is an old attempt whose prevotes are still of use.
    pub fn judge(&self, seat: usize, vote: &Vote, current: Attempt, proof: Option<Attempt>) -> Judgement {
        let seat = &self.seats[seat];
        if vote.attempt > MAX_ATTEMPT {
            return Judgement::Refused;
        }
        let known = |known: &Signed<Vote>| {
            if known.content == *vote { Judgement::Known } else { Judgement::Contradicts(known.clone()) }
        };
        let step = if Mutant::ConvictsVoters.lives() { Step::Prevote } else { vote.step };
        if let Some(vote) = seat.votes.get(&(vote.attempt, step)) {
            return known(vote);
        }
        if vote.attempt > self.ceiling(current) {
            return match seat.parked.get(&vote.step) {
                Some(parked) if parked.content.attempt == vote.attempt => known(parked),
                Some(parked) if parked.content.attempt > vote.attempt => Judgement::Refused,
                _ => Judgement::Beyond,
            };
        }
        let old = vote.attempt < current.saturating_sub(PAST_ATTEMPTS);
        if old && !(proof == Some(vote.attempt) && vote.step == Step::Prevote) {
            return Judgement::Refused;
        }
        let ahead = seat.votes.range((current.saturating_add(1), Step::Prevote)..).count();
        if vote.attempt > current && ahead >= 2 * AHEAD_PER_SEAT {
            return Judgement::Refused;
        }
        Judgement::New
    }

    /// Whether one more signature may be checked in this seat's name.
    pub fn may_check(&mut self, seat: usize, now: Time) -> bool {
        let seat = &mut self.seats[seat];
        let gained = now.since(seat.checks_at).0 / CHECK_INTERVAL;
        if gained > 0 {
            seat.checks = seat.checks.saturating_add(gained).min(CHECKS);
            seat.checks_at = now;
        }
        let may = seat.checks > 0;
        seat.checks = seat.checks.saturating_sub(1);
        may
    }

    /// Whether a contradiction of this seat is still worth a look.
    pub fn wants_evidence(&self, seat: usize) -> bool {
        self.seats[seat].evidence < EVIDENCE_PER_SEAT
    }

    /// Counts a reported contradiction.
    pub fn count_evidence(&mut self, seat: usize) {
        self.seats[seat].evidence += 1;
    }

    /// Keeps a verified vote that goes to the driver.
    pub fn record(&mut self, seat: usize, vote: Signed<Vote>) {
        let seat = &mut self.seats[seat];
        seat.highest = seat.highest.max(vote.content.attempt);
        seat.votes.insert((vote.content.attempt, vote.content.step), vote);
    }

    /// Keeps a verified vote from beyond the window.
    pub fn park(&mut self, seat: usize, vote: Signed<Vote>) {
        let seat = &mut self.seats[seat];
        seat.highest = seat.highest.max(vote.content.attempt);
        seat.parked.insert(vote.content.step, vote);
    }

    /// Takes a parked vote that the window has reached, with its seat.
    pub fn unpark(&mut self, current: Attempt) -> Option<(usize, Signed<Vote>)> {
        let ceiling = self.ceiling(current);
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let reached = seat.parked.iter().find(|(_, vote)| vote.content.attempt <= ceiling);
            if let Some(step) = reached.map(|(step, _)| *step) {
                return seat.parked.remove(&step).map(|vote| (index, vote));
            }
        }
        None
    }

    /// Drops what is below `floor`, except the prevotes of `proof`.
    pub fn prune(&mut self, floor: Attempt, proof: Option<Attempt>) {
        for seat in &mut self.seats {
            seat.votes.retain(|(attempt, step), _| {
                *attempt >= floor || (proof == Some(*attempt) && *step == Step::Prevote)
            });
        }
    }

    /// The votes of a seat in the highest attempt it voted in.
    pub fn last_votes(&self, seat: usize) -> impl Iterator<Item = &Signed<Vote>> {
        let votes = &self.seats[seat].votes;
        let last = votes.last_key_value().map(|((attempt, _), _)| *attempt);
        votes.iter().filter(move |((attempt, _), _)| Some(*attempt) == last).map(|(_, vote)| vote)
    }

    /// Every precommit for `block` in `attempt`, by ascending seat.
    pub fn precommits(&self, attempt: Attempt, block: Hash) -> Vec<(u8, Signature)> {
        let votes = self.votes_for(attempt, Step::Precommit, block);
        votes.map(|(seat, vote)| (seat as u8, vote.signature)).collect()
    }

    /// Every precommit in `attempt`, whatever it is for.
    pub fn all_precommits(&self, attempt: Attempt) -> impl Iterator<Item = &Signed<Vote>> {
        self.seats.iter().filter_map(move |seat| seat.votes.get(&(attempt, Step::Precommit)))
    }

    /// Whether a seat that stayed behind may be helped again.
    pub fn may_help(&mut self, seat: usize, now: Time) -> bool {
        let seat = &mut self.seats[seat];
        let may = now >= seat.help_at;
        if may {
            seat.help_at = now + HELP_AGAIN;
        }
        may
    }

    /// Every prevote for `block` in `attempt`: the proof behind a block that is proposed again.
    pub fn prevotes(&self, attempt: Attempt, block: Hash) -> Vec<Signed<Vote>> {
        self.votes_for(attempt, Step::Prevote, block).map(|(_, vote)| vote.clone()).collect()
    }

    fn votes_for(
        &self,
        attempt: Attempt,
        step: Step,
        block: Hash,
    ) -> impl Iterator<Item = (usize, &Signed<Vote>)> {
        let votes = self.seats.iter().enumerate();
        votes
            .filter_map(move |(index, seat)| Some((index, seat.votes.get(&(attempt, step))?)))
            .filter(move |(_, vote)| vote.content.block == Some(block))
    }

    pub fn holdings(&self, to: Tell<'_>) {
        let fullest = self.seats.iter().map(|seat| seat.votes.len() + seat.parked.len()).max();
        // Two steps of each attempt, prevotes that prove an earlier block (of the proposal that stands and
        // of the valid one), and one vote of each step from beyond.
        let near = 2 * (PAST_ATTEMPTS as usize + 1) + 2 * AHEAD_PER_SEAT;
        tell(to, "votes of a seat", fullest.unwrap_or(0), near + 2 + 2);
    }

    /// Votes kept, for tests of the bounds.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.seats.iter().map(|seat| seat.votes.len() + seat.parked.len()).sum()
    }
}
