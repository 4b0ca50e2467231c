//! Where a node listens, and the port that stays its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use rand::TryRng;
use rand::rngs::SysRng;

use crate::store::{Folder, StoreError};

/// Ports are drawn from these: no system hands them out to outgoing connections, so what is free at
/// the first start is most likely free at the next.
const PORTS: Range<u16> = 20_000..32_000;
/// So many are tried.
const TRIES: usize = 64;

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// At this address (unspecified: on every interface), on a port that is drawn once and kept in the
    /// folder: an invitation stays good when its node is started again.
    Kept(IpAddr),
    /// Where somebody says.
    At {
        /// The control plane.
        control: Vec<Multiaddr>,
        /// The data planes: this port is the first session's, later ones take any.
        data: SocketAddr,
    },
}

/// What a node does that is not told.
pub const EVERYWHERE: Listen = Listen::Kept(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

impl Listen {
    /// The addresses of the control plane and of the first data plane. Call it under the folder's
    /// lock.
    pub(super) fn resolve(self, folder: &Folder) -> Result<(Vec<Multiaddr>, SocketAddr), StoreError> {
        match self {
            Listen::At { control, data } => Ok((control, data)),
            Listen::Kept(ip) => {
                let port = kept_port(folder)?;
                let at = |port| SocketAddr::new(ip, port);
                // 0 lets the system pick; the data plane has the next one otherwise.
                Ok((both(at(port)), at(if port == 0 { 0 } else { port + 1 })))
            }
        }
    }
}

/// QUIC and TCP on one port.
pub(crate) fn both(socket: SocketAddr) -> Vec<Multiaddr> {
    let ip = || match socket.ip() {
        IpAddr::V4(ip) => Multiaddr::from(ip),
        IpAddr::V6(ip) => Multiaddr::from(ip),
    };
    let port = socket.port();
    vec![ip().with(Protocol::Udp(port)).with(Protocol::QuicV1), ip().with(Protocol::Tcp(port))]
}

/// From how far away an address can be dialled; nearest last, so that sorting puts the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Anywhere, as far as the address tells.
    World,
    /// The local network.
    Network,
    /// This machine.
    Machine,
}

impl Reach {
    /// What an address says; a name may be anywhere.
    pub fn of(address: &Multiaddr) -> Reach {
        let near = match address.iter().next() {
            Some(Protocol::Ip4(ip)) if ip.is_loopback() => Some(Reach::Machine),
            Some(Protocol::Ip6(ip)) if ip.is_loopback() => Some(Reach::Machine),
            Some(Protocol::Ip4(ip)) => (is_private(ip)).then_some(Reach::Network),
            Some(Protocol::Ip6(ip)) => {
                (ip.is_unique_local() || ip.is_unicast_link_local()).then_some(Reach::Network)
            }
            _ => None,
        };
        near.unwrap_or(Reach::World)
    }
}

/// RFC 1918, link-local, and RFC 6598's shared space behind a provider's translator.
fn is_private(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    ip.is_private() || ip.is_link_local() || (a == 100 && (64..128).contains(&b))
}

/// The folder's port; drawn at its first start. While somebody else has it, another one that is free;
/// 0 if none is found.
fn kept_port(folder: &Folder) -> Result<u16, StoreError> {
    let kept = folder.port()?;
    if let Some(port) = kept.filter(|port| is_free(*port)) {
        return Ok(port);
    }
    let mut drawn = std::iter::repeat_with(draw).take(TRIES).flatten();
    let Some(port) = drawn.find(|port| is_free(*port)) else { return Ok(0) };
    match kept {
        Some(kept) => tracing::warn!(
            "port {kept} is taken; this time listening on {port}: invitations that name {kept} do not work \
             until it is free and the node starts again"
        ),
        None => folder.keep_port(port)?,
    }
    Ok(port)
}

fn draw() -> Option<u16> {
    let mut bytes = [0; 2];
    SysRng.try_fill_bytes(&mut bytes).ok()?;
    Some(PORTS.start + u16::from_le_bytes(bytes) % (PORTS.end - PORTS.start))
}

/// Whether both planes can have it: the control plane the port itself, the data plane the next.
fn is_free(port: u16) -> bool {
    let at = |port| (Ipv4Addr::UNSPECIFIED, port);
    let next = port.checked_add(1).filter(|_| port > 0);
    let udp = |port| UdpSocket::bind(at(port)).is_ok();
    next.is_some_and(|next| udp(port) && udp(next) && TcpListener::bind(at(port)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_port_and_does_without_it_while_somebody_else_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(dir.path()).unwrap();
        let resolve = || EVERYWHERE.resolve(&folder).unwrap();
        let (control, data) = resolve();
        assert_eq!(control, both(SocketAddr::from((Ipv4Addr::UNSPECIFIED, data.port() - 1))));
        assert_eq!(resolve(), (control.clone(), data));
        let taken = UdpSocket::bind(data).unwrap();
        assert_ne!(resolve().1, data);
        drop(taken);
        assert_eq!(resolve().1, data, "it is free again");
    }

    #[test]
    fn addresses_tell_how_far_they_reach() {
        let of = |text: &str| Reach::of(&text.parse().unwrap());
        for near in ["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1"] {
            assert_eq!(of(near), Reach::Machine, "{near}");
        }
        let homes = ["10.1.2.3", "172.31.0.1", "192.168.0.9", "169.254.1.1", "100.64.0.1", "100.127.255.1"];
        for home in homes {
            assert_eq!(of(&format!("/ip4/{home}/tcp/1")), Reach::Network, "{home}");
        }
        for home in ["/ip6/fe80::1/tcp/1", "/ip6/fd00::1/tcp/1"] {
            assert_eq!(of(home), Reach::Network, "{home}");
        }
        let far = ["/ip4/172.32.0.1/tcp/1", "/ip4/100.128.0.1/tcp/1", "/ip6/2001:db9::1/tcp/1"];
        for far in far.into_iter().chain(["/dns/example.org/tcp/1"]) {
            assert_eq!(of(far), Reach::World, "{far}");
        }
        assert!(Reach::World < Reach::Network && Reach::Network < Reach::Machine);
    }

    #[test]
    fn a_damaged_port_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(dir.path()).unwrap();
        std::fs::write(dir.path().join("port"), "70000").unwrap();
        let error = EVERYWHERE.resolve(&folder).unwrap_err().to_string();
        assert!(error.contains("port") && error.contains("70000"), "{error}");
    }
}
