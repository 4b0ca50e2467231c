//! What was worked out under one charter and need not be again: signatures that hold, and what the
//! latest blocks' items come to.
//!
//! A contribution's signature is met with its announcement, in a proposal and in the certified block;
//! a proposal is planned to vote on it and to apply it. All of it follows from the question alone, so
//! remembering changes no answer. Sessions that share a charter share it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bincode::Encode;

use crate::holdings::{Tell, tell};
use crate::identity::{Domain, Hash, PeerKey, Scope, Signature};
use crate::transition::Plan;
use crate::wire;

/// Signatures after which the older half is forgotten.
const SIGNATURES: usize = 8192;
/// Plans that are kept.
const PLANS: usize = 4;

/// What is remembered. A clone remembers nothing.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    signatures: Mutex<Signatures>,
    plans: Mutex<VecDeque<(Hash, Plan)>>,
}

/// Two generations: the older one goes when the younger is full.
#[derive(Debug, Default)]
struct Signatures {
    younger: BTreeSet<Hash>,
    older: BTreeSet<Hash>,
}

impl Clone for Memory {
    fn clone(&self) -> Memory {
        Memory::default()
    }
}

impl Memory {
    /// Tells how much is remembered.
    pub fn holdings(&self, to: Tell<'_>) {
        let signatures = entered(&self.signatures);
        let length = signatures.younger.len() + signatures.older.len();
        tell(to, "signatures known to hold", length, SIGNATURES);
        tell(to, "plans", entered(&self.plans).len(), PLANS);
    }

    /// Whether `signature` is `key`'s over `content`.
    pub fn holds<T: Encode>(
        &self,
        key: &PeerKey,
        domain: Domain,
        scope: Scope,
        content: &T,
        signature: &Signature,
    ) -> bool {
        let name = Hash::of(
            &[
                &[domain as u8][..],
                &key.0,
                &scope.session.0,
                &scope.generation.to_le_bytes(),
                &signature.0,
                &wire::encode(content),
            ]
            .concat(),
        );
        if entered(&self.signatures).knows(&name) {
            return true;
        }
        let holds = key.verify(domain, scope, content, signature);
        if holds {
            entered(&self.signatures).keep(name);
        }
        holds
    }

    /// What a block comes to, if that was worked out lately.
    pub fn plan(&self, question: &Hash) -> Option<Plan> {
        let plans = entered(&self.plans);
        plans.iter().find(|(known, _)| known == question).map(|(_, plan)| plan.clone())
    }

    /// Keeps what a block comes to.
    pub fn keep_plan(&self, question: Hash, plan: &Plan) {
        let mut plans = entered(&self.plans);
        if plans.len() >= PLANS {
            plans.pop_front();
        }
        plans.push_back((question, plan.clone()));
    }
}

impl Signatures {
    fn knows(&self, name: &Hash) -> bool {
        self.younger.contains(name) || self.older.contains(name)
    }

    fn keep(&mut self, name: Hash) {
        if self.younger.len() >= SIGNATURES / 2 {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(name);
    }
}

/// Nothing half done is ever left behind, whoever panicked.
fn entered<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Signer;

    #[test]
    fn what_holds_is_known_and_nothing_else_is_taken_for_it() {
        let (memory, signer) = (Memory::default(), Signer::from_seed([1; 32]));
        let scope = Scope { session: Hash::of(b"session"), generation: 0 };
        let (key, signature) = (signer.key(), signer.sign(Domain::Vote, scope, &7_u64));
        for _ in 0..2 {
            assert!(memory.holds(&key, Domain::Vote, scope, &7_u64, &signature));
            assert!(!memory.holds(&key, Domain::Vote, scope, &8_u64, &signature));
            assert!(!memory.holds(&key, Domain::Join, scope, &7_u64, &signature));
            let later = Scope { generation: 1, ..scope };
            assert!(!memory.holds(&key, Domain::Vote, later, &7_u64, &signature));
            let other = Signer::from_seed([2; 32]).key();
            assert!(!memory.holds(&other, Domain::Vote, scope, &7_u64, &signature));
        }
        assert_eq!(entered(&memory.signatures).younger.len(), 1);
    }

    #[test]
    fn it_is_bounded() {
        let mut signatures = Signatures::default();
        let name = |number: usize| Hash::of(&number.to_le_bytes());
        (0..3 * SIGNATURES).for_each(|number| signatures.keep(name(number)));
        assert!(signatures.younger.len() + signatures.older.len() <= SIGNATURES);
        assert!(signatures.knows(&name(3 * SIGNATURES - 1)) && !signatures.knows(&name(0)));
    }
}
