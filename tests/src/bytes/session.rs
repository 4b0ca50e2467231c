//! The session whose bytes are counted.

use std::path::Path;
use std::time::{Duration, Instant};

use driftless_compute::Example;
use driftless_protocol::identity::PeerKey;
use driftless_protocol::manifest::{DeadlineBounds, Manifest};
use driftless_protocol::method::{Method, MethodName};
use driftless_protocol::time::Span;
use driftless_tests::peers::cast::{self, Cast, Part};
use driftless_tests::peers::failure::Failure;
use driftless_tests::peers::founding::{self, Wanted};
use driftless_tests::peers::netns::{self, Network};

use crate::args::Arguments;

const MODEL: &str = "mlp:64-32-10";

/// What was counted.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Batches that were counted.
    pub batches: u32,
    /// Samples that were certified in them.
    pub samples: u64,
    /// Bytes for each of those, sent and received, at a peer that did not order its batch, in the mean.
    pub follows: f64,
    /// The same at the peer that did.
    pub orders: f64,
    /// Bytes a second while nobody trains, at one peer in the mean.
    pub idle: f64,
    /// Steps in a second, certificates and all.
    pub steps_per_second: f64,
}

/// Runs it in `place`.
pub fn run(args: &Arguments, place: &Path) -> Result<Measured, Failure> {
    let (peers, program) = (usize::from(args.peers), cast::program(args.program.as_deref())?);
    let network = Network::build(peers).map_err(|failure| {
        Failure::setup(format!("a network of its own needs root, and the program ip: {failure}"))
    })?;
    let homes: Vec<_> = (0..peers).map(netns::home).collect();
    let session = founding::found(&wanted(args, place)?, place, &homes)?;
    let part = |peer: usize| Part {
        dir: session.folders[peer].path().to_owned(),
        listen: homes[peer],
        network: Some(network.namespace(peer)),
        records: place.join(format!("peer-{peer}")),
        keep_history: false,
    };
    let keys: Vec<PeerKey> = session
        .folders
        .iter()
        .map(|folder| folder.identity_or_new().map(|signer| signer.key()).map_err(Failure::setup))
        .collect::<Result<_, _>>()?;
    let mut cast = Cast::new(program, (0..peers).map(part).collect());
    let all = cast.everybody();
    all.iter().try_for_each(|peer| cast.start(*peer))?;
    let counts = Counts { network: &network, peers, seats: session.charter.founding_seats(), keys };
    let measured = counts.batches(args, &mut cast)?;
    // Pausing is the user's: each peer's own process hears it.
    for folder in &session.folders {
        pause(&cast::program(args.program.as_deref())?, folder.path())?;
    }
    cast.pass(Duration::from_secs(3))?;
    let before = counts.all()?;
    cast.pass(Duration::from_secs(args.idle))?;
    let after = counts.all()?;
    let idle = before.iter().zip(&after).map(|(before, after)| after - before).sum::<u64>() as f64;
    cast.end(&all, libc::SIGINT)?;
    Ok(Measured { idle: idle / peers as f64 / args.idle.max(1) as f64, ..measured })
}

struct Counts<'a> {
    network: &'a Network,
    peers: usize,
    seats: Vec<PeerKey>,
    /// By peer.
    keys: Vec<PeerKey>,
}

impl Counts<'_> {
    /// Bytes of IP that each peer sent and received so far.
    fn all(&self) -> Result<Vec<u64>, Failure> {
        let one = |peer| Ok(self.network.counted(peer)?.iter().map(|way| way.of_ip()).sum());
        (0..self.peers).map(one).collect()
    }

    /// Counts from certificate to certificate.
    fn batches(&self, args: &Arguments, cast: &mut Cast) -> Result<Measured, Failure> {
        let begun = Instant::now();
        let per_step = u64::from(args.batch);
        let (mut heights, mut follows, mut orders) = (0u32, (0.0, 0.0), (0.0, 0.0));
        let (mut samples, mut steps, mut wall) = (0u64, 0.0, Duration::ZERO);
        let mut last: Option<(Vec<u64>, u64, Instant)> = None;
        let mut seen = cast.ledger.highest();
        while heights < args.skip + args.batches {
            if begun.elapsed() > Duration::from_secs(args.limit) {
                return Failure::broken(format!("{heights} batches after {} s", args.limit));
            }
            cast.pass(Duration::from_millis(20))?;
            let height = cast.ledger.highest();
            if height == seen {
                continue;
            }
            seen = height;
            heights += 1;
            let (bytes, tokens, now) = (self.all()?, cast.ledger.tokens, Instant::now());
            if let Some((before, counted, since)) = last.filter(|_| heights > args.skip) {
                // In a named session that nothing happens in, every height closes the next slot.
                let ordinal = height as usize - 1;
                let orderer = self.seats[ordinal % self.seats.len()];
                let certified = (tokens - counted) / per_step * u64::from(args.samples);
                samples += certified;
                steps += (tokens - counted) as f64 / per_step as f64 / self.peers as f64;
                wall += now - since;
                for (peer, (before, after)) in before.iter().zip(&bytes).enumerate() {
                    let sum = if self.keys[peer] == orderer { &mut orders } else { &mut follows };
                    *sum = (sum.0 + (after - before) as f64, sum.1 + certified as f64);
                }
            }
            last = Some((bytes, tokens, now));
        }
        let steps_per_second = steps / wall.as_secs_f64();
        let batches = args.batches;
        let (follows, orders) = (follows.0 / follows.1, orders.0 / orders.1);
        Ok(Measured { batches, samples, follows, orders, idle: 0.0, steps_per_second })
    }
}

fn wanted(args: &Arguments, place: &Path) -> Result<Wanted, Failure> {
    let mut preset = Manifest::preset(MODEL).map_err(Failure::setup)?.with_method(MethodName::Spsa);
    if let Method::OneByte(method) = &mut preset.method {
        (method.samples, method.batch_steps) = (args.samples, args.batch_steps);
    }
    preset.training.batch = args.batch;
    preset.training.budget_tokens = 1 << 30;
    let shape = driftless::engine::shape_of(&preset.model);
    let example = Example::of(&shape).ok_or_else(|| Failure::setup("there is no data for such a model"))?;
    let text = place.join(example.name);
    std::fs::write(&text, example.bytes).map_err(Failure::system(text.display().to_string()))?;
    Ok(Wanted {
        seed: args.seed,
        name: "bytes".into(),
        preset,
        text,
        // All announce, so nothing waits for a deadline; and while all pause none passes.
        deadline: DeadlineBounds { minimum: Span::seconds(120), maximum: Span::seconds(240) },
        tcp: false,
    })
}

fn pause(program: &Path, dir: &Path) -> Result<(), Failure> {
    let mut command = std::process::Command::new(program);
    let said = command.arg("pause").arg("--dir").arg(dir).output().map_err(Failure::system("pause"))?;
    match said.status.success() {
        true => Ok(()),
        false => Err(Failure::setup(format!("pause: {}", String::from_utf8_lossy(&said.stderr).trim()))),
    }
}
