//! A network that can be cut: every peer has a network namespace of its own, joined by a pair of
//! virtual interfaces to a switch; a cut moves some of the switch's ports to a second bridge. A token
//! bucket at either end of the pair makes it a line of some rate.
//!
//! The namespaces have no names: they are gone when the last process and file in them are.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::failure::Failure;

const PORT: u16 = 4001;
/// Where everybody is, and where those are who were cut off.
const BRIDGES: [&str; 2] = ["together", "apart"];

/// What left at one end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Carried {
    /// Bytes, those of Ethernet, IP and UDP with them.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets that found the queue full.
    pub drops: u64,
}

/// What went through an interface one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Through {
    /// Bytes, those of Ethernet with them.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
}

impl Through {
    /// Bytes of IP packets.
    pub fn of_ip(&self) -> u64 {
        /// Two addresses and a type.
        const ETHERNET: u64 = 14;
        self.bytes.saturating_sub(ETHERNET * self.packets)
    }
}

#[derive(Deserialize)]
struct Interface {
    stats64: Statistics,
}

#[derive(Deserialize)]
struct Statistics {
    rx: Through,
    tx: Through,
}

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

    /// Makes the peer's line one that carries so many bytes a second each way, before which so much waits
    /// as leaves within `buffer`; what comes on top of that is lost.
    pub fn throttle(&self, peer: usize, rate: u64, buffer: Duration) -> Result<(), Failure> {
        let rate_text = format!("{}bit", 8 * rate);
        // Two packets, or what a clock of 100 Hz has to hand out at a time.
        let burst = (rate / 100).max(3_200).to_string();
        let waits = format!("{}ms", buffer.as_millis().max(1));
        let bucket = ["root", "tbf", "rate", &rate_text, "burst", &burst, "latency", &waits];
        for (namespace, device) in self.ends(peer) {
            let words = [&["qdisc", "add", "dev", &device][..], &bucket].concat();
            within(namespace, "tc", &words)?;
        }
        Ok(())
    }

    /// What the peer's line carried so far: from the peer, then to it.
    pub fn carried(&self, peer: usize) -> Result<[Carried; 2], Failure> {
        let [up, down] = self.ends(peer).map(|(namespace, device)| {
            let said = within(namespace, "tc", &["-s", "-j", "qdisc", "show", "dev", &device])?;
            let mut parsed: Vec<Carried> = serde_json::from_slice(&said).map_err(Failure::setup)?;
            parsed.pop().ok_or_else(|| Failure::setup(format!("tc knows no queue of {device}")))
        });
        Ok([up?, down?])
    }

    /// What went through the peer's interface so far, as its kernel counts: sent, received.
    pub fn counted(&self, peer: usize) -> Result<[Through; 2], Failure> {
        let said = within(&self.peers[peer], "ip", &["-s", "-j", "link", "show", "dev", "eth0"])?;
        let mut links: Vec<Interface> = serde_json::from_slice(&said).map_err(Failure::setup)?;
        let link = links.pop().ok_or_else(|| Failure::setup("ip knows no eth0"))?;
        Ok([link.stats64.tx, link.stats64.rx])
    }

    /// The ends of a peer's line, by what leaves there: what the peer sends, what it receives.
    fn ends(&self, peer: usize) -> [(&Arc<File>, String); 2] {
        [(&self.peers[peer], "eth0".into()), (&self.switch, port(peer))]
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
    within(namespace, "ip", words).map(drop)
}

/// Runs a program in a namespace; returns what it says.
fn within(namespace: &Arc<File>, program: &str, words: &[&str]) -> Result<Vec<u8>, Failure> {
    let inside = namespace.clone();
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null());
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; setns is.
    unsafe {
        command.pre_exec(move || match libc::setns(inside.as_raw_fd(), libc::CLONE_NEWNET) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let said = command.output().map_err(Failure::system(program))?;
    match said.status.success() {
        true => Ok(said.stdout),
        false => Err(Failure::setup(format!(
            "{program} {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&said.stderr).trim()
        ))),
    }
}
