//! Whose bytes leave first, where the line is the limit.

use driftless_protocol::Hash;

use super::{Peer, noise, open_hooks};
use crate::bandwidth::{Caps, Rate};

const BLOB: usize = 2 << 20;

/// A peer with two blobs of one length, the first of which belongs to an earlier slot, and a line of 2 MB/s.
fn giver() -> (Peer, [Hash; 2]) {
    let caps = Caps { up: Rate::bytes_per_second(2_000_000), ..Caps::default() };
    let giver = Peer::capped(1, open_hooks(), caps);
    let roots = [1, 2].map(|seed| giver.store.insert(&noise(BLOB, seed)).unwrap());
    giver.plane.order_uploads([(roots[0], 100), (roots[1], 150)].into());
    (giver, roots)
}

/// Returns once `peer` received a part of a blob.
async fn received_some(peer: &Peer) {
    while peer.plane.traffic().received() < BLOB as u64 / 16 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_blob_of_an_earlier_slot_overtakes_one_of_a_later_slot() {
    let (giver, [earlier, later]) = giver();
    let (one, other) = (Peer::new(2), Peer::new(3));
    let (plane, source) = (one.plane.clone(), giver.source());
    let fetching = tokio::spawn(async move { plane.fetch(later, BLOB as u64, vec![source]).await });
    received_some(&one).await;
    other.plane.fetch(earlier, BLOB as u64, vec![giver.source()]).await.unwrap();
    assert!(!fetching.is_finished(), "it began first and had the same way to go");
    fetching.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_push_of_a_later_slot_lets_an_earlier_one_pass() {
    let (giver, [earlier, later]) = giver();
    let (one, other) = (Peer::new(2), Peer::new(3));
    let (plane, to) = (giver.plane.clone(), one.source());
    let pushing = tokio::spawn(async move { plane.push(later, &to).await });
    received_some(&one).await;
    giver.plane.push(earlier, &other.source()).await.unwrap();
    assert!(!pushing.is_finished(), "it began first and had the same way to go");
    pushing.await.unwrap().unwrap();
}
