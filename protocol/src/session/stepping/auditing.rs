//! Spot checks of the others' samples. What they find can leave a contribution out, and nothing else.

use crate::batch::Audits;
use crate::block::Slot;
use crate::identity::PeerKey;
use crate::identity::{Domain, Hash};
use crate::manifest::Data;
use crate::membership::MAX_MEMBERS;
use crate::method::OneByte;
use crate::method::one_byte::{Audit, Measurement};
use crate::time::Time;
use crate::transition::Plan;

use super::Session;
use crate::session::chain::Purpose;

/// Batches for which a voter believes nothing of whoever made up samples: as long as whoever is not counted is
/// shown out, or others have found out as well. Disputes that some voters have and others have not hold up a batch.
const DISTRUST: u32 = 32;

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

    /// A contribution says something else than was measured.
    pub(in crate::session) fn distrust(&mut self, slot: Slot, member: PeerKey, reason: String) {
        self.slots.dispute(slot, member, reason);
        if self.stepping.distrusted.len() < MAX_MEMBERS {
            self.stepping.distrusted.insert(member, slot.ordinal.saturating_add(DISTRUST));
        }
    }

    /// A batch begins: nothing is believed of whoever made up samples lately.
    pub(super) fn dispute_distrusted(&mut self, slot: Slot) {
        self.stepping.distrusted.retain(|_, until| *until >= slot.ordinal);
        for member in self.stepping.distrusted.keys() {
            self.slots.dispute(slot, *member, "its samples were made up lately".into());
        }
    }

    /// What the contributions of a candidate state have to agree with: what was certified is beyond doubt, and what
    /// others propose may be doubted for a time only, or a few could stop everything.
    pub(in crate::session) fn audits(&self, now: Time, purpose: &Purpose, plan: &Plan) -> Vec<Audit> {
        let Some(batch) = self.training.batch() else { return Vec::new() };
        let doubted = match purpose {
            Purpose::Apply(_) => false,
            Purpose::Propose { .. } => true,
            Purpose::Check(_) => self.slots.may_object(now, self.ground(), batch.slot),
        };
        let closes = plan.aggregations.iter().any(|aggregation| aggregation.slot == batch.slot);
        if doubted && closes { batch.audits().done().to_vec() } else { Vec::new() }
    }
}
