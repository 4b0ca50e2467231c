//! The largest magnitudes of a chunk: where they lie, ascending, of equal ones the first.
//!
//! As integers, magnitudes order like the numbers. So what is looked for is a least magnitude: of a chunk that fits
//! the cache by bisection, whose step is to count in one pass without branches; of more values among those few that lie
//! between two magnitudes of a sample.

/// The bits of infinity: greater ones are of what is not a number.
const INFINITE: u32 = 0x7f80_0000;
/// Chunks of more values are not counted over and over.
const CACHED: usize = 1 << 16;
/// How many of them say where the bound lies, and within how many standard deviations of what they say.
const SAMPLE: usize = 1 << 15;
const DEVIATIONS: f64 = 5.0;
/// Values that are looked at together where few are wanted: most rows have none of those.
const ROW: usize = 16;
/// Where bisection first looks beside what was right for the chunk before: a sixty-fourth of an octave.
const NEAR: u32 = 1 << 17;

fn magnitude(value: f32) -> u32 {
    value.to_bits() & 0x7fff_ffff
}

/// What is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Bound {
    /// Everything larger than this.
    least: u32,
    /// Of those that are just as large the first so many; all of them if not said.
    equal: Option<usize>,
}

/// Chooses from one chunk after another, with room that is used again.
#[derive(Default)]
pub(super) struct Largest {
    sample: Vec<u32>,
    /// Magnitudes among which the bound is.
    edge: Vec<u32>,
    /// The last bound: chunks of one tensor are alike.
    last: u32,
}

impl Largest {
    /// Writes the places of as many of `chunk`'s largest as there is room for, and their values, little-endian.
    /// Returns whether all of it is finite; if not, what was written means nothing.
    pub(super) fn choose(&mut self, chunk: &[f32], places: &mut [[u8; 4]], kept: &mut [[u8; 4]]) -> bool {
        let largest = magnitude(super::largest_magnitude(chunk));
        let count = places.len();
        if largest >= INFINITE || count == 0 {
            return largest < INFINITE;
        }
        let bound = if count == chunk.len() {
            Bound { least: 0, equal: None }
        } else if chunk.len() <= CACHED {
            bisect(chunk, count, largest, self.last)
        } else {
            self.between(chunk, count).unwrap_or_else(|| bisect(chunk, count, largest, self.last))
        };
        self.last = bound.least;
        let mut taken = Taken { places, kept, count: 0 };
        taken.take(chunk, bound);
        debug_assert_eq!(taken.count, count);
        true
    }

    /// The bound for `count` of `chunk`, which are some and not all; none if the sample misled.
    fn between(&mut self, chunk: &[f32], count: usize) -> Option<Bound> {
        let (low, high) = self.ask_sample(chunk, count);
        self.edge.clear();
        let mut larger = 0;
        let (rows, rest) = chunk.as_chunks::<ROW>();
        for row in rows {
            let above = as_large(row, high + 1);
            larger += above;
            if as_large(row, low) > above {
                self.edge
                    .extend(row.iter().copied().map(magnitude).filter(|value| (low..=high).contains(value)));
            }
        }
        larger += as_large(rest, high + 1);
        self.edge.extend(rest.iter().copied().map(magnitude).filter(|value| (low..=high).contains(value)));
        let more = count.checked_sub(larger).filter(|more| (1..=self.edge.len()).contains(more))?;
        let at = self.edge.len() - more;
        let (_, least, above) = self.edge.select_nth_unstable(at);
        let (least, above) = (*least, above.iter().filter(|edge| **edge > *least).count());
        let equal = self.edge.iter().filter(|edge| **edge == least).count();
        Some(Bound { least, equal: (more - above < equal).then_some(more - above) })
    }

    /// Two magnitudes between which the `count`-th largest of `chunk` lies, by all odds.
    fn ask_sample(&mut self, chunk: &[f32], count: usize) -> (u32, u32) {
        self.sample.clear();
        let step = (chunk.len() / SAMPLE).max(1);
        self.sample.extend(chunk.iter().step_by(step).copied().map(magnitude));
        let all = self.sample.len();
        let share = count as f64 / chunk.len() as f64;
        let margin = (DEVIATIONS * (share * (1.0 - share) * all as f64).sqrt()) as usize + 1;
        let below = all - ((share * all as f64) as usize).min(all);
        let (low, high) = (below.saturating_sub(margin), (below + margin).min(all - 1));
        let (_, low, rest) = self.sample.select_nth_unstable(low);
        let low = *low;
        // Of the rest, if there is one, the place of the other moves up.
        let skipped = all - rest.len();
        let high = high.checked_sub(skipped).map_or(low, |high| *rest.select_nth_unstable(high).1);
        (low, high)
    }
}

/// The bound for `count` of `chunk`, which are some and not all; the search begins `near`.
fn bisect(chunk: &[f32], count: usize, largest: u32, near: u32) -> Bound {
    // More than `count` are as large as `low`, and fewer as `high`, if it is looked at: so many.
    let (mut low, mut high, mut of_high) = (0, largest + 1, 0);
    let (mut next, mut step) = (near, NEAR);
    while high - low > 1 {
        let least = next.clamp(low + 1, high - 1);
        let found = as_large(chunk, least);
        if found == count {
            return Bound { least, equal: None };
        }
        let bracketed = if found > count {
            low = least;
            of_high > 0
        } else {
            (high, of_high) = (least, found);
            low > 0
        };
        next = match (bracketed, found > count) {
            (true, _) => low + (high - low) / 2,
            (false, true) => low.saturating_add(step),
            (false, false) => high.saturating_sub(step),
        };
        step = step.saturating_mul(2);
    }
    Bound { least: low, equal: Some(count - of_high) }
}

/// How many are at least as large.
#[inline]
fn as_large(chunk: &[f32], least: u32) -> usize {
    // Signed, as every processor compares many at a time; a magnitude has no sign.
    let least = least as i32;
    chunk.iter().map(|value| u32::from(magnitude(*value) as i32 >= least)).sum::<u32>() as usize
}

/// The chosen so far.
struct Taken<'a> {
    places: &'a mut [[u8; 4]],
    kept: &'a mut [[u8; 4]],
    count: usize,
}

impl Taken<'_> {
    /// Written always, and kept where the next one does not take its place.
    fn offer(&mut self, place: usize, value: f32, keep: bool) {
        if let (Some(at), Some(kept)) = (self.places.get_mut(self.count), self.kept.get_mut(self.count)) {
            (*at, *kept) = ((place as u32).to_le_bytes(), value.to_le_bytes());
            self.count += usize::from(keep);
        }
    }

    fn take(&mut self, chunk: &[f32], bound: Bound) {
        let Bound { least, equal } = bound;
        if let Some(mut equal) = equal {
            for (place, value) in chunk.iter().enumerate() {
                let same = magnitude(*value) == least && equal > 0;
                equal -= usize::from(same);
                self.offer(place, *value, magnitude(*value) > least || same);
            }
        } else if self.places.len() * ROW < chunk.len() {
            for (row, values) in chunk.chunks(ROW).enumerate() {
                if magnitude(super::largest_magnitude(values)) >= least {
                    self.take_from(values, row * ROW, least);
                }
            }
        } else {
            self.take_from(chunk, 0, least);
        }
    }

    fn take_from(&mut self, values: &[f32], start: usize, least: u32) {
        for (place, value) in values.iter().enumerate() {
            self.offer(start + place, *value, magnitude(*value) >= least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As it is said: sorted by magnitude, and of equal ones the first.
    fn sorted(chunk: &[f32], count: usize) -> Vec<u32> {
        let mut places: Vec<u32> = (0..chunk.len() as u32).collect();
        places.sort_by_key(|place| std::cmp::Reverse(magnitude(chunk[*place as usize])));
        places.truncate(count);
        places.sort_unstable();
        places
    }

    /// The places, after a look at the values.
    fn chosen(largest: &mut Largest, chunk: &[f32], count: usize) -> Option<Vec<u32>> {
        let (mut places, mut kept) = (vec![[0; 4]; count], vec![[0; 4]; count]);
        let finite = largest.choose(chunk, &mut places, &mut kept);
        let places: Vec<u32> = places.into_iter().map(u32::from_le_bytes).collect();
        let values = places.iter().map(|place| chunk[*place as usize].to_le_bytes());
        assert!(!finite || values.eq(kept));
        finite.then_some(places)
    }

    proptest! {
        #[test]
        fn both_ways_find_what_sorting_finds(
            coarse in prop::collection::vec(-6i8..6, 2..600),
            fine in prop::collection::vec(-1e3f32..1e3, 2..600),
            near: u32,
            share in 0.0f64..1.0,
        ) {
            let coarse: Vec<f32> = coarse.iter().map(|value| f32::from(*value) / 3.0).collect();
            for chunk in [&coarse, &fine] {
                let count = ((chunk.len() as f64 * share) as usize).clamp(1, chunk.len() - 1);
                let mut largest = Largest { last: near, ..Largest::default() };
                prop_assert_eq!(chosen(&mut largest, chunk, count).unwrap(), sorted(chunk, count));
                let bound = largest.between(chunk, count).unwrap();
                let (mut places, mut kept) = (vec![[0; 4]; count], vec![[0; 4]; count]);
                let mut taken = Taken { places: &mut places, kept: &mut kept, count: 0 };
                taken.take(chunk, bound);
                prop_assert_eq!(places.into_iter().map(u32::from_le_bytes).collect::<Vec<_>>(), sorted(chunk, count));
            }
        }
    }

    #[test]
    fn none_all_and_what_is_not_finite() {
        let choose = |chunk: &[f32], count| chosen(&mut Largest::default(), chunk, count);
        assert_eq!(choose(&[1.0, -2.0], 0), Some(vec![]));
        assert_eq!(choose(&[1.0, -2.0], 2), Some(vec![0, 1]));
        assert_eq!(choose(&[], 0), Some(vec![]));
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(choose(&[1.0, value], 1), None);
        }
        // A magnitude of 0 is one like others.
        assert_eq!(choose(&[0.0, -0.0, 0.0], 2), Some(vec![0, 1]));
        assert_eq!(choose(&vec![1.0; CACHED + 3], 2), Some(vec![0, 1]));
    }
}
