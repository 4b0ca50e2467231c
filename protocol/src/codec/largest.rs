//! The largest magnitudes of a chunk: where they lie, ascending, of equal ones the first.
//!
//! As integers, magnitudes order like the numbers. So what is looked for is a least magnitude: of a chunk that fits
//! the cache by bisection, whose step is to count in one pass without branches; of more values by a histogram of
//! their exponents and then among the few of one bucket, in three passes altogether.

/// The bits of infinity: greater ones are of what is not a number.
const INFINITE: u32 = 0x7f80_0000;
/// Chunks of more values are not counted over and over.
const CACHED: usize = 1 << 16;
/// Buckets of magnitudes: the eight bits of the exponent and three of the mantissa.
const BUCKETS: usize = 1 << 11;
const BUCKET_SHIFT: u32 = 31 - 11;
/// Histograms side by side: neighbours are often alike, and a counter just written is read late.
const LANES: usize = 4;
/// Values that are looked at together where few are kept: most rows have none of those.
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
    /// The chosen values' places.
    places: Vec<u32>,
    /// The chosen values.
    kept: Vec<f32>,
    histogram: Vec<[u32; LANES]>,
    /// Magnitudes of the bucket in which the bound is.
    edge: Vec<u32>,
    /// The last bound: chunks of one tensor are alike.
    last: u32,
}

impl Largest {
    /// The places of the `count` largest of `chunk`, and their values; none if not all of it is finite.
    pub(super) fn choose(&mut self, chunk: &[f32], count: usize) -> Option<(&[u32], &[f32])> {
        let largest = magnitude(super::largest_magnitude(chunk));
        if largest >= INFINITE {
            return None;
        }
        let bound = if count == 0 {
            Bound { least: largest + 1, equal: None }
        } else if count == chunk.len() {
            Bound { least: 0, equal: None }
        } else if chunk.len() <= CACHED {
            bisect(chunk, count, largest, self.last)
        } else {
            self.look_up(chunk, count)
        };
        self.last = bound.least;
        self.places.resize(count + 1, 0);
        self.kept.resize(count + 1, 0.0);
        let mut taken = Taken { places: &mut self.places, kept: &mut self.kept, count: 0 };
        taken.take(chunk, count, bound);
        debug_assert_eq!(taken.count, count);
        Some((&self.places[..count], &self.kept[..count]))
    }

    /// The bound for `count` of `chunk`, which are some and not all.
    fn look_up(&mut self, chunk: &[f32], count: usize) -> Bound {
        self.histogram.clear();
        self.histogram.resize(BUCKETS, [0; LANES]);
        let (rows, rest) = chunk.as_chunks::<LANES>();
        for row in rows {
            for (lane, value) in row.iter().enumerate() {
                self.histogram[(magnitude(*value) >> BUCKET_SHIFT) as usize][lane] += 1;
            }
        }
        for value in rest {
            self.histogram[(magnitude(*value) >> BUCKET_SHIFT) as usize][0] += 1;
        }
        let (mut bucket, mut larger, mut within) = (BUCKETS, 0, 0);
        while larger + within < count {
            larger += within;
            bucket -= 1;
            within = self.histogram[bucket].iter().map(|lane| *lane as usize).sum();
        }
        let more = count - larger;
        self.edge.resize(within + 1, 0);
        let mut filled = 0;
        for value in chunk {
            // Written always, and kept where the next one does not take its place.
            self.edge[filled] = magnitude(*value);
            filled += usize::from(magnitude(*value) >> BUCKET_SHIFT == bucket as u32);
        }
        self.edge.truncate(within);
        let (_, least, larger) = self.edge.select_nth_unstable(within - more);
        let (least, larger) = (*least, larger.iter().filter(|edge| **edge > *least).count());
        let equal = self.edge.iter().filter(|edge| **edge == least).count();
        Bound { least, equal: (more - larger < equal).then_some(more - larger) }
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
fn as_large(chunk: &[f32], least: u32) -> usize {
    // Signed, as every processor compares many at a time; a magnitude has no sign.
    let least = least as i32;
    chunk.iter().map(|value| u32::from(magnitude(*value) as i32 >= least)).sum::<u32>() as usize
}

/// The chosen so far, with room for one more.
struct Taken<'a> {
    places: &'a mut [u32],
    kept: &'a mut [f32],
    count: usize,
}

impl Taken<'_> {
    /// Written always, and kept where the next one does not take its place.
    fn offer(&mut self, place: usize, value: f32, keep: bool) {
        self.places[self.count] = place as u32;
        self.kept[self.count] = value;
        self.count += usize::from(keep);
    }

    fn take(&mut self, chunk: &[f32], count: usize, bound: Bound) {
        let Bound { least, equal } = bound;
        if let Some(mut equal) = equal {
            for (place, value) in chunk.iter().enumerate() {
                let same = magnitude(*value) == least && equal > 0;
                equal -= usize::from(same);
                self.offer(place, *value, magnitude(*value) > least || same);
            }
        } else if count * ROW < chunk.len() {
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
                let (places, kept) = largest.choose(chunk, count).unwrap();
                prop_assert_eq!(places, sorted(chunk, count));
                prop_assert!(places.iter().zip(kept).all(|(place, value)| chunk[*place as usize] == *value));
                let bound = largest.look_up(chunk, count);
                let (mut places, mut kept) = (vec![0; count + 1], vec![0.0; count + 1]);
                let mut taken = Taken { places: &mut places, kept: &mut kept, count: 0 };
                taken.take(chunk, count, bound);
                prop_assert_eq!(&places[..count], sorted(chunk, count));
            }
        }
    }

    #[test]
    fn none_all_and_what_is_not_finite() {
        let mut largest = Largest::default();
        assert_eq!(largest.choose(&[1.0, -2.0], 0).unwrap().0, []);
        assert_eq!(largest.choose(&[1.0, -2.0], 2).unwrap().0, [0, 1]);
        assert_eq!(largest.choose(&[], 0).unwrap().0, []);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(largest.choose(&[1.0, value], 1), None);
        }
        // A magnitude of 0 is one like others.
        assert_eq!(largest.choose(&[0.0, -0.0, 0.0], 2).unwrap().0, [0, 1]);
        let many = vec![1.0; CACHED + 3];
        assert_eq!(largest.choose(&many, 2).unwrap().0, [0, 1]);
    }
}
