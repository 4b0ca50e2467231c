//! `driftless-sim run`: one world.

use serde_json::json;

use driftless_protocol::event::Ending;
use driftless_protocol::time::{Span, Time};

use super::CommandError;
use crate::engine::EngineKind;
use crate::faults;
use crate::setup::Setup;
use crate::world::World;

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Peers, all of them voters
    #[arg(long, default_value_t = 4)]
    pub peers: usize,
    /// Decides everything that chance decides
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Train gpt:tiny on the embedded text instead of the stand-in model
    #[arg(long)]
    pub real: bool,
    /// Tokens to train in all
    #[arg(long)]
    pub tokens: Option<u64>,
    /// Of 1000 messages, how many are lost
    #[arg(long, default_value_t = 0)]
    pub loss: u32,
    /// Power cuts in the first half minute
    #[arg(long, default_value_t = 0)]
    pub crashes: usize,
    /// Virtual seconds after which it is given up
    #[arg(long, default_value_t = 3600)]
    pub limit: u64,
    /// One JSON object per line on standard output
    #[arg(long)]
    pub json: bool,
}

/// Runs it and prints what came of it.
///
/// # Errors
/// A broken promise, or peers that did not come to the end.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    if !(1..=16).contains(&arguments.peers) || arguments.loss > 1000 {
        return Err(CommandError::Usage("1 to 16 peers, and at most 1000 of 1000 messages lost".into()));
    }
    let mut setup = Setup::small(arguments.seed, arguments.peers);
    if arguments.real {
        let tokens = arguments.tokens.unwrap_or(100_000);
        setup =
            Setup::real(arguments.seed, arguments.peers, "gpt:tiny", tokens).map_err(CommandError::Failed)?;
    } else if let Some(tokens) = arguments.tokens {
        setup.manifest.stop_at = Some(tokens);
        setup.manifest.training.budget_tokens = tokens;
        debug_assert!(setup.peers.iter().all(|peer| peer.engine != EngineKind::Cpu));
    }
    setup.link.loss = arguments.loss;
    let end = Time(Span::seconds(30).0);
    setup.faults =
        faults::crashes(arguments.seed, arguments.peers, arguments.crashes, end, Span::seconds(10));
    let mut world = World::new(setup).map_err(|error| CommandError::Usage(error.to_string()))?;
    let ended = |world: &World| world.peers().iter().all(|peer| peer.ending().is_some());
    let limit = Time(Span::seconds(arguments.limit).0);
    let done =
        world.run_until(limit, ended).map_err(|violation| CommandError::Failed(violation.to_string()))?;
    tell(arguments, &world);
    let complete = world.peers().iter().all(|peer| peer.ending() == Some(Ending::Complete));
    if done && complete {
        return Ok(());
    }
    Err(CommandError::Failed(format!(
        "not all peers came to the end within {} virtual seconds",
        arguments.limit
    )))
}

fn tell(arguments: &Arguments, world: &World) {
    let control = &world.certified().control;
    let seconds = world.now().0 as f64 / 1e6;
    let (digest, trace) = (world.certified().digest(), world.trace());
    let losses: Vec<Option<f64>> = world.peers().iter().map(|peer| peer.validation_loss()).collect();
    let identical = world.peers().iter().all(|peer| peer.head() == Some((control.height, digest)));
    if arguments.json {
        println!(
            "{}",
            json!({"event": "summary", "seed": arguments.seed, "heights": control.height, "tokens":
                control.counted_tokens, "seconds": seconds, "digest": digest.to_string(),
                "replicas_identical": identical, "validation_loss": losses.iter().flatten().next(),
                "trace": trace.to_string(), "events": world.happened()})
        );
        return;
    }
    println!(
        "seed {}: height {}, {} tokens in {seconds:.3} virtual seconds",
        arguments.seed, control.height, control.counted_tokens
    );
    for (index, peer) in world.peers().iter().enumerate() {
        let (height, digest) = peer.head().unwrap_or_default();
        println!(
            "peer {index}: {}, height {height}, digest {}, crashed {} times",
            ending_word(peer.ending()),
            digest.short(),
            peer.crashes()
        );
    }
    let loss = losses.iter().flatten().next().map_or("not evaluated".into(), |loss| format!("{loss:.4}"));
    println!("validation loss {loss}; identical replicas: {identical}; trace {}", trace.short());
}

fn ending_word(ending: Option<Ending>) -> &'static str {
    match ending {
        None => "still running",
        Some(Ending::Complete) => "complete",
        Some(Ending::Left) => "left",
        Some(Ending::Stopped) => "stopped",
    }
}
