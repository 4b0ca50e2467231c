//! One download per blob at a time: whoever holds the claim writes its unfinished files.
//!
//! A fetch that finds another download of its blob waits for it. If that is a peer's push, which
//! might trickle, it is given a short grace and then stopped: what it verified stays and counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driftless_protocol::Hash;
use tokio::sync::{Notify, OwnedMutexGuard};

#[derive(Default)]
struct Turn {
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Tells a push to give way.
    give_way: Notify,
}

/// The downloads in progress. Bounded by the plane's limits on fetches and pushes.
pub(crate) struct Claims {
    /// How long a fetch lets a push of the same blob go on.
    grace: Duration,
    turns: Mutex<HashMap<Hash, Arc<Turn>>>,
}

/// The right to write one blob's unfinished files; dropping it passes it on.
pub(crate) struct Claim {
    claims: Arc<Claims>,
    root: Hash,
    turn: Arc<Turn>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Claims {
    pub(crate) fn new(grace: Duration) -> Claims {
        Claims { grace, turns: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, Arc<Turn>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(self: &Arc<Self>, root: Hash) -> Claim {
        let turn = self.lock().entry(root).or_default().clone();
        Claim { claims: self.clone(), root, turn, guard: None }
    }

    /// Claims `root` unless somebody else is downloading it.
    pub(crate) fn try_claim(self: &Arc<Self>, root: Hash) -> Option<Claim> {
        let mut claim = self.turn(root);
        claim.guard = Some(claim.turn.lock.clone().try_lock_owned().ok()?);
        Some(claim)
    }

    /// Claims `root`, waiting for other downloads of it; a push has to give way after a while.
    pub(crate) async fn claim(self: &Arc<Self>, root: Hash) -> Claim {
        let mut claim = self.turn(root);
        let waiting = claim.turn.lock.clone().lock_owned();
        tokio::pin!(waiting);
        let guard = loop {
            match tokio::time::timeout(self.grace, &mut waiting).await {
                Ok(guard) => break guard,
                Err(_) => claim.turn.give_way.notify_waiters(),
            }
        };
        claim.guard = Some(guard);
        claim
    }
}

impl Claim {
    /// Returns when a fetch wants this blob badly enough.
    pub(crate) async fn asked_to_give_way(&self) {
        self.turn.give_way.notified().await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.guard = None;
        let mut turns = self.claims.lock();
        // The map's reference and ours: nobody else waits.
        if Arc::strong_count(&self.turn) == 2 {
            turns.remove(&self.root);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fetch_makes_a_push_give_way_and_nothing_stays_behind() {
        let claims = Arc::new(Claims::new(Duration::from_millis(1)));
        let root = Hash([1; 32]);
        let push = claims.try_claim(root).unwrap();
        assert!(claims.try_claim(root).is_none());
        let fetch = tokio::spawn({
            let claims = claims.clone();
            async move { claims.claim(root).await }
        });
        push.asked_to_give_way().await;
        drop(push);
        drop(fetch.await.unwrap());
        assert!(claims.lock().is_empty());
    }
}
