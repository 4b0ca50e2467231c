//! Listening, with errors that name the address.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::core::transport::{ListenerId, TransportError};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, Swarm};

use super::error::ControlError;

/// Starts to listen on `address`.
pub(crate) fn listen<B: NetworkBehaviour>(
    swarm: &mut Swarm<B>,
    address: &Multiaddr,
) -> Result<ListenerId, ControlError> {
    probe(&check(address)?).map_err(|source| refused(address, source))?;
    swarm.listen_on(address.clone()).map_err(|error| match error {
        TransportError::MultiaddrNotSupported(address) => {
            ControlError::BadAddress { address, reason: "neither QUIC nor TCP".into() }
        }
        TransportError::Other(source) => refused(address, source),
    })
}

/// The socket behind a listen address, if it is of the form `/ip/udp/PORT/quic-v1` or `/ip/tcp/PORT`.
fn check(address: &Multiaddr) -> Result<Kind, ControlError> {
    let bad = |reason: &str| ControlError::BadAddress { address: address.clone(), reason: reason.into() };
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Err(bad("it must start with /ip4/ or /ip6/ and a number")),
    };
    let kind = match (parts.next(), parts.next()) {
        (Some(Protocol::Tcp(port)), None) => Kind::Tcp(SocketAddr::new(ip, port)),
        (Some(Protocol::Udp(port)), Some(Protocol::QuicV1)) => Kind::Quic(SocketAddr::new(ip, port)),
        _ => return Err(bad("after the IP address comes /tcp/PORT or /udp/PORT/quic-v1")),
    };
    match parts.next() {
        None => Ok(kind),
        Some(_) => Err(bad("nothing may follow /tcp/PORT or /udp/PORT/quic-v1")),
    }
}

/// The socket behind a listen address.
enum Kind {
    Tcp(SocketAddr),
    Quic(SocketAddr),
}

/// Whether an ordinary socket can have the port.
///
/// libp2p listens on TCP with SO_REUSEPORT (its dials share the port), so a second peer of this user
/// on the same port would not fail but get half of the connections; and QUIC's error loses its kind
/// on the way up.
fn probe(kind: &Kind) -> io::Result<()> {
    match kind {
        Kind::Tcp(socket) => TcpListener::bind(socket).map(drop),
        Kind::Quic(socket) => UdpSocket::bind(socket).map(drop),
    }
}

/// Waits until the ports of `addresses` are free. quinn keeps its socket while the connections it
/// closed drain, and tells nobody when that is over.
pub(crate) async fn freed(addresses: &[Multiaddr]) {
    for kind in addresses.iter().filter_map(|address| check(address).ok()) {
        while probe(&kind).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn refused(address: &Multiaddr, source: io::Error) -> ControlError {
    let address = address.clone();
    if is_in_use(&source) {
        ControlError::PortInUse { address }
    } else {
        ControlError::Listen { address, source }
    }
}

/// Looks for "address in use" through the wrappings of the transports.
fn is_in_use(error: &(dyn Error + 'static)) -> bool {
    if let Some(io) = error.downcast_ref::<io::Error>() {
        if io.kind() == io::ErrorKind::AddrInUse {
            return true;
        }
        return io.get_ref().is_some_and(|inner| is_in_use(inner));
    }
    error.source().is_some_and(is_in_use)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_quic_and_tcp_addresses_are_listened_on() {
        let accepted = ["/ip4/0.0.0.0/tcp/0", "/ip6/::1/udp/4001/quic-v1"];
        for address in accepted {
            assert!(check(&address.parse().unwrap()).is_ok(), "{address}");
        }
        let refused =
            ["/dns4/example.org/tcp/1", "/ip4/1.2.3.4/udp/1", "/ip4/1.2.3.4/tcp/1/ws", "/ip4/1.2.3.4"];
        for address in refused {
            let error = check(&address.parse().unwrap()).err().map(|error| error.to_string());
            assert!(error.is_some_and(|text| text.contains(address)), "{address}");
        }
    }

    #[test]
    fn a_wrapped_error_is_still_found() {
        let inner = io::Error::from(io::ErrorKind::AddrInUse);
        let wrapped = io::Error::other(io::Error::other(inner));
        assert!(is_in_use(&wrapped));
        assert!(!is_in_use(&io::Error::other("something else")));
    }
}
