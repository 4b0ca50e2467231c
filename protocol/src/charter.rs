//! A session's constitution: the manifest and everything that follows from it alone.

use std::collections::BTreeMap;

use crate::block::Slot;
use crate::genesis::genesis_outer;
use crate::identity::{Hash, PeerKey};
use crate::layout::Layout;
use crate::manifest::{Admission, Data, Manifest, ManifestError, Pacing};
use crate::membership::{ControlPage, LeaseRules};
use crate::memory::Memory;
use crate::method::one_byte::Opening;
use crate::state::{Array, Page, PageError, Shape, State};

/// A checked manifest with what is derived from it once.
#[derive(Clone, Debug)]
pub struct Charter {
    /// The manifest.
    pub manifest: Manifest,
    /// Its hash: the session's name, and the parent of block 1.
    pub session: Hash,
    /// How the model's tensors lie in fragments.
    pub layout: Layout,
    /// Number of values of each fragment.
    pub lengths: Vec<usize>,
    pub(crate) memory: Memory,
}

impl Charter {
    /// Checks `manifest` and derives the rest.
    pub fn new(manifest: Manifest) -> Result<Charter, ManifestError> {
        manifest.check()?;
        let layout = manifest.layout();
        let lengths = layout.fragments.iter().map(|fragment| fragment.len as usize).collect();
        Ok(Charter { session: manifest.id(), manifest, layout, lengths, memory: Memory::default() })
    }

    /// The genesis state of a session that starts from random parameters.
    ///
    /// Its digest is the manifest's `genesis` once the founder filled that in.
    pub fn genesis_state(&self) -> State {
        let tensors = self.manifest.model.tensors();
        let outer = genesis_outer(self.manifest.seed, self.manifest.init_scale, &tensors, &self.layout);
        self.genesis_with(outer)
    }

    /// The genesis state with the given outer parameters, fragment by fragment.
    pub fn genesis_with(&self, outer: Vec<Vec<f32>>) -> State {
        let outer: Vec<Array> = outer.iter().map(|values| Array::new(values)).collect();
        let zeros: Vec<Array> = self.lengths.iter().map(|length| Array::new(&vec![0.0; *length])).collect();
        let method = &self.manifest.method;
        let array = |array| if method.starts_as_outer(array) { outer.clone() } else { zeros.clone() };
        let arrays = (0..method.arrays()).map(array).collect();
        State { control: self.genesis_control().into(), arrays, estimates: BTreeMap::new() }
    }

    /// How the pages of a state lie.
    pub fn shape(&self) -> Shape {
        let method = &self.manifest.method;
        Shape { arrays: method.arrays(), lengths: self.lengths.clone(), estimates: method.estimates() }
    }

    /// The genesis state with all arrays in the given pages; `read` returns a page of so many values. Pages
    /// beyond are of estimates, which begin anew.
    pub fn genesis_of_pages(
        &self,
        roots: &[Hash],
        read: impl FnMut(Hash, usize) -> Result<Page, PageError>,
    ) -> Result<State, PageError> {
        let shape = self.shape();
        let roots = &roots[..roots.len().min(shape.array_sizes().len())];
        State::assemble(self.genesis_control(), &shape, roots, read)
    }

    /// The pages that the manifest's origin names, each with its number of values.
    pub fn origin_pages(&self) -> impl Iterator<Item = (Hash, usize)> {
        let roots = self.manifest.origin.pages();
        let sizes = match roots {
            [] => Vec::new(),
            _ => self.shape().array_sizes(),
        };
        roots.iter().copied().zip(sizes)
    }

    /// The control page of height 0.
    pub fn genesis_control(&self) -> ControlPage {
        let done = self.manifest.origin.progress();
        let streams = self.manifest.method.streams();
        ControlPage::genesis_after(done, streams, self.founding_seats(), self.lease_rules())
    }

    /// The keys that the manifest seats.
    pub fn founding_seats(&self) -> Vec<PeerKey> {
        self.manifest.committee.founding_seats()
    }

    /// Votes needed out of `seats`.
    pub fn quorum(&self, seats: usize) -> usize {
        self.manifest.committee.quorum_rule().needed(seats)
    }

    /// Lease sizes: a slot's largest work more than may be under way, so that a peer trains on while that
    /// is decided.
    pub fn lease_rules(&self) -> LeaseRules {
        let window = self.manifest.method.window();
        let slot = self.manifest.largest_steps().saturating_mul(self.manifest.training.batch);
        let target = match &self.manifest.data {
            Data::Public { .. } => slot.saturating_mul(window + 1),
            Data::Private { .. } => 0,
        };
        LeaseRules { target, max_lag: self.manifest.max_lag, window, batch: self.manifest.training.batch }
    }

    /// Inner steps for a member's next slot: H, or its certified speed times the slot time.
    pub fn steps_for(&self, speed: u32) -> u32 {
        match self.manifest.pacing {
            Pacing::Uniform | Pacing::Decoupled { .. } => self.manifest.method.period(),
            Pacing::Proportional { slot_time, minimum, maximum } if speed > 0 => {
                let steps = u64::from(speed) * slot_time.as_millis() / 1_000_000;
                (steps.min(u64::from(maximum)) as u32).max(minimum)
            }
            Pacing::Proportional { .. } => self.manifest.method.period(),
        }
    }

    /// What the batch of steps of an open slot opens with, for which so many are drawn.
    pub fn opening(&self, state: &State, slot: Slot, drawn: usize) -> Opening {
        Opening {
            base: state.base(&self.manifest.method, slot).digest(),
            ordinal: slot.ordinal,
            counted: state.control.counted_tokens,
            budget: self.manifest.training.budget_tokens,
            tokens: u64::from(self.manifest.training.batch) * self.tokens_per_sample(),
            drawn,
        }
    }

    /// Tokens predicted per training sample.
    pub fn tokens_per_sample(&self) -> u64 {
        u64::from(self.manifest.model.context())
    }

    /// The key whose token a joiner needs; none where anybody may join.
    pub fn token_issuer(&self) -> Option<PeerKey> {
        match self.manifest.admission {
            Admission::Open => None,
            Admission::Invitation { issuer } => Some(issuer),
        }
    }
}
