//! `driftless-sim run`: one world.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use driftless_protocol::time::{Span, Time};

use super::CommandError;
use super::living::{live, summary};
use crate::faults;
use crate::report::Run;
use crate::scenario::{Plan, Scenario, ScenarioError};
use crate::setup::Setup;
use crate::world::World;

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A world written down as TOML (docs/scenarios.md); without one, the options below make it
    pub scenario: Option<PathBuf>,
    /// Decides everything that chance decides [default: the scenario's, or 1]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Folder for events, tables and a page with plots [default: with a scenario, its name and the seed]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Plots as files, too
    #[arg(long, value_enum)]
    pub plot: Option<Plot>,
    /// Peers, all of them voters
    #[arg(long, default_value_t = 4, conflicts_with = "scenario")]
    pub peers: usize,
    /// Train gpt:tiny on the embedded text instead of the stand-in model
    #[arg(long, conflicts_with = "scenario")]
    pub real: bool,
    /// Tokens to train in all
    #[arg(long)]
    pub tokens: Option<u64>,
    /// Of 1000 messages, how many are lost
    #[arg(long, default_value_t = 0, conflicts_with = "scenario")]
    pub loss: u32,
    /// Power cuts in the first half minute
    #[arg(long, default_value_t = 0, conflicts_with = "scenario")]
    pub crashes: usize,
    /// Virtual seconds after which it is given up [default: the scenario's, or 3600]
    #[arg(long)]
    pub limit: Option<u64>,
    /// One JSON object per line on standard output
    #[arg(long)]
    pub json: bool,
}

/// Formats of plots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Plot {
    /// Scalable vector graphics
    Svg,
}

/// How often a line tells how far it is.
const TELL: Duration = Duration::from_secs(5);

/// A world, its limit, and what to call it.
struct Prepared {
    plan: Plan,
    limit: Span,
    name: String,
    about: String,
    /// The scenario's text.
    text: String,
    out: Option<PathBuf>,
}

/// Runs it and prints what came of it.
///
/// # Errors
/// A broken promise, or peers that did not come to the end.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let prepared = match &arguments.scenario {
        Some(path) => read(arguments, path)?,
        None => make(arguments)?,
    };
    let Prepared { plan, limit, .. } = &prepared;
    let seed = plan.setup.seed;
    let mut world = plan.world().map_err(|error| CommandError::Usage(error.to_string()))?;
    let (begun, mut told) = (Instant::now(), Instant::now());
    let over = live(&mut world, plan, *limit, &mut |world, tokens| {
        if told.elapsed() >= TELL {
            told = Instant::now();
            eprintln!("{}", progress(world, tokens, begun));
        }
    });
    let summary = summary(seed, &world, over.as_ref().err());
    if let Some(out) = &prepared.out {
        let Prepared { name, about, text, .. } = &prepared;
        let run =
            Run { name, about, scenario: text, regions: &plan.regions, summary: &summary, world: &world };
        run.write(out, arguments.plot.is_some()).map_err(CommandError::Failed)?;
        eprintln!("{} shows it", out.join("report.html").display());
    }
    tell(arguments, &world, &summary);
    over
}

/// A scenario with what the options put in the place of its fields: what the folder shows is what ran.
fn read(arguments: &Arguments, path: &Path) -> Result<Prepared, CommandError> {
    let mut text = Scenario::text(path).map_err(|error| CommandError::Usage(error.to_string()))?;
    let wrong = |error: ScenarioError| CommandError::Usage(format!("{}, {error}", path.display()));
    let limit = arguments.limit.map(|seconds| format!("{seconds}s"));
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    for (field, value) in
        [("seed", number(arguments.seed)), ("tokens", number(arguments.tokens)), ("limit", limit)]
    {
        if let Some(value) = value {
            text = Scenario::vary(&text, field, &value).map_err(wrong)?;
        }
    }
    let scenario = Scenario::parse(&text).map_err(wrong)?;
    let stem = path.file_stem().map_or_else(|| "scenario".into(), |stem| stem.to_string_lossy());
    let folder = || PathBuf::from(format!("{stem}-{}", scenario.seed));
    Ok(Prepared {
        plan: scenario.plan().map_err(wrong)?,
        limit: scenario.limit,
        out: Some(arguments.out.clone().unwrap_or_else(folder)),
        name: scenario.name,
        about: scenario.about,
        text,
    })
}

fn make(arguments: &Arguments) -> Result<Prepared, CommandError> {
    if !(1..=16).contains(&arguments.peers) || arguments.loss > 1000 {
        return Err(CommandError::Usage("1 to 16 peers, and at most 1000 of 1000 messages lost".into()));
    }
    let seed = arguments.seed.unwrap_or(1);
    let mut setup = Setup::small(seed, arguments.peers);
    if arguments.real {
        let tokens = arguments.tokens.unwrap_or(100_000);
        setup = Setup::real(seed, arguments.peers, "gpt:tiny", tokens).map_err(CommandError::Failed)?;
    } else if let Some(tokens) = arguments.tokens {
        setup.manifest.stop_at = Some(tokens);
        setup.manifest.training.budget_tokens = tokens;
    }
    setup.link.loss = arguments.loss;
    let end = Time(Span::seconds(30).0);
    setup.faults = faults::crashes(seed, arguments.peers, arguments.crashes, end, Span::seconds(10));
    Ok(Prepared {
        plan: Plan { setup, wishes: Vec::new(), regions: Vec::new() },
        limit: Span::seconds(arguments.limit.unwrap_or(3600)),
        name: format!("{} peers, seed {seed}", arguments.peers),
        about: String::new(),
        text: String::new(),
        out: arguments.out.clone(),
    })
}

fn progress(world: &World, tokens: u64, begun: Instant) -> String {
    let counted = world.certified().control.counted_tokens;
    let share = (counted as f64 / tokens as f64).min(1.0);
    let left = begun.elapsed().as_secs_f64() * (1.0 - share) / share.max(1e-9);
    let now = world.now().0 as f64 / 1e6;
    let left = if share > 0.0 { format!(", {left:.0} s left") } else { String::new() };
    format!("{counted} of {tokens} tokens after {now:.0} virtual seconds{left}")
}

fn tell(arguments: &Arguments, world: &World, summary: &Value) {
    if arguments.json {
        return println!("{summary}");
    }
    println!(
        "seed {}: height {}, {} tokens in {:.3} virtual seconds",
        summary["seed"],
        summary["heights"],
        summary["tokens"],
        summary["seconds"].as_f64().unwrap_or_default()
    );
    for (index, peer) in world.peers().iter().enumerate() {
        let (height, digest) = peer.head().unwrap_or_default();
        println!(
            "peer {index}: {}, height {height}, digest {}, crashed {} times",
            peer.standing(),
            digest.short(),
            peer.crashes()
        );
    }
    let loss = summary["validation_loss"].as_f64();
    let loss = loss.map_or("not evaluated".into(), |loss| format!("{loss:.4}"));
    let identical = &summary["replicas_identical"];
    println!("validation loss {loss}; identical replicas: {identical}; trace {}", world.trace().short());
}
