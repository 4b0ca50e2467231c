//! Spot checks of the others' samples. What they find can leave a contribution out, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::batch::{Audits, Batch};
use crate::block::Slot;
use crate::holdings::{Tell, tell};
use crate::identity::{Domain, Hash, PeerKey};
use crate::manifest::Data;
use crate::membership::MAX_MEMBERS;
use crate::method::OneByte;
use crate::method::one_byte::{Audit, Measurement};
use crate::time::Time;
use crate::transition::Plan;

use super::Session;
use crate::session::chain::Purpose;

/// Batches for which a voter proposes nothing of whoever made up samples: until others have found out as well, and for
/// as long as it takes to be shown out a few times over.
const DISTRUST: u32 = 32;

/// Who is not believed, and why not yet.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Found once, in a batch that this peer ordered, and until which batch that is remembered. Whoever orders can show lists to
    /// one peer that others have not, so that its samples are right and seem wrong.
    suspected: BTreeMap<PeerKey, (Option<PeerKey>, u32)>,
    /// Until which batch.
    distrusted: BTreeMap<PeerKey, u32>,
}

impl Doubts {
    /// Of whom too much was found to believe the next batches: at parameters that are certified, or under two orderers.
    fn found(&mut self, member: PeerKey, certain: bool, orderer: Option<PeerKey>, ordinal: u32) {
        let until = ordinal.saturating_add(DISTRUST);
        let other = self.suspected.get(&member).is_some_and(|(before, _)| *before != orderer);
        if self.distrusted.len() < MAX_MEMBERS && (certain || other) {
            self.distrusted.insert(member, until);
        }
        if self.suspected.len() < MAX_MEMBERS {
            self.suspected.entry(member).or_insert((orderer, until));
        }
    }

    fn forget(&mut self, ordinal: u32) {
        self.suspected.retain(|_, (_, until)| *until >= ordinal);
        self.distrusted.retain(|_, until| *until >= ordinal);
    }

    pub fn holdings(&self, to: Tell<'_>) {
        tell(to, "members that are suspected", self.suspected.len(), MAX_MEMBERS);
        tell(to, "members that are distrusted", self.distrusted.len(), MAX_MEMBERS);
    }
}

impl Session {
    /// Voters check, where they have the others' data.
    pub(super) fn begin_audits(&self, slot: Slot, method: &OneByte) -> Audits {
        let public = matches!(self.charter.manifest.data, Data::Public { .. });
        if !(self.is_voter() && public && method.audit > 0.0) {
            return Audits::default();
        }
        // A signature that nobody else can make, and that nobody sees.
        let signature = self.signer.sign(Domain::Audit, self.scope(), &slot);
        Audits::new(method, Hash::of(&signature.0))
    }

    /// Another's samples were measured again.
    pub(in crate::session) fn audited(&mut self, slot: Slot, step: u32, member: PeerKey, found: Measurement) {
        if let Some(batch) = self.training.batch_mut().filter(|batch| batch.slot == slot) {
            batch.audited(step, member, found);
        }
    }

    /// A contribution says something else than was measured, in a step that it signs or, if not, in one of which the lists
    /// say it.
    pub(in crate::session) fn doubt(
        &mut self,
        slot: Slot,
        member: PeerKey,
        (step, signed): (u32, bool),
        reason: String,
    ) {
        self.slots.dispute(slot, member, reason, true);
        if let Some(batch) = self.training.batch().filter(|batch| signed && batch.slot == slot) {
            let (certain, orderer) = (batch.is_certain(step), self.orderer(batch));
            self.stepping.doubts.found(member, certain, orderer, slot.ordinal);
        }
    }

    /// A batch begins: nothing is proposed of whoever made up samples lately.
    pub(super) fn dispute_distrusted(&mut self, slot: Slot) {
        self.stepping.doubts.forget(slot.ordinal);
        for member in self.stepping.doubts.distrusted.keys() {
            self.slots.dispute(slot, *member, "its samples were made up lately".into(), false);
        }
    }

    /// A list came of this orderer, or was made.
    pub(super) fn note_orderer(&mut self, orderer: PeerKey) {
        if self.stepping.lists_by.replace(orderer).is_some_and(|before| before != orderer) {
            self.training.batch_mut().into_iter().for_each(Batch::orderer_changed);
        }
    }

    /// What the contributions of a candidate state have to agree with: what was certified is beyond doubt, and what
    /// others propose may be doubted for a time only, or a few could stop everything.
    pub(in crate::session) fn audits(&self, now: Time, purpose: &Purpose, plan: &Plan) -> Arc<[Audit]> {
        let Some(batch) = self.training.batch() else { return Arc::default() };
        let doubted = match purpose {
            Purpose::Apply(_) => false,
            Purpose::Propose { .. } => true,
            Purpose::Check(_) => self.slots.may_object(now, self.ground(), batch.slot),
        };
        let closes = plan.aggregations.iter().any(|aggregation| aggregation.slot == batch.slot);
        if doubted && closes { batch.found().collect() } else { Arc::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_orderer_alone_makes_nobody_distrusted_and_nothing_is_remembered_for_ever() {
        let [member, one, other] = [1, 2, 3].map(|byte| PeerKey([byte; 32]));
        let mut doubts = Doubts::default();
        for ordinal in 0..3 {
            doubts.found(member, false, Some(one), ordinal);
            assert!(doubts.distrusted.is_empty());
        }
        doubts.found(member, false, Some(other), 3);
        assert_eq!(doubts.distrusted.get(&member), Some(&(3 + DISTRUST)));
        doubts.forget(3 + DISTRUST);
        assert_eq!((doubts.suspected.len(), doubts.distrusted.len()), (0, 1));
        doubts.forget(4 + DISTRUST);
        assert!(doubts.distrusted.is_empty());
        doubts.found(member, true, None, 9);
        assert_eq!(doubts.distrusted.get(&member), Some(&(9 + DISTRUST)));
    }
}
