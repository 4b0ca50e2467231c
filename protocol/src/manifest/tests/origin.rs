//! Sessions that were founded on another one's state.

use super::*;
use crate::state::Page;

/// Manifests of sessions without a parent have the bytes that they had before there were any with one.
#[test]
fn an_origin_without_a_parent_is_encoded_as_an_optional_list_of_pages() {
    let pages = vec![Hash::of(b"page 0"), Hash::of(b"page 1")];
    assert_eq!(wire::encode(&Origin::Seed), wire::encode(&None::<Vec<Hash>>));
    assert_eq!(wire::encode(&Origin::Imported(pages.clone())), wire::encode(&Some(pages)));
}

#[test]
fn a_parent_gives_its_position_and_tokens_and_the_rest_begins_anew() {
    let charter = Charter::new(founded()).unwrap();
    let control = charter.genesis_control();
    let begun = Charter::new(sample()).unwrap().genesis_control();
    assert_eq!(control.counted_tokens, 67_890);
    let granted: u64 = control.members.iter().map(|member| member.leased()).sum();
    assert_eq!(control.pool.next, 12_345 + granted);
    let first = control.members.iter().flat_map(|member| &member.leases).map(|lease| lease.start).min();
    assert_eq!(first, Some(12_345));
    assert_eq!((control.height, control.generation, &control.closed), (0, 0, &begun.closed));
    assert_eq!((&control.seats, &control.draws), (&begun.seats, &begun.draws));
}

#[test]
fn the_pages_of_a_parent_become_the_genesis_arrays_bit_for_bit() {
    let state = Charter::new(sample()).unwrap().genesis_state();
    let charter = Charter::new(founded()).unwrap();
    let mut pages = state.pages();
    let read = |root: Hash, values: usize| Page::from_bytes(root, pages.next().unwrap().bytes(), values);
    let genesis = charter.genesis_of_pages(charter.manifest.origin.pages(), read).unwrap();
    assert_eq!(genesis.arrays, state.arrays);
    assert_ne!(genesis.digest(), parent().digest, "another control page");
    let sizes: Vec<(Hash, usize)> = charter.origin_pages().collect();
    assert!(sizes.iter().copied().eq(state.pages().map(|page| (page.hash(), page.values().len()))));
    let other = Charter::new(sample()).unwrap();
    assert_eq!(other.origin_pages().count(), 0);
}

/// What was known of the parent's members' gradients is in its digest, and nothing of it in the new session.
#[test]
fn of_a_parent_of_ef21_the_arrays_go_on_and_the_estimates_do_not() {
    let terms = |origin| {
        let preset = Manifest::preset("gpt:tiny").unwrap().with_method(MethodName::Ef21);
        Manifest { origin, method: preset.method, combine: Combine::Mean, ..sample() }
    };
    let mut state = Charter::new(terms(Origin::Seed)).unwrap().genesis_state();
    let values = state.outer(0).to_vec();
    for member in [1, 2] {
        state.estimates.insert(PeerKey([member; 32]), crate::state::Array::new(&values));
    }
    let mut control = (*state.control).clone();
    control.height = 9;
    state.control = control.into();
    let parent = Parent::of(Hash::of(b"parent"), &state, [3; 32]);
    let charter = Charter::new(terms(Origin::Session(parent.clone()))).unwrap();
    let mut pages = state.pages();
    let read = |root: Hash, values: usize| Page::from_bytes(root, pages.next().unwrap().bytes(), values);
    let genesis = charter.genesis_of_pages(charter.manifest.origin.pages(), read).unwrap();
    assert_eq!(genesis.arrays, state.arrays);
    assert!(genesis.estimates.is_empty());
    assert_eq!(charter.origin_pages().count(), state.outer(0).pages().len());
    let mut cut = parent;
    cut.pages.pop();
    assert!(Charter::new(terms(Origin::Session(cut))).is_err());
}

#[test]
fn a_parent_that_does_not_add_up_is_refused() {
    let refuse = |field: &str, change: &dyn Fn(&mut Parent)| {
        refused(field, |m| {
            let mut parent = parent();
            change(&mut parent);
            m.origin = Origin::Session(parent);
        });
    };
    refuse("origin.session.digest", &|parent| parent.digest = Hash::of(b"another"));
    refuse("origin.session.digest", &|parent| parent.control = Hash::of(b"another"));
    refuse("origin.session.digest", &|parent| parent.pages[1] = Hash::of(b"another"));
    refuse("origin.session.pages", &|parent| parent.pages.truncate(1));
    refuse("origin.session.pages", &|parent| parent.pages.clear());
    refuse("origin.session.height", &|parent| parent.height = 0);
    refuse("origin.session.position", &|parent| parent.position = u64::MAX);
    refuse("origin.session.tokens", &|parent| parent.tokens = u64::MAX);
    refuse("stop_at", &|parent| parent.tokens = sample().stop_at.unwrap());
    let twice = Manifest { origin: Origin::Session(Parent { nonce: [4; 32], ..parent() }), ..founded() };
    assert_ne!(twice.id(), founded().id(), "two foundings on one state are two sessions");
}
