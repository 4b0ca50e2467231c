//! The residual moves with the certificate, survives what it has to, and nothing else.

use super::*;
use crate::codec::{Codec, TopK};
use crate::committee::Committee;
use crate::identity::{Hash, PeerKey};
use crate::manifest::{Data, Manifest};
use crate::method::{Co2, Ef21, SparseLoCo};
use crate::model::{GptShape, Model};

/// Only a buffer: a test moves theta itself.
struct Plain(Vec<(String, usize, usize)>, Vec<f32>);

impl Engine for Plain {
    fn tensors(&self) -> Vec<(String, usize, usize)> {
        self.0.clone()
    }

    fn train(&mut self, _: &Samples, progress: &[f32]) -> Result<Vec<f32>, EngineFailure> {
        Ok(vec![0.0; progress.len()])
    }

    /// The sum of all parameters.
    fn loss(&mut self, _: &Samples) -> Result<f32, EngineFailure> {
        Ok(self.1.iter().sum())
    }

    /// Of theta^2 / 2.
    fn gradient(&mut self, _: &Samples, into: &mut [f32]) -> Result<f32, EngineFailure> {
        into.copy_from_slice(&self.1);
        Ok(0.0)
    }

    fn read(&mut self, range: Range<usize>, into: &mut [f32]) -> Result<(), EngineFailure> {
        into.copy_from_slice(&self.1[range]);
        Ok(())
    }

    fn write(&mut self, range: Range<usize>, values: &[f32]) -> Result<(), EngineFailure> {
        self.1[range].copy_from_slice(values);
        Ok(())
    }

    fn evaluate(&mut self, _: Option<u64>) -> Result<Evaluation, EngineFailure> {
        Ok(Evaluation { loss: 0.0, accuracy: None })
    }

    fn save(&mut self) -> Result<Vec<u8>, EngineFailure> {
        Ok(self.1.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), EngineFailure> {
        if bytes.len() != 4 * self.1.len() {
            return Err(EngineFailure::Other("another length".into()));
        }
        self.1 = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok(())
    }
}

/// Half of the values of each pair are sent: the larger.
const CODEC: Codec = Codec::TopK(TopK { keep: 1, of: 2, whole: false, statistical: false });

fn charter(method: Method) -> Charter {
    let mut preset = Manifest::preset("gpt:tiny").unwrap();
    preset.model = Model::Gpt(GptShape { layers: 1, heads: 1, width: 4, context: 4, vocabulary: 256 });
    preset.method = method;
    let committee = Committee::Steward { key: PeerKey::default() };
    let manifest = preset.manifest(committee, Data::Private { max_tokens_per_slot: 1 << 20 });
    Charter::new(Manifest { name: "worker".into(), ..manifest }).unwrap()
}

struct Peer {
    worker: Worker<Plain>,
    outer: Array,
}

impl Peer {
    fn new() -> Peer {
        Peer::of(Method::SparseLoCo(SparseLoCo { period: 4, eta: 1.0, beta: 1.0, codec: CODEC }))
    }

    fn of(method: Method) -> Peer {
        let charter = charter(method);
        let mut end = 0;
        let tensors = charter.manifest.model.tensors().into_iter().map(|tensor| {
            let (offset, len) = (end, tensor.len() as usize);
            end += len;
            (tensor.name, offset, len)
        });
        let tensors = tensors.collect();
        let worker = Worker::new(Plain(tensors, vec![0.0; end]), &charter).unwrap();
        Peer { worker, outer: Array::new(&vec![0.0; end]) }
    }

    /// The first two values of the fragment, in the engine's buffer.
    fn theta(&mut self) -> &mut [f32] {
        let start = self.worker.ranges[0][0].start;
        &mut self.worker.engine.1[start..start + 2]
    }

    /// Inner steps, where outer parameters of zero were taken.
    fn work(&mut self, first: f32, second: f32) {
        self.theta().copy_from_slice(&[-first, -second]);
    }

    /// The first two values of what is sent.
    fn sends(&mut self) -> [f32; 2] {
        let outer = self.outer.clone();
        match self.worker.execute(Work::Encode {
            slot: Slot { stream: 0, ordinal: 0 },
            outer,
            estimate: None,
            noise: 0,
        }) {
            WorkDone::Encoded { bytes, .. } => {
                let mut sent = vec![0.0; self.outer.len()];
                CODEC.decode_into(&bytes, &mut sent).unwrap();
                [sent[0], sent[1]]
            }
            other => panic!("{other:?}"),
        }
    }

    fn done(&mut self, work: Work) {
        let done = self.worker.execute(work);
        assert!(matches!(done, WorkDone::Applied), "{done:?}");
    }

    fn counted(&mut self) {
        let outer = self.outer.clone();
        self.done(Work::Merge { fragment: 0, outer, alpha: 0.0 });
        assert_eq!(self.theta(), [0.0; 2]);
    }

    fn reset(&mut self, forget: bool) {
        let outer = vec![self.outer.clone()];
        self.done(Work::Reset { outer, forget });
    }

    fn saved(&mut self) -> Vec<u8> {
        match self.worker.execute(Work::Save) {
            WorkDone::Saved(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }
}

/// One that was counted with (5, 3), so that 3 are left of the second value.
fn with_a_residual() -> Peer {
    let mut peer = Peer::new();
    peer.work(5.0, 3.0);
    assert_eq!(peer.sends(), [5.0, 0.0]);
    peer.counted();
    peer
}

#[test]
fn what_was_left_out_is_sent_once_it_is_counted_that_the_rest_was() {
    let mut peer = with_a_residual();
    peer.work(1.0, 1.0);
    assert_eq!(peer.sends(), [0.0, 4.0]);
    peer.counted();
    assert_eq!(peer.sends(), [1.0, 0.0]);
}

#[test]
fn what_is_not_counted_is_as_if_it_had_not_been_sent() {
    let mut peer = with_a_residual();
    peer.work(1.0, 1.0);
    assert_eq!(peer.sends(), [0.0, 4.0]);
    // The others moved the outer parameters; theta moves with them, and holds the same work.
    let now = Array::new(&vec![2.0; peer.outer.len()]);
    let base = std::mem::replace(&mut peer.outer, now.clone());
    peer.done(Work::Rebase { fragment: 0, base, now });
    assert_eq!(peer.sends(), [0.0, 4.0]);
}

#[test]
fn lost_work_takes_nothing_of_the_residual_and_an_unknown_contribution_takes_all() {
    let mut peer = with_a_residual();
    peer.work(1.0, 1.0);
    peer.reset(false);
    assert_eq!(peer.sends(), [0.0, 3.0]);
    peer.reset(true);
    assert_eq!(peer.sends(), [0.0, 0.0]);
}

#[test]
fn it_is_saved_and_restored_and_nothing_of_what_is_not_decided() {
    let mut peer = with_a_residual();
    peer.work(0.0, 1.0);
    assert_eq!(peer.sends(), [0.0, 4.0]);
    let saved = peer.saved();
    let mut again = Peer::new();
    again.done(Work::Restore(saved.clone()));
    assert_eq!(again.sends(), [0.0, 4.0]);
    // What is no checkpoint of this session changes nothing.
    let not_finite = [&saved[..saved.len() - 4], &f32::NAN.to_le_bytes()].concat();
    for bytes in [&saved[..7], &saved[..saved.len() - 4], &not_finite, &[]] {
        let done = again.worker.execute(Work::Restore(bytes.to_vec()));
        assert!(matches!(done, WorkDone::Failed(_)), "{done:?}");
        assert_eq!(again.sends(), [0.0, 4.0]);
    }
}

#[test]
fn what_was_sent_for_a_round_is_put_back() {
    let mut peer = Peer::of(Method::Co2(Co2 {
        period: 4,
        eta: 1.0,
        beta: 0.0,
        phi: 1.0,
        penalty: false,
        codec: Codec::F32,
    }));
    let outer = peer.outer.clone();
    let slot = |ordinal| Slot { stream: 0, ordinal };
    for (ordinal, first) in [(0, 5.0), (1, 7.0), (2, 9.0)] {
        peer.work(first, 1.0);
        let encode = Work::Encode { slot: slot(ordinal), outer: outer.clone(), estimate: None, noise: 0 };
        assert!(matches!(peer.worker.execute(encode), WorkDone::Encoded { .. }));
        peer.done(Work::Begin { fragment: 0, outer: outer.clone() });
        assert_eq!(peer.theta(), [0.0; 2]);
    }
    peer.done(Work::PutBack { slot: slot(1) });
    assert_eq!(peer.theta(), [-7.0, -1.0]);
    peer.done(Work::PutBack { slot: slot(0) });
    assert_eq!(peer.theta(), [-12.0, -2.0]);
    assert!(matches!(peer.worker.execute(Work::PutBack { slot: slot(7) }), WorkDone::Failed(_)));
}

/// Along a direction z the sum of all parameters rises by the sum of z, wherever theta is.
#[test]
fn a_step_is_measured_at_theta_with_the_lists_behind_it() {
    use crate::method::one_byte::{Direction, Directions, Estimator, OneByte, Opening, byte};

    let method = OneByte {
        samples: 3,
        batch_steps: 4,
        staleness: 0,
        epsilon: 0.125,
        ..OneByte::of(Estimator::Spsa, 0.5)
    };
    let mut peer = Peer::of(Method::OneByte(method));
    let opening =
        Opening { base: Hash([1; 32]), ordinal: 2, counted: 0, budget: 1 << 40, tokens: 1, drawn: 0 };
    let me = PeerKey([5; 32]);
    let outer = vec![Array::new(&vec![0.5; peer.outer.len()])];
    peer.done(Work::Reset { outer: outer.clone(), forget: true });
    let mut measure = |step, lists| {
        let work = Work::Measure { opening, step, member: me, lists, samples: Samples::Own };
        match peer.worker.execute(work) {
            WorkDone::Measured { step: of, member, found } if (of, member) == (step, me) => {
                (found.bytes, found.loss)
            }
            other => panic!("{other:?}"),
        }
    };
    let values = outer[0].len();
    let sum = |step, sample| {
        let mut along = vec![0.0; values];
        Direction::new(Directions::default(), &opening, step, me, sample).add(1.0, &mut along);
        along.iter().sum::<f32>()
    };
    let sums = |step| [0, 1, 2].map(|sample| byte::encode(f64::from(sum(step, sample))));
    let (bytes, loss) = measure(0, vec![]);
    assert_eq!((bytes, loss), (sums(0).to_vec(), values as f32 * 0.5));
    // One sample that says 1: theta moves by rate / sqrt(3) against its direction.
    let (bytes, loss) = measure(1, vec![vec![(me, vec![0, 64, 0])]]);
    assert_eq!(bytes, sums(1));
    let expected = values as f32 * 0.5 - 0.5 / 3.0f32.sqrt() * sum(0, 1);
    assert!((loss - expected).abs() < 1e-2, "{loss} {expected}");
}

/// A peer of EF21 whose gradient at theta is theta, with half of the new one in its momentum.
struct Descending {
    peer: Peer,
    known: Option<Array>,
}

impl Descending {
    fn new() -> Descending {
        let (gamma, members) = (1.0, 4);
        Descending {
            peer: Peer::of(Method::Ef21(Ef21 { batches: 1, gamma, eta: 0.5, members, codec: CODEC })),
            known: None,
        }
    }

    /// One batch at these outer parameters; the first two values of what is sent.
    fn sends(&mut self, first: f32, second: f32) -> [f32; 2] {
        self.peer.theta().copy_from_slice(&[first, second]);
        let train = Work::Train { samples: Samples::Own, progress: vec![0.0] };
        assert!(matches!(self.peer.worker.execute(train), WorkDone::Trained(losses) if losses.len() == 1));
        let slot = Slot { stream: 0, ordinal: 0 };
        let (outer, estimate) = (self.peer.outer.clone(), self.known.clone());
        match self.peer.worker.execute(Work::Encode { slot, outer, estimate, noise: 0 }) {
            WorkDone::Encoded { bytes, .. } => {
                let codec = if self.known.is_some() { CODEC } else { Codec::F32 };
                let mut sent = vec![0.0; self.peer.outer.len()];
                codec.decode_into(&bytes, &mut sent).unwrap();
                let start = self.peer.worker.ranges[0][0].start;
                [sent[start], sent[start + 1]]
            }
            other => panic!("{other:?}"),
        }
    }

    /// All others know that much of its gradient from now on.
    fn known(&mut self, first: f32, second: f32) {
        let mut values = vec![0.0; self.peer.outer.len()];
        (values[0], values[1]) = (first, second);
        self.known = Some(Array::new(&values));
    }
}

#[test]
fn a_gradient_is_sent_against_what_is_known_of_it_and_momentum_moves_when_it_is_counted() {
    let mut one = Descending::new();
    assert_eq!(one.sends(4.0, 2.0), [4.0, 2.0], "the first is whole");
    one.peer.counted();
    one.known(4.0, 2.0);
    // v is half of (4, 2) and half of (0, 8); of its difference (-2, 3) the larger value is sent.
    assert_eq!(one.sends(0.0, 8.0), [0.0, 3.0]);
    // Not counted: computed again, and v has not moved.
    one.peer.reset(false);
    assert_eq!(one.sends(0.0, 8.0), [0.0, 3.0]);
    let WorkDone::Saved(bytes) = one.peer.worker.execute(Work::Save) else { panic!("not saved") };
    one.peer.counted();
    one.known(4.0, 5.0);
    // v is (2, 5) now.
    assert_eq!(one.sends(2.0, 5.0), [-2.0, 0.0]);
    // The checkpoint has v as of the last counted contribution: (4, 2).
    one.peer.done(Work::Restore(bytes));
    one.known(4.0, 2.0);
    assert_eq!(one.sends(0.0, 8.0), [0.0, 3.0]);
    // Where v is not known, what all know of it is nearest.
    one.peer.reset(true);
    one.known(2.0, 2.0);
    assert_eq!(one.sends(2.0, 4.0), [0.0, 1.0]);
    // Nothing is sent that was not computed.
    one.peer.reset(false);
    let (outer, estimate, slot) = (one.peer.outer.clone(), None, Slot { stream: 0, ordinal: 1 });
    let work = Work::Encode { slot, outer, estimate, noise: 0 };
    assert!(matches!(one.peer.worker.execute(work), WorkDone::Failed(_)));
}
