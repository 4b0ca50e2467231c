//! Nobody's influence on the parameters is more than the manifest allows, computed again from the
//! manifest, the control page before a block and the block alone.
//!
//! - A slot counts a member once, none that was not drawn, and none that was convicted.
//! - A claim is of at most `max_lag + 2` slots' largest work (H, or the manifest's most steps), holds no
//!   more tokens than its steps, and on stream 0 uses samples of the member's leases, each once.
//! - A contribution weighs what it claims, at most what was leased, at most twice the slot's median; so
//!   much, and no more, is counted towards the session's tokens.
//! - Of more members than are drawn, those without 8 counted slots share at most a quarter, or what the
//!   others leave.
//! - A block admits at most 16 members, a session 4096; each leases at most one slot's largest work more than there
//!   are slots open.
//!
//! Which of the members are drawn is decided by a shuffle that the fold repeats; here it counts how many
//! they are, and of which kind.

use std::collections::BTreeSet;
use std::sync::Arc;

use driftless_protocol::block::{Block, Closing, Counted, Item};
use driftless_protocol::charter::Charter;
use driftless_protocol::identity::PeerKey;
use driftless_protocol::manifest::{Data, Pacing};
use driftless_protocol::membership::{ControlPage, Lease, Member};
use driftless_protocol::transition::{Aggregation, Part};

/// Members that one block admits.
const ADMITTED: usize = 16;
/// Members of a session.
const MEMBERS: usize = 4096;
/// Whoever was counted in fewer slots is a newcomer.
const NEWCOMER: u32 = 8;
/// Newcomers share this part of a draw.
const SHARE: usize = 4;

/// The terms that bound it.
#[derive(Debug)]
pub struct Influence {
    charter: Arc<Charter>,
}

/// A block, what it follows and what it led to.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The control page before it.
    pub before: &'a ControlPage,
    /// The block.
    pub block: &'a Block,
    /// The control page after it.
    pub after: &'a ControlPage,
    /// Who moved the parameters with which weight.
    pub aggregations: &'a [Aggregation],
}

impl Influence {
    /// A session of these terms.
    pub fn new(charter: Arc<Charter>) -> Influence {
        Influence { charter }
    }

    /// A block was certified.
    ///
    /// # Errors
    /// Whose influence is too large.
    pub fn observe(&self, step: Step<'_>) -> Result<(), String> {
        let Step { before, block, after, aggregations } = step;
        self.draws(before, block)?;
        let mut tokens = 0;
        for closing in block.closings() {
            let weights = self.closing(before, block, closing)?;
            if closing.slot.stream == 0 {
                tokens += weights.iter().map(|(_, tokens, _)| tokens).sum::<u64>();
            }
            let parts = aggregations.iter().find(|aggregation| aggregation.slot == closing.slot);
            let parts = parts.map_or(&[][..], |aggregation| &aggregation.parts);
            let part = |part: &Part| (part.member, part.tokens, part.weight);
            let parts: Vec<(PeerKey, u64, u64)> = parts.iter().map(part).collect();
            if parts != weights {
                return Err(format!("{:?} is moved by other weights than it counts", closing.slot));
            }
        }
        if after.counted_tokens != before.counted_tokens + tokens {
            let counted = after.counted_tokens as i128 - i128::from(before.counted_tokens);
            return Err(format!("{counted} tokens are counted, the block has {tokens}"));
        }
        self.members(block, after)
    }

    /// The most steps between two contributions.
    fn largest_steps(&self) -> u32 {
        match self.charter.manifest.pacing {
            Pacing::Uniform | Pacing::Decoupled { .. } => self.charter.manifest.method.period(),
            Pacing::Proportional { maximum, .. } => maximum,
        }
    }

    /// Draws that this block settles.
    fn draws(&self, before: &ControlPage, block: &Block) -> Result<(), String> {
        let most = usize::from(self.charter.manifest.max_contributors);
        for draw in before.draws.iter().filter(|draw| draw.members.is_none()) {
            let drawn = before.drawn(draw.ordinal, block.parent, most);
            let ordinal = draw.ordinal;
            let distinct = drawn.windows(2).all(|pair| pair[0] < pair[1]);
            let members: Vec<&Member> = drawn.iter().filter_map(|key| before.member(key)).collect();
            if !distinct || members.len() != drawn.len() || drawn.len() != before.members.len().min(most) {
                return Err(format!("{} drawn for ordinal {ordinal}, at most {most} members", drawn.len()));
            }
            let is_new = |member: &&Member| member.counted < NEWCOMER;
            let newcomers = members.into_iter().filter(is_new).count();
            let established = before.members.iter().filter(|member| !is_new(member)).count();
            let share = most.div_ceil(SHARE).max(most.saturating_sub(established));
            if before.members.len() > most && newcomers > share {
                return Err(format!(
                    "{newcomers} newcomers among {most} drawn for ordinal {ordinal}, at most {share}"
                ));
            }
        }
        Ok(())
    }

    /// Tokens of each counted contribution, and what it may weigh.
    fn closing(
        &self,
        before: &ControlPage,
        block: &Block,
        closing: &Closing,
    ) -> Result<Vec<(PeerKey, u64, u64)>, String> {
        let slot = closing.slot;
        let drawn = before.drawn(slot.ordinal, block.parent, self.charter.manifest.max_contributors.into());
        let drawn: BTreeSet<PeerKey> = drawn.into_iter().collect();
        let mut seen = BTreeSet::new();
        let mut claims = Vec::new();
        for counted in &closing.counted {
            let member = before.members.get(usize::from(counted.member));
            let member = member.ok_or_else(|| format!("{slot:?} counts a member that is none"))?;
            let wrong = |what: &str| Err(format!("{} in {slot:?}: {what}", member.key.short()));
            if !seen.insert(member.key) {
                return wrong("counted twice");
            }
            if !drawn.contains(&member.key) {
                return wrong("counted and was not drawn");
            }
            if before.convicted.contains(&member.key) {
                return wrong("counted after it was convicted");
            }
            match self.claim(closing, counted, member) {
                Ok(tokens) => claims.push((member.key, tokens, u64::from(counted.work.steps))),
                Err(what) => return wrong(what),
            }
        }
        let mut sorted: Vec<u64> = claims.iter().map(|(_, tokens, _)| *tokens).collect();
        sorted.sort_unstable();
        let middle = sorted.len() / 2;
        // Twice the median: for an even number the sum of the two in the middle.
        let cap = match (sorted.get(middle), sorted.len() % 2) {
            (None, _) => 0,
            (Some(median), 1) => 2 * median,
            (Some(upper), _) => upper + sorted[middle - 1],
        };
        let decoupled = matches!(self.charter.manifest.pacing, Pacing::Decoupled { .. });
        let weighed = claims.into_iter().map(|(key, claimed, steps)| {
            let tokens = claimed.min(cap);
            (key, tokens, if decoupled { tokens * claimed / steps } else { tokens })
        });
        Ok(weighed.collect())
    }

    /// The tokens of one contribution, at most what was leased.
    fn claim(&self, closing: &Closing, counted: &Counted, member: &Member) -> Result<u64, &'static str> {
        let (manifest, work) = (&self.charter.manifest, &counted.work);
        let context = u64::from(manifest.model.context());
        let slots = u64::from(manifest.max_lag) + 2;
        if u64::from(work.steps) > slots * u64::from(self.largest_steps()) {
            return Err("more steps than its leases live");
        }
        if work.tokens > u64::from(work.steps) * u64::from(manifest.training.batch) * context {
            return Err("more tokens than its steps hold");
        }
        let leased: u64 = member.leases.iter().map(|lease| u64::from(lease.samples)).sum();
        match &manifest.data {
            Data::Private { max_tokens_per_slot } if work.tokens > *max_tokens_per_slot => {
                Err("more tokens than the manifest allows")
            }
            Data::Private { .. } => Ok(work.tokens),
            Data::Public { .. } if closing.slot.stream > 0 => Ok(work.tokens.min(leased * context)),
            Data::Public { .. } => {
                let mut used: Vec<u64> = work.samples.iter().collect();
                used.sort_unstable();
                if used.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err("a sample twice");
                }
                let of = |position: &u64, lease: &Lease| {
                    position.checked_sub(lease.start).is_some_and(|at| at < u64::from(lease.samples))
                };
                if !used.iter().all(|position| member.leases.iter().any(|lease| of(position, lease))) {
                    return Err("samples that it did not lease");
                }
                Ok(work.tokens.min(used.len() as u64 * context))
            }
        }
    }

    fn members(&self, block: &Block, after: &ControlPage) -> Result<(), String> {
        let joins = block.items.iter().filter(|item| matches!(item, Item::Join(_))).count();
        if joins > ADMITTED || after.members.len() > MEMBERS {
            return Err(format!("{joins} members join, of {} then", after.members.len()));
        }
        let target = match self.charter.manifest.data {
            Data::Public { .. } => {
                let slots = u64::from(self.charter.manifest.method.window()) + 1;
                slots * u64::from(self.largest_steps()) * u64::from(self.charter.manifest.training.batch)
            }
            Data::Private { .. } => 0,
        };
        for member in &after.members {
            let leased: u64 = member.leases.iter().map(|lease| u64::from(lease.samples)).sum();
            if leased > target {
                return Err(format!("{} leases {leased} samples of {target}", member.key.short()));
            }
            if after.convicted.contains(&member.key) {
                return Err(format!("{} was convicted and is a member", member.key.short()));
            }
        }
        let distinct = after.members.windows(2).all(|pair| pair[0].key < pair[1].key);
        if distinct { Ok(()) } else { Err("a key is a member twice".into()) }
    }
}

#[cfg(test)]
mod tests {
    use driftless_protocol::block::{Payload, Slot, Work};
    use driftless_protocol::identity::{Hash, Signature};
    use driftless_protocol::membership::Draw;
    use driftless_protocol::positions::Piece;

    use super::*;
    use crate::setup::Setup;

    /// A session of four whose first slot counts two of them.
    fn step() -> (Influence, ControlPage, Block, ControlPage, Vec<Aggregation>) {
        let charter = Arc::new(Charter::new(Setup::small(1, 4).sealed_manifest()).unwrap());
        let before = charter.genesis_control();
        let payload = Payload::Blob { root: Hash::default(), length: 1 };
        let slot = Slot { stream: 0, ordinal: 0 };
        let counted = |member: u16, steps: u32| Counted {
            member,
            payload: payload.clone(),
            work: Work {
                steps,
                tokens: u64::from(steps) * 8,
                samples: before.members[usize::from(member)].positions().first(2 * u64::from(steps)),
                speed: 1,
            },
            signature: Signature([0; 64]),
        };
        let closing = Closing { slot, counted: vec![counted(0, 6), counted(2, 6)] };
        let block = Block {
            height: 1,
            generation: 0,
            parent: charter.session,
            items: vec![Item::Close(closing)],
            digest: Hash::default(),
        };
        let part = |index: usize| Part {
            member: before.members[index].key,
            payload: payload.clone(),
            tokens: 48,
            weight: 48,
            missed: 0,
        };
        let aggregations = vec![Aggregation { slot, drawn: 2, parts: vec![part(0), part(2)] }];
        let after = ControlPage { counted_tokens: 96, ..before.clone() };
        (Influence::new(charter), before, block, after, aggregations)
    }

    fn change(block: &mut Block, change: impl FnOnce(&mut Vec<Counted>)) {
        let Item::Close(closing) = &mut block.items[0] else { unreachable!() };
        change(&mut closing.counted);
    }

    fn verdict(change_block: impl FnOnce(&mut Vec<Counted>)) -> Result<(), String> {
        let (influence, before, mut block, after, aggregations) = step();
        change(&mut block, change_block);
        influence.observe(Step { before: &before, block: &block, after: &after, aggregations: &aggregations })
    }

    #[test]
    fn what_is_allowed_is_allowed() {
        assert_eq!(verdict(|_| {}), Ok(()));
    }

    #[test]
    fn claims_beyond_the_lease_are_seen() {
        let broken =
            |change: &dyn Fn(&mut Work)| verdict(|counted| change(&mut counted[1].work)).unwrap_err();
        let first = |work: &Work| work.samples.pieces()[0];
        assert!(
            broken(&|work| work.samples.push(Piece { start: 1 << 40, samples: 1 })).contains("not lease")
        );
        assert!(broken(&|work| work.samples.push(Piece { samples: 1, ..first(work) })).contains("twice"));
        assert!(broken(&|work| work.tokens = 49).contains("than its steps hold"));
        assert!(broken(&|work| work.steps = 37).contains("leases live"));
    }

    #[test]
    fn weights_are_at_most_twice_the_median() {
        // One claims 48 tokens, one 8, one 8: the first weighs 16.
        let (influence, before, mut block, after, mut aggregations) = step();
        change(&mut block, |counted| {
            let used = |member: usize| before.members[member].positions().first(2);
            let work = |member| Work { steps: 1, tokens: 8, samples: used(member), speed: 1 };
            counted[1].work = work(2);
            let work = work(3);
            counted.push(Counted { member: 3, work, ..counted[1].clone() });
        });
        let parts = &mut aggregations[0].parts;
        let third = Part { member: before.members[3].key, ..parts[1].clone() };
        parts.push(third);
        for (part, tokens) in parts.iter_mut().zip([16, 8, 8]) {
            (part.tokens, part.weight) = (tokens, tokens);
        }
        let after = ControlPage { counted_tokens: 32, ..after };
        let observe = |after: &ControlPage, aggregations: &[Aggregation]| {
            influence.observe(Step { before: &before, block: &block, after, aggregations })
        };
        assert_eq!(observe(&after, &aggregations), Ok(()));
        let more = ControlPage { counted_tokens: 64, ..after.clone() };
        assert!(observe(&more, &aggregations).unwrap_err().contains("64 tokens are counted"));
        aggregations[0].parts[0].tokens = 48;
        assert!(observe(&after, &aggregations).unwrap_err().contains("other weights"));
    }

    #[test]
    fn whoever_is_counted_twice_or_was_not_drawn_or_was_convicted_is_seen() {
        assert!(verdict(|counted| counted[1].member = 0).unwrap_err().contains("twice"));
        let (influence, mut before, block, after, aggregations) = step();
        let keys: Vec<PeerKey> = before.members.iter().map(|member| member.key).collect();
        let observe = |before: &ControlPage, after: &ControlPage| {
            influence.observe(Step { before, block: &block, after, aggregations: &aggregations })
        };
        before.draws = vec![Draw { ordinal: 0, members: Some(keys[1..].to_vec()) }];
        assert!(observe(&before, &after).unwrap_err().contains("not drawn"));
        before.draws = vec![Draw { ordinal: 0, members: Some(keys.clone()) }];
        assert_eq!(observe(&before, &after), Ok(()));
        let convicted = ControlPage { convicted: vec![keys[2]], ..before.clone() };
        assert!(observe(&convicted, &after).unwrap_err().contains("convicted"));
        let stays = ControlPage { convicted: vec![keys[1]], ..after.clone() };
        assert!(observe(&before, &stays).unwrap_err().contains("is a member"));
    }

    #[test]
    fn leases_and_admissions_are_bounded() {
        let (influence, before, mut block, mut after, aggregations) = step();
        after.members[1].leases[0].samples += 1;
        let observe = |block: &Block, after: &ControlPage| {
            influence.observe(Step { before: &before, block, after, aggregations: &aggregations })
        };
        assert!(observe(&block, &after).unwrap_err().contains("leases 25 samples of 24"));
        after.members[1].leases[0].samples -= 1;
        let signer = driftless_protocol::identity::Signer::from_seed([9; 32]);
        let scope = driftless_protocol::identity::Scope { session: Hash::default(), generation: 0 };
        let join = driftless_protocol::block::Join { height: 0, admittance: None };
        let join = signer.seal(driftless_protocol::identity::Domain::Join, scope, join);
        block.items.extend(vec![Item::Join(join); 17]);
        assert!(observe(&block, &after).unwrap_err().contains("17 members join"));
    }
}
