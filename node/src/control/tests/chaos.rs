//! Peers that flood, drivers that sleep, programs that speak something else.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::*;

fn socket_of(address: &Multiaddr) -> String {
    let text = address.to_string();
    let parts: Vec<&str> = text.split('/').collect();
    format!("{}:{}", parts[2], parts[4])
}

#[tokio::test]
async fn garbage_on_the_ports_does_no_harm() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    let garbage: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let greeting = [b"\x13/multistream/1.0.0\n\x07/noise\n".as_slice(), &garbage].concat();
    for bytes in [&garbage, &greeting] {
        let mut socket = TcpStream::connect(socket_of(&b.tcp())).await.unwrap();
        // The other side may hang up in the middle of either.
        let _ = socket.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = timeout(NEVER, socket.read_to_end(&mut answer)).await.expect("the peer hangs up");
        assert!(answer.len() < 1000);
    }
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for bytes in garbage.chunks(1200) {
        socket.send_to(bytes, socket_of(&b.quic())).await.unwrap();
    }
    assert_eq!(b.control.connected(), []);
    for address in [b.tcp(), b.quic()] {
        connect(&mut a, &mut b, address).await;
        a.control.send(session(), b.key(), b"hello".to_vec()).unwrap();
        assert_eq!(b.message().await.2, b"hello");
        a.control.disconnect(b.key());
        a.disconnected(b.key()).await;
        b.disconnected(a.key()).await;
    }
}

#[tokio::test]
async fn a_flooding_peer_is_cut_to_its_rate_and_then_shut_out() {
    let mut config = super::config(2);
    config.limits.rates.messages = Rate { per_second: 0, burst: 5 };
    config.limits.rates.strikes = Rate { per_second: 0, burst: 20 };
    let (mut a, mut b) = (Node::start(1).await, Node::with(config).await);
    let address = b.quic();
    connect(&mut a, &mut b, address.clone()).await;
    for n in 0..100u8 {
        // The connection may be gone before the last one.
        let _ = a.control.send(session(), b.key(), vec![n]);
    }
    for n in 0..5u8 {
        assert_eq!(b.message().await.2, [n]);
    }
    b.disconnected(a.key()).await;
    a.disconnected(b.key()).await;
    assert!(b.control.dropped().over_rate >= 20);
    // It may not come back for now.
    a.control.dial(address, Some(b.key()));
    a.next(|event| match event {
        ControlEvent::DialFailed { .. } | ControlEvent::Disconnected { .. } => Some(()),
        _ => None,
    })
    .await;
    assert_eq!(b.control.connected(), []);
}

#[tokio::test]
async fn a_sleeping_driver_loses_messages_but_no_news_of_connections() {
    let mut config = super::config(2);
    config.limits.events = 16;
    let (mut a, mut b) = (Node::start(1).await, Node::with(config).await);
    let address = b.quic();
    connect(&mut a, &mut b, address).await;
    for n in 0..100u8 {
        a.control.send(session(), b.key(), vec![n]).unwrap();
    }
    let overflow = async {
        while b.control.dropped().events == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(NEVER, overflow).await.unwrap();
    a.control.disconnect(b.key());
    a.disconnected(b.key()).await;
    let mut received = 0;
    b.next(|event| match event {
        ControlEvent::Message { .. } => {
            received += 1;
            None
        }
        ControlEvent::Disconnected { .. } => Some(()),
        _ => None,
    })
    .await;
    assert!((1..100).contains(&received), "{received}");
}

#[tokio::test]
async fn sessions_and_requests_are_bounded() {
    let mut config = super::config(1);
    config.limits.sessions = 2;
    let mut a = Node::with(config).await;
    for (name, joined) in [("1", true), ("2", true), ("3", false), ("2", true)] {
        assert_eq!(a.control.join_session(Hash::of(name.as_bytes())).await, joined, "{name}");
    }
    let mut b = Node::start(2).await;
    let address = a.quic();
    connect(&mut b, &mut a, address).await;
    let asked: Vec<_> = (0..Limits::default().serving_per_peer).map(|_| ask(&b, &a, b"?")).collect();
    let mut held = Vec::new();
    for _ in &asked {
        held.push(a.request().await.3);
    }
    assert_eq!(ask(&b, &a, b"?").await.unwrap(), Err(RequestError::Declined));
    for (handle, asked) in held.into_iter().zip(asked) {
        assert!(handle.send(b"yes".to_vec()));
        assert_eq!(asked.await.unwrap(), Ok(b"yes".to_vec()));
    }
    let again = ask(&b, &a, b"?");
    assert!(a.request().await.3.send(Vec::new()));
    assert_eq!(again.await.unwrap(), Ok(Vec::new()));
}
