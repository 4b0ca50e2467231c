//! Builds the swarm: transports, behaviours and their bounds.

use std::sync::Arc;
use std::time::Duration;

use driftless_protocol::{Hash, PeerKey};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::gossipsub::{self, MaxCountSubscriptionFilter, TopicHash, TopicSubscriptionFilter};
use libp2p::identity::Keypair;
use libp2p::swarm::{self, NetworkBehaviour, Swarm};
use libp2p::{
    PeerId, Transport, allow_block_list, dns, identify, noise, ping, quic, request_response, tcp, yamux,
};

use super::config::{ControlConfig, Limits};
use super::direct::{self, DirectLimits, Links};
use super::error::ControlError;
use super::frame::RequestCodec;
use super::instances::with_instance;
use super::traffic::{Counted, CountedMuxer, Framing, Meter};

/// What identify must say on both sides.
pub(crate) const PROTOCOL_VERSION: &str = "driftless/1";
const REQUEST_PROTOCOL: &str = "/driftless/request/1";
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// gossipsub's cap is for a whole RPC: message, topic and control messages.
const GOSSIP_RPC: usize = 64 << 10;
const STREAMS_PER_CONNECTION: usize = 64;

/// Everything that lives on a connection. `direct` stays last, see there.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) gossip: Gossip,
    pub(crate) request: request_response::Behaviour<RequestCodec>,
    pub(crate) direct: direct::Behaviour,
}

pub(crate) type Gossip =
    gossipsub::Behaviour<gossipsub::IdentityTransform, MaxCountSubscriptionFilter<SessionTopics>>;

/// Allows topics of sessions and nothing else.
#[derive(Clone, Default, Debug)]
pub(crate) struct SessionTopics;

impl TopicSubscriptionFilter for SessionTopics {
    fn can_subscribe(&mut self, topic: &TopicHash) -> bool {
        session_of(topic).is_some()
    }
}

/// The topic of a session.
pub(crate) fn topic_of(session: Hash) -> gossipsub::IdentTopic {
    gossipsub::IdentTopic::new(format!("driftless/1/{session}"))
}

/// The session of a topic, if it is one of ours.
pub(crate) fn session_of(topic: &TopicHash) -> Option<Hash> {
    let session = Hash::from_hex(topic.as_str().strip_prefix("driftless/1/")?)?;
    (topic_of(session).hash() == *topic).then_some(session)
}

pub(crate) fn build(
    config: &ControlConfig,
    keypair: &Keypair,
    own: PeerKey,
    links: Arc<Links>,
    meter: Arc<Meter>,
) -> Result<Swarm<Behaviour>, ControlError> {
    let transport = transport(keypair, meter)?;
    let behaviour = behaviour(config, keypair, own, links)?;
    let settings = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(config.limits.idle)
        .with_max_negotiating_inbound_streams(32)
        // QUIC before TCP, IPv6 before IPv4, the later ones a little later.
        .with_smart_dial();
    Ok(Swarm::new(transport, behaviour, keypair.public().to_peer_id(), settings))
}

fn transport(keypair: &Keypair, meter: Arc<Meter>) -> Result<Boxed<(PeerId, StreamMuxerBox)>, ControlError> {
    let inner = sockets(keypair, meter.clone())?;
    Ok(match dns::tokio::Transport::system(inner) {
        Ok(transport) => transport.boxed(),
        Err(error) => {
            tracing::warn!(%error, "the system's resolver cannot be used: names in addresses may not resolve");
            let inner = sockets(keypair, meter)?;
            dns::tokio::Transport::custom(inner, dns::ResolverConfig::default(), dns::ResolverOpts::default())
                .boxed()
        }
    })
}

/// TCP with noise and yamux, and QUIC; both counted.
fn sockets(keypair: &Keypair, meter: Arc<Meter>) -> Result<Boxed<(PeerId, StreamMuxerBox)>, ControlError> {
    let noise = noise::Config::new(keypair)
        .map_err(|error| ControlError::Setup { part: "noise", reason: error.to_string() })?;
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(STREAMS_PER_CONNECTION);
    let tcp_meter = meter.clone();
    let tcp = tcp::tokio::Transport::new(tcp::Config::default())
        .map(move |socket, _| Counted::new(socket, tcp_meter.clone(), Framing::Socket))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux)
        .timeout(HANDSHAKE_TIMEOUT)
        .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)));
    let quic = quic::tokio::Transport::new(quic_config(keypair)).map(move |(peer, connection), point| {
        meter.quic_handshake(point.is_dialer());
        (peer, StreamMuxerBox::new(CountedMuxer::new(connection, meter.clone())))
    });
    Ok(quic.or_transport(tcp).map(|either, _| either.into_inner()).boxed())
}

fn quic_config(keypair: &Keypair) -> quic::Config {
    // Control messages are small: searching for a larger packet size would cost more than it saves.
    let mut config = quic::Config::new(keypair).disable_path_mtu_discovery();
    config.max_concurrent_stream_limit = STREAMS_PER_CONNECTION as u32;
    // libp2p gives its sockets no buffers of their own. With Linux's default (208 KiB) a larger window
    // overflows them: 8 MiB took 1.7 s on loopback with this one and 7 s with 1 MiB.
    config.max_stream_data = 128 << 10;
    config.max_connection_data = 384 << 10;
    // Slots close without a peer that is seen to be gone, so the sooner the better. A connection ends when
    // three packets in a row are lost.
    config.keep_alive_interval = Duration::from_secs(3);
    config.max_idle_timeout = 10_000;
    config
}

fn behaviour(
    config: &ControlConfig,
    keypair: &Keypair,
    own: PeerKey,
    links: Arc<Links>,
) -> Result<Behaviour, ControlError> {
    let limits = &config.limits;
    let identify = identify::Config::new(PROTOCOL_VERSION.into(), keypair.public())
        .with_agent_version(with_instance(&config.agent))
        .with_push_listen_addr_updates(true)
        .with_cache_size(0);
    let ping = ping::Config::new().with_interval(limits.ping);
    let codec = RequestCodec { request: limits.message, reply: limits.reply };
    let request = request_response::Behaviour::with_codec(
        codec,
        [(REQUEST_PROTOCOL, request_response::ProtocolSupport::Full)],
        request_response::Config::default()
            .with_request_timeout(limits.request_timeout)
            .with_max_concurrent_streams(2 * limits.serving_per_peer),
    );
    let direct = DirectLimits {
        message: limits.message,
        outbox_messages: limits.outbox_messages,
        outbox_bytes: limits.outbox_bytes,
    };
    Ok(Behaviour {
        limits: connection_limits::Behaviour::new(connection_bounds(limits)),
        blocked: allow_block_list::Behaviour::default(),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping),
        gossip: gossip(limits)?,
        request,
        direct: direct::Behaviour::new(own, direct, links),
    })
}

fn connection_bounds(limits: &Limits) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.pending_incoming))
        .with_max_pending_outgoing(Some(limits.pending_outgoing))
        .with_max_established_incoming(Some(limits.established_incoming))
        .with_max_established_outgoing(Some(limits.established_outgoing))
        .with_max_established(Some(limits.established_total))
        .with_max_established_per_peer(Some(limits.established_per_peer))
}

/// Messages carry our own signatures, so gossipsub adds none and names them by their hash.
///
/// Up to six peers are one full mesh, made as soon as they subscribe: a message reaches everybody in
/// one hop and no lists of what was seen travel. In larger sessions each peer passes on to six.
fn gossip(limits: &Limits) -> Result<Gossip, ControlError> {
    let setup = |reason: String| ControlError::Setup { part: "gossipsub", reason };
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(message_id)
        .max_transmit_size(GOSSIP_RPC)
        .heartbeat_interval(Duration::from_secs(1))
        .heartbeat_initial_delay(Duration::from_secs(1))
        .mesh_n(6)
        .mesh_n_low(5)
        .mesh_n_high(10)
        .mesh_outbound_min(0)
        .gossip_lazy(3)
        .flood_publish(false)
        // A restarted peer must get back into a small mesh at once.
        .prune_backoff(Duration::from_secs(10))
        .unsubscribe_backoff(Duration::from_secs(2))
        // Telling neighbours "I have it" costs 60 bytes and may save a block.
        .idontwant_message_size_threshold(512)
        .duplicate_cache_time(Duration::from_secs(120))
        .connection_handler_queue_len(64)
        .max_publish_messages(64)
        .max_control_messages_sent(256)
        .build()
        .map_err(|error| setup(error.to_string()))?;
    let filter = MaxCountSubscriptionFilter {
        filter: SessionTopics,
        max_subscribed_topics: 2 * limits.sessions,
        max_subscriptions_per_request: 2 * limits.sessions,
    };
    Gossip::new_with_subscription_filter(gossipsub::MessageAuthenticity::Anonymous, config, filter)
        .map_err(|error| setup(error.into()))
}

/// 20 bytes of BLAKE3 over topic and data: two messages with one name are not found by searching.
fn message_id(message: &gossipsub::Message) -> gossipsub::MessageId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(message.topic.as_str().as_bytes());
    hasher.update(&[0]);
    hasher.update(&message.data);
    gossipsub::MessageId::from(hasher.finalize().as_bytes()[..20].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_topics_of_sessions_are_topics() {
        let session = Hash::of(b"session");
        assert_eq!(session_of(&topic_of(session).hash()), Some(session));
        for other in ["", "driftless/1/", "driftless/1/abcd", &format!("driftless/2/{session}")] {
            assert_eq!(session_of(&TopicHash::from_raw(other)), None, "{other}");
        }
        let upper = format!("driftless/1/{}", session.to_string().to_uppercase());
        assert_eq!(session_of(&TopicHash::from_raw(upper)), None);
    }
}
