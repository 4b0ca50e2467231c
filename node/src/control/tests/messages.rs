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

#[tokio::test]
async fn gossip_reaches_everybody_once() {
    let mut nodes = mesh(4).await;
    nodes[0].control.publish(session(), b"block 1".to_vec());
    nodes[0].control.publish(session(), b"block 2".to_vec());
    for node in &mut nodes[1..] {
        let mut heard = Vec::new();
        for _ in 0..2 {
            let (_, id, bytes) = node.gossip().await;
            node.control.report(id, Verdict::Accept);
            heard.push(bytes);
        }
        heard.sort();
        assert_eq!(heard, [b"block 1", b"block 2"]);
    }
    // A third message, when all copies of the first two are through: nobody hears those again.
    nodes[3].control.publish(session(), b"block 3".to_vec());
    for node in &mut nodes[..3] {
        assert_eq!(node.gossip().await.2, b"block 3");
    }
}

#[tokio::test]
async fn gossip_travels_on_only_when_it_is_accepted() {
    let (mut a, mut b, mut c) = (Node::start(1).await, Node::start(2).await, Node::start(3).await);
    meet(&mut a, &mut b).await;
    meet(&mut b, &mut c).await;
    for (bytes, verdict) in
        [(b"ignored", Verdict::Ignore), (b"refused", Verdict::Reject), (b"correct", Verdict::Accept)]
    {
        a.control.publish(session(), bytes.to_vec());
        let (from, id, heard) = b.gossip().await;
        assert_eq!((from, heard), (a.key(), bytes.to_vec()));
        b.control.report(id, verdict);
    }
    let (from, _, heard) = c.gossip().await;
    assert_eq!((from, heard), (b.key(), b"correct".to_vec()));
}

#[tokio::test]
async fn sessions_do_not_hear_each_other() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    let other = Hash::of(b"another session");
    assert!(a.control.join_session(other).await);
    meet(&mut a, &mut b).await;
    a.control.publish(other, b"not for b".to_vec());
    a.control.publish(session(), b"for b".to_vec());
    assert_eq!(b.gossip().await.2, b"for b");
    b.control.leave_session(session()).await;
    assert!(b.control.join_session(other).await);
    a.subscribed(b.key()).await;
    a.control.publish(other, b"now for b".to_vec());
    assert_eq!(b.gossip().await.2, b"now for b");
}

#[tokio::test]
async fn a_request_brings_the_longest_reply_over_each_transport() {
    for transport in [Node::quic, Node::tcp] {
        let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
        let address = transport(&b);
        connect(&mut a, &mut b, address).await;
        let reply = b"a block\n".repeat(Limits::default().reply / 8);
        let asked = ask(&a, &b, b"blocks?");
        let (for_session, from, bytes, handle) = b.request().await;
        assert_eq!((for_session, from, bytes), (session(), a.key(), b"blocks?".to_vec()));
        assert!(handle.send(reply.clone()));
        assert!(asked.await.unwrap().unwrap() == reply);
    }
}

#[tokio::test]
async fn a_request_ends_however_the_other_side_behaves() {
    let mut config = super::config(1);
    config.limits.request_timeout = Duration::from_millis(500);
    let (mut a, mut b) = (Node::with(config).await, Node::start(2).await);
    let address = b.quic();
    connect(&mut a, &mut b, address).await;
    let declined = ask(&a, &b, b"declined");
    drop(b.request().await.3);
    assert_eq!(declined.await.unwrap(), Err(RequestError::Declined));
    let oversize = ask(&a, &b, b"oversize");
    assert!(!b.request().await.3.send(vec![0; Limits::default().reply + 1]));
    assert_eq!(oversize.await.unwrap(), Err(RequestError::Declined));
    let forgotten = ask(&a, &b, b"forgotten");
    let handle = b.request().await.3;
    assert_eq!(forgotten.await.unwrap(), Err(RequestError::Timeout));
    drop(handle);
    let cut_off = ask(&a, &b, b"cut off");
    let _handle = b.request().await.3;
    b.control.clone().shutdown().await;
    let error = cut_off.await.unwrap().unwrap_err();
    assert!(matches!(error, RequestError::ConnectionClosed | RequestError::Declined), "{error}");
    a.disconnected(b.key()).await;
}
