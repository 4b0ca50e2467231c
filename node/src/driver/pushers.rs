//! Whose pushed blobs are taken, and how many: members and voters may push what is as long as a
//! contribution, a handful at a time. What they pushed and no block names is swept up later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use driftless_protocol::block::Height;
use driftless_protocol::charter::Charter;
use driftless_protocol::state::State;
use driftless_protocol::{Hash, PeerKey};

/// Shared between the driver, which knows the state, and the data plane, which asks.
#[derive(Debug)]
pub(crate) struct Pushers {
    /// Lengths of the session's contributions.
    lengths: BTreeSet<u64>,
    streams: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    height: Height,
    /// Members and seats at that height.
    known: BTreeSet<PeerKey>,
    voters: BTreeSet<PeerKey>,
    /// What was let in lately, each with our height then. At most [`Pushers::most`] per known key.
    taken: BTreeMap<PeerKey, Vec<(Hash, Height)>>,
}

impl Pushers {
    /// Nobody but the members and seats of `state`.
    pub fn new(charter: &Charter, state: &State) -> Pushers {
        let method = &charter.manifest.method;
        // A method may have two lengths: of a member's first contribution, and of those after it.
        let codecs = [method.codec(), method.codec_after(0)].into_iter().flatten();
        let lengths = charter.lengths.iter();
        let lengths = lengths.flat_map(|values| codecs.clone().map(|codec| codec.encoded_len(*values)));
        let lengths = lengths.collect();
        let pushers = Pushers { lengths, streams: charter.lengths.len(), inner: Mutex::default() };
        let mut inner = pushers.lock();
        (inner.known, inner.voters) = (known(state), voters(state));
        drop(inner);
        pushers
    }

    /// Blobs of one key that may come while `streams` blocks pass: in that time an honest one makes
    /// a contribution for each slot that was open and each that opened.
    fn most(&self) -> usize {
        2 * self.streams + 2
    }

    /// Whether a blob is taken from this peer now; if so, it counts.
    pub fn take(&self, from: &PeerKey, root: &Hash, length: u64) -> bool {
        let mut inner = self.lock();
        if !self.lengths.contains(&length) || !inner.known.contains(from) {
            return false;
        }
        let height = inner.height;
        let taken = inner.taken.entry(*from).or_default();
        if taken.iter().any(|(known, _)| known == root) {
            return true;
        }
        let room = taken.len() < self.most();
        if room {
            taken.push((*root, height));
        }
        room
    }

    /// Whether this peer is a member or has a seat.
    pub fn knows(&self, peer: &PeerKey) -> bool {
        self.lock().known.contains(peer)
    }

    /// Everybody who is in the session, and who of them votes.
    pub fn members_and_voters(&self) -> (BTreeSet<PeerKey>, BTreeSet<PeerKey>) {
        let inner = self.lock();
        (inner.known.clone(), inner.voters.clone())
    }

    /// The head may have moved.
    pub fn follow(&self, state: &State) {
        let height = state.control.height;
        let mut inner = self.lock();
        if inner.height == height {
            return;
        }
        (inner.height, inner.known, inner.voters) = (height, known(state), voters(state));
        let Inner { known, taken, .. } = &mut *inner;
        taken.retain(|peer, blobs| {
            blobs.retain(|(_, then)| then + self.streams as u64 > height);
            known.contains(peer) && !blobs.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn voters(state: &State) -> BTreeSet<PeerKey> {
    state.control.seats.iter().copied().collect()
}

fn known(state: &State) -> BTreeSet<PeerKey> {
    let members = state.control.members.iter().map(|member| member.key);
    members.chain(state.control.seats.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftless_protocol::identity::Signer;
    use driftless_protocol::membership::{ControlPage, LeaseRules};

    fn state(height: Height, seats: Vec<PeerKey>) -> State {
        let mut control =
            ControlPage::genesis(2, seats, LeaseRules { target: 0, max_lag: 4, window: 1, batch: 1 });
        control.height = height;
        State { control: control.into(), arrays: Vec::new(), estimates: Default::default() }
    }

    #[test]
    fn only_known_keys_push_only_contributions_and_only_a_handful() {
        let [voter, stranger] = [1, 2].map(|seed| Signer::from_seed([seed; 32]).key());
        let inner = Inner { known: known(&state(0, vec![voter])), ..Inner::default() };
        let pushers = Pushers { lengths: [100, 40].into(), streams: 2, inner: Mutex::new(inner) };
        let root = |number: u8| Hash([number; 32]);
        assert!(!pushers.take(&stranger, &root(0), 100));
        assert!(!pushers.take(&voter, &root(0), 101));
        for number in 0..6 {
            assert!(pushers.take(&voter, &root(number), 100), "{number}");
        }
        assert!(!pushers.take(&voter, &root(6), 40), "the seventh is too much");
        assert!(pushers.take(&voter, &root(3), 100), "another try of one that was let in");
        pushers.follow(&state(1, vec![voter]));
        assert!(!pushers.take(&voter, &root(6), 40));
        pushers.follow(&state(2, vec![voter]));
        assert!(pushers.take(&voter, &root(6), 40), "two blocks later there is room again");
        pushers.follow(&state(3, vec![stranger]));
        assert!(!pushers.take(&voter, &root(7), 40) && pushers.take(&stranger, &root(7), 40));
        assert_eq!(pushers.lock().taken.len(), 1, "who is gone is forgotten");
    }
}
