//! Nothing goes back: neither the time that a session is told, nor the chain, nor where a peer's chain
//! ends.
//!
//! - The time of what a session is told does not decrease while it lives. (That a timer which is due does
//!   not stay due is the driver's promise.)
//! - From block to block the closed slots, counted tokens, the generation, the height of the last change of
//!   seats and the positions of samples ever given out do not decrease, and a stream closes one slot at a
//!   time.
//! - Where a peer's chain ends, by its own word, does not decrease while it lives, also while it rebuilds a
//!   state; and when it comes back, it is not below the last block that it wrote durably, unless its folder
//!   was replaced by an older copy.

use std::collections::BTreeMap;

use driftless_protocol::block::Height;
use driftless_protocol::identity::PeerKey;
use driftless_protocol::membership::ControlPage;
use driftless_protocol::time::Time;

/// What every peer was told, and where it stands.
#[derive(Debug, Default)]
pub struct Clock {
    peers: BTreeMap<PeerKey, Stand>,
}

#[derive(Debug, Default)]
struct Stand {
    /// When it was told something last, in this life.
    told: Time,
    /// Where its chain ended, in this life.
    end: Height,
    /// The highest block that is durable.
    durable: Height,
}

impl Clock {
    /// A peer is told that it is `now`.
    ///
    /// # Errors
    /// If it was told of a later moment.
    pub fn told(&mut self, key: PeerKey, now: Time) -> Result<(), String> {
        let stand = self.peers.entry(key).or_default();
        if now < stand.told {
            return Err(format!("told {} us after {} us", now.0, stand.told.0));
        }
        stand.told = now;
        Ok(())
    }

    /// A peer's chain ends here.
    ///
    /// # Errors
    /// If it ended later before.
    pub fn stands(&mut self, key: PeerKey, end: Height) -> Result<(), String> {
        let stand = self.peers.entry(key).or_default();
        if end < stand.end {
            return Err(format!("its chain ended at height {} and ends at {end}", stand.end));
        }
        stand.end = end;
        Ok(())
    }

    /// A peer wrote a block of this height durably.
    pub fn wrote(&mut self, key: PeerKey, height: Height) {
        let stand = self.peers.entry(key).or_default();
        stand.durable = stand.durable.max(height);
    }

    /// A peer's folder is an older copy, whose last block has this height.
    pub fn restored(&mut self, key: PeerKey, height: Height) {
        self.peers.entry(key).or_default().durable = height;
    }

    /// A peer begins another life, with a chain that ends here.
    ///
    /// # Errors
    /// If it wrote a later block.
    pub fn begins(&mut self, key: PeerKey, end: Height) -> Result<(), String> {
        let durable = self.peers.get(&key).map_or(0, |stand| stand.durable);
        self.peers.insert(key, Stand { told: Time(0), end, durable });
        if end < durable {
            return Err(format!("it wrote height {durable} durably and comes back at {end}"));
        }
        Ok(())
    }

    /// A block leads from one control page to another.
    ///
    /// # Errors
    /// What goes back, or too far ahead.
    pub fn block(before: &ControlPage, after: &ControlPage) -> Result<(), String> {
        let streams = before.closed.iter().zip(&after.closed);
        let closed = before.closed.len() == after.closed.len()
            && streams
                .into_iter()
                .all(|(before, after)| (*before..=before.saturating_add(1)).contains(after));
        let pairs = [
            ("tokens", before.counted_tokens, after.counted_tokens),
            ("the generation", before.generation.into(), after.generation.into()),
            ("the last change of seats", before.seats_changed, after.seats_changed),
            ("samples given out", before.pool.next, after.pool.next),
            ("convictions", before.convicted.len() as u64, after.convicted.len() as u64),
        ];
        if let Some((what, before, after)) = pairs.into_iter().find(|(_, before, after)| after < before) {
            return Err(format!("{what}: {before}, then {after}"));
        }
        if after.height != before.height + 1 || after.seats_changed > after.height {
            return Err(format!("height {} follows {}", after.height, before.height));
        }
        if closed { Ok(()) } else { Err(format!("closed {:?}, then {:?}", before.closed, after.closed)) }
    }
}

#[cfg(test)]
mod tests {
    use driftless_protocol::charter::Charter;

    use super::*;
    use crate::setup::Setup;

    const KEY: PeerKey = PeerKey([1; 32]);

    #[test]
    fn neither_time_nor_a_peers_chain_goes_back() {
        let mut clock = Clock::default();
        assert_eq!(clock.told(KEY, Time(5)), Ok(()));
        assert_eq!(clock.told(KEY, Time(5)), Ok(()));
        assert!(clock.told(KEY, Time(4)).is_err());
        assert_eq!(clock.stands(KEY, 3), Ok(()));
        assert!(clock.stands(KEY, 2).is_err());
    }

    #[test]
    fn whoever_comes_back_has_what_it_wrote_unless_its_folder_is_older() {
        let mut clock = Clock::default();
        clock.wrote(KEY, 7);
        assert!(clock.begins(KEY, 6).unwrap_err().contains("wrote height 7"));
        assert_eq!(clock.begins(KEY, 7), Ok(()));
        clock.restored(KEY, 4);
        assert_eq!(clock.begins(KEY, 4), Ok(()));
        assert!(clock.stands(KEY, 3).is_err());
        // Another life has another clock.
        assert_eq!(clock.told(KEY, Time(9)).and(clock.begins(KEY, 4)).and(clock.told(KEY, Time(1))), Ok(()));
    }

    #[test]
    fn a_chain_goes_on_and_one_slot_at_a_time() {
        let charter = Charter::new(Setup::small(1, 4).sealed_manifest()).unwrap();
        let genesis = charter.genesis_control();
        let mut before = ControlPage { height: 4, counted_tokens: 10, generation: 1, ..genesis.clone() };
        before.closed = vec![3, 2];
        let after = ControlPage { height: 5, ..before.clone() };
        assert_eq!(Clock::block(&before, &after), Ok(()));
        for wrong in [
            ControlPage { height: 6, ..after.clone() },
            ControlPage { counted_tokens: 9, ..after.clone() },
            ControlPage { generation: 0, ..after.clone() },
            ControlPage { closed: vec![2, 2], ..after.clone() },
            ControlPage { closed: vec![3, 4], ..after.clone() },
            ControlPage { seats_changed: 6, ..after.clone() },
        ] {
            assert!(Clock::block(&before, &wrong).is_err(), "{wrong:?}");
        }
    }
}
