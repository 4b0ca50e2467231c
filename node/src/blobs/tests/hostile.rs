//! Peers that lie, and strangers.

use std::sync::Arc;

use driftless_protocol::Hash;

use super::{Peer, liar, noise, open_hooks};
use crate::blobs::wire::{GET_BODY, Get, MAX_BLOB, PUSH, PUSH_BODY, Reply};
use crate::blobs::{FetchError, GROUP, SourceError, Welcome, transport};

fn only_failure(result: Result<crate::blobs::Fetched, FetchError>) -> SourceError {
    match result {
        Err(FetchError::NoSource { mut failures, .. }) if failures.len() == 1 => failures.remove(0).1,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_source_that_sends_a_wrong_byte_is_named_and_the_fetch_goes_on() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    let bytes = noise(20 * GROUP as usize, 1);
    let root = server.store.insert(&bytes).unwrap();
    let lie = Arc::new(|_: &Get, mut honest: Vec<u8>| {
        let middle = honest.len() / 2;
        honest[middle] ^= 1;
        honest
    });
    let lying = liar::serve(8, server.store.clone(), lie);
    let sources = vec![lying.clone(), server.source()];
    let fetched = client.plane.fetch(root, bytes.len() as u64, sources).await.unwrap();
    assert_eq!(client.store.read(&root).unwrap(), bytes);
    let [(peer, SourceError::WrongByte { group })] = fetched.failures[..] else {
        panic!("{:?}", fetched.failures)
    };
    assert_eq!(peer, lying.peer);
    assert!((9..=11).contains(&group), "{group}");
    // What was right before the lie was not fetched again.
    assert!(fetched.bytes[1].1 < 12 * GROUP, "{:?}", fetched.bytes);
}

#[tokio::test]
async fn a_source_that_says_nothing_makes_room_before_it_is_judged() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    let data = noise(100_000, 3);
    let root = server.store.insert(&data).unwrap();
    // As after a kill: the connection stands, and nobody is there.
    let (endpoint, silent) = liar::endpoint(8);
    let holding = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        connection.closed().await
    });
    let begun = std::time::Instant::now();
    let fetched = client.plane.fetch(root, data.len() as u64, vec![silent, server.source()]).await.unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(fetched.failures.is_empty(), "{:?}", fetched.failures);
    assert_eq!((fetched.bytes[0].1, fetched.bytes[1].1 > 100_000), (0, true));
    holding.abort();
}

#[tokio::test]
async fn a_lie_alone_leaves_no_blob() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    let bytes = noise(1000, 1);
    let root = server.store.insert(&bytes).unwrap();
    let lying = liar::serve(8, server.store.clone(), Arc::new(|_: &Get, _| noise(1000, 9)));
    let failure = only_failure(client.plane.fetch(root, 1000, vec![lying]).await);
    assert_eq!(failure, SourceError::WrongByte { group: 0 });
    assert_eq!(std::fs::read_dir(client.store.folder()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_truncated_stream_is_a_typed_error() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    let root = server.store.insert(&noise(5000, 1)).unwrap();
    for keep in [0, 1, 4999] {
        let cut = Arc::new(move |_: &Get, honest: Vec<u8>| honest[..keep].to_vec());
        let lying = liar::serve(8, server.store.clone(), cut);
        let failure = only_failure(client.plane.fetch(root, 5000, vec![lying]).await);
        assert_eq!(failure, SourceError::Truncated);
    }
}

#[tokio::test]
async fn a_wrong_expected_length_is_refused_before_anything_is_sent() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    let root = server.store.insert(&noise(5000, 1)).unwrap();
    for length in [4999, 5001, MAX_BLOB] {
        let failure = only_failure(client.plane.fetch(root, length, vec![server.source()]).await);
        assert_eq!(failure, SourceError::WrongLength);
    }
    let error = client.plane.fetch(root, u64::MAX, vec![server.source()]).await.unwrap_err();
    assert!(matches!(error, FetchError::TooLong { length: u64::MAX }));
    // Whoever goes along with the wrong length cannot prove it.
    let bytes = noise(5000, 1);
    let longer = Arc::new(move |_: &Get, _| [bytes.clone(), vec![0]].concat());
    let lying = liar::serve(8, server.store.clone(), longer);
    let failure = only_failure(client.plane.fetch(root, 5001, vec![lying]).await);
    assert_eq!(failure, SourceError::WrongByte { group: 0 });
    assert_eq!(std::fs::read_dir(client.store.folder()).unwrap().count(), 0);
    client.plane.fetch(root, 5000, vec![server.source()]).await.unwrap();
    let error = client.plane.fetch(root, 4999, vec![]).await.unwrap_err();
    assert!(matches!(error, FetchError::Length { held: 5000, expected: 4999, .. }));
}

#[tokio::test]
async fn hostile_headers_are_answered_and_cost_nothing() {
    let server = Peer::new(1);
    let root = server.store.insert(&noise(5000, 1)).unwrap();
    let (endpoint, _) = liar::endpoint(8);
    let connection = liar::dial(&endpoint, 8, &server.source()).await;
    let huge_get = [&[1][..], &root.0, &[0xff; GET_BODY - 32]].concat();
    let huge_push = [&[PUSH][..], &[7; 32], &[0xff; PUSH_BODY - 32]].concat();
    let unknown = vec![77; 100];
    for request in [huge_get, huge_push, unknown] {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&request).await.unwrap();
        assert_eq!(recv.read_to_end(100).await.unwrap(), [Reply::Malformed as u8]);
    }
    // A request that breaks off is no request.
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(&[1, 2, 3]).await.unwrap();
    send.finish().unwrap();
    assert!(recv.read_to_end(100).await.is_err());
    assert_eq!(std::fs::read_dir(server.store.folder()).unwrap().count(), 1);
}

#[tokio::test]
async fn somebody_else_at_the_address_is_refused() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    let root = server.store.insert(b"hello").unwrap();
    let mut source = server.source();
    source.peer = Peer::new(3).plane.key();
    let failure = only_failure(client.plane.fetch(root, 5, vec![source]).await);
    assert_eq!(failure, SourceError::WrongPeer);
    assert!(client.plane.connected().is_empty());
}

#[tokio::test]
async fn a_peer_that_is_not_admitted_is_refused() {
    let mut hooks = open_hooks();
    let friend = Peer::new(3);
    let only = friend.plane.key();
    hooks.welcome = Arc::new(move |peer| if peer == only { Welcome::Member } else { Welcome::No });
    let (server, stranger) = (Peer::with(1, hooks), Peer::new(2));
    let root = server.store.insert(b"hello").unwrap();
    friend.plane.fetch(root, 5, vec![server.source()]).await.unwrap();
    let failure = only_failure(stranger.plane.fetch(root, 5, vec![server.source()]).await);
    assert_eq!(failure, SourceError::Refused);
}

#[tokio::test]
async fn strangers_busy_with_their_share_do_not_keep_members_waiting() {
    let mut hooks = open_hooks();
    let member = Peer::new(3);
    let known = member.plane.key();
    hooks.welcome = Arc::new(move |peer| if peer == known { Welcome::Member } else { Welcome::Stranger });
    let (server, stranger) = (Peer::with(1, hooks), Peer::new(2));
    let root = server.store.insert(b"hello").unwrap();
    let inner = &server.plane.inner;
    let others = inner.strangers.try_acquire_many(inner.strangers.available_permits() as u32).unwrap();
    let failure = only_failure(stranger.plane.fetch(root, 5, vec![server.source()]).await);
    assert_eq!(failure, SourceError::Busy);
    member.plane.fetch(root, 5, vec![server.source()]).await.unwrap();
    drop(others);
    stranger.plane.fetch(root, 5, vec![server.source()]).await.unwrap();
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let server = Peer::new(1);
    // The data plane's own client configuration, less the certificate.
    let (pair, _) = transport::keypair([8; 32]).unwrap();
    let mut tls = libp2p_tls::make_client_config(&pair, None).unwrap();
    tls.alpn_protocols = vec![transport::ALPN.to_vec()];
    tls.client_auth_cert_resolver = Arc::new(NoCertificate);
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(tls));
    let (endpoint, _) = liar::endpoint(8);
    let address = server.plane.local_addr().unwrap();
    // The client side is ready before the server has judged it: the first read tells.
    let refused = match endpoint.connect_with(config, address, "l").unwrap().await {
        Err(error) => error,
        Ok(connection) => connection.closed().await,
    };
    assert!(matches!(refused, quinn::ConnectionError::ConnectionClosed(_)), "{refused}");
    assert!(server.plane.connected().is_empty());
}

#[derive(Debug)]
struct NoCertificate;

impl quinn::rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[quinn::rustls::SignatureScheme],
    ) -> Option<Arc<quinn::rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_root_that_was_never_stored_is_not_found() {
    let (server, client) = (Peer::new(1), Peer::new(2));
    let failure = only_failure(client.plane.fetch(Hash([9; 32]), 5, vec![server.source()]).await);
    assert_eq!(failure, SourceError::NotFound);
}
