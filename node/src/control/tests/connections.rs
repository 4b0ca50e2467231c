//! Starting, dialling, losing and finding each other again.

use super::*;

#[tokio::test]
async fn a_port_in_use_is_named() {
    let first = Node::start(1).await;
    for taken in [first.quic(), first.tcp()] {
        let mut config = super::config(2);
        config.listen = vec![taken.clone()];
        let error = Control::start(config).await.map(drop).unwrap_err();
        assert!(matches!(&error, ControlError::PortInUse { address } if *address == taken), "{error}");
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
    }
}

#[tokio::test]
async fn an_address_of_another_kind_is_named() {
    for bad in ["/dns4/example.org/tcp/1", "/ip4/127.0.0.1/udp/0", "/ip4/192.0.2.1/tcp/0"] {
        let mut config = super::config(1);
        config.listen = vec![bad.parse().unwrap()];
        let error = Control::start(config).await.map(drop).unwrap_err();
        assert!(matches!(error, ControlError::BadAddress { .. } | ControlError::Listen { .. }), "{error}");
        assert!(error.to_string().contains(bad), "{error}");
    }
}

#[tokio::test]
async fn another_peer_than_expected_is_refused() {
    let (mut a, b) = (Node::start(1).await, Node::start(2).await);
    let expected = Node::start(3).await.key();
    for address in [b.quic(), b.tcp()] {
        a.control.dial(address, Some(expected));
        let failure = a.dial_failure().await;
        assert!(matches!(failure, DialFailure::WrongPeer { found: Some(found), .. } if found == b.key()));
    }
    assert_eq!(a.control.connected(), []);
}

#[tokio::test]
async fn dials_that_lead_nowhere_say_so() {
    let mut a = Node::start(1).await;
    let own = a.tcp();
    a.control.dial(own, None);
    assert!(matches!(a.dial_failure().await, DialFailure::Own { .. }));
    let gone = Node::start(2).await;
    let address = gone.tcp();
    gone.control.shutdown().await;
    a.control.dial(address.clone(), None);
    let failure = a.dial_failure().await;
    assert!(matches!(&failure, DialFailure::Unreachable(text) if text.contains(&address.to_string())));
}

#[tokio::test]
async fn a_peer_is_introduced_with_its_addresses() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    a.control.dial(b.tcp(), None);
    a.connected(b.key()).await;
    let introduction = |event| match event {
        ControlEvent::Identified { peer, listen, agent, .. } => Some((peer, listen, agent)),
        _ => None,
    };
    let (peer, mut listen, agent) = a.next(introduction).await;
    listen.sort();
    let mut expected = b.control.listen_addresses();
    expected.sort();
    assert_eq!((peer, listen), (b.key(), expected));
    assert!(agent.starts_with("driftless/"), "{agent}");
    assert_eq!(b.next(introduction).await.0, a.key());
}

#[tokio::test]
async fn quic_is_preferred_and_tcp_is_the_way_out() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    a.control.keep(b.key(), vec![b.tcp(), b.quic()]);
    assert!(a.connected(b.key()).await.to_string().contains("quic-v1"));
    b.connected(a.key()).await;
    let mut config = super::config(3);
    config.listen.retain(|address| address.to_string().contains("tcp"));
    let mut c = Node::with(config).await;
    let nobody = "/ip4/127.0.0.1/udp/1/quic-v1".parse().unwrap();
    a.control.keep(c.key(), vec![nobody, c.tcp()]);
    assert!(a.connected(c.key()).await.to_string().contains("tcp"));
    c.connected(a.key()).await;
}

#[tokio::test]
async fn a_kept_peer_is_found_again_after_its_restart() {
    for transport in [Node::quic, Node::tcp] {
        let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
        let address = transport(&b);
        a.control.keep(b.key(), vec![address.clone()]);
        a.connected(b.key()).await;
        b.connected(a.key()).await;
        let key = b.key();
        b.control.shutdown().await;
        a.disconnected(key).await;
        let mut config = super::config(2);
        config.listen = vec![address];
        let mut b = Node::with(config).await;
        a.connected(b.key()).await;
        b.connected(a.key()).await;
        a.control.send(session(), b.key(), b"again".to_vec()).unwrap();
        assert_eq!(b.message().await.2, b"again");
    }
}

#[tokio::test]
async fn two_that_keep_each_other_lose_nothing_to_their_duplicates() {
    let configs = [1, 2].map(|seed| {
        let mut config = super::config(seed);
        config.limits.duplicate_grace = Duration::from_millis(300);
        config
    });
    let [first, second] = configs;
    let (mut a, mut b) = (Node::with(first).await, Node::with(second).await);
    a.control.dial(b.quic(), Some(b.key()));
    b.control.dial(a.quic(), Some(a.key()));
    a.control.dial(b.tcp(), None);
    b.control.dial(a.tcp(), None);
    a.connected(b.key()).await;
    b.connected(a.key()).await;
    // Each waits for the other's message before the next: the exchange outlasts the duplicates.
    for n in 0..1000u32 {
        a.control.send(session(), b.key(), n.to_le_bytes().to_vec()).unwrap();
        assert_eq!(b.message().await.2, n.to_le_bytes());
        b.control.send(session(), a.key(), n.to_le_bytes().to_vec()).unwrap();
        assert_eq!(a.message().await.2, n.to_le_bytes());
    }
}

#[tokio::test]
async fn what_was_queued_is_written_before_the_end() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    let address = b.quic();
    connect(&mut a, &mut b, address).await;
    a.control.send(session(), b.key(), b"farewell".to_vec()).unwrap();
    a.control.clone().shutdown().await;
    assert_eq!(b.message().await.2, b"farewell");
    b.disconnected(a.key()).await;
    assert_eq!(a.control.send(session(), b.key(), vec![]), Err(SendError::NotConnected));
    assert!(!a.control.join_session(session()).await);
}

/// The first process of `b` stays up here and goes on answering: what a killed one cannot do.
#[tokio::test]
async fn a_peer_that_was_started_again_is_spoken_to_and_not_its_old_process() {
    let (mut a, mut old) = (Node::start(1).await, Node::start(2).await);
    a.control.dial(old.quic(), None);
    a.connected(old.key()).await;
    a.next(|event| matches!(event, ControlEvent::Identified { .. }).then_some(())).await;
    old.connected(a.key()).await;
    a.control.send(session(), old.key(), b"before".to_vec()).unwrap();
    assert_eq!(old.message().await.2, b"before");

    let mut new = Node::start(2).await;
    new.control.dial(a.quic(), None);
    let restarted = a.next(|event| match event {
        ControlEvent::Restarted { peer, dialled, .. } => Some((peer, dialled)),
        ControlEvent::Disconnected { .. } => panic!("one of its processes is there"),
        _ => None,
    });
    assert_eq!(restarted.await, (old.key(), false));
    old.disconnected(a.key()).await;
    a.control.send(session(), new.key(), b"after".to_vec()).unwrap();
    assert_eq!(new.message().await.2, b"after");
}
