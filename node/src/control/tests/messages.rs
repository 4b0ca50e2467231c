//! Messages, gossip and requests between connected peers.

use super::*;

#[tokio::test]
async fn two_peers_exchange_messages_over_each_transport() {
    for transport in [Node::quic, Node::tcp] {
        let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
        let address = transport(&b);
        connect(&mut a, &mut b, address).await;
        assert_eq!((a.control.connected(), b.control.connected()), (vec![b.key()], vec![a.key()]));
        let other = Hash::of(b"another session");
        a.control.send(session(), b.key(), b"one".to_vec()).unwrap();
        a.control.send(other, b.key(), Vec::new()).unwrap();
        a.control.send(session(), b.key(), vec![3; a.limit()]).unwrap();
        assert_eq!(b.message().await, (session(), a.key(), b"one".to_vec()));
        assert_eq!(b.message().await, (other, a.key(), Vec::new()));
        assert_eq!(b.message().await, (session(), a.key(), vec![3; a.limit()]));
        b.control.send(session(), a.key(), b"back".to_vec()).unwrap();
        assert_eq!(a.message().await, (session(), b.key(), b"back".to_vec()));
    }
}

impl Node {
    fn limit(&self) -> usize {
        Limits::default().message
    }
}

#[tokio::test]
async fn messages_arrive_in_order_however_fast_they_are_written() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    let address = b.quic();
    connect(&mut a, &mut b, address).await;
    for n in 0..400u32 {
        a.control.send(session(), b.key(), n.to_le_bytes().to_vec()).unwrap();
    }
    for n in 0..400u32 {
        assert_eq!(b.message().await.2, n.to_le_bytes());
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_at_once() {
    let a = Node::start(1).await;
    let stranger = Node::start(2).await.key();
    assert_eq!(a.control.send(session(), stranger, vec![]), Err(SendError::NotConnected));
    let limit = a.limit();
    let long = vec![0; limit + 1];
    let too_long = SendError::TooLong { found: limit + 1, limit };
    assert_eq!(a.control.send(session(), stranger, long.clone()), Err(too_long));
    let request = a.control.request(session(), stranger, long).await;
    assert_eq!(request, Err(RequestError::TooLong { found: limit + 1, limit }));
    let request = a.control.request(session(), stranger, vec![]).await;
    assert_eq!(request, Err(RequestError::NotConnected));
}

#[tokio::test]
async fn four_peers_send_everybody_a_message() {
    let mut nodes = mesh(4).await;
    let keys: Vec<PeerKey> = nodes.iter().map(Node::key).collect();
    for node in &nodes {
        for key in keys.iter().filter(|key| **key != node.key()) {
            node.control.send(session(), *key, node.key().0.to_vec()).unwrap();
        }
    }
    for node in &mut nodes {
        let mut senders = Vec::new();
        for _ in 0..3 {
            let (_, from, bytes) = node.message().await;
            assert_eq!(bytes, from.0);
            senders.push(from);
        }
        senders.sort();
        let mut others: Vec<PeerKey> = keys.iter().copied().filter(|key| *key != node.key()).collect();
        others.sort();
        assert_eq!(senders, others);
    }
}
