use super::*;
use crate::block::{Certificate, Item, Seating};

fn seats(keys: &[u8]) -> Vec<PeerKey> {
    keys.iter().map(|n| PeerKey([*n; 32])).collect()
}

/// A block that seats these, or leaves the seats as they are.
fn block(height: Height, seated: Option<&[u8]>) -> CertifiedBlock {
    let items = seated.map(|keys| Item::Seats(Seating { before: 0, seats: seats(keys) }));
    let items = items.into_iter().collect();
    let block = Block { height, generation: 0, parent: Hash([0; 32]), items, digest: Hash([0; 32]) };
    CertifiedBlock { block, certificate: Certificate { attempt: 0, precommits: Vec::new() } }
}

fn offer(block: CertifiedBlock, seatings: Vec<CertifiedBlock>) -> SnapshotOffer {
    SnapshotOffer { block, control: Vec::new(), pages: Vec::new(), seatings }
}

/// Votes in a certificate go by seat: whose they are depends on who sat there before that block.
#[test]
fn who_certified_a_snapshot_sat_before_its_block() {
    let known = seats(&[1, 2, 3, 4]);
    let unchanged = offer(block(9, None), Vec::new());
    assert_eq!(certifiers(&unchanged, &known), known);
    let (fifth, seventh) = (block(5, Some(&[1, 3, 4])), block(7, Some(&[3, 4, 5])));
    let changed = offer(block(9, None), vec![fifth.clone(), seventh.clone()]);
    assert_eq!(certifiers(&changed, &known), seats(&[3, 4, 5]));
    let by_itself = offer(seventh.clone(), vec![fifth, seventh]);
    assert_eq!(certifiers(&by_itself, &known), seats(&[1, 3, 4]));
}
