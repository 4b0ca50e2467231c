//! One connection with a peer, and which of several is the best.

use driftless_protocol::PeerKey;
use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;

/// One established connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    pub(crate) dialled: bool,
    pub(crate) quic: bool,
}

impl Link {
    pub(crate) fn new(id: ConnectionId, endpoint: &ConnectedPoint) -> Link {
        let quic = endpoint.get_remote_address().iter().any(|part| part == Protocol::QuicV1);
        Link { id, dialled: endpoint.is_dialer(), quic }
    }
}

/// The best of the connections between `own` and `peer`, listed oldest first.
///
/// Both ends rank alike: QUIC, then what the smaller key dialled, then the newer. Messages leave by
/// the best one, so once both ends know all connections the others are idle and can be closed.
pub(crate) fn best(own: PeerKey, peer: PeerKey, links: &[Link]) -> Option<ConnectionId> {
    let smaller = own < peer;
    let rank = |(at, link): &(usize, &Link)| (link.quic, link.dialled == smaller, *at);
    links.iter().enumerate().max_by_key(rank).map(|(_, link)| link.id)
}
