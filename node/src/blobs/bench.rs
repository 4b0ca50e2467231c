//! `bench blobs`: this data plane beside bare quinn, between two processes on loopback.
//!
//! The server is a second process ([`serve`]), started from the current executable with arguments
//! that the caller chooses. [`run`] fetches one file from it again and again: as a verified blob,
//! and as a plain quinn stream (same socket, TLS and transport settings, one warm connection,
//! double-buffered writes) that is written to the same disk unchecked. Both end with fsync. The
//! order changes from pair to pair, and what is reported is the median.

mod measure;
mod raw;
mod server;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use driftless_protocol::Hash;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader};

pub use self::measure::median;
use self::server::Hello;
pub use self::server::serve;
use super::{
    BindError, BlobStore, DataPlane, FetchError, Hooks, Source, SourceError, StoreError, Welcome, blocking,
};
use crate::bandwidth::{Caps, Rate};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where both processes keep their files; a `server` and a `getter` folder are made in it.
    pub folder: PathBuf,
    /// Bytes of the file.
    pub size: u64,
    /// How often both are measured.
    pub pairs: usize,
    /// Measure under this cap instead: upload cap of the server, then download cap of the getter.
    pub cap: Rate,
}

/// One line of results.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "measured", rename_all = "snake_case")]
pub enum Report {
    /// Ours beside bare quinn.
    Throughput {
        /// Bytes of the file.
        size: u64,
        /// Seconds of each verified fetch, durable.
        ours: Vec<f64>,
        /// Seconds of each unchecked copy, durable.
        raw: Vec<f64>,
        /// Megabytes (10^6) per second, median.
        ours_rate: f64,
        /// The same, unchecked.
        raw_rate: f64,
        /// Median over pairs of ours / raw.
        ratio: f64,
        /// Largest resident set during our fetches above the idle one, bytes.
        memory: u64,
        /// UDP payload bytes of both directions, as the getter saw them, per byte of the file.
        wire: f64,
    },
    /// One fetch under a cap.
    Cap {
        /// Which side keeps the cap: `up` or `down`.
        side: &'static str,
        /// Bytes of the file.
        size: u64,
        /// Seconds.
        seconds: f64,
        /// Bytes of the file per second / cap.
        goodput: f64,
        /// Most UDP payload bytes that arrived in any second / cap.
        busiest_second: f64,
    },
}

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The second process did not start or say hello.
    #[error("the serving process failed: {0}")]
    Server(String),
    /// A file or pipe.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The data plane did not start.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A fetch failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The bare stream failed.
    #[error(transparent)]
    Raw(#[from] SourceError),
}

/// Measures and hands each result to `report`. `server` is the command that runs [`serve`] with the
/// folder `options.folder/server`, `options.size` and `options.cap` in a second process.
pub async fn run(
    options: &Options,
    mut server: tokio::process::Command,
    mut report: impl FnMut(Report),
) -> Result<(), BenchError> {
    let mut child = server.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let stdout = child.stdout.take().ok_or_else(|| BenchError::Server("no output".to_owned()))?;
    let mut lines = BufReader::new(stdout).lines();
    let hello = lines.next_line().await?.ok_or_else(|| BenchError::Server("it said nothing".to_owned()))?;
    let hello: Hello =
        serde_json::from_str(&hello).map_err(|error| BenchError::Server(format!("{error}: {hello}")))?;
    let folder = options.folder.join("getter");
    let result = if options.cap.limit().is_some() {
        under_cap(options, &folder, &hello, &mut report).await
    } else {
        throughput(options, &folder, &hello, &mut report).await
    };
    // It ends with its standard input.
    drop(child.stdin.take());
    child.wait().await?;
    result
}

fn getter(folder: &std::path::Path, caps: Caps) -> Result<(DataPlane, Arc<BlobStore>), BenchError> {
    let store = Arc::new(BlobStore::open(folder)?);
    let hooks = Hooks { welcome: Arc::new(|_| Welcome::Member), accept: Arc::new(|_, _, _| false) };
    let (plane, _) = DataPlane::bind(([127, 0, 0, 1], 0).into(), [2; 32], store.clone(), caps, hooks)?;
    Ok((plane, store))
}

async fn throughput(
    options: &Options,
    folder: &std::path::Path,
    hello: &Hello,
    report: &mut impl FnMut(Report),
) -> Result<(), BenchError> {
    let (plane, store) = getter(folder, Caps::default())?;
    let source = Source { peer: hello.peer, addresses: vec![hello.plane] };
    let bare = raw::connect(hello).await?;
    let copy = folder.join("copy");
    // Warm both connections, the page cache and the blocking threads.
    plane.fetch(hello.warm, server::WARM, vec![source.clone()]).await?;
    raw::copy(&bare, &copy, hello.warm, server::WARM).await?;
    let (mut ours, mut raw_seconds, mut memory) = (Vec::new(), Vec::new(), 0);
    let mut wire = 0;
    for pair in 0..options.pairs {
        for turn in 0..2 {
            if (pair + turn) % 2 == 0 {
                let idle = measure::reset_peak();
                let before = plane.traffic().sent() + plane.traffic().received();
                let begun = Instant::now();
                plane.fetch(hello.root, options.size, vec![source.clone()]).await?;
                ours.push(begun.elapsed().as_secs_f64());
                wire = plane.traffic().sent() + plane.traffic().received() - before;
                memory = memory.max(measure::peak().saturating_sub(idle));
                remove(&store, hello.root).await?;
            } else {
                let begun = Instant::now();
                raw::copy(&bare, &copy, hello.root, options.size).await?;
                raw_seconds.push(begun.elapsed().as_secs_f64());
                std::fs::remove_file(&copy)?;
            }
        }
    }
    let ratios: Vec<f64> = ours.iter().zip(&raw_seconds).map(|(ours, raw)| raw / ours).collect();
    let rate = |seconds: &[f64]| options.size as f64 / 1e6 / median(seconds);
    report(Report::Throughput {
        size: options.size,
        ours_rate: rate(&ours),
        raw_rate: rate(&raw_seconds),
        ratio: median(&ratios),
        memory,
        wire: wire as f64 / options.size as f64,
        ours,
        raw: raw_seconds,
    });
    Ok(())
}

async fn under_cap(
    options: &Options,
    folder: &std::path::Path,
    hello: &Hello,
    report: &mut impl FnMut(Report),
) -> Result<(), BenchError> {
    let cap = options.cap;
    let sides =
        [("up", Caps::default(), hello.capped), ("down", Caps { down: cap, ..Caps::default() }, hello.plane)];
    for (side, caps, address) in sides {
        let (plane, store) = getter(folder, caps)?;
        let source = Source { peer: hello.peer, addresses: vec![address] };
        plane.connect(&source).await?;
        let watch = measure::Busiest::watch(plane.traffic().clone());
        let begun = Instant::now();
        plane.fetch(hello.root, options.size, vec![source]).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let cap = cap.limit().unwrap_or(u64::MAX) as f64;
        report(Report::Cap {
            side,
            size: options.size,
            seconds,
            goodput: options.size as f64 / seconds / cap,
            busiest_second: watch.stop() as f64 / cap,
        });
        remove(&store, hello.root).await?;
        plane.close().await;
    }
    Ok(())
}

async fn remove(store: &Arc<BlobStore>, root: Hash) -> Result<(), StoreError> {
    let store = store.clone();
    blocking(move || store.remove(&root)).await
}
