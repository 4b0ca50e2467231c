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
