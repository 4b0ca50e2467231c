//! Positions of the order of training samples: what a lease allows, and what a contribution used.

use bincode::de::Decoder;
use bincode::error::DecodeError;
use bincode::{Decode, Encode};

/// Ranges of positions, in the order of their use.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode)]
pub struct Positions(Vec<Piece>);

impl<C> Decode<C> for Positions {
    /// What came from outside is short: everybody who checks it compares range with range.
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Positions, DecodeError> {
        let pieces = Vec::<Piece>::decode(decoder)?;
        match pieces.len() <= Positions::MAX_PIECES {
            true => Ok(Positions(pieces)),
            false => Err(DecodeError::Other("more ranges of samples than a claim may have")),
        }
    }
}
bincode::impl_borrow_decode!(Positions);

/// Neighbouring positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Piece {
    /// The first (epoch x samples per epoch + position).
    pub start: u64,
    /// How many.
    pub samples: u32,
}

impl Piece {
    fn end(self) -> u64 {
        self.start.saturating_add(u64::from(self.samples))
    }

    /// What of it lies outside `other`: before and behind.
    fn without(self, other: Piece) -> impl Iterator<Item = Piece> {
        let part = |start: u64, end: u64| Piece { start, samples: end.saturating_sub(start) as u32 };
        let before = part(self.start, self.end().min(other.start));
        let behind = part(self.start.max(other.end()), self.end());
        let parts = if self.meets(other) { [before, behind] } else { [self, part(0, 0)] };
        parts.into_iter().filter(|part| part.samples > 0)
    }

    fn meets(self, other: Piece) -> bool {
        self.start < other.end() && other.start < self.end()
    }
}

impl Positions {
    /// The most ranges that are read. Leases have fewer.
    pub const MAX_PIECES: usize = 32;

    /// The same positions in as few ranges as possible, ascending.
    #[must_use]
    pub fn joined(&self) -> Positions {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by_key(|piece| piece.start);
        sorted.into_iter().collect()
    }

    /// One range.
    pub fn range(start: u64, samples: u32) -> Positions {
        [Piece { start, samples }].into_iter().collect()
    }

    /// The ranges.
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many positions there are.
    pub fn len(&self) -> u64 {
        self.0.iter().fold(0, |sum, piece| sum.saturating_add(u64::from(piece.samples)))
    }

    /// Each position.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().flat_map(|piece| piece.start..piece.end())
    }

    /// Adds a range behind the others.
    pub fn push(&mut self, piece: Piece) {
        match self.0.last_mut() {
            _ if piece.samples == 0 => {}
            Some(last) if last.end() == piece.start && last.samples.checked_add(piece.samples).is_some() => {
                last.samples += piece.samples;
            }
            _ => self.0.push(piece),
        }
    }

    /// Those that are not in `others`.
    pub fn without(&self, others: &Positions) -> Positions {
        let cut = |pieces: Vec<Piece>, other: &Piece| {
            pieces.into_iter().flat_map(|piece| piece.without(*other)).collect()
        };
        Positions(others.0.iter().fold(self.0.clone(), cut))
    }

    /// The first `samples` of them.
    pub fn first(&self, samples: u64) -> Positions {
        let mut left = samples;
        let taken = self.0.iter().map(|piece| {
            let samples = u64::from(piece.samples).min(left) as u32;
            left -= u64::from(samples);
            Piece { samples, ..*piece }
        });
        taken.collect()
    }

    /// Whether all of them are in `others`.
    pub fn are_in(&self, others: &Positions) -> bool {
        self.without(others).is_empty()
    }

    /// Whether each comes once, and none is beyond what can be counted. What came from outside is asked this
    /// first.
    pub fn are_distinct(&self) -> bool {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by_key(|piece| piece.start);
        let real =
            |piece: &Piece| piece.samples > 0 && piece.start.checked_add(u64::from(piece.samples)).is_some();
        sorted.iter().all(real) && sorted.windows(2).all(|pair| pair[0].end() <= pair[1].start)
    }
}

impl FromIterator<Piece> for Positions {
    fn from_iter<I: IntoIterator<Item = Piece>>(pieces: I) -> Positions {
        let mut positions = Positions::default();
        positions.extend(pieces);
        positions
    }
}

impl Extend<Piece> for Positions {
    fn extend<I: IntoIterator<Item = Piece>>(&mut self, pieces: I) {
        pieces.into_iter().for_each(|piece| self.push(piece));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn positions(pieces: &[(u64, u32)]) -> Positions {
        pieces.iter().map(|(start, samples)| Piece { start: *start, samples: *samples }).collect()
    }

    #[test]
    fn ranges_that_touch_are_one_and_order_is_kept() {
        let mut found = positions(&[(10, 5), (15, 1), (3, 2), (5, 0)]);
        assert_eq!(found, positions(&[(10, 6), (3, 2)]));
        assert_eq!(found.iter().collect::<Vec<_>>(), [10, 11, 12, 13, 14, 15, 3, 4]);
        assert_eq!(found.first(7), positions(&[(10, 6), (3, 1)]));
        found = found.without(&positions(&[(12, 2), (4, 4)]));
        assert_eq!(found, positions(&[(10, 2), (14, 2), (3, 1)]));
    }

    #[test]
    fn more_ranges_than_leases_have_are_not_read() {
        let read = |pieces: u64| {
            let bytes = crate::wire::encode(&positions(&(0..pieces).map(|n| (3 * n, 1)).collect::<Vec<_>>()));
            crate::wire::decode::<Positions>("positions", &bytes, 1 << 20)
        };
        assert_eq!(read(Positions::MAX_PIECES as u64).unwrap().len(), Positions::MAX_PIECES as u64);
        assert!(read(Positions::MAX_PIECES as u64 + 1).is_err());
        assert_eq!(positions(&[(10, 5), (0, 3), (3, 7)]).joined(), positions(&[(0, 15)]));
    }

    #[test]
    fn hostile_ranges_are_told() {
        assert!(positions(&[(4, 4), (0, 3)]).are_distinct());
        assert!(!positions(&[(4, 4), (0, 5)]).are_distinct());
        assert!(!positions(&[(u64::MAX, 1)]).are_distinct());
        assert!(!Positions(vec![Piece { start: 4, samples: 0 }]).are_distinct());
        assert!(!Positions(vec![Piece { start: 4, samples: 1 }; 2]).are_distinct());
    }

    proptest! {
        #[test]
        fn they_are_what_sets_are(
            ours in prop::collection::vec((0u64..60, 0u32..9), 0..6),
            others in prop::collection::vec((0u64..60, 0u32..9), 0..6),
            first in 0usize..30,
        ) {
            let (ours, others) = (positions(&ours), positions(&others));
            let theirs: BTreeSet<u64> = others.iter().collect();
            let left: Vec<u64> = ours.iter().filter(|position| !theirs.contains(position)).collect();
            prop_assert_eq!(ours.without(&others).iter().collect::<Vec<_>>(), left.clone());
            prop_assert_eq!(ours.are_in(&others), left.is_empty());
            prop_assert_eq!(ours.len(), ours.iter().count() as u64);
            let taken: Vec<u64> = ours.iter().take(first).collect();
            prop_assert_eq!(ours.first(first as u64).iter().collect::<Vec<_>>(), taken);
            let set: BTreeSet<u64> = ours.iter().collect();
            prop_assert_eq!(ours.are_distinct(), set.len() == ours.iter().count());
        }
    }
}
