//! A network that can be cut: every peer has a network namespace of its own, joined by a pair of
//! virtual interfaces to a switch; a cut moves some of the switch's ports to a second bridge.
//!
//! The namespaces have no names: they are gone when the last process and file in them are.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::failure::Failure;

const PORT: u16 = 4001;
/// Where everybody is, and where those are who were cut off.
const BRIDGES: [&str; 2] = ["together", "apart"];

/// The network.
pub struct Network {
    switch: Arc<File>,
    peers: Vec<Arc<File>>,
}

impl Network {
    /// A network of so many peers.
    pub fn build(peers: usize) -> Result<Network, Failure> {
        let switch = namespace()?;
        for bridge in BRIDGES {
            ip(&switch, &["link", "add", bridge, "type", "bridge"])?;
            ip(&switch, &["link", "set", bridge, "up"])?;
        }
        let namespaces: Vec<Arc<File>> = (0..peers).map(|_| namespace()).collect::<Result<_, _>>()?;
        let network = Network { switch, peers: namespaces };
        (0..peers).try_for_each(|peer| network.plug(peer))?;
        Ok(network)
    }

    fn plug(&self, peer: usize) -> Result<(), Failure> {
        let inside = &self.peers[peer];
        let at = format!("/proc/{}/fd/{}", std::process::id(), inside.as_raw_fd());
        let port = port(peer);
        ip(&self.switch, &["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &at])?;
        ip(&self.switch, &["link", "set", &port, "master", BRIDGES[0], "up"])?;
        ip(inside, &["address", "add", &format!("{}/24", home(peer).ip()), "dev", "eth0"])?;
        ip(inside, &["link", "set", "eth0", "up"])?;
        ip(inside, &["link", "set", "lo", "up"])
    }

    /// A peer's namespace.
    pub fn namespace(&self, peer: usize) -> Arc<File> {
        self.peers[peer].clone()
    }

    /// Cuts these peers off from the others, and the others from them.
    pub fn cut(&self, some: &[usize]) -> Result<(), Failure> {
        some.iter().try_for_each(|peer| self.connect(*peer, BRIDGES[1]))
    }

    /// Puts everybody together again.
    pub fn heal(&self) -> Result<(), Failure> {
        (0..self.peers.len()).try_for_each(|peer| self.connect(peer, BRIDGES[0]))
    }

    fn connect(&self, peer: usize, bridge: &str) -> Result<(), Failure> {
        ip(&self.switch, &["link", "set", &port(peer), "master", bridge])
    }
}

/// Where a peer listens.
pub fn home(peer: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 77, 0, peer as u8 + 1)), PORT)
}

fn port(peer: usize) -> String {
    format!("port{peer}")
}

/// A new namespace, held by a file. A thread makes it, because it moves there.
fn namespace() -> Result<Arc<File>, Failure> {
    let make = || {
        // SAFETY: a plain system call; it concerns this thread alone, which ends right after.
        match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
            0 => File::open("/proc/thread-self/ns/net"),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    let made = std::thread::spawn(make).join();
    let made = made.map_err(|_| Failure::setup("the thread that makes a network namespace panicked"))?;
    made.map(Arc::new).map_err(Failure::system("a network namespace"))
}

/// Runs `ip` in a namespace.
fn ip(namespace: &Arc<File>, words: &[&str]) -> Result<(), Failure> {
    let inside = namespace.clone();
    let mut command = Command::new("ip");
    command.args(words).stdin(Stdio::null());
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; setns is.
    unsafe {
        command.pre_exec(move || match libc::setns(inside.as_raw_fd(), libc::CLONE_NEWNET) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let said = command.output().map_err(Failure::system("ip"))?;
    match said.status.success() {
        true => Ok(()),
        false => Err(Failure::setup(format!(
            "ip {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&said.stderr).trim()
        ))),
    }
}
