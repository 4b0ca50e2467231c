//! The control page: members, leases, draws and counters; everything replicated that is no tensor.

use bincode::{Decode, Encode};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::block::Height;
use crate::identity::{Hash, PeerKey};
use crate::mutant::Mutant;
use crate::positions::{Piece, Positions};
use crate::wire;

/// The most members a session has.
pub const MAX_MEMBERS: usize = 4096;
/// The most pieces one member's lease consists of.
pub(crate) const MAX_LEASE_PIECES: usize = 16;
/// Drawn slots in a row without being counted after which a member leaves by rule.
pub const MISSED_LIMIT: u16 = 8;
/// Counted slots below which a member is a newcomer.
pub const NEWCOMER_SLOTS: u32 = 8;
/// Bytes of the largest control page.
pub const MAX_CONTROL_BYTES: usize = 4 << 20;

/// A range of the order of training samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Lease {
    /// First position in the order (epoch x samples per epoch + position).
    pub start: u64,
    /// Number of samples.
    pub samples: u32,
    /// The stream-0 slot at whose opening it was granted.
    pub granted: u32,
}

/// A contributor.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Member {
    /// Its key.
    pub key: PeerKey,
    /// The height that admitted it.
    pub joined: Height,
    /// Stream-0 slots in which it was counted.
    pub counted: u32,
    /// By stream: slots it was drawn for since it was last counted there. (A member that answered
    /// on one stream only would make every slot of the others wait for its deadline.)
    pub missed: Vec<u16>,
    /// Steps in 1000 seconds, as of its last counted slot; 0 before that.
    pub speed: u32,
    /// Samples it may train on, in order of use.
    pub leases: Vec<Lease>,
    /// Its last drawn slots of stream 0, the latest in the lowest bit: whether it was counted.
    pub recent: u64,
    /// Whether it would take a seat.
    pub stands: bool,
    /// The height of its last word about that.
    pub stood: Height,
}

impl Member {
    /// Samples left in its leases.
    pub fn leased(&self) -> u64 {
        self.leases.iter().map(|lease| u64::from(lease.samples)).sum()
    }

    /// The samples that it may train on.
    pub fn positions(&self) -> Positions {
        positions(&self.leases)
    }
}

/// The samples of leases, in order of use.
pub(crate) fn positions(leases: &[Lease]) -> Positions {
    leases.iter().map(|lease| Piece { start: lease.start, samples: lease.samples }).collect()
}

/// Whether the holder of a seat is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Attendance {
    /// Blocks in a row whose proposers did not hear it.
    pub missed: u16,
    /// The seats of those proposers, a bit each.
    pub by: u16,
    /// It left or was convicted: it is not heard, and the seat still counts towards the quorum.
    pub vacant: bool,
}

/// What is left of `leases` once `used` is taken out of them.
pub(crate) fn consume(leases: &[Lease], used: &Positions) -> Vec<Lease> {
    let left = |lease: &Lease| {
        let rest = Positions::range(lease.start, lease.samples).without(used);
        let part = |piece: &Piece| Lease { start: piece.start, samples: piece.samples, ..*lease };
        rest.pieces().iter().map(part).collect::<Vec<_>>()
    };
    leases.iter().flat_map(left).collect()
}

/// Positions of the sample order that nobody holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Pool {
    /// The first position never granted.
    pub next: u64,
    /// Ranges that came back; they go first.
    pub returned: Vec<(u64, u32)>,
}

/// Who is drawn for one ordinal of every stream.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Draw {
    /// The slot ordinal.
    pub ordinal: u32,
    /// The drawn keys that did not leave since, ascending; `None` until the block after the one that
    /// opened it, because a state cannot contain the hash of its own block.
    pub members: Option<Vec<PeerKey>>,
}

/// The canonical control page.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct ControlPage {
    /// The height of this state.
    pub height: Height,
    /// The committee's generation.
    pub generation: u32,
    /// Per stream: slots closed so far, which is the ordinal of the next one to close.
    pub closed: Vec<u32>,
    /// Who may contribute, ascending by key.
    pub members: Vec<Member>,
    /// Who votes, in seat order.
    pub seats: Vec<PeerKey>,
    /// The height at which `seats` last changed.
    pub seats_changed: Height,
    /// By seat: whether its holder is there.
    pub attendance: Vec<Attendance>,
    /// Samples that nobody holds.
    pub pool: Pool,
    /// Draws of the open ordinals.
    pub draws: Vec<Draw>,
    /// Tokens counted on stream 0.
    pub counted_tokens: u64,
    /// Keys convicted of contradicting themselves, ascending.
    pub convicted: Vec<PeerKey>,
}

/// What of the manifest the membership rules need.
#[derive(Clone, Copy, Debug)]
pub struct LeaseRules {
    /// Samples a member's leases are filled up to; 0 in sessions without leases.
    pub target: u32,
    /// Stream-0 slots that a lease lives.
    pub max_lag: u32,
    /// Slots of one stream that are open at a time.
    pub window: u32,
    /// Samples of a step: shorter ranges that came back are of no use to anybody.
    pub batch: u32,
}

/// What was done before a session's first block: nothing, unless it was founded on another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// The first position in the order of samples that was granted to nobody.
    pub position: u64,
    /// Tokens counted.
    pub tokens: u64,
}

impl Draw {
    fn leave_out(&mut self, key: &PeerKey) {
        if let Some(members) = &mut self.members {
            members.retain(|drawn| drawn != key);
        }
    }
}

impl ControlPage {
    /// The control page of the genesis state.
    pub fn genesis(streams: u16, seats: Vec<PeerKey>, leases: LeaseRules) -> ControlPage {
        ControlPage::genesis_after(Progress::default(), streams, seats, leases)
    }

    /// The control page of the genesis state of a session that goes on where another one stopped.
    pub fn genesis_after(
        done: Progress,
        streams: u16,
        seats: Vec<PeerKey>,
        leases: LeaseRules,
    ) -> ControlPage {
        let mut control = ControlPage {
            height: 0,
            generation: 0,
            closed: vec![0; usize::from(streams)],
            members: Vec::new(),
            seats: seats.clone(),
            seats_changed: 0,
            attendance: vec![Attendance::default(); seats.len()],
            pool: Pool { next: done.position, returned: Vec::new() },
            draws: (0..leases.window).map(|ordinal| Draw { ordinal, members: None }).collect(),
            counted_tokens: done.tokens,
            convicted: Vec::new(),
        };
        seats.into_iter().for_each(|key| control.admit(key, leases));
        control
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Decodes a control page that came from outside; its digest is checked by the caller.
    pub fn from_bytes(bytes: &[u8]) -> Result<ControlPage, wire::WireError> {
        wire::decode("control page", bytes, MAX_CONTROL_BYTES)
    }

    /// The seat that `key` holds.
    pub fn seat_of(&self, key: &PeerKey) -> Option<usize> {
        let seat = self.seats.iter().position(|seat| seat == key)?;
        self.attendance.get(seat).is_some_and(|attendance| !attendance.vacant).then_some(seat)
    }

    /// Whether `key` is a member's or has a seat.
    pub fn has_part(&self, key: &PeerKey) -> bool {
        self.index_of(key).is_some() || self.seats.contains(key)
    }

    /// Position of `key` among the members.
    pub fn index_of(&self, key: &PeerKey) -> Option<usize> {
        self.members.binary_search_by(|member| member.key.cmp(key)).ok()
    }

    /// The member with this key.
    pub fn member(&self, key: &PeerKey) -> Option<&Member> {
        self.index_of(key).map(|index| &self.members[index])
    }

    /// Whether contributors are drawn for `ordinal`: not before stream 0 closed the one that it follows.
    pub fn has_draw(&self, ordinal: u32) -> bool {
        self.draws.iter().any(|draw| draw.ordinal == ordinal)
    }

    /// Who is drawn for `ordinal`, seen from a head block with hash `head`.
    pub fn drawn(&self, ordinal: u32, head: Hash, maximum: usize) -> Vec<PeerKey> {
        match self.draws.iter().find(|draw| draw.ordinal == ordinal) {
            Some(Draw { members: Some(keys), .. }) => keys.clone(),
            Some(Draw { members: None, .. }) => draw_members(&self.members, head, maximum),
            None => Vec::new(),
        }
    }

    /// Writes down the draws that the parent block opened.
    pub(crate) fn settle_draws(&mut self, parent: Hash, maximum: usize) {
        for draw in &mut self.draws {
            if draw.members.is_none() {
                draw.members = Some(draw_members(&self.members, parent, maximum));
            }
        }
    }

    /// Adds a member with its first lease. The caller checked that it is new and fits.
    pub(crate) fn admit(&mut self, key: PeerKey, leases: LeaseRules) {
        let at = self.members.partition_point(|member| member.key < key);
        let missed = vec![0; self.closed.len()];
        let member = Member {
            key,
            joined: self.height,
            counted: 0,
            missed,
            speed: 0,
            leases: Vec::new(),
            recent: 0,
            stands: false,
            stood: self.height,
        };
        self.members.insert(at, member);
        let ordinal = self.closed[0];
        grant(&mut self.pool, &mut self.members[at], leases, ordinal);
    }

    /// Removes a member; its leases return, and it is drawn for nothing that is open: should it come
    /// back before that closes, with what it signed forgotten by all, it has no place to sign again.
    pub(crate) fn dismiss(&mut self, key: &PeerKey) {
        if let Some(index) = self.index_of(key) {
            let member = self.members.remove(index);
            self.pool.give_back(&member.leases);
            self.draws.iter_mut().for_each(|draw| draw.leave_out(key));
        }
    }

    /// Books one counted stream-0 contribution.
    pub(crate) fn book(&mut self, index: usize, samples: &Positions, tokens: u64, speed: u32) {
        let member = &mut self.members[index];
        if !Mutant::KeepsLeases.lives() {
            member.leases = consume(&member.leases, samples);
        }
        member.counted = member.counted.saturating_add(1);
        member.speed = speed;
        self.counted_tokens = self.counted_tokens.saturating_add(tokens);
    }

    /// Books who of those `drawn` for a slot of `stream` was `counted`, both ascending.
    pub(crate) fn note_counted(&mut self, stream: usize, drawn: &[PeerKey], counted: &[PeerKey]) {
        for member in &mut self.members {
            let Some(missed) = member.missed.get_mut(stream) else { continue };
            let is_counted = counted.binary_search(&member.key).is_ok();
            if is_counted {
                *missed = 0;
            } else if drawn.binary_search(&member.key).is_ok() {
                *missed = missed.saturating_add(1);
            } else {
                continue;
            }
            if stream == 0 {
                member.recent = member.recent << 1 | u64::from(is_counted);
            }
        }
    }

    /// Ends stream-0 slot `ordinal`: departures by rule, expired leases, new leases and the draw of the
    /// slot that opens.
    pub(crate) fn turn_slot(&mut self, ordinal: u32, leases: LeaseRules) {
        let limit = if Mutant::ShowsOutEarly.lives() { 3 } else { MISSED_LIMIT };
        let silent = |member: &&Member| member.missed.iter().any(|missed| *missed >= limit);
        let gone = self.members.iter().filter(silent);
        let gone: Vec<PeerKey> = gone.map(|member| member.key).collect();
        gone.iter().for_each(|key| self.dismiss(key));
        for member in &mut self.members {
            let live = |lease: &Lease| lease.granted.saturating_add(leases.max_lag) > ordinal + 1;
            if !member.leases.iter().all(live) {
                let (kept, expired) = member.leases.iter().partition::<Vec<Lease>, _>(|lease| live(lease));
                member.leases = kept;
                self.pool.give_back(&expired);
            }
        }
        for member in &mut self.members {
            grant(&mut self.pool, member, leases, ordinal + 1);
        }
        let oldest_open = self.closed.iter().copied().min().unwrap_or(0);
        self.draws.retain(|draw| draw.ordinal >= oldest_open);
        self.draws.push(Draw { ordinal: ordinal + leases.window, members: None });
    }
}

impl Pool {
    fn give_back(&mut self, leases: &[Lease]) {
        self.returned.extend(leases.iter().map(|lease| (lease.start, lease.samples)));
        self.returned.sort_unstable();
        // Ranges that touch become one, or whoever leaves crumbs behind could fill leases with them.
        self.returned.dedup_by(|(start, samples), (before, length)| {
            let whole = u64::from(*length) + u64::from(*samples);
            let touches = *before + u64::from(*length) == *start && whole <= u64::from(u32::MAX);
            if touches {
                *length = whole as u32;
            }
            touches
        });
    }

    fn take(&mut self, want: u32, shortest: u32) -> (u64, u32) {
        while self.returned.first().is_some_and(|(_, samples)| *samples < shortest) {
            // Left out in this epoch: whoever was given such crumbs only could not take a step.
            self.returned.remove(0);
        }
        if let Some((start, samples)) = self.returned.first_mut() {
            let taken = want.min(*samples);
            let range = (*start, taken);
            *start += u64::from(taken);
            *samples -= taken;
            if *samples == 0 {
                self.returned.remove(0);
            }
            return range;
        }
        let start = self.next;
        if !Mutant::LeasesTwice.lives() {
            self.next += u64::from(want);
        }
        (start, want)
    }
}

fn grant(pool: &mut Pool, member: &mut Member, rules: LeaseRules, ordinal: u32) {
    while member.leased() < u64::from(rules.target) && member.leases.len() < MAX_LEASE_PIECES {
        let missing = rules.target - member.leased() as u32;
        let (start, samples) = pool.take(missing, rules.batch);
        member.leases.push(Lease { start, samples, granted: ordinal });
    }
}

/// Draws at most `maximum` keys: newcomers share a quarter at most, unless the others do not fill the
/// rest; of a quarter that is no whole number, the rest by chance, so that newcomers are drawn now and
/// then where few are. Uniform by a ChaCha8 shuffle keyed by the hash of the block that opened the slot.
fn draw_members(members: &[Member], seed: Hash, maximum: usize) -> Vec<PeerKey> {
    if members.len() <= maximum {
        return members.iter().map(|member| member.key).collect();
    }
    let mut rng = ChaCha8Rng::from_seed(seed.0);
    let mut shuffled: Vec<&Member> = members.iter().collect();
    for i in (1..shuffled.len()).rev() {
        shuffled.swap(i, below(&mut rng, i as u64 + 1) as usize);
    }
    let (newcomers, established): (Vec<&Member>, Vec<&Member>) =
        shuffled.into_iter().partition(|member| member.counted < NEWCOMER_SLOTS);
    if Mutant::DrawsNewcomers.lives() {
        let all = newcomers.into_iter().chain(established).take(maximum);
        let mut drawn: Vec<PeerKey> = all.map(|member| member.key).collect();
        drawn.sort_unstable();
        return drawn;
    }
    let quarter = (maximum + below(&mut rng, 4) as usize) / 4;
    let share = quarter.max(maximum.saturating_sub(established.len())).min(newcomers.len());
    let established = established.into_iter().take(maximum - share);
    let mut drawn: Vec<PeerKey> =
        newcomers.into_iter().take(share).chain(established).map(|member| member.key).collect();
    drawn.sort_unstable();
    drawn
}

/// A uniform number below `bound` by rejection.
fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    let limit = u64::MAX - u64::MAX % bound;
    loop {
        let word = rng.next_u64();
        if word < limit {
            return word % bound;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: LeaseRules = LeaseRules { target: 10, max_lag: 4, window: 1, batch: 1 };

    fn key(n: u16) -> PeerKey {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        PeerKey(bytes)
    }

    fn page(members: u16) -> ControlPage {
        ControlPage::genesis(1, (0..members).map(key).collect(), RULES)
    }

    fn close(control: &mut ControlPage, counted: &[(PeerKey, u32)]) {
        let ordinal = control.closed[0];
        let drawn: Vec<PeerKey> = control.members.iter().map(|member| member.key).collect();
        for (key, samples) in counted {
            let index = control.index_of(key).unwrap();
            let used = control.members[index].positions().first(u64::from(*samples));
            control.book(index, &used, u64::from(*samples), 0);
        }
        control.closed[0] += 1;
        let keys: Vec<PeerKey> = counted.iter().map(|(key, _)| *key).collect();
        control.note_counted(0, &drawn, &keys);
        control.turn_slot(ordinal, RULES);
    }

    /// Every position is with exactly one member, in the pool, or consumed.
    #[test]
    fn leases_never_overlap_and_nothing_is_lost() {
        let mut control = page(3);
        let mut used = 0;
        for round in 0..20u32 {
            let counted = if round % 3 == 0 { vec![(key(0), 5)] } else { vec![(key(0), 7), (key(1), 4)] };
            used += counted.iter().map(|(_, samples)| u64::from(*samples)).sum::<u64>();
            close(&mut control, &counted);
            let mut held: Vec<(u64, u32)> = control.pool.returned.clone();
            held.extend(control.members.iter().flat_map(|m| &m.leases).map(|l| (l.start, l.samples)));
            held.sort_unstable();
            assert!(held.windows(2).all(|pair| pair[0].0 + u64::from(pair[0].1) <= pair[1].0));
            let held: u64 = held.iter().map(|(_, samples)| u64::from(*samples)).sum();
            assert_eq!(held + used, control.pool.next);
        }
    }

    #[test]
    fn a_member_that_is_never_counted_leaves_after_eight_drawn_slots_and_its_lease_returns() {
        let mut control = page(2);
        for _ in 0..7 {
            close(&mut control, &[(key(0), 1)]);
        }
        assert!(control.member(&key(1)).is_some());
        close(&mut control, &[(key(0), 1)]);
        assert!(control.member(&key(1)).is_none());
        assert!(control.member(&key(0)).is_some());
        assert_eq!(control.counted_tokens, 8);
    }

    #[test]
    fn silence_on_one_stream_is_silence() {
        let mut control = ControlPage::genesis(2, vec![key(0), key(1)], RULES);
        let both = [key(0), key(1)];
        for round in 0..u32::from(MISSED_LIMIT) {
            assert!(control.member(&key(1)).is_some(), "after {round} slots");
            control.note_counted(1, &both, &both[..1]);
            control.note_counted(0, &both, &both);
            control.closed[0] += 1;
            control.turn_slot(round, RULES);
        }
        assert!(control.member(&key(1)).is_none() && control.member(&key(0)).is_some());
    }

    #[test]
    fn an_unused_lease_expires_after_max_lag_slots_and_goes_to_somebody_first() {
        let mut control = page(2);
        let first = control.member(&key(1)).unwrap().leases[0];
        for _ in 0..RULES.max_lag - 1 {
            close(&mut control, &[(key(0), 1)]);
        }
        assert_eq!(control.member(&key(1)).unwrap().leases[0], first);
        close(&mut control, &[(key(0), 1)]);
        let lease_of = |n| control.member(&key(n)).unwrap().leases.clone();
        assert_ne!(lease_of(1)[0].granted, first.granted);
        let regranted = [lease_of(0), lease_of(1)].concat();
        let holds =
            |lease: &Lease| (lease.start..lease.start + u64::from(lease.samples)).contains(&first.start);
        assert!(regranted.iter().any(holds));
    }

    #[test]
    fn returned_ranges_that_touch_become_one() {
        let lease = |start, samples| Lease { start, samples, granted: 0 };
        let mut pool = Pool { next: 100, returned: vec![(10, 5), (30, 1)] };
        pool.give_back(&[lease(20, 3), lease(15, 5), lease(9, 1), lease(40, u32::MAX), lease(31, 9)]);
        assert_eq!(pool.returned, [(9, 14), (30, 10), (40, u32::MAX)]);
    }

    /// A member that was given crumbs only, too few for a step, could contribute nothing, and so on for ever.
    #[test]
    fn crumbs_that_came_back_are_given_to_nobody() {
        let rules = LeaseRules { batch: 4, ..RULES };
        let mut pool = Pool { next: 100, returned: (0..40).map(|n| (10 * n, 1)).collect() };
        pool.returned.push((500, 4));
        assert_eq!(pool.take(rules.target, rules.batch), (500, 4));
        assert_eq!(pool.take(rules.target, rules.batch), (100, 10));
        assert!(pool.returned.is_empty());
    }

    #[test]
    fn draws_are_bounded_deterministic_and_give_newcomers_a_quarter() {
        let mut control = page(200);
        control.members.iter_mut().take(100).for_each(|member| member.counted = NEWCOMER_SLOTS);
        let drawn = control.drawn(0, Hash::of(b"a"), 64);
        assert_eq!(drawn.len(), 64);
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
        let newcomers = drawn.iter().filter(|key| control.member(key).unwrap().counted == 0).count();
        assert_eq!(newcomers, 16);
        assert_eq!(drawn, control.drawn(0, Hash::of(b"a"), 64));
        assert_ne!(drawn, control.drawn(0, Hash::of(b"b"), 64));
        control.settle_draws(Hash::of(b"a"), 64);
        assert_eq!(drawn, control.drawn(0, Hash::of(b"anything later"), 64));
    }

    #[test]
    fn whoever_left_and_came_back_has_no_place_in_what_was_open_then() {
        let mut control = page(3);
        control.settle_draws(Hash::of(b"a"), 64);
        control.dismiss(&key(1));
        assert_eq!(control.drawn(0, Hash::of(b"b"), 64), [key(0), key(2)]);
        control.admit(key(1), RULES);
        control.settle_draws(Hash::of(b"b"), 64);
        assert_eq!(control.drawn(0, Hash::of(b"b"), 64), [key(0), key(2)]);
        close(&mut control, &[]);
        assert_eq!(control.drawn(1, Hash::of(b"c"), 64), [key(0), key(1), key(2)]);
    }

    /// A quarter of one, two or three places is none: newcomers would never become anything else.
    #[test]
    fn where_few_are_drawn_newcomers_have_a_quarter_of_the_places_in_the_long_run() {
        let mut control = page(9);
        control.members.iter_mut().take(4).for_each(|member| member.counted = NEWCOMER_SLOTS);
        for places in [1, 2, 3] {
            let drawn =
                (0..4_000_u32).flat_map(|slot| control.drawn(0, Hash::of(&slot.to_le_bytes()), places));
            let newcomers = drawn.filter(|key| control.member(key).unwrap().counted == 0).count();
            // The deviation of 4000 draws with a chance of 1/4 is 27, of 12,000 at most 47.
            let expected = 1_000 * places;
            assert!(newcomers.abs_diff(expected) < 150, "{newcomers} of {expected}");
        }
    }
}
