//! One session on throttled lines: founded, run for some periods, stopped.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use driftless::report::Line;
use driftless::terms::Overrides;
use driftless_protocol::manifest::{DeadlineBounds, Manifest};
use driftless_protocol::method::MethodName;
use driftless_tests::peers::cast::{self, Cast, Part};
use driftless_tests::peers::failure::Failure;
use driftless_tests::peers::founding::{self, Wanted};
use driftless_tests::peers::netns::{self, Carried, Network};

use crate::args::Arguments;

/// Somebody pressed Ctrl-C.
pub static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What is left of a session.
pub struct Session {
    /// Its terms.
    pub manifest: Manifest,
    /// What each peer said.
    pub said: Vec<Vec<Line>>,
    /// What each peer's line carried, up and down.
    pub carried: Vec<[Carried; 2]>,
}

/// Runs a session of a method in `place` until every peer is through with its periods.
pub fn run(
    args: &Arguments,
    name: MethodName,
    period: Option<u32>,
    place: &Path,
) -> Result<Session, Failure> {
    let (peers, program) = (usize::from(args.peers), cast::program(args.program.as_deref())?);
    let network = network(args)?;
    let homes: Vec<_> = (0..peers).map(netns::home).collect();
    let wanted = wanted(args, name, period, place)?;
    let session = founding::found(&wanted, place, &homes)?;
    let part = |peer: usize| Part {
        dir: session.folders[peer].path().to_owned(),
        listen: homes[peer],
        network: Some(network.namespace(peer)),
        records: records(place, peer),
        keep_history: false,
    };
    let mut cast = Cast::new(program, (0..peers).map(part).collect());
    let manifest = session.charter.manifest.clone();
    let goal = u64::from(args.skip + args.slots) * u64::from(manifest.method.period());
    play(&mut cast, goal, Duration::from_secs(args.limit))?;
    let carried = (0..peers).map(|peer| network.carried(peer)).collect::<Result<_, _>>()?;
    let all = cast.everybody();
    cast.end(&all, libc::SIGINT)?;
    let said = (0..peers).map(|peer| read(&records(place, peer))).collect::<Result<_, _>>()?;
    Ok(Session { manifest, said, carried })
}

/// Starts everybody and listens until all have taken `goal` steps.
fn play(cast: &mut Cast, goal: u64, limit: Duration) -> Result<(), Failure> {
    let begun = Instant::now();
    let all = cast.everybody();
    all.iter().try_for_each(|peer| cast.start(*peer))?;
    while cast.ledger.peers.iter().any(|peer| peer.step < goal) {
        if INTERRUPTED.load(Ordering::Relaxed) {
            cast.end(&all, libc::SIGINT)?;
            return Err(Failure::setup("interrupted"));
        }
        if begun.elapsed() > limit {
            let steps: Vec<u64> = cast.ledger.peers.iter().map(|peer| peer.step).collect();
            return Failure::broken(format!("after {limit:?} the peers are at steps {steps:?} of {goal}"));
        }
        cast.pass(Duration::from_millis(500))?;
    }
    Ok(())
}

/// A line for each peer.
fn network(args: &Arguments) -> Result<Network, Failure> {
    let needed = |failure: Failure| {
        Failure::setup(format!("a throttled network needs root, and the programs ip and tc: {failure}"))
    };
    let network = Network::build(usize::from(args.peers)).map_err(needed)?;
    if let Some(rate) = args.rate.limit() {
        let buffer = Duration::from_millis(args.buffer);
        (0..usize::from(args.peers))
            .try_for_each(|peer| network.throttle(peer, rate, buffer))
            .map_err(needed)?;
    }
    Ok(network)
}

fn wanted(args: &Arguments, name: MethodName, period: Option<u32>, place: &Path) -> Result<Wanted, Failure> {
    let preset = Manifest::preset(&args.model).map_err(Failure::setup)?;
    let overrides = Overrides {
        method: Some(name),
        period,
        batch: Some(args.batch),
        strict: args.strict,
        ..Overrides::default()
    };
    let text = place.join("text.txt");
    std::fs::write(&text, driftless_compute::TINY_SHAKESPEARE)
        .map_err(Failure::system(text.display().to_string()))?;
    Ok(Wanted {
        seed: args.seed,
        name: format!("throttled-{name}"),
        preset: overrides.apply(preset),
        text,
        deadline: DeadlineBounds::default(),
        tcp: false,
    })
}

fn records(place: &Path, peer: usize) -> PathBuf {
    place.join(format!("peer-{peer}"))
}

/// Everything that a peer said.
fn read(records: &Path) -> Result<Vec<Line>, Failure> {
    let path = records.with_extension("said");
    let error = || Failure::system(path.display().to_string());
    let lines = BufReader::new(File::open(&path).map_err(error())?).lines();
    lines.map(|line| serde_json::from_str(&line.map_err(error())?).map_err(Failure::setup)).collect()
}
