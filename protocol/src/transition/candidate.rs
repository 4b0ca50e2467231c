//! The heavy half of a transition: blobs are decoded and the outer state moves.

use std::sync::Arc;

use crate::block::{Payload, Slot};
use crate::charter::Charter;
use crate::identity::{Hash, PeerKey};
use crate::method::one_byte::{Audit, Log, OneByte};
use crate::method::{Co2, Contribution, Ef21, Method, MethodError, SparseLoCo, StreamingDiLoCo, ef21};
use crate::mutant::Mutant;
use crate::state::{Array, State};
use crate::wire;

use super::{Aggregation, Part, Plan, blob_root};

/// The heavy half of a transition, to be run by whoever drives the session.
#[derive(Debug, Clone)]
pub struct CandidateJob {
    /// Names the job to the session.
    pub id: u64,
    charter: Arc<Charter>,
    state: State,
    plan: Plan,
    audits: Arc<[Audit]>,
}

/// Why a candidate state could not be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CandidateError {
    /// A blob could not be read.
    #[error("blob {root} of {member}: {reason}")]
    Missing {
        /// Whose blob.
        member: PeerKey,
        /// Its name.
        root: Hash,
        /// What the store said.
        reason: String,
    },
    /// A blob does not decode to a finite update.
    #[error("the contribution of {member} to {slot:?}: {reason}")]
    Contribution {
        /// Whose contribution.
        member: PeerKey,
        /// To which slot.
        slot: Slot,
        /// What is wrong.
        reason: MethodError,
    },
    /// This peer measured a step again, and found something else: its own doubt, which others need not share.
    #[error(
        "the contribution of {member} to {slot:?}: step {step} was measured again, and says something else"
    )]
    Doubted {
        /// Whose contribution.
        member: PeerKey,
        /// To which slot.
        slot: Slot,
        /// The step.
        step: u32,
        /// Whether the member signed it: what a list alone says that it sent, whoever orders may have made up.
        signed: bool,
    },
    /// A page of the parent state changed in memory since its hash was taken. (Estimates count as arrays
    /// after the others.)
    #[error("a page of the state changed in memory (array {array}, fragment {fragment}, page {page})")]
    Damaged {
        /// Which array.
        array: usize,
        /// Which fragment of it.
        fragment: usize,
        /// Which page of that.
        page: usize,
    },
    /// This thread rounds or flushes small numbers otherwise than all others do.
    #[error("this thread's floating point settings are not the standard ones: a library changed them")]
    FloatEnvironment,
    /// The aggregate moves the outer state out of the finite numbers.
    #[error("the outer step of {0:?} is not finite")]
    NotFinite(Slot),
}

impl CandidateJob {
    /// Prepares the job.
    pub fn new(id: u64, charter: Arc<Charter>, state: State, plan: Plan) -> CandidateJob {
        CandidateJob { id, charter, state, plan, audits: Arc::default() }
    }

    /// Fails where a contribution says something else than this peer measured.
    #[must_use]
    pub fn with_audits(self, audits: Arc<[Audit]>) -> CandidateJob {
        CandidateJob { audits, ..self }
    }

    /// The blobs it reads.
    pub fn blobs(&self) -> Vec<Hash> {
        let parts = self.plan.aggregations.iter().flat_map(|aggregation| &aggregation.parts);
        parts.filter_map(|part| blob_root(&part.payload)).collect()
    }

    /// What the result follows from, where memory is what it was: jobs with one name come to one state.
    pub fn name(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.state.digest().0);
        hasher.update(&self.plan.control.hash().0);
        for aggregation in self.plan.aggregations.iter() {
            hasher.update(&wire::encode(&(aggregation.slot, aggregation.drawn as u64)));
            for part in &aggregation.parts {
                hasher.update(&part.member.0);
                hasher.update(&wire::encode(&(&part.payload, part.weight, part.missed)));
            }
        }
        for Audit { member, step, listed, found } in self.audits.iter() {
            let bytes = wire::encode(&(step, listed, &found.bytes, found.noise.to_bits()));
            hasher.update(&member.0).update(&bytes);
        }
        hasher.finalize().into()
    }

    /// Computes the state after the block. `read` returns a blob's bytes by root.
    ///
    /// Contributions are added in member-key order; the arithmetic is plain f32 (no fused
    /// multiply-add, no transcendental), so every machine gets the same bits.
    pub fn run(
        mut self,
        read: &mut dyn FnMut(&Hash) -> Result<Vec<u8>, String>,
    ) -> Result<State, CandidateError> {
        if !crate::method::float_environment_is_standard() {
            return Err(CandidateError::FloatEnvironment);
        }
        for aggregation in self.plan.aggregations.clone().iter() {
            self.outer_step(aggregation, read)?;
        }
        self.state.control = self.plan.control;
        self.state.forget_estimates();
        Ok(self.state)
    }

    /// A wrong bit in memory is found before it is computed with: whoever decides alone would certify
    /// what comes of it.
    fn check_pages(&self, fragment: usize) -> Result<(), CandidateError> {
        if Mutant::KeepsWrongState.lives() {
            return Ok(());
        }
        for (array, fragments) in self.state.arrays.iter().enumerate() {
            let mut pages = fragments[fragment].pages().iter();
            if let Some(page) = pages.position(|page| Hash::of(page.bytes()) != page.hash()) {
                return Err(CandidateError::Damaged { array, fragment, page });
            }
        }
        for (index, estimate) in self.state.estimates.values().enumerate() {
            let mut pages = estimate.pages().iter();
            if let Some(page) = pages.position(|page| Hash::of(page.bytes()) != page.hash()) {
                return Err(CandidateError::Damaged {
                    array: self.state.arrays.len() + index,
                    fragment: 0,
                    page,
                });
            }
        }
        Ok(())
    }

    fn outer_step(
        &mut self,
        aggregation: &Aggregation,
        read: &mut dyn FnMut(&Hash) -> Result<Vec<u8>, String>,
    ) -> Result<(), CandidateError> {
        let slot = aggregation.slot;
        let fragment = usize::from(slot.stream);
        let payloads = aggregation.parts.iter().map(|part| payload_bytes(part, read));
        let payloads = payloads.collect::<Result<Vec<_>, _>>()?;
        let contribution = |(part, bytes): (&Part, Vec<u8>)| Contribution {
            bytes,
            tokens: part.weight.max(1),
            missed: u32::from(part.missed),
        };
        let contributions: Vec<_> = aggregation.parts.iter().zip(payloads).map(contribution).collect();
        self.check_pages(fragment)?;
        let mut arrays: Vec<Vec<f32>> =
            self.state.arrays.iter().map(|array| array[fragment].to_vec()).collect();
        let charter = self.charter.clone();
        let manifest = &charter.manifest;
        let stepped = match &manifest.method {
            Method::OneByte(method) => {
                let logs = self.logs(method, aggregation, &contributions)?;
                let opening = self.charter.opening(&self.state, slot, aggregation.drawn);
                method.replay(&mut arrays[0], &opening, &logs);
                Ok(())
            }
            Method::Ef21(method) => self.descend(method, aggregation, &contributions, &mut arrays),
            Method::StreamingDiLoCo(StreamingDiLoCo { codec, .. })
            | Method::SparseLoCo(SparseLoCo { codec, .. })
            | Method::Co2(Co2 { codec, .. }) => {
                manifest.method.outer_step(&mut arrays, &contributions, manifest.aggregation(*codec))
            }
        };
        stepped.map_err(|(index, reason)| {
            let member = aggregation.parts[index].member;
            CandidateError::Contribution { member, slot, reason }
        })?;
        if arrays.iter().flatten().any(|value| !value.is_finite()) {
            return Err(CandidateError::NotFinite(slot));
        }
        for (array, values) in self.state.arrays.iter_mut().zip(&arrays) {
            array[fragment] = Array::new(values);
        }
        Ok(())
    }

    /// The logs of a batch's contributors, if this peer doubts none of them.
    fn logs(
        &self,
        method: &OneByte,
        aggregation: &Aggregation,
        contributions: &[Contribution],
    ) -> Result<Vec<(PeerKey, Log)>, CandidateError> {
        let slot = aggregation.slot;
        let log = |(part, contribution): (&Part, &Contribution)| {
            let member = part.member;
            let log = Log::decode(&contribution.bytes, method.batch_steps, method.samples)
                .map_err(|error| CandidateError::Contribution { member, slot, reason: error.into() })?;
            let mut audits = self.audits.iter().filter(|audit| audit.member == member);
            match audits.find(|audit| audit.contradicts(&log)) {
                Some(audit) => {
                    let (step, signed) = (audit.step, log.at(audit.step).is_some());
                    Err(CandidateError::Doubted { member, slot, step, signed })
                }
                None => Ok((member, log)),
            }
        };
        aggregation.parts.iter().zip(contributions).map(log).collect()
    }

    /// What the counted members sent is added to what is known of their gradients, and all that is known moves the
    /// parameters.
    fn descend(
        &mut self,
        method: &Ef21,
        aggregation: &Aggregation,
        contributions: &[Contribution],
        arrays: &mut [Vec<f32>],
    ) -> Result<(), (usize, MethodError)> {
        let estimates = &mut self.state.estimates;
        for (index, (part, contribution)) in aggregation.parts.iter().zip(contributions).enumerate() {
            let known = estimates.get(&part.member).map(Array::to_vec);
            let learned = ef21::learn(method.codec, known, &contribution.bytes, arrays[0].len());
            estimates.insert(part.member, Array::new(&learned.map_err(|reason| (index, reason))?));
        }
        let estimates: Vec<Vec<f32>> = estimates.values().map(Array::to_vec).collect();
        let mut mean = vec![0.0; arrays[0].len()];
        ef21::mean(&estimates, self.charter.manifest.clip, &mut mean);
        self.charter.manifest.method.step(arrays, (!estimates.is_empty()).then_some(&mean[..]));
        Ok(())
    }
}

fn payload_bytes(
    part: &Part,
    read: &mut dyn FnMut(&Hash) -> Result<Vec<u8>, String>,
) -> Result<Vec<u8>, CandidateError> {
    match &part.payload {
        Payload::Inline(bytes) => Ok(bytes.clone()),
        Payload::Blob { root, .. } => {
            read(root).map_err(|reason| CandidateError::Missing { member: part.member, root: *root, reason })
        }
    }
}
