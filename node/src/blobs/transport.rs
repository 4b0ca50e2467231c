//! QUIC and TLS as the data plane uses them: one identity, one ALPN, one set of limits.
//!
//! The certificate is libp2p's: a fresh self-signed one that carries the peer's ed25519 key and its
//! signature. Both sides must show one, and a dialer names the key that it expects.

use std::sync::Arc;
use std::time::Duration;

use driftless_protocol::PeerKey;
use libp2p_identity::{Keypair, PeerId, ed25519};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::rustls::pki_types::CertificateDer;
use quinn::{Connection, IdleTimeout, TransportConfig, VarInt};
use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng, TryRng};

use crate::bandwidth::Caps;

/// The protocol and its version.
pub(crate) const ALPN: &[u8] = b"driftless-data/1";

/// A silent connection lives this long.
const IDLE: Duration = Duration::from_secs(30);
/// The dialing side says something this often.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Streams that a peer may have open at a time.
pub(crate) const MAX_STREAMS: u32 = 16;
/// Bytes that one stream, and one connection, may have in flight towards us.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u64 = 8 << 20;
/// Bytes of a connection identifier.
const CONNECTION_ID: usize = 8;
/// Bytes that we keep for retransmission per connection.
pub(crate) const SEND_WINDOW: u64 = 8 << 20;

/// The data plane's keys could not be turned into a TLS configuration.
#[derive(Debug, thiserror::Error)]
#[error("no TLS identity: {0}")]
pub struct IdentityError(String);

impl IdentityError {
    fn new(error: impl std::fmt::Display) -> IdentityError {
        IdentityError(error.to_string())
    }
}

/// Our key in libp2p's form.
pub(crate) fn keypair(mut seed: [u8; 32]) -> Result<(Keypair, PeerKey), IdentityError> {
    let pair = Keypair::ed25519_from_bytes(&mut seed).map_err(IdentityError::new)?;
    let public = pair.public().try_into_ed25519().map_err(IdentityError::new)?;
    Ok((pair, PeerKey(public.to_bytes())))
}

fn peer_id(peer: &PeerKey) -> Result<PeerId, IdentityError> {
    let public = ed25519::PublicKey::try_from_bytes(&peer.0).map_err(IdentityError::new)?;
    Ok(libp2p_identity::PublicKey::from(public).to_peer_id())
}

/// The receive window of a connection: a quarter second of the download cap, so that what waits in
/// the kernel for the bucket stays short; all of it when there is no cap.
pub(crate) fn receive_window(caps: Caps) -> VarInt {
    let bytes =
        caps.down.limit().map_or(CONNECTION_WINDOW, |rate| (rate / 4).clamp(32 << 10, CONNECTION_WINDOW));
    VarInt::from_u32(bytes as u32)
}

/// Limits and timers of one connection. Only the dialer sends keep-alives.
pub(crate) fn transport(caps: Caps, dialer: bool) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(receive_window(caps))
        .send_window(SEND_WINDOW)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE.as_millis() as u32))))
        .keep_alive_interval(dialer.then_some(KEEP_ALIVE))
        .congestion_controller_factory(Arc::new(quinn::congestion::CubicConfig::default()));
    Arc::new(config)
}

/// How to dial `peer`. Never shared between peers: its session cache belongs to one.
pub(crate) fn client(
    pair: &Keypair,
    peer: &PeerKey,
    transport: Arc<TransportConfig>,
) -> Result<quinn::ClientConfig, IdentityError> {
    let mut tls = libp2p_tls::make_client_config(pair, Some(peer_id(peer)?)).map_err(IdentityError::new)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    // The default obeys SSLKEYLOGFILE.
    tls.key_log = Arc::new(quinn::rustls::NoKeyLog {});
    let tls = QuicClientConfig::try_from(tls).map_err(IdentityError::new)?;
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    config.transport_config(transport);
    Ok(config)
}

/// How to accept.
pub(crate) fn server(
    pair: &Keypair,
    transport: Arc<TransportConfig>,
) -> Result<quinn::ServerConfig, IdentityError> {
    let mut tls = libp2p_tls::make_server_config(pair).map_err(IdentityError::new)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.key_log = Arc::new(quinn::rustls::NoKeyLog {});
    let tls = QuicServerConfig::try_from(tls).map_err(IdentityError::new)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(transport).max_incoming(64);
    Ok(config)
}

/// The endpoint's own settings. Its reset key follows from the seed, so that a restarted process can
/// tell peers at once that their old connection is dead.
pub(crate) fn endpoint(seed: &[u8; 32]) -> Result<quinn::EndpointConfig, IdentityError> {
    let reset_key = ResetKey(blake3::derive_key("driftless data plane reset key", seed));
    let mut config = quinn::EndpointConfig::new(Arc::new(reset_key));
    let mut random = [0; 32];
    SysRng.try_fill_bytes(&mut random).map_err(IdentityError::new)?;
    // quinn's default identifiers carry a key of the process: after a restart they would be dropped
    // as foreign, without a reset.
    config.cid_generator(move || Box::new(RandomIds(StdRng::from_seed(random))));
    Ok(config)
}

struct RandomIds(StdRng);

impl quinn::ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> quinn::ConnectionId {
        let mut id = [0; CONNECTION_ID];
        self.0.fill_bytes(&mut id);
        quinn::ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Who is at the other end of an established connection.
pub(crate) fn remote_key(connection: &Connection) -> Option<PeerKey> {
    let certificates = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let peer = libp2p_tls::certificate::parse(certificates.first()?).ok()?.peer_id();
    let public = libp2p_identity::PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    Some(PeerKey(public.try_into_ed25519().ok()?.to_bytes()))
}

/// Keyed BLAKE3 as quinn's message authentication.
struct ResetKey([u8; 32]);

impl quinn::crypto::HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        blake3::Hasher::new_keyed(&self.0).update(data).finalize_xof().fill(signature_out);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), quinn::crypto::CryptoError> {
        let expected = blake3::keyed_hash(&self.0, data);
        // `Hash` compares in constant time.
        match <[u8; 32]>::try_from(signature) {
            Ok(signature) if expected == signature => Ok(()),
            _ => Err(quinn::crypto::CryptoError),
        }
    }
}
