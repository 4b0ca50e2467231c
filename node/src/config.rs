//! What was typed and what `DIR/config.toml` says, resolved once.
//!
//! An argument beats what a session's folder keeps, that beats the file, the file beats the default.
//! Nothing is read from the environment but where the platform keeps data.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use driftless_protocol::session::WRITES_PER_DAY;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::args::{Device, NetworkArguments};
use crate::bandwidth::{Caps, Rate};
use crate::node::{EVERYWHERE, Listen, NodeOptions, both};
use crate::settings::Settings;

/// How a node runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder and addresses.
    pub node: NodeOptions,
    /// Caps on a session's data plane.
    pub caps: Caps,
    /// Compute threads.
    pub threads: usize,
    /// Keep every blob.
    pub keep_history: bool,
    /// Bytes that may be written in a day.
    pub writes_per_day: u64,
    /// Take part in training; else only follow.
    pub contribute: bool,
    /// Take a seat among the voters if elected.
    pub stand: bool,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file's text is wrong.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What and where.
        reason: String,
    },
    /// An address is none.
    #[error(
        "{text:?} is no address to {purpose}: write a port, IP:PORT, or a multiaddress such as /ip4/0.0.0.0/udp/4001/quic-v1"
    )]
    Address {
        /// What was written.
        text: String,
        /// `listen on` or `advertise`.
        purpose: &'static str,
    },
    /// Something that this release cannot do yet.
    #[error("{0} is not available yet")]
    NotYet(&'static str),
    /// No folder was given and the platform names none.
    #[error("there is no home folder to keep data in: give one with --dir")]
    NoFolder,
}

/// The data folder: `--dir`, or the platform's.
pub fn data_folder(dir: Option<&Path>) -> Result<PathBuf, ConfigError> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(dir) = dir {
        return Ok(dir.to_owned());
    }
    let folder = if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Application Support"))
    } else if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else {
        variable("XDG_DATA_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/share")))
    };
    folder.map(|folder| folder.join("driftless")).ok_or(ConfigError::NoFolder)
}

/// Resolves what was typed (and kept, below it) for the node of `dir`.
pub fn resolve(dir: PathBuf, written: Settings) -> Result<Config, ConfigError> {
    let settings = written.or(Settings::read(&dir.join("config.toml"))?);
    check_device(settings.device)?;
    let listen = listen_addresses(&settings.listen)?;
    let mut advertise = Vec::new();
    for text in &settings.advertise {
        advertise.extend(addresses(text, "advertise")?.0);
    }
    let rate = |rate: Option<Rate>| rate.unwrap_or(Rate::UNLIMITED);
    Ok(Config {
        threads: settings.threads.unwrap_or_else(|| (cores() - 1).max(1)),
        keep_history: settings.keep_history.unwrap_or(false),
        writes_per_day: settings.writes_per_day.unwrap_or(WRITES_PER_DAY),
        contribute: settings.contribute.unwrap_or(true),
        stand: settings.stand.unwrap_or(false),
        caps: Caps { up: rate(settings.up), down: rate(settings.down) },
        node: NodeOptions { dir, listen, advertise },
    })
}

/// What was typed, unless this release cannot do it.
pub fn typed(arguments: &NetworkArguments) -> Result<Settings, ConfigError> {
    match (&arguments.monthly, &arguments.hours) {
        (Some(_), _) => Err(ConfigError::NotYet("--monthly")),
        (_, Some(_)) => Err(ConfigError::NotYet("--hours")),
        _ => Ok(arguments.into()),
    }
}

/// The machine's cores; at least 1.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Refuses devices that this release cannot compute on.
pub fn check_device(device: Option<Device>) -> Result<(), ConfigError> {
    match device {
        Some(Device::Gpu) => Err(ConfigError::NotYet("computing on a graphics card (--device gpu)")),
        _ => Ok(()),
    }
}

fn listen_addresses(texts: &[String]) -> Result<Listen, ConfigError> {
    if texts.is_empty() {
        return Ok(EVERYWHERE);
    }
    let mut control = Vec::new();
    let mut data = None;
    for text in texts {
        let (addresses, socket) = addresses(text, "listen on")?;
        control.extend(addresses);
        data = data.or(socket);
    }
    let data = data.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    // The control plane has the port itself, for QUIC and for TCP.
    let next = if data.port() == 0 { Some(0) } else { data.port().checked_add(1) };
    let port = next.ok_or_else(|| ConfigError::Address { text: data.to_string(), purpose: "listen on" })?;
    Ok(Listen::At { control, data: SocketAddr::new(data.ip(), port) })
}

/// A text as multiaddresses, and as the socket behind them.
fn addresses(text: &str, purpose: &'static str) -> Result<(Vec<Multiaddr>, Option<SocketAddr>), ConfigError> {
    let wrong = || ConfigError::Address { text: text.to_owned(), purpose };
    if text.starts_with('/') {
        let address: Multiaddr = text.parse().map_err(|_| wrong())?;
        let socket = socket_of(&address);
        return Ok((vec![address], socket));
    }
    let socket = match text.parse::<u16>() {
        Ok(port) if purpose == "listen on" => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        _ => text.parse().map_err(|_| wrong())?,
    };
    Ok((both(socket), Some(socket)))
}

fn socket_of(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// Settings of a peer of `demo`: this machine only, on a port that `run` finds again.
pub fn loopback(dir: PathBuf, threads: usize) -> Config {
    let listen = Listen::Kept(Ipv4Addr::LOCALHOST.into());
    let node = NodeOptions { dir, listen, advertise: Vec::new() };
    Config {
        node,
        caps: Caps::default(),
        threads,
        keep_history: false,
        writes_per_day: WRITES_PER_DAY,
        contribute: true,
        stand: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(texts: &[&str]) -> Result<(Vec<String>, String), String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_string()).collect();
        let listen = listen_addresses(&texts).map_err(|error| error.to_string())?;
        let Listen::At { control, data } = listen else { panic!("{listen:?}") };
        Ok((control.iter().map(Multiaddr::to_string).collect(), data.to_string()))
    }

    #[test]
    fn ports_sockets_and_multiaddresses_are_read() {
        let both = |ip: &str, port: u16| {
            vec![format!("/ip4/{ip}/udp/{port}/quic-v1"), format!("/ip4/{ip}/tcp/{port}")]
        };
        assert_eq!(listen_addresses(&[]).unwrap(), EVERYWHERE);
        assert_eq!(listen(&["4001"]), Ok((both("0.0.0.0", 4001), "0.0.0.0:4002".into())));
        assert_eq!(listen(&["127.0.0.1:0"]), Ok((both("127.0.0.1", 0), "127.0.0.1:0".into())));
        let one = "/ip4/127.0.0.1/tcp/7";
        assert_eq!(listen(&[one]), Ok((vec![one.into()], "127.0.0.1:8".into())));
        for wrong in ["70000", "65535", "host:1", "/ip4/1.2.3.4.5/tcp/1", "", "1.2.3.4"] {
            let error = listen(&[wrong]).unwrap_err();
            assert!(error.contains("IP:PORT") && error.contains(wrong), "{error}");
        }
        assert!(addresses("4001", "advertise").is_err(), "nobody can dial a port alone");
    }

    #[test]
    fn arguments_beat_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, "up = \"1Mbit\"\ndown = \"2Mbit\"\nthreads = 3\n").unwrap();
        let typed = Settings { up: "5Mbit".parse().ok(), ..Settings::default() };
        let config = resolve(folder.path().to_owned(), typed).unwrap();
        assert_eq!(
            (config.caps.up.to_string(), config.caps.down.to_string()),
            ("5Mbit".into(), "2Mbit".into())
        );
        assert_eq!(config.threads, 3);
    }

    #[test]
    fn what_is_not_there_yet_is_refused() {
        let refused = |arguments: NetworkArguments| {
            let settings = typed(&arguments);
            settings.and_then(|typed| resolve("/nowhere".into(), typed)).unwrap_err().to_string()
        };
        let none = NetworkArguments::default;
        assert_eq!(
            refused(NetworkArguments { monthly: Some("50GB".into()), ..none() }),
            "--monthly is not available yet"
        );
        assert_eq!(
            refused(NetworkArguments { hours: Some("22-7".into()), ..none() }),
            "--hours is not available yet"
        );
        assert!(refused(NetworkArguments { device: Some(Device::Gpu), ..none() }).contains("graphics card"));
    }
}
