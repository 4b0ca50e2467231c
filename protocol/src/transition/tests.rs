//! What a block of several items does.

use super::*;
use crate::block::{Announcement, Closing, Counted, Work};
use crate::committee::QuorumRule;
use crate::identity::{Domain, PeerKey, Signer};
use crate::manifest::{Data, Manifest};
use crate::membership::MISSED_LIMIT;
use crate::method::Method;
use crate::model::{GptShape, Model};
use crate::positions::Positions;

/// Whoever one stream's closing shows out was drawn for the other stream's slot, and is counted there.
#[test]
fn a_member_that_one_closing_shows_out_is_counted_by_the_next() {
    let signers = [1, 2].map(|n| Signer::from_seed([n; 32]));
    let mut keys = signers.each_ref().map(Signer::key).to_vec();
    keys.sort_unstable();
    let mut preset = Manifest::preset("gpt:tiny").unwrap();
    preset.model = Model::Gpt(GptShape { layers: 2, heads: 1, width: 4, context: 4, vocabulary: 256 });
    let Method::StreamingDiLoCo(method) = &mut preset.method else { unreachable!() };
    method.fragments = 2;
    let committee = Committee::Named { keys, quorum: QuorumRule::TwoThirds };
    let manifest = preset.manifest(committee, Data::Private { max_tokens_per_slot: 1 << 20 });
    let charter = Charter::new(Manifest { name: "two streams".into(), ..manifest }).unwrap();
    let mut state = charter.genesis_state();
    let silent = signers[0].key();
    let mut control = (*state.control).clone();
    let index = control.index_of(&silent).unwrap();
    control.members[index].missed[0] = MISSED_LIMIT - 1;
    state.control = control.into();

    let slot = Slot { stream: 1, ordinal: 0 };
    let scope = Scope { session: charter.session, generation: 0 };
    let length = charter.manifest.method.blob_bytes(charter.lengths[1]);
    let payload = Payload::Blob { root: Hash::of(b"an update"), length };
    let work = Work { steps: 1, tokens: 4, samples: Positions::default(), speed: 1 };
    let base = state.outer(1).digest();
    let announcement = Announcement { slot, base, payload: payload.clone(), work: work.clone() };
    let signature = signers[0].seal(Domain::Announcement, scope, announcement).signature;
    let counted = Counted { member: index as u16, payload: payload.clone(), work: work.clone(), signature };
    let items = [
        Item::Close(Closing { slot: Slot { stream: 0, ordinal: 0 }, counted: Vec::new() }),
        Item::Close(Closing { slot, counted: vec![counted] }),
    ];

    let parent = Parent { state: &state, hash: Hash::of(b"the parent") };
    let plan = check(&charter, parent, &items).unwrap();
    assert_eq!(plan.control.index_of(&silent), None);
    let parts: Vec<PeerKey> =
        plan.aggregations.iter().flat_map(|one| &one.parts).map(|part| part.member).collect();
    assert_eq!(parts, [silent]);

    // Where no samples are leased none are claimed: a claim could make a block of any length.
    let work = Work { samples: Positions::range(0, 1), ..work };
    let counted = Counted { member: index as u16, payload, work, signature };
    let refused = check(&charter, parent, &[Item::Close(Closing { slot, counted: vec![counted] })]);
    let reason = "samples are claimed where none are leased";
    assert_eq!(refused.unwrap_err(), Invalid::Contribution { slot, member: Some(silent), reason });
}

/// A member of which nothing is known sends all of its gradient; afterwards what changed. Nothing else has
/// the length that its place among the members says.
#[test]
fn a_first_gradient_is_whole_is_kept_and_is_looked_after() {
    let signer = Signer::from_seed([1; 32]);
    let me = signer.key();
    let mut preset = Manifest::preset("gpt:tiny").unwrap().with_method(crate::method::MethodName::Ef21);
    preset.model = Model::Gpt(GptShape { layers: 1, heads: 1, width: 4, context: 4, vocabulary: 256 });
    let committee = Committee::Named { keys: vec![me], quorum: QuorumRule::TwoThirds };
    let manifest = preset.manifest(committee, Data::Private { max_tokens_per_slot: 1 << 20 });
    let charter = Arc::new(Charter::new(Manifest { name: "gradients".into(), ..manifest }).unwrap());
    let method = &charter.manifest.method;
    let values = charter.lengths[0];
    let close = |state: &State, head: Hash, bytes: &[u8]| {
        let slot = Slot { stream: 0, ordinal: state.control.closed[0] };
        let payload = Payload::Blob { root: Hash::of(bytes), length: bytes.len() as u64 };
        let work = Work { steps: 1, tokens: 4, samples: Positions::default(), speed: 1 };
        let base = state.outer(0).digest();
        let announcement = Announcement { slot, base, payload: payload.clone(), work: work.clone() };
        let scope = Scope { session: charter.session, generation: 0 };
        let signature = signer.seal(Domain::Announcement, scope, announcement).signature;
        let counted = vec![Counted { member: 0, payload, work, signature }];
        check(&charter, Parent { state, hash: head }, &[Item::Close(Closing { slot, counted })])
    };
    let run = |state: &State, plan: Plan, bytes: &[u8]| {
        let job = CandidateJob::new(0, charter.clone(), state.clone(), plan);
        job.run(&mut |_| Ok(bytes.to_vec()))
    };
    let gradient: Vec<f32> = (0..values).map(|index| (index % 5) as f32 - 2.0).collect();
    let (mut whole, mut sparse) = (Vec::new(), Vec::new());
    method.codec_after(0).unwrap().encode(&gradient, 0, &mut whole).unwrap();
    method.codec_after(1).unwrap().encode(&gradient, 0, &mut sparse).unwrap();

    let genesis = charter.genesis_state();
    let head = Hash::of(b"the parent");
    assert!(close(&genesis, head, &sparse).is_err(), "nothing is known that it would change");
    let first = run(&genesis, close(&genesis, head, &whole).unwrap(), &whole).unwrap();
    assert_eq!(first.estimates[&me].to_vec(), gradient);
    let Method::Ef21(numbers) = method else { unreachable!() };
    let moved = genesis.outer(0).to_vec().iter().zip(&gradient).map(|(x, g)| x - numbers.gamma * g).collect();
    let moved: Vec<f32> = moved;
    assert_eq!(first.outer(0).to_vec(), moved);

    assert!(close(&first, head, &whole).is_err(), "its gradient is known");
    let next = run(&first, close(&first, head, &sparse).unwrap(), &sparse).unwrap();
    assert_ne!(next.estimates[&me], first.estimates[&me]);
    assert_ne!(next.digest(), State { estimates: first.estimates.clone(), ..next.clone() }.digest());

    // A bit that changed in memory is found before it is computed with.
    let mut wrong = first.clone();
    let page = wrong.estimates[&me].pages()[0].decayed(3, 20);
    let estimate = wrong.estimates.remove(&me).unwrap().with_page(0, page);
    wrong.estimates.insert(me, estimate);
    let found = run(&wrong, close(&first, head, &sparse).unwrap(), &sparse);
    assert_eq!(found.unwrap_err(), CandidateError::Damaged { array: 1, fragment: 0, page: 0 });

    // What no state may hold.
    let (mut huge, mut bytes) = (gradient.clone(), Vec::new());
    huge[0] = 1.0e20;
    method.codec_after(0).unwrap().encode(&huge, 0, &mut bytes).unwrap();
    let refused = run(&genesis, close(&genesis, head, &bytes).unwrap(), &bytes);
    assert!(matches!(refused, Err(CandidateError::Contribution { member, .. }) if member == me));
}
