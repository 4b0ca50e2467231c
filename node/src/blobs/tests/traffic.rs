//! Every byte is counted, and few are wasted.

use super::{Peer, noise};

#[tokio::test]
async fn the_counters_agree_with_quinn_and_a_warm_fetch_costs_little() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    let warm = server.store.insert(&noise(1_000_000, 1)).unwrap();
    client.plane.fetch(warm, 1_000_000, vec![server.source()]).await.unwrap();
    let sent = |peer: &Peer| peer.plane.traffic().sent();
    let before = sent(&server) + sent(&client);
    let len = 215_000;
    let root = server.store.insert(&noise(len, 2)).unwrap();
    client.plane.fetch(root, len as u64, vec![server.source()]).await.unwrap();
    let overhead = (sent(&server) + sent(&client) - before) as f64 / len as f64;
    println!("a warm fetch of {len} bytes sends {overhead:.4} times as many in both directions");
    assert!(overhead < 1.06, "{overhead}");

    for peer in [&server, &client] {
        let (traffic, mut counted) = (peer.plane.traffic(), (0, 0));
        // Both ends still send acknowledgements: nothing may be counted twice or missed before them.
        let low = (traffic.sent(), traffic.received());
        for (_, connection) in peer.plane.inner.peers.connected() {
            let stats = connection.stats();
            counted = (counted.0 + stats.udp_tx.bytes, counted.1 + stats.udp_rx.bytes);
        }
        let high = (traffic.sent(), traffic.received());
        // A datagram may be between socket and connection.
        let near = |low: u64, counted: u64, high: u64| counted + 20_000 >= low && counted <= high + 20_000;
        assert!(near(low.0, counted.0, high.0), "sent {low:?} {counted:?} {high:?}");
        assert!(near(low.1, counted.1, high.1), "received {low:?} {counted:?} {high:?}");
    }
    assert!(server.plane.traffic().sent() > 1_215_000);
}

#[tokio::test]
async fn a_transfer_cut_short_is_counted_too() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    let root = server.store.insert(&noise(4_000_000, 1)).unwrap();
    {
        let fetch = client.plane.fetch(root, 4_000_000, vec![server.source()]);
        tokio::pin!(fetch);
        // One turn is enough to begin; then it is dropped.
        let _ = futures::poll!(fetch.as_mut());
        client.plane.connect(&server.source()).await.unwrap();
    }
    assert!(client.plane.traffic().sent() >= 1_200);
    client.plane.close().await;
    server.plane.close().await;
    assert!(server.plane.traffic().sent() >= 1_200);
}

/// A slot as `demo` has it: everybody pushes a blob to everybody at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_among_four_peers_costs_little() {
    let peers: Vec<Peer> = (1..=4).map(Peer::new).collect();
    let sent = || peers.iter().map(|peer| peer.plane.traffic().sent()).sum::<u64>();
    // The lower key dials, as two dialing at once would make two connections.
    for (index, peer) in peers.iter().enumerate() {
        for other in &peers[index + 1..] {
            peer.plane.connect(&other.source()).await.unwrap();
        }
    }
    let len = 215_000;
    let mut before = sent();
    for slot in 0..8u8 {
        let pushes = peers.iter().enumerate().flat_map(|(index, from)| {
            let root = from.store.insert(&noise(len, slot * 4 + index as u8)).unwrap();
            let others = peers.iter().filter(|to| to.plane.key() != from.plane.key());
            others.map(move |to| async move { from.plane.push(root, &to.source()).await.unwrap() })
        });
        let pushed = futures::future::join_all(pushes).await;
        assert!(pushed.iter().all(|pushed| *pushed == crate::blobs::Pushed::Stored));
        let now = sent();
        let overhead = (now - before) as f64 / (12 * len) as f64;
        println!("slot {slot}: {overhead:.4} bytes sent per byte of blobs");
        if slot > 0 {
            assert!(overhead < 1.10, "{overhead}");
        }
        before = now;
    }
}
