//! Replicated state: pages, the control page and the digest over both.
//!
//! Every array of the model (outer parameters, outer momentum, ...) is laid out fragment by
//! fragment, each fragment starting a page of 262,144 f32 (1 MiB). A page is a blob named by the
//! BLAKE3 hash of its little-endian bytes, so a snapshot is nothing but the list of page hashes
//! at a height. Pages are shared and replaced as a whole: a candidate state costs only what it
//! touches, and only touched pages are hashed again.
//!
//! Where the method keeps an estimate of each member's gradient (EF21's g_j), those pages come after all
//! arrays, in the order of the members' keys. Who has one follows from the control page: a member of which
//! a contribution was counted since it joined.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::block::Slot;
use crate::control::Control;
use crate::identity::{Hash, PeerKey};
use crate::membership::ControlPage;
use crate::method::Method;

/// Values in a full page.
pub const PAGE_VALUES: usize = 262_144;
/// Bytes in a full page.
pub const PAGE_BYTES: usize = PAGE_VALUES * 4;

#[cfg(target_endian = "big")]
compile_error!("pages are little-endian bytes in memory; big-endian machines are not supported");

/// Up to `PAGE_VALUES` values with their hash.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    values: Arc<[f32]>,
    hash: Hash,
}

/// Why bytes are not the page that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Not the number of bytes that the layout gives this page.
    #[error("page {root}: {found} bytes instead of {expected}")]
    Length {
        /// The page's name.
        root: Hash,
        /// Bytes expected.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// The bytes hash to another name.
    #[error("page {expected}: its bytes hash to {found}")]
    Hash {
        /// The page's name.
        expected: Hash,
        /// The hash of the bytes.
        found: Hash,
    },
    /// A value that no state may contain.
    #[error("page {root}: value {index} is not finite")]
    NotFinite {
        /// The page's name.
        root: Hash,
        /// Position in the page.
        index: usize,
    },
    /// The number of pages is not the layout's.
    #[error("{found} pages instead of {expected}")]
    Count {
        /// Pages expected.
        expected: usize,
        /// Pages found.
        found: usize,
    },
}

impl Page {
    /// A page of `values` (1 to `PAGE_VALUES`).
    pub fn new(values: &[f32]) -> Page {
        debug_assert!(values.len() <= PAGE_VALUES);
        Page { hash: Hash::of(bytemuck::cast_slice(values)), values: values.into() }
    }

    /// The page named `root` from its bytes.
    pub fn from_bytes(root: Hash, bytes: &[u8], values: usize) -> Result<Page, PageError> {
        if bytes.len() != values * 4 {
            return Err(PageError::Length { root, expected: values * 4, found: bytes.len() });
        }
        let found = Hash::of(bytes);
        if found != root {
            return Err(PageError::Hash { expected: root, found });
        }
        let values: Arc<[f32]> = bytemuck::pod_collect_to_vec::<u8, f32>(bytes).into();
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(PageError::NotFinite { root, index }),
            None => Ok(Page { values, hash: root }),
        }
    }

    /// The page's name.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// What a fault of the memory makes of it: the same name, one bit of one value another. For
    /// simulations.
    pub fn decayed(&self, value: usize, bit: u32) -> Page {
        let mut values = self.values.to_vec();
        values[value] = f32::from_bits(values[value].to_bits() ^ (1 << bit));
        Page { values: values.into(), hash: self.hash }
    }

    /// Its values.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Its bytes, as they stand in a blob.
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.values)
    }
}

/// One array of one fragment, as pages.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Array {
    pages: Vec<Page>,
}

impl Array {
    /// Cuts `values` into pages.
    pub fn new(values: &[f32]) -> Array {
        Array { pages: values.chunks(PAGE_VALUES).map(Page::new).collect() }
    }

    /// Its pages.
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// The same array with another page in the place of one.
    pub fn with_page(mut self, index: usize, page: Page) -> Array {
        self.pages[index] = page;
        self
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.pages.iter().map(|page| page.values.len()).sum()
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// All values in one piece.
    pub fn to_vec(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.len());
        self.pages.iter().for_each(|page| values.extend_from_slice(&page.values));
        values
    }

    /// One hash over the page hashes: what an announcement names as its base.
    pub fn digest(&self) -> Hash {
        digest_of(self.pages.iter().map(Page::hash))
    }
}

/// The replicated state at one height.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Everything that is not a tensor.
    pub control: Control,
    /// `arrays[a][f]`: array `a` (0 = outer parameters) of fragment `f`.
    pub arrays: Vec<Vec<Array>>,
    /// By member, what is known of its gradient, where the method keeps that.
    pub estimates: BTreeMap<PeerKey, Array>,
}

/// What of a session says how its pages lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Arrays of each fragment.
    pub arrays: usize,
    /// Number of values of each fragment.
    pub lengths: Vec<usize>,
    /// Whether there are estimates of the members' gradients, and of how many at most.
    pub estimates: Option<u16>,
}

impl State {
    /// The outer parameters of a fragment.
    pub fn outer(&self, fragment: usize) -> &Array {
        &self.arrays[0][fragment]
    }

    /// The outer parameters that contributions to an open slot are taken against.
    pub fn base(&self, method: &Method, slot: Slot) -> &Array {
        let stream = usize::from(slot.stream);
        let array = method.base_array(slot.ordinal, self.control.closed[stream]);
        &self.arrays[array][stream]
    }

    /// Every page in digest order.
    pub fn pages(&self) -> impl Iterator<Item = &Page> {
        self.arrays.iter().flatten().chain(self.estimates.values()).flat_map(|array| array.pages.iter())
    }

    /// The same with nothing known of anybody's gradient.
    #[must_use]
    pub fn without_estimates(self) -> State {
        State { estimates: BTreeMap::new(), ..self }
    }

    /// Drops the estimates of those who left, and of those who began anew since.
    pub(crate) fn forget_estimates(&mut self) {
        let control = &self.control;
        let has = |key: &PeerKey| control.member(key).is_some_and(|member| member.counted > 0);
        self.estimates.retain(|key, _| has(key));
    }

    /// BLAKE3(control page hash, page hashes in order).
    pub fn digest(&self) -> Hash {
        digest_of(std::iter::once(self.control.hash()).chain(self.pages().map(Page::hash)))
    }

    /// Rebuilds a state from its parts.
    pub fn assemble(
        control: ControlPage,
        shape: &Shape,
        roots: &[Hash],
        mut read: impl FnMut(Hash, usize) -> Result<Page, PageError>,
    ) -> Result<State, PageError> {
        let sizes = shape.page_sizes(&control);
        if sizes.len() != roots.len() {
            return Err(PageError::Count { expected: sizes.len(), found: roots.len() });
        }
        let mut next = sizes.into_iter().zip(roots);
        let mut take = |length: usize| -> Result<Array, PageError> {
            let pages = next.by_ref().take(length.div_ceil(PAGE_VALUES));
            let pages = pages.map(|(values, root)| read(*root, values)).collect::<Result<_, _>>()?;
            Ok(Array { pages })
        };
        let lengths = &shape.lengths;
        let arrays = (0..shape.arrays)
            .map(|_| lengths.iter().map(|length| take(*length)).collect())
            .collect::<Result<_, _>>()?;
        let all = lengths.iter().sum();
        let estimates =
            shape.estimated(&control).map(|key| Ok((key, take(all)?))).collect::<Result<_, _>>()?;
        Ok(State { control: control.into(), arrays, estimates })
    }
}

impl Shape {
    /// The members that have an estimate.
    fn estimated(&self, control: &ControlPage) -> impl Iterator<Item = PeerKey> {
        let counted = control.members.iter().filter(|member| self.estimates.is_some() && member.counted > 0);
        counted.map(|member| member.key)
    }

    /// Number of values of every page that a state with this control page has, in digest order.
    pub fn page_sizes(&self, control: &ControlPage) -> Vec<usize> {
        let mut sizes = self.array_sizes();
        let estimate = page_sizes(self.lengths.iter().sum());
        self.estimated(control).for_each(|_| sizes.extend(estimate.clone()));
        sizes
    }

    /// Number of values of every page of the arrays, in digest order: all that a genesis state has.
    pub fn array_sizes(&self) -> Vec<usize> {
        let one: Vec<usize> = self.lengths.iter().flat_map(|length| page_sizes(*length)).collect();
        one.repeat(self.arrays)
    }

    /// The most pages that a state has.
    pub fn most_pages(&self) -> usize {
        let all = self.lengths.iter().sum::<usize>().div_ceil(PAGE_VALUES);
        let estimates = usize::from(self.estimates.unwrap_or(0));
        self.array_sizes().len().saturating_add(all.saturating_mul(estimates))
    }
}

/// Number of values of every page of so many.
fn page_sizes(values: usize) -> impl Iterator<Item = usize> + Clone {
    let full = std::iter::repeat_n(PAGE_VALUES, values / PAGE_VALUES);
    full.chain((!values.is_multiple_of(PAGE_VALUES)).then_some(values % PAGE_VALUES))
}

/// Number of pages of so many arrays of fragments with these lengths.
pub(crate) fn page_count(arrays: usize, lengths: impl Iterator<Item = u64>) -> u64 {
    lengths.map(|length| length.div_ceil(PAGE_VALUES as u64)).sum::<u64>().saturating_mul(arrays as u64)
}

/// The digest of a state given as control page bytes and page hashes.
pub fn state_digest(control: &[u8], pages: impl Iterator<Item = Hash>) -> Hash {
    digest_of(std::iter::once(Hash::of(control)).chain(pages))
}

/// One hash over hashes in order.
pub(crate) fn digest_of(hashes: impl Iterator<Item = Hash>) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hashes.for_each(|hash| {
        hasher.update(&hash.0);
    });
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::membership::LeaseRules;

    fn state(values: &[f32]) -> State {
        let control =
            ControlPage::genesis(1, Vec::new(), LeaseRules { target: 0, max_lag: 4, window: 1, batch: 1 });
        let arrays = vec![vec![Array::new(values)], vec![Array::new(&[0.0; 3])]];
        State { control: control.into(), arrays, estimates: BTreeMap::new() }
    }

    fn rebuild(state: &State) -> Result<State, PageError> {
        let roots: Vec<Hash> = state.pages().map(Page::hash).collect();
        let lengths = vec![state.outer(0).len()];
        let shape = Shape { arrays: state.arrays.len(), lengths, estimates: Some(9) };
        let mut pages = state.pages();
        State::assemble((*state.control).clone(), &shape, &roots, |root, values| {
            let page = pages.next().expect("as many pages as roots");
            Page::from_bytes(root, page.bytes(), values)
        })
    }

    #[test]
    fn the_last_page_is_as_short_as_its_data_and_a_full_one_is_full() {
        let array = Array::new(&vec![1.0; PAGE_VALUES + 5]);
        let lengths: Vec<usize> = array.pages().iter().map(|page| page.values().len()).collect();
        assert_eq!(lengths, [PAGE_VALUES, 5]);
        let sizes = |arrays, lengths| Shape { arrays, lengths, estimates: None }.array_sizes();
        assert_eq!(sizes(2, vec![PAGE_VALUES + 5, 7]), [PAGE_VALUES, 5, 7, PAGE_VALUES, 5, 7]);
        assert_eq!(sizes(1, vec![PAGE_VALUES]), [PAGE_VALUES]);
    }

    #[test]
    fn the_digest_is_the_hash_of_the_control_hash_and_the_page_hashes() {
        let state = state(&[1.0, -2.0, 3.5]);
        let mut expected = blake3::Hasher::new();
        expected.update(blake3::hash(&state.control.to_bytes()).as_bytes());
        for values in [[1.0f32, -2.0, 3.5], [0.0; 3]] {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            expected.update(blake3::hash(&bytes).as_bytes());
        }
        assert_eq!(state.digest(), Hash(*expected.finalize().as_bytes()));
    }

    #[test]
    fn wrong_pages_are_refused_by_name() {
        let page = Page::new(&[1.0, 2.0]);
        let root = page.hash();
        assert!(matches!(Page::from_bytes(root, &page.bytes()[1..], 2), Err(PageError::Length { .. })));
        let mut flipped = page.bytes().to_vec();
        flipped[3] ^= 1;
        assert!(matches!(Page::from_bytes(root, &flipped, 2), Err(PageError::Hash { .. })));
        let infinite = f32::INFINITY.to_le_bytes();
        let found = Page::from_bytes(Hash::of(&infinite), &infinite, 1);
        assert!(matches!(found, Err(PageError::NotFinite { index: 0, .. })));
    }

    proptest! {
        #[test]
        fn a_state_is_rebuilt_from_its_pages(values in proptest::collection::vec(-1e6f32..1e6, 3)) {
            let state = state(&values);
            prop_assert_eq!(rebuild(&state).unwrap().digest(), state.digest());
        }

        #[test]
        fn one_changed_value_changes_the_digest(at in 0usize..3, bits in 1u32..(1 << 22)) {
            let mut values = [1.0f32, 2.0, 3.0];
            let before = state(&values).digest();
            values[at] = f32::from_bits(values[at].to_bits() ^ bits);
            prop_assert!(state(&values).digest() != before);
        }
    }
}
